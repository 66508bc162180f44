/* payload.c: the values of a payload; see payload.h.
 *
 * All of it lies in a few blocks of memory, the first of which has room for a bill: nothing is
 * allocated for a single value, and all texts are wiped at once. */
#include "payload.h"

#include <math.h>
#include <string.h>

#include "text.h"

enum { FIRST_BLOCK = 3072, ALIGNMENT = sizeof(max_align_t) };

typedef struct block {
    struct block *before;
    size_t size;
    size_t used;
    max_align_t memory[];
} block;

struct nontax_payload {
    block *newest;
    nx_value *root;
    nx_value *open; /* where the next value comes in; NULL: it is the root */
    bool no_memory; /* for a value: then it is not whole */
    block first;    /* its memory lies behind it */
};

/* ---- memory ------------------------------------------------------------------------------ */

static void *take(nontax_payload *payload, size_t size)
{
    block *newest = payload->newest;
    size_t rounded = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (rounded > newest->size - newest->used) {
        size_t room = 2 * newest->size > rounded ? 2 * newest->size : rounded;
        block *further = rounded >= size ? nx_malloc(sizeof *further + room) : NULL;
        if (!further) {
            payload->no_memory = true;
            return NULL;
        }
        *further = (block){newest, room, 0};
        payload->newest = newest = further;
    }
    char *taken = (char *)newest->memory + newest->used;
    newest->used += rounded;
    return taken;
}

static const char *copy(nontax_payload *payload, const char *text, size_t size)
{
    char *copied = take(payload, size + 1);
    if (copied) {
        memcpy(copied, text, size);
        copied[size] = '\0';
    }
    return copied;
}

nontax_payload *nontax_payload_new(void)
{
    nontax_payload *payload = nx_malloc(sizeof *payload + FIRST_BLOCK);
    if (payload) {
        *payload = (nontax_payload){.newest = &payload->first, .first.size = FIRST_BLOCK};
    }
    return payload;
}

/* Wipes all blocks, and frees all but the first. */
static void empty(nontax_payload *payload)
{
    while (payload->newest->before) {
        block *newest = payload->newest;
        payload->newest = newest->before;
        nx_wipe(newest->memory, newest->used);
        nx_free(newest);
    }
    nx_wipe(payload->newest->memory, payload->newest->used);
    payload->newest->used = 0;
}

void nontax_payload_free(nontax_payload *payload)
{
    if (payload) {
        empty(payload);
        nx_free(payload);
    }
}

void nontax_payload_clear(nontax_payload *payload)
{
    empty(payload);
    payload->root = payload->open = NULL;
}

bool nontax_payload_is_whole(const nontax_payload *payload)
{
    return !payload->no_memory;
}

/* ---- putting values in ------------------------------------------------------------------- */

/* A new value at the place where the next one comes in; NULL: no memory. */
static nx_value *add(nontax_payload *payload, const char *name, nx_value_kind kind)
{
    const char *copied = NULL;
    nx_value *value = NULL;
    if (!name || (copied = copy(payload, name, strlen(name)))) {
        value = take(payload, sizeof *value);
    }
    if (!value) {
        return NULL;
    }
    *value = (nx_value){.kind = kind, .name = copied};
    if (payload->open) {
        nx_value_append(payload->open, value);
    } else {
        payload->root = value;
    }
    return value;
}

static nx_value *add_words(nontax_payload *payload, const char *name, nx_value_kind kind,
                           const char *text, size_t size)
{
    const char *copied = copy(payload, text, size);
    nx_value *value = copied ? add(payload, name, kind) : NULL;
    if (value) {
        value->text = copied;
        value->size = size;
    }
    return value;
}

void nontax_payload_text(nontax_payload *payload, const char *name, const char *text, size_t size)
{
    (void)add_words(payload, name, NX_VALUE_TEXT, text, size);
}

void nontax_payload_integer(nontax_payload *payload, const char *name, int64_t integer)
{
    nx_value *value = add(payload, name, NX_VALUE_INTEGER);
    if (value) {
        value->integer = integer;
    }
}

void nontax_payload_number(nontax_payload *payload, const char *name, const char *literal)
{
    (void)add_words(payload, name, NX_VALUE_NUMBER, literal, strlen(literal));
}

void nontax_payload_time(nontax_payload *payload, const char *name, int64_t unix_seconds)
{
    nx_value *value = add(payload, name, NX_VALUE_TIME);
    if (value) {
        value->integer = unix_seconds;
    }
}

void nontax_payload_bool(nontax_payload *payload, const char *name, bool truth)
{
    (void)add(payload, name, truth ? NX_VALUE_TRUE : NX_VALUE_FALSE);
}

void nontax_payload_null(nontax_payload *payload, const char *name)
{
    (void)add(payload, name, NX_VALUE_NULL);
}

void nontax_payload_foreign(nontax_payload *payload, const char *name, const char *kind)
{
    (void)add_words(payload, name, NX_VALUE_FOREIGN, kind, strlen(kind));
}

void nontax_payload_problem(nontax_payload *payload, const char *name, nontax_problem_id id,
                            const char *text)
{
    const char *given = text ? text : "";
    nx_value *value = add_words(payload, name, NX_VALUE_PROBLEM, given, strlen(given));
    if (value) {
        value->problem = id;
    }
}

void nx_payload_double(nontax_payload *payload, const char *name, double number)
{
    nx_value *value = add(payload, name, NX_VALUE_DOUBLE);
    if (value) {
        value->number = number;
    }
}

void nx_payload_raw(nontax_payload *payload, const char *name)
{
    (void)add(payload, name, NX_VALUE_RAW);
}

