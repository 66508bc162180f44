/* body.h: what a request carries: a text, or a file in a multipart frame, which is read piece by
 * piece as it is sent. */
#ifndef NONTAX_BODY_H
#define NONTAX_BODY_H

#include "interfaces.h"
#include "memory.h"

typedef struct nx_body {
    nx_buffer text; /* the whole, or the frame's part before the file */
    nontax_file file;
    nx_buffer tail; /* the frame's part after the file */
    size_t size;    /* of the three together */
} nx_body;

/* Wipes and frees it; the file is its owner's. */
void nx_body_free(nx_body *body);

/* Puts the file into a frame with this boundary. */
nontax_status nx_body_frame(nx_body *body, const nontax_interface *interface,
                            const nontax_file *file, const char *boundary);

/* Copies at most `room` bytes from place `at`; the number of bytes, 0 at the end, or -1 when the
 * file could not be read. */
ptrdiff_t nx_body_read(const nx_body *body, size_t at, char *target, size_t room);

/* Whether something is wrong with the file, and what. */
bool nx_file_problem(const nontax_file *file, nontax_problem_id *problem);

#endif
