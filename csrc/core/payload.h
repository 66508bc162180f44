/* payload.h: the values of a payload, as they were put in: a light tree in one piece of memory. */
#ifndef NONTAX_PAYLOAD_H
#define NONTAX_PAYLOAD_H

#include "memory.h"

typedef enum nx_value_kind {
    NX_VALUE_NULL,
    NX_VALUE_FALSE,
    NX_VALUE_TRUE,
    NX_VALUE_TEXT,
    NX_VALUE_INTEGER,
    NX_VALUE_NUMBER, /* as it is written */
    NX_VALUE_DOUBLE, /* one of cJSON's: inexact from 2^53 on */
    NX_VALUE_TIME,
    NX_VALUE_RAW,     /* of cJSON's, too: anything */
    NX_VALUE_FOREIGN, /* what JSON does not have */
    NX_VALUE_PROBLEM, /* what could not be converted */
    NX_VALUE_OBJECT,
    NX_VALUE_LIST
} nx_value_kind;

typedef struct nx_value {
    nx_value_kind kind;
    nontax_problem_id problem;
    const char *name; /* NULL: an element of a list, or the whole */
    const char *text; /* a text, or the number, kind or problem's value in words */
    size_t size;      /* of a text */
    union {
        int64_t integer; /* an integer or a time */
        double number;   /* a double */
    };
    struct nx_value *above; /* the object or list that it is in */
    struct nx_value *next;
    struct nx_value *first; /* of its own members */
    struct nx_value *last;
} nx_value;

/* What only a tree of cJSON's has. */
void nx_payload_double(nontax_payload *payload, const char *name, double number);
void nx_payload_raw(nontax_payload *payload, const char *name);

/* What was put in first; NULL: nothing. */
nx_value *nx_payload_root(const nontax_payload *payload);
void nx_payload_set_root(nontax_payload *payload, nx_value *root);

/* An empty object that stands nowhere yet. NULL: no memory. The name is not copied. */
nx_value *nx_payload_new_object(nontax_payload *payload, const char *name);

/* The last value of an object or list from then on. */
void nx_value_append(nx_value *container, nx_value *value);
/* Takes the value behind `before` (NULL: the first) out of its object. */
nx_value *nx_value_take(nx_value *object, nx_value *before);
/* The first member of that name; NULL: none. */
const nx_value *nx_value_find(const nx_value *object, const char *name);

bool nx_value_is_number(const nx_value *value);

/* "a string", "a list": for messages. */
const char *nx_value_kind_name(const nx_value *value);

typedef enum nx_integer {
    NX_INTEGER_OK,
    NX_INTEGER_WRONG_KIND,
    NX_INTEGER_FRACTION,
    NX_INTEGER_TOO_LARGE,
    NX_INTEGER_NOT_FINITE
} nx_integer;

/* Reads an integer that must fit into 64 bits, from any way of writing one, times included. */
nx_integer nx_value_integer(const nx_value *value, int64_t *integer);

/* Whether the text is a number as JSON writes it. */
bool nx_is_number_literal(const char *text);

#endif
