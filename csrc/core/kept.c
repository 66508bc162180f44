/* kept.c: the text of a reply that did not settle what became of a call; see kept.h. */
#include "kept.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
    MAX_TEXT = 4096, /* WeChat's replies have a few hundred bytes, error pages a few thousand */
    MAX_CODES = 16,  /* of those behind that */
    MAX_CODE = 256
};

static const char word[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-";

/* What stands between a name and its value, in JSON, a query, XML or a page that shows one of
 * these; 0: nothing that could. */
static size_t separator_size(const char *text)
{
    size_t size = 0;
    bool assigns = false;
    for (;;) {
        if (text[size] && strchr("\\\"':=> \t\r\n", text[size])) {
            assigns = assigns || strchr(":=>", text[size]);
            size++;
        } else if (strncmp(text + size, "&quot;", 6) == 0) {
            size += 6;
        } else {
            return assigns ? size : 0;
        }
    }
}

/* The size of a "code" at this place, with its value, or 0; and whether it looks like a card code,
 * which is all digits, as no secret is. */
static size_t code_size(const char *text, const char *begin, bool *is_card_code)
{
    static const char name[] = "code", digits[] = "0123456789";
    if (strncasecmp(text, name, strlen(name)) != 0 ||
        (text > begin && text[-1] && strchr(word, text[-1]))) {
        return 0;
    }
    size_t separator = separator_size(text + strlen(name));
    const char *value = text + strlen(name) + separator;
    size_t size = strspn(value, word);
    if (!separator || !size || size > MAX_CODE) {
        return 0;
    }
    *is_card_code = strspn(value, digits) == size;
    return strlen(name) + separator + size;
}

/* The size of the character at the start of text, which is appended; bytes that cannot be shown
 * stand for themselves. */
static size_t append_character(const char *text, size_t size, nx_buffer *kept)
{
    size_t length = strchr("\t\r\n", *text) && *text ? 1 : nx_printable_size(text, size);
    if (length) {
        (void)nx_buffer_append(kept, text, length);
        return length;
    }
    char shown[8];
    snprintf(shown, sizeof shown, "\\x%02x", (unsigned char)*text);
    (void)nx_buffer_append(kept, shown, 4);
    return 1;
}

void nx_reply_keep(const char *body, size_t size, const nx_secrets *secrets, nx_buffer *kept)
{
    static const char gap[] = " ... ";
    const char *code_end = body; /* of the last code that was found */
    int codes_left = MAX_CODES;
    bool cut = false, is_card_code = false;
    for (size_t at = 0; at < size;) {
        const char *text = body + at;
        size_t code = text < code_end ? 0 : code_size(text, body, &is_card_code);
        bool full = kept->size >= MAX_TEXT;
        if (full && code && codes_left == 0) {
            break;
        }
        codes_left -= full && code;
        code_end = code ? text + code : code_end;
        bool in_code = text < code_end;
        if (full && (code || (!cut && !in_code))) {
            (void)nx_buffer_append(kept, gap, strlen(gap));
            cut = true;
        }
        size_t secret = in_code && is_card_code ? 0 : nx_secret_size(text, secrets);
        if (full && !in_code) {
            at += secret ? secret : 1;
        } else if (secret) {
            (void)nx_buffer_append(kept, "***", 3);
            at += secret;
        } else {
            at += append_character(text, size - at, kept);
        }
    }
}
