/* interfaces.h: what the core knows of an interface. The rows themselves are in interfaces.c. */
#ifndef NONTAX_INTERFACES_H
#define NONTAX_INTERFACES_H

#include "nontax.h"

typedef enum nx_kind {
    NX_TEXT,   /* a string that is not blank */
    NX_FEN,    /* an amount: an integer number of fen, not negative */
    NX_TIME,   /* Unix seconds of ten digits, as an integer or a string */
    NX_OBJECT, /* has members: the rows below it that are one deeper */
    NX_WRAPPER /* an object whose members may stand in its parent instead */
} nx_kind;

/* One field. Rows are an outline: a row's members follow it, one deeper. */
typedef struct nx_field {
    int depth;
    const char *name;
    nx_kind kind;
    bool required;
} nx_field;

struct nontax_interface {
    const char *name;
    const char *path;
    const nx_field *fields;
    int field_count;
    /* Whether a flat row of all leaves is understood, too, and put into the outline's shape. */
    bool flat_allowed;
    const nx_field *reply_fields; /* all of depth 0 */
    int reply_field_count;
};

#endif
