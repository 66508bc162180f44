/* print.c: a checked payload as JSON. All goes straight into the buffer that is sent, and wiped. */
#include "print.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { TYPICAL = 1000 }; /* a bill: its buffer need not grow while it is printed */

static nontax_status put(nx_buffer *text, const char *piece, size_t size)
{
    if (size >= text->capacity - text->size) { /* there is room for a NUL, too */
        return nx_buffer_append(text, piece, size);
    }
    memcpy(text->data + text->size, piece, size);
    text->size += size;
    return NONTAX_OK;
}

/* What JSON wants escaped, and the end. */
static const bool is_odd[UCHAR_MAX + 1] = {[0 ... 0x1F] = true, ['"'] = true, ['\\'] = true};

static nontax_status put_escaped(nx_buffer *text, char c)
{
    static const char odd[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    char escaped[8];
    const char *found = strchr(odd, c);
    int size = found ? snprintf(escaped, sizeof escaped, "\\%c", letters[found - odd])
                     : snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)(unsigned char)c);
    return put(text, escaped, (size_t)size);
}

static nontax_status put_text(nx_buffer *text, const char *given)
{
    nontax_status status = put(text, "\"", 1);
    while (*given && status == NONTAX_OK) {
        size_t size = 0;
        while (!is_odd[(unsigned char)given[size]]) {
            size++;
        }
        status = put(text, given, size);
        given += size;
        if (*given && status == NONTAX_OK) {
            status = put_escaped(text, *given++);
        }
    }
    return status == NONTAX_OK ? put(text, "\"", 1) : status;
}

static nontax_status put_integer(nx_buffer *text, int64_t integer)
{
    char digits[24];
    char *begin = digits + sizeof digits;
    uint64_t left = integer < 0 ? -(uint64_t)integer : (uint64_t)integer;
    do {
        *--begin = (char)('0' + left % 10);
        left /= 10;
    } while (left);
    if (integer < 0) {
        *--begin = '-';
    }
    return put(text, begin, (size_t)(digits + sizeof digits - begin));
}

/* A double is one of cJSON's, and so are its ways of writing one. */
static nontax_status put_double(nx_buffer *text, double number)
{
    char written[64];
    cJSON item = {.type = cJSON_Number};
    (void)cJSON_SetNumberHelper(&item, number);
    return cJSON_PrintPreallocated(&item, written, sizeof written, false)
               ? put(text, written, strlen(written))
               : NONTAX_NO_MEMORY;
}

static nontax_status put_value(nx_buffer *text, const nx_value *value);

static nontax_status put_members(nx_buffer *text, const nx_value *container)
{
    bool object = container->kind == NX_VALUE_OBJECT;
    nontax_status status = put(text, object ? "{" : "[", 1);
    for (const nx_value *member = container->first; member; member = member->next) {
        if (member != container->first && status == NONTAX_OK) {
            status = put(text, ",", 1);
        }
        if (object && status == NONTAX_OK) {
            status = put_text(text, member->name);
        }
        if (object && status == NONTAX_OK) {
            status = put(text, ":", 1);
        }
        if (status == NONTAX_OK) {
            status = put_value(text, member);
        }
    }
    return status == NONTAX_OK ? put(text, object ? "}" : "]", 1) : status;
}

static nontax_status put_value(nx_buffer *text, const nx_value *value)
{
    switch (value->kind) {
    case NX_VALUE_NULL:
        return put(text, "null", 4);
    case NX_VALUE_FALSE:
        return put(text, "false", 5);
    case NX_VALUE_TRUE:
        return put(text, "true", 4);
    case NX_VALUE_TEXT:
        return put_text(text, value->text);
    case NX_VALUE_INTEGER:
    case NX_VALUE_TIME:
        return put_integer(text, value->integer);
    case NX_VALUE_NUMBER:
        return put(text, value->text, value->size);
    case NX_VALUE_DOUBLE:
        return put_double(text, value->number);
    case NX_VALUE_OBJECT:
    case NX_VALUE_LIST:
        return put_members(text, value);
    default:
        return NONTAX_BAD_PAYLOAD; /* the check lets none of them pass */
    }
}

nontax_status nx_print_json(const nx_value *whole, nx_buffer *text)
{
    nontax_status status = nx_buffer_reserve(text, TYPICAL);
    status = status == NONTAX_OK ? put_value(text, whole) : status;
    return status == NONTAX_OK ? nx_buffer_append(text, "", 0) : status; /* the NUL */
}
