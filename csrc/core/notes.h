/* notes.h: what happens on the way of calls and is in no result, kept for a log. */
#ifndef NONTAX_NOTES_H
#define NONTAX_NOTES_H

#include <stdatomic.h>

#include "nontax.h"

/* The caller takes them out at each step. If more come between two steps, the same keeps failing,
 * and the last ones say so. */
enum { NX_MAX_NOTES = 64 };

/* A ring: when it is full, the oldest note is dropped. Guarded by its client's lock. */
typedef struct nx_notes {
    atomic_int count; /* read without the lock, too */
    int oldest;
    nontax_note ring[NX_MAX_NOTES];
} nx_notes;

/* Notes something about the attempt of a call that has just ended. For any thread; never fails. */
void nx_note(const nontax_call *call, nontax_note_kind kind, int64_t wait_ms);

/* In the child of a fork: the notes so far are the parent's. */
void nx_notes_drop(nx_notes *notes);

#endif
