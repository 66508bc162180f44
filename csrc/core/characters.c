/* characters.c: characters that nobody sees, and what they are called. */
#include "characters.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Spaces, controls and format characters of Unicode 15, and letters that are drawn as nothing. */
static const struct {
    uint32_t first, last;
} unseen[] = {
    {0x0001, 0x0020}, {0x007F, 0x00A0}, {0x00AD, 0x00AD}, {0x061C, 0x061C},
    {0x115F, 0x1160}, {0x1680, 0x1680}, {0x180E, 0x180E}, {0x2000, 0x200F},
    {0x2028, 0x202F}, {0x205F, 0x206F}, {0x2800, 0x2800}, {0x3000, 0x3000},
    {0x3164, 0x3164}, {0xFEFF, 0xFEFF}, {0xFFA0, 0xFFA0}, {0xFFF9, 0xFFFB},
};

/* Those that files really have. */
static const struct {
    uint32_t code;
    const char *name;
} names[] = {
    {0x0009, "tab"},
    {0x000A, "line feed"},
    {0x000D, "carriage return"},
    {0x0020, "space"},
    {0x00A0, "no-break space"},
    {0x00AD, "soft hyphen"},
    {0x200B, "zero width space"},
    {0x200C, "zero width non-joiner"},
    {0x200D, "zero width joiner"},
    {0x200E, "left-to-right mark"},
    {0x200F, "right-to-left mark"},
    {0x2060, "word joiner"},
    {0x3000, "ideographic space"},
    {0xFEFF, "byte order mark"},
};

/* The code of the character at the start of valid UTF-8; 0 at the end. */
static uint32_t code_of(const char *text, size_t *size)
{
    const unsigned char *byte = (const unsigned char *)text;
    *size = byte[0] < 0x80 ? 1 : byte[0] < 0xE0 ? 2 : byte[0] < 0xF0 ? 3 : 4;
    uint32_t code = *size == 1 ? byte[0] : byte[0] & (0x7Fu >> *size);
    for (size_t i = 1; i < *size; i++) {
        code = code << 6 | (byte[i] & 0x3Fu);
    }
    return code;
}

size_t nx_unseen_size(const char *text)
{
    size_t size;
    uint32_t code = code_of(text, &size);
    if ((code > 0x20 && code < 0x7F) || (code > 0x3164 && code < 0xFEFF)) {
        return 0; /* ASCII and Chinese: nearly all that there is */
    }
    for (size_t i = 0; i < sizeof unseen / sizeof *unseen; i++) {
        if (code < unseen[i].first) {
            return 0;
        }
        if (code <= unseen[i].last) {
            return size;
        }
    }
    return 0;
}

const char *nx_last_character(const char *text)
{
    const char *last = text + strlen(text) - 1;
    while (((unsigned char)*last & 0xC0) == 0x80 && last > text) {
        last--;
    }
    return last;
}

bool nx_is_blank(const char *text)
{
    size_t size;
    while ((size = nx_unseen_size(text)) > 0) {
        text += size;
    }
    return *text == '\0';
}

const char *nx_find_unseen(const char *text)
{
    for (const char *here = text; *here;) {
        size_t size;
        uint32_t code = code_of(here, &size);
        bool between = code == ' ' && here > text && here[1];
        if (!between && nx_unseen_size(here) > 0) {
            return here;
        }
        here += size;
    }
    return NULL;
}

void nx_name_character(char *target, const char *text)
{
    size_t size;
    uint32_t code = code_of(text, &size);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (names[i].code == code) {
            snprintf(target, NX_MAX_CHARACTER_NAME, "U+%04X (%s)", (unsigned)code, names[i].name);
            return;
        }
    }
    snprintf(target, NX_MAX_CHARACTER_NAME, "U+%04X", (unsigned)code);
}
