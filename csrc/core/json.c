/* json.c: JSON values, exact to the last digit, and their printing without copies left behind. */
#include "json.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

enum { MAX_JSON = 256 * 1024 * 1024 };

/* The valueint of a raw or invalid item is unused by cJSON; ours says what its text is. */
enum { RAW_NUMBER = 1, RAW_TIME = 2, FOREIGN = 3, FIRST_PROBLEM = 4 };

/* ---- leaves that cJSON has no constructor for ------------------------------------------- */

static cJSON *raw_item(const char *literal, int kind)
{
    cJSON *item = cJSON_CreateRaw(literal);
    if (item) {
        item->valueint = kind;
    }
    return item;
}

cJSON *nontax_json_number(const char *literal)
{
    return raw_item(literal, RAW_NUMBER);
}

cJSON *nontax_json_time(int64_t unix_seconds)
{
    char literal[24];
    snprintf(literal, sizeof literal, "%lld", (long long)unix_seconds);
    return raw_item(literal, RAW_TIME);
}

/* Invalid for cJSON, which refuses to print it: what was not checked cannot go out. */
static cJSON *invalid_item(const char *text, int kind)
{
    cJSON *item = cJSON_CreateString(text);
    if (item) {
        item->type = cJSON_Invalid;
        item->valueint = kind;
    }
    return item;
}

cJSON *nontax_json_foreign(const char *kind)
{
    return invalid_item(kind, FOREIGN);
}

cJSON *nontax_json_problem(nontax_problem_id id, const char *value)
{
    return invalid_item(value ? value : "", FIRST_PROBLEM + (int)id);
}

bool nx_is_foreign(const cJSON *item)
{
    return cJSON_IsInvalid(item) && item->valueint == FOREIGN;
}

bool nx_is_problem(const cJSON *item, nontax_problem_id *id)
{
    bool is_problem = cJSON_IsInvalid(item) && item->valueint >= FIRST_PROBLEM;
    if (is_problem) {
        *id = (nontax_problem_id)(item->valueint - FIRST_PROBLEM);
    }
    return is_problem;
}

static bool is_raw(const cJSON *item, int kind)
{
    return cJSON_IsRaw(item) && item->valueint == kind;
}

bool nx_is_number(const cJSON *item)
{
    return cJSON_IsNumber(item) || is_raw(item, RAW_NUMBER);
}

bool nx_is_time(const cJSON *item)
{
    return is_raw(item, RAW_TIME);
}

const char *nx_name_of(const cJSON *member)
{
    return member->string ? member->string : "";
}

const char *nx_kind_of(const cJSON *item)
{
    if (nx_is_foreign(item)) {
        return item->valuestring;
    } else if (cJSON_IsString(item)) {
        return "a string";
    } else if (cJSON_IsBool(item)) {
        return "a boolean";
    } else if (cJSON_IsNull(item)) {
        return "null";
    } else if (cJSON_IsObject(item)) {
        return "an object";
    } else if (cJSON_IsArray(item)) {
        return "a list";
    } else if (is_raw(item, RAW_TIME)) {
        return "a time";
    } else if (cJSON_IsNumber(item) || is_raw(item, RAW_NUMBER)) {
        return "a number";
    }
    return "raw JSON";
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

/* Reads an integer that must fit into 64 bits, from either way of writing one. */
nx_integer nx_read_integer(const cJSON *item, long long *value)
{
    if (cJSON_IsNumber(item)) {
        if (!isfinite(item->valuedouble)) {
            return NX_INTEGER_NOT_FINITE;
        }
        /* From 1e15 on cJSON prints doubles with an exponent, and from 2^53 on they are inexact. */
        if (fabs(item->valuedouble) >= 1e15) {
            return NX_INTEGER_TOO_LARGE;
        }
        *value = (long long)item->valuedouble;
        return item->valuedouble == (double)*value ? NX_INTEGER_OK : NX_INTEGER_FRACTION;
    }
    if (!is_raw(item, RAW_NUMBER) && !is_raw(item, RAW_TIME)) {
        return NX_INTEGER_WRONG_KIND;
    }
    const char *text = item->valuestring;
    if (!nx_is_number_literal(text)) {
        return NX_INTEGER_NOT_FINITE;
    }
    bool negative = *text == '-';
    const char *digits = text + negative;
    if (!nx_all_digits(digits)) {
        return NX_INTEGER_FRACTION;
    }
    unsigned long long magnitude = 0;
    for (; *digits; digits++) {
        unsigned digit = (unsigned)(*digits - '0');
        if (magnitude > ((unsigned long long)LLONG_MAX - digit) / 10) {
            return NX_INTEGER_TOO_LARGE;
        }
        magnitude = magnitude * 10 + digit;
    }
    *value = negative ? -(long long)magnitude : (long long)magnitude;
    return NX_INTEGER_OK;
}

/* ---- the whole tree ---------------------------------------------------------------------- */

static void wipe_strings(cJSON *item)
{
    for (; item; item = item->next) {
        if (item->type & cJSON_IsReference) {
            continue; /* somebody else's memory */
        }
        if (item->valuestring) {
            nx_wipe(item->valuestring, strlen(item->valuestring));
        }
        wipe_strings(item->child);
    }
}

void nx_json_free(cJSON *tree)
{
    wipe_strings(tree);
    cJSON_Delete(tree);
}

/* cJSON's own growing buffer leaves unwiped copies behind, so it prints into ours. It does not say
 * why it failed; what was checked can only be too large for the room. */
nontax_status nx_json_print(cJSON *tree, nx_buffer *text)
{
    for (size_t room = 1024; room <= MAX_JSON; room *= 4) {
        if (nx_buffer_reserve(text, room) != NONTAX_OK) {
            return NONTAX_NO_MEMORY;
        }
        if (cJSON_PrintPreallocated(tree, text->data, (int)room, false)) {
            text->size = strlen(text->data);
            return NONTAX_OK;
        }
        nx_wipe(text->data, room);
        nx_buffer_free(text);
    }
    return NONTAX_NO_MEMORY;
}
