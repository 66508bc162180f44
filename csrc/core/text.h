/* text.h: small functions on UTF-8 text: validity, shortening, and hiding a secret in it. */
#ifndef NONTAX_TEXT_H
#define NONTAX_TEXT_H

#include "memory.h"

/* Whether the bytes are UTF-8 as RFC 3629 has it: no surrogates, no overlong forms. */
bool nx_utf8_valid(const char *text, size_t size);

/* Whether there is at least one digit, and nothing else. */
bool nx_all_digits(const char *text);

/* The size of the character at the start of text; 0 if it is not UTF-8, or a control character. */
size_t nx_printable_size(const char *text, size_t size);

/* Copies text into a fixed place, cut between two characters if it is too long. Bytes that are not
 * UTF-8, and control characters, become '?': the result may be printed and logged. */
void nx_text_copy(char *target, size_t capacity, const char *text, size_t size);

/* printf into a nontax_text, cut likewise. */
void nx_text_format(nontax_text *target, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The same about a setting, whose name comes first in the text. Always NONTAX_BAD_SETTING. */
nontax_status nx_text_refuse(nontax_text *target, const char *setting, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The length of the rid at the start of text ("61725984-6126f6f9-040f19c4": three groups of eight
 * hexadecimal digits), or 0. */
size_t nx_rid_size(const char *text);

/* Append text percent-encoded: as the query of a URL needs it, or as a quoted name in a multipart
 * frame does, where all but quotes and line breaks goes as it is. */
nontax_status nx_append_encoded(nx_buffer *target, const char *text);
nontax_status nx_append_quoted(nx_buffer *target, const char *text);

/* What must not be seen in anything that comes back. An entry may be NULL; nothing is owned. */
typedef struct nx_secrets {
    const char *list[3];
} nx_secrets;

/* Replaces every occurrence of the secrets, in place, by "***", also where they are encoded for a
 * URL, JSON or HTML, and where only their first 8 or more characters stand. Secrets of fewer than 8
 * characters are left: they would hit innocent text, and WeChat has none. */
void nx_text_mask(char *text, const nx_secrets *secrets);

/* The size of what nx_text_mask() would replace at the start of text, or 0. */
size_t nx_secret_size(const char *text, const nx_secrets *secrets);

/* Replaces, in place, user and password of the URL that stands in single quotes by "***"; all of
 * the URL where the text is cut inside it, or where it is a proxy's and has no "@". */
void nx_text_mask_user(char *text);

#endif
