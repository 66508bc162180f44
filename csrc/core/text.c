/* text.c: small functions on UTF-8 text: validity, shortening, and hiding a secret in it. */
#include "text.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A shorter one would be found inside ordinary words: masking it would spoil messages, and each
 * "***" in a known word would tell it. */
enum { SHORTEST_SECRET = 8 };

/* The length of the valid UTF-8 character at the start of text, or 0. */
static size_t character_size(const unsigned char *text, size_t size)
{
    unsigned char first = text[0];
    size_t length;
    unsigned char low = 0x80, high = 0xBF; /* the range of the second byte */
    if (first < 0x80) {
        return 1;
    } else if (first >= 0xC2 && first <= 0xDF) {
        length = 2;
    } else if (first >= 0xE0 && first <= 0xEF) {
        length = 3;
        low = first == 0xE0 ? 0xA0 : 0x80;
        high = first == 0xED ? 0x9F : 0xBF;
    } else if (first >= 0xF0 && first <= 0xF4) {
        length = 4;
        low = first == 0xF0 ? 0x90 : 0x80;
        high = first == 0xF4 ? 0x8F : 0xBF;
    } else {
        return 0;
    }
    if (size < length || text[1] < low || text[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if (text[i] < 0x80 || text[i] > 0xBF) {
            return 0;
        }
    }
    return length;
}

size_t nx_printable_size(const char *text, size_t size)
{
    size_t length = size ? character_size((const unsigned char *)text, size) : 0;
    unsigned char first = length ? (unsigned char)*text : 0;
    /* U+0080 to U+009F are control characters as well. */
    bool control =
        first < 0x20 || first == 0x7F || (first == 0xC2 && (unsigned char)text[1] < 0xA0);
    return control ? 0 : length;
}

bool nx_utf8_valid(const char *text, size_t size)
{
    size_t at = 0;
    while (at < size) {
        size_t length = (unsigned char)text[at] < 0x80
                            ? 1
                            : character_size((const unsigned char *)text + at, size - at);
        if (!length) {
            return false;
        }
        at += length;
    }
    return true;
}

bool nx_all_digits(const char *text)
{
    return *text && strspn(text, "0123456789") == strlen(text);
}

void nx_text_copy(char *target, size_t capacity, const char *text, size_t size)
{
    size_t at = 0, out = 0;
    while (at < size) {
        size_t length = character_size((const unsigned char *)text + at, size - at);
        bool printable = nx_printable_size(text + at, size - at) > 0;
        size_t width = printable ? length : 1;
        if (out + width >= capacity) {
            break;
        }
        if (printable) {
            memcpy(target + out, text + at, length);
        } else {
            target[out] = '?';
        }
        out += width;
        at += length ? length : 1;
    }
    target[out] = '\0';
}

static void format(nontax_text *target, const char *begin, const char *format, va_list arguments)
    __attribute__((format(printf, 3, 0)));

static void format(nontax_text *target, const char *begin, const char *format, va_list arguments)
{
    char full[1024];
    size_t used = (size_t)snprintf(full, sizeof full, "%s", begin);
    int length = vsnprintf(full + used, sizeof full - used, format, arguments);
    nx_text_copy(target->text, sizeof target->text, full, length < 0 ? 0 : strlen(full));
}

void nx_text_format(nontax_text *target, const char *words, ...)
{
    va_list arguments;
    va_start(arguments, words);
    format(target, "", words, arguments);
    va_end(arguments);
    target->setting = NULL;
}

nontax_status nx_text_refuse(nontax_text *target, const char *setting, const char *words, ...)
{
    char name[32];
    va_list arguments;
    snprintf(name, sizeof name, "%s ", setting);
    va_start(arguments, words);
    format(target, name, words, arguments);
    va_end(arguments);
    target->setting = setting;
    return NONTAX_BAD_SETTING;
}

static int hexadecimal(char digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* The value of so many hexadecimal digits, or -1. */
static int hexadecimals(const char *text, int count)
{
    int value = 0;
    for (int i = 0; i < count; i++) {
        int digit = hexadecimal(text[i]);
        if (digit < 0) {
            return -1;
        }
        value = value * 16 + digit;
    }
    return value;
}

/* The size of "&#43;" or "&#x2b;" if it stands for the character, or 0. */
static size_t entity_size(const char *text, char character)
{
    bool is_hexadecimal = (text[2] | 0x20) == 'x';
    const char *digits = text + (is_hexadecimal ? 3 : 2);
    size_t size = 0;
    int value = 0;
    int base = is_hexadecimal ? 16 : 10;
    for (int digit; size < 4 && (digit = hexadecimal(digits[size])) >= 0 && digit < base; size++) {
        value = value * base + digit;
    }
    bool found = size > 0 && digits[size] == ';' && value == (unsigned char)character;
    return found ? (size_t)(digits - text) + size + 1 : 0;
}

/* The size of the character at the start of text as a URL, JSON or HTML encodes it; 0: it is not
 * there, or only as it is. */
static size_t encoded_size(const char *text, char character)
{
    if (*text == '%') {
        return hexadecimals(text + 1, 2) == (unsigned char)character ? 3 : 0;
    }
    if (*text == '\\' && text[1] == 'u') {
        return hexadecimals(text + 2, 4) == (unsigned char)character ? 6 : 0;
    }
    if (*text == '\\') {
        return text[1] == character && strchr("/\"\\", character) ? 2 : 0;
    }
    return *text == '&' && text[1] == '#' ? entity_size(text, character) : 0;
}

/* Where the secret at the start of text ends, each of its characters as it is or encoded; NULL if
 * it is not there. Its first characters alone count, too: libcurl cuts its messages off. `seen`
 * characters of it stand before the text. */
static const char *secret_end(const char *text, const char *secret, int seen)
{
    for (; *secret; secret++, seen++) {
        size_t encoded = encoded_size(text, *secret);
        bool plain = *text == *secret;
        if (plain && encoded) { /* only for a "%", "\\" or "&" in the secret: it may be either */
            const char *end = secret_end(text + encoded, secret + 1, seen + 1);
            if (end) {
                return end;
            }
        } else if (encoded) {
            text += encoded - 1;
        } else if (!plain) {
            /* The rest may stand there in another form (broken by a line's end). */
            return seen >= SHORTEST_SECRET ? text + strcspn(text, " \"'&") : NULL;
        }
        text++;
    }
    return text;
}

static bool may_begin(const char *secret, char first)
{
    return first == *secret || first == '%' || first == '\\' || first == '&';
}

/* Where the longest secret at the start of text ends; NULL if there is none. Two tokens of an
 * account can begin alike. */
static const char *longest_end(const char *text, const nx_secrets *secrets)
{
    const char *longest = NULL;
    for (size_t i = 0; i < sizeof secrets->list / sizeof *secrets->list; i++) {
        const char *secret = secrets->list[i];
        bool possible = secret && may_begin(secret, *text) && strlen(secret) >= SHORTEST_SECRET;
        const char *end = possible ? secret_end(text, secret, 0) : NULL;
        longest = end && (!longest || end > longest) ? end : longest;
    }
    return longest;
}

size_t nx_secret_size(const char *text, const nx_secrets *secrets)
{
    const char *end = longest_end(text, secrets);
    return end ? (size_t)(end - text) : 0;
}

/* What a secret can begin with, as it is or encoded. */
static void list_beginnings(const nx_secrets *secrets, char *beginnings)
{
    static const char encoded[] = "%\\&";
    memcpy(beginnings, encoded, sizeof encoded);
    char *end = beginnings + strlen(encoded);
    for (size_t i = 0; i < sizeof secrets->list / sizeof *secrets->list; i++) {
        if (secrets->list[i] && *secrets->list[i]) {
            *end++ = *secrets->list[i];
        }
    }
    *end = '\0';
}

void nx_text_mask(char *text, const nx_secrets *secrets)
{
    char beginnings[8];
    if (strnlen(text, SHORTEST_SECRET) < SHORTEST_SECRET) {
        return; /* most names, and "ok" */
    }
    list_beginnings(secrets, beginnings);
    text += strcspn(text, beginnings);
    char *out = text;
    while (*text) {
        const char *end = longest_end(text, secrets);
        if (end) {
            memcpy(out, "***", 3); /* shorter than any secret: it never overtakes the reading */
            out += 3;
            text += end - text;
        } else {
            *out++ = *text++;
        }
    }
    nx_wipe(out, (size_t)(text - out)); /* the end of a secret may stand there */
    *out = '\0';
}

/* Replaces what stands from begin to end, in place. */
static void hide(char *begin, char *end)
{
    if (end - begin >= 3) {
        size_t rest = strlen(end) + 1;
        memcpy(begin, "***", 3);
        memmove(begin + 3, end, rest);
        nx_wipe(begin + 3 + rest, (size_t)(end - begin) - 3);
    } else if (end > begin) {
        memset(begin, '*', (size_t)(end - begin));
    }
}

void nx_text_mask_user(char *text)
{
    static const char scheme[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.";
    char *quote = strstr(text, " '"); /* no apostrophe */
    if (!quote) {
        return;
    }
    char *begin = quote + 2, *end = strrchr(begin, '@'), *last = strrchr(begin, '\'');
    size_t size = strspn(begin, scheme);
    if (strncmp(begin + size, "://", 3) == 0) {
        begin += size + 3;
    }
    *quote = '\0';
    bool of_a_proxy = strstr(text, "proxy") || strstr(text, "Proxy");
    *quote = ' ';
    if (end && end >= begin) {
        hide(begin, end);
    } else if (!last || last < begin) {
        hide(begin, begin + strlen(begin));
    } else if (of_a_proxy) {
        hide(begin, last); /* wherever its password stands: "user:secret", "user:se/cret" */
    }
}

size_t nx_rid_size(const char *text)
{
    static const char hexadecimal[] = "0123456789abcdefABCDEF";
    bool found = strspn(text, hexadecimal) == 8 && text[8] == '-' &&
                 strspn(text + 9, hexadecimal) == 8 && text[17] == '-' &&
                 strspn(text + 18, hexadecimal) == 8;
    return found ? 26 : 0;
}

/* Which characters need nothing. */
typedef bool character_set[UCHAR_MAX + 1];

static const character_set unreserved = {
    ['-'] = true,         ['.'] = true,         ['_'] = true,        ['~'] = true,
    ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true};
static const character_set quotable = {[1 ... '\n' - 1] = true,
                                       ['\n' + 1 ... '\r' - 1] = true,
                                       ['\r' + 1 ... '"' - 1] = true,
                                       ['"' + 1 ... UCHAR_MAX] = true};

/* Goes through text in runs of such characters, each followed by one that needs something. */
static nontax_status append_runs(nx_buffer *target, const char *text, const character_set plain)
{
    while (*text) {
        size_t run = 0;
        while (plain[(unsigned char)text[run]]) {
            run++;
        }
        nontax_status status = nx_buffer_append(target, text, run);
        text += run;
        if (status == NONTAX_OK && *text) {
            char encoded[4];
            snprintf(encoded, sizeof encoded, "%%%02X", (unsigned char)*text++);
            status = nx_buffer_append(target, encoded, 3);
        }
        if (status != NONTAX_OK) {
            return status;
        }
    }
    return NONTAX_OK;
}

nontax_status nx_append_encoded(nx_buffer *target, const char *text)
{
    return append_runs(target, text, unreserved);
}

nontax_status nx_append_quoted(nx_buffer *target, const char *text)
{
    return append_runs(target, text, quotable);
}
