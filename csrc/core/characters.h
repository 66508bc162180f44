/* characters.h: characters that nobody sees, and what they are called. */
#ifndef NONTAX_CHARACTERS_H
#define NONTAX_CHARACTERS_H

#include <stdbool.h>
#include <stddef.h>

enum { NX_MAX_CHARACTER_NAME = 48 };

/* The size of the blank, control or format character at the start of valid UTF-8, or 0. */
size_t nx_unseen_size(const char *text);

/* The last character of valid UTF-8 that is not empty. */
const char *nx_last_character(const char *text);

/* Whether all of it is unseen; true for "". */
bool nx_is_blank(const char *text);

/* The first unseen character in it that is no plain space between others, or NULL. */
const char *nx_find_unseen(const char *text);

/* "U+FEFF (byte order mark)", of the character at the start of text, into a place of
 * NX_MAX_CHARACTER_NAME bytes. */
void nx_name_character(char *target, const char *text);

#endif
