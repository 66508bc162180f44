/* text.h: small functions on UTF-8 text: validity, shortening, and hiding a secret in it. */
#ifndef NONTAX_TEXT_H
#define NONTAX_TEXT_H

#include "nontax.h"

/* Whether the bytes are UTF-8 as RFC 3629 has it: no surrogates, no overlong forms. */
bool nx_utf8_valid(const char *text, size_t size);

/* Copies text into a fixed place, cut between two characters if it is too long. Bytes that are not
 * UTF-8, and control characters, become '?': the result may be printed and logged. */
void nx_text_copy(char *target, size_t capacity, const char *text, size_t size);

/* printf into a nontax_text, cut likewise. */
void nx_text_format(nontax_text *target, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Replaces every occurrence of the secret, in place, by "***", also where it is percent-encoded.
 * Secrets of fewer than 8 characters are left: they would hit innocent text, and WeChat has none.
 */
void nx_text_mask(char *text, const char *secret);

#endif