/* Where there was no memory for it, its members come into what is open: it is not whole anyway. */
static void open_container(nontax_payload *payload, const char *name, nx_value_kind kind)
{
    nx_value *value = add(payload, name, kind);
    if (value) {
        payload->open = value;
    }
}

void nontax_payload_object(nontax_payload *payload, const char *name)
{
    open_container(payload, name, NX_VALUE_OBJECT);
}

void nontax_payload_list(nontax_payload *payload, const char *name)
{
    open_container(payload, name, NX_VALUE_LIST);
}

void nontax_payload_end(nontax_payload *payload)
{
    if (payload->open) {
        payload->open = payload->open->above;
    }
}

bool nontax_payload_has_fields(const nontax_payload *payload)
{
    const nx_value *root = payload->root;
    return root && (root->kind == NX_VALUE_OBJECT || root->kind == NX_VALUE_PROBLEM);
}

/* ---- reading ----------------------------------------------------------------------------- */

nx_value *nx_payload_root(const nontax_payload *payload)
{
    return payload->root;
}

void nx_payload_set_root(nontax_payload *payload, nx_value *root)
{
    payload->root = root;
}

nx_value *nx_payload_new_object(nontax_payload *payload, const char *name)
{
    nx_value *object = take(payload, sizeof *object);
    if (object) {
        *object = (nx_value){.kind = NX_VALUE_OBJECT, .name = name};
    }
    return object;
}

void nx_value_append(nx_value *container, nx_value *value)
{
    value->above = container;
    value->next = NULL;
    if (container->last) {
        container->last->next = value;
    } else {
        container->first = value;
    }
    container->last = value;
}

nx_value *nx_value_take(nx_value *object, nx_value *before)
{
    nx_value *value = before ? before->next : object->first;
    if (before) {
        before->next = value->next;
    } else {
        object->first = value->next;
    }
    if (object->last == value) {
        object->last = before;
    }
    return value;
}

const nx_value *nx_value_find(const nx_value *object, const char *name)
{
    const nx_value *member = object->first;
    while (member && strcmp(member->name, name) != 0) {
        member = member->next;
    }
    return member;
}

bool nx_value_is_number(const nx_value *value)
{
    return value->kind == NX_VALUE_INTEGER || value->kind == NX_VALUE_NUMBER ||
           value->kind == NX_VALUE_DOUBLE;
}

const char *nx_value_kind_name(const nx_value *value)
{
    static const char *const names[] = {
        [NX_VALUE_NULL] = "null",        [NX_VALUE_FALSE] = "a boolean",
        [NX_VALUE_TRUE] = "a boolean",   [NX_VALUE_TEXT] = "a string",
        [NX_VALUE_INTEGER] = "a number", [NX_VALUE_NUMBER] = "a number",
        [NX_VALUE_DOUBLE] = "a number",  [NX_VALUE_TIME] = "a time",
        [NX_VALUE_RAW] = "raw JSON",     [NX_VALUE_FOREIGN] = "",
        [NX_VALUE_PROBLEM] = "no value", [NX_VALUE_OBJECT] = "an object",
        [NX_VALUE_LIST] = "a list",
    };
    return value->kind == NX_VALUE_FOREIGN ? value->text : names[value->kind];
}

/* ---- numbers ----------------------------------------------------------------------------- */

bool nx_is_number_literal(const char *text)
{
    text += *text == '-';
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || (digits > 1 && *text == '0')) {
        return false;
    }
    text += digits;
    if (*text == '.') {
        digits = strspn(++text, "0123456789");
        if (digits == 0) {
            return false;
        }
        text += digits;
    }
    if (*text == 'e' || *text == 'E') {
        text++;
        text += *text == '-' || *text == '+';
        digits = strspn(text, "0123456789");
        if (digits == 0) {
            return false;
        }
        text += digits;
    }
    return *text == '\0';
}

static nx_integer read_double(double number, int64_t *integer)
{
    if (!isfinite(number)) {
        return NX_INTEGER_NOT_FINITE;
    }
    /* From 1e15 on cJSON prints doubles with an exponent, and from 2^53 on they are inexact. */
    if (fabs(number) >= 1e15) {
        return NX_INTEGER_TOO_LARGE;
    }
    *integer = (int64_t)number;
    return number == (double)*integer ? NX_INTEGER_OK : NX_INTEGER_FRACTION;
}

static nx_integer read_literal(const char *text, int64_t *integer)
{
    if (!nx_is_number_literal(text)) {
        return NX_INTEGER_NOT_FINITE;
    }
    bool negative = *text == '-';
    const char *digits = text + negative;
    if (!nx_all_digits(digits)) {
        return NX_INTEGER_FRACTION;
    }
    uint64_t magnitude = 0;
    for (; *digits; digits++) {
        unsigned digit = (unsigned)(*digits - '0');
        if (magnitude > ((uint64_t)INT64_MAX - digit) / 10) {
            return NX_INTEGER_TOO_LARGE;
        }
        magnitude = magnitude * 10 + digit;
    }
    *integer = negative ? -(int64_t)magnitude : (int64_t)magnitude;
    return NX_INTEGER_OK;
}

nx_integer nx_value_integer(const nx_value *value, int64_t *integer)
{
    switch (value->kind) {
    case NX_VALUE_INTEGER:
    case NX_VALUE_TIME:
        *integer = value->integer;
        return NX_INTEGER_OK;
    case NX_VALUE_DOUBLE:
        return read_double(value->number, integer);
    case NX_VALUE_NUMBER:
        return read_literal(value->text, integer);
    default:
        return NX_INTEGER_WRONG_KIND;
    }
}
