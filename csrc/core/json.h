/* json.h: JSON values, exact to the last digit, and their printing without copies left behind. */
#ifndef NONTAX_JSON_H
#define NONTAX_JSON_H

#include "memory.h"

/* What a raw item of cJSON is. */
bool nx_is_number(const cJSON *item); /* nontax_json_number(), or one of cJSON's own */
bool nx_is_time(const cJSON *item);   /* nontax_json_time() */

bool nx_is_foreign(const cJSON *item); /* nontax_json_foreign() */
/* nontax_json_problem(): then *id is which, and its valuestring the value. */
bool nx_is_problem(const cJSON *item, nontax_problem_id *id);

/* Whether the text is a number as JSON writes it. */
bool nx_is_number_literal(const char *text);

/* "a string", "a list": for messages. */
const char *nx_kind_of(const cJSON *item);

/* A tree that was put together wrongly can have a member without a name: "". */
const char *nx_name_of(const cJSON *member);

typedef enum nx_integer {
    NX_INTEGER_OK,
    NX_INTEGER_WRONG_KIND,
    NX_INTEGER_FRACTION,
    NX_INTEGER_TOO_LARGE,
    NX_INTEGER_NOT_FINITE
} nx_integer;

/* Reads an integer that must fit into 64 bits, from any way of writing one, times included. */
nx_integer nx_read_integer(const cJSON *item, long long *value);

/* Prints a checked tree. */
nontax_status nx_json_print(cJSON *tree, nx_buffer *text);

/* Wipes all texts of a tree, and frees it. */
void nx_json_free(cJSON *tree);

#endif
