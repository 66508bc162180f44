/* literals.c: the numbers of a JSON text exactly as they are written. */
#include "literals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DIGITS = 15 }; /* a double has all integers of so many digits */

static const char digits[] = "0123456789";

/* Where the next number begins: at the first digit or "-" outside of all strings. */
static const char *next_number(const char *at)
{
    for (; *at && *at != '-' && !strchr(digits, *at); at++) {
        if (*at != '"') {
            continue;
        }
        for (at++; *at && *at != '"'; at++) {
            at += *at == '\\' && at[1];
        }
        if (!*at) {
            break;
        }
    }
    return at;
}

static size_t literal_size(const char *at)
{
    size_t size = 0;
    while ((unsigned char)at[size] > ' ' && !strchr(",]}", at[size])) {
        size++;
    }
    return size;
}

/* Whether it is an integer that a double has, in its only spelling. */
static bool is_plain(const char *literal, size_t size)
{
    bool negative = *literal == '-';
    size_t count = size - negative;
    const char *first = literal + negative;
    return count > 0 && count <= MAX_DIGITS && strspn(first, digits) >= count &&
           (*first != '0' || (count == 1 && !negative));
}

static nontax_status set_text(cJSON *item, const char *text, size_t size)
{
    char *copy = cJSON_malloc(size + 1);
    if (!copy) {
        return NONTAX_NO_MEMORY;
    }
    memcpy(copy, text, size);
    copy[size] = '\0';
    cJSON_free(item->valuestring);
    item->valuestring = copy;
    return NONTAX_OK;
}

/* The tree's numbers come in the order in which they stand in the text. */
static nontax_status keep(cJSON *item, const char **at)
{
    nontax_status status = NONTAX_OK;
    for (; item && status == NONTAX_OK; item = item->next) {
        if (cJSON_IsNumber(item)) {
            *at = next_number(*at);
            size_t size = literal_size(*at);
            if (!is_plain(*at, size)) {
                status = set_text(item, *at, size);
            }
            *at += size;
        } else if (item->child) {
            status = keep(item->child, at);
        }
    }
    return status;
}

nontax_status nx_literals_keep(cJSON *tree, const char *text)
{
    return keep(tree->child, &text);
}

nontax_status nx_literal_to_string(cJSON *number)
{
    char plain[32];
    if (!number->valuestring) {
        int size = snprintf(plain, sizeof plain, "%.0f", number->valuedouble);
        if (set_text(number, plain, (size_t)size) != NONTAX_OK) {
            return NONTAX_NO_MEMORY;
        }
    }
    number->type = cJSON_String;
    return NONTAX_OK;
}

nontax_status nx_literal_to_number(cJSON *string)
{
    const char *text = string->valuestring;
    size_t count = strspn(text + (*text == '-'), digits);
    if (count == 0 || count > MAX_DIGITS || text[count + (*text == '-')]) {
        return NONTAX_BAD_PAYLOAD;
    }
    string->type = cJSON_Number;
    (void)cJSON_SetNumberHelper(string, (double)strtoll(text, NULL, 10));
    return NONTAX_OK;
}
