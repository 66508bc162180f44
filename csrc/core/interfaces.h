/* interfaces.h: what the core knows of an interface. The rows themselves are in interfaces.c. */
#ifndef NONTAX_INTERFACES_H
#define NONTAX_INTERFACES_H

#include "nontax.h"

typedef enum nx_kind {
    NX_TEXT,    /* a string that is not blank */
    NX_SECRET,  /* a text that is masked in whatever comes back */
    NX_RID,     /* an id of a request: three groups of eight hexadecimal digits */
    NX_PATH,    /* an interface's path, with its leading slash and without a host */
    NX_FEN,     /* an amount: an integer number of fen, not negative */
    NX_TIME,    /* Unix seconds of ten digits, as an integer or a string */
    NX_SECONDS, /* Unix seconds of ten digits, as an integer */
    NX_BOOL,
    NX_INTEGER, /* in replies, like the next one */
    NX_CODE,    /* a card code: a text, which is not masked if it is all digits */
    NX_OBJECT,  /* has members: the rows below it that are one deeper */
    NX_WRAPPER  /* an object whose members may stand in its parent instead */
} nx_kind;

/* Two bills with the same text in such fields are about the same thing. */
typedef enum nx_key {
    NX_KEY_NONE,
    NX_KEY_ORDER, /* that the citizen has authorised */
    NX_KEY_NUMBER /* printed on the bill, in several fields */
} nx_key;

/* One field. Rows are an outline: a row's members follow it, one deeper. */
typedef struct nx_field {
    int depth;
    const char *name;
    nx_kind kind;
    bool required;
    const char *const *choices; /* the only texts that it may be, up to NULL; NULL: any */
    nx_key key;
} nx_field;

/* How a payload travels. */
typedef enum nx_form {
    NX_JSON,  /* POST, as a JSON object */
    NX_QUERY, /* GET, in the URL */
    NX_FILE   /* POST, one file as multipart/form-data */
} nx_form;

struct nontax_interface {
    const char *name;
    const char *path;
    nx_form form;
    /* It changes nothing: when no usable answer came, it is called again. */
    bool read_only;
    /* There are credentials in its reply. */
    bool answers_secret;
    /* It takes the AppSecret in place of an access token, and answers without errcode when it went
     * well. */
    bool by_secret;
    /* Whether a flat row of all leaves is understood, too, and put into the outline's shape. */
    bool flat_allowed;
    const char *file_part; /* NX_FILE: the part's name, and what it must hold */
    const char *file_type;
    const nx_field *fields;
    int field_count;
    const nx_field *reply_fields; /* one that is not required, and cannot be used, is no fault */
    int reply_field_count;
};

#endif
