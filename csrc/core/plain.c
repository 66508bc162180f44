/* plain.c: a success as WeChat writes nearly all of them, read without parsing any JSON. */
#include "plain.h"

#include <string.h>

#include "json.h"

enum {
    MAX_ROWS = 8,
    MAX_TEXT = 255,
    MAX_WORDS = 7 /* in errmsg: too short for an id of a request, or for a secret */
};

typedef struct piece {
    const char *text;
    size_t size; /* 0: there is none */
} piece;

/* Takes these characters from the start of *at, or nothing. */
static bool take(const char **at, const char *characters)
{
    size_t size = strlen(characters);
    bool there = strncmp(*at, characters, size) == 0;
    *at += there ? size : 0;
    return there;
}

/* The rest of a text whose first quote was taken, with its last one. */
static bool take_text(const char **at, piece *piece)
{
    const char *end = *at;
    while (*end >= ' ' && *end <= '~' && *end != '"' && *end != '\\') {
        end++;
    }
    *piece = (struct piece){*at, (size_t)(end - *at)};
    *at = end + 1;
    return *end == '"' && piece->size > 0 && piece->size <= MAX_TEXT;
}

static int find_row(const nontax_interface *interface, const piece *name)
{
    for (int row = 0; row < interface->reply_field_count; row++) {
        const char *known = interface->reply_fields[row].name;
        if (strncmp(known, name->text, name->size) == 0 && !known[name->size]) {
            return row;
        }
    }
    return -1;
}

static bool is_text(const nx_field *field)
{
    return field->depth == 0 && (field->kind == NX_TEXT || field->kind == NX_CODE);
}

/* Reads the members behind errcode and errmsg. */
static bool take_fields(const nontax_interface *interface, const char **at, piece *values,
                        const char *end)
{
    while (take(at, ",\"")) {
        piece name;
        int row = take_text(at, &name) ? find_row(interface, &name) : -1;
        if (row < 0 || !is_text(&interface->reply_fields[row]) || values[row].size ||
            !take(at, ":\"") || !take_text(at, &values[row])) {
            return false;
        }
    }
    return take(at, "}") && *at == end;
}

static bool add_field(cJSON *fields, const nx_field *field, const piece *value,
                      const nx_secrets *secrets)
{
    char text[MAX_TEXT + 1];
    memcpy(text, value->text, value->size);
    text[value->size] = '\0';
    if (field->kind != NX_CODE || !nx_all_digits(text)) { /* as no secret is */
        nx_text_mask(text, secrets);
    }
    cJSON *item = cJSON_CreateString(text);
    nx_wipe(text, value->size);
    if (!item || !cJSON_AddItemToObjectCS(fields, field->name, item)) {
        cJSON_Delete(item);
        return false;
    }
    return true;
}

bool nx_plain_read(const nontax_interface *interface, const char *body, size_t size,
                   const nx_secrets *secrets, char *errmsg, cJSON **fields)
{
    piece words, values[MAX_ROWS] = {0};
    const char *at = body;
    if (interface->reply_field_count > MAX_ROWS || !take(&at, "{\"errcode\":0,\"errmsg\":\"") ||
        !take_text(&at, &words) || words.size > MAX_WORDS ||
        !take_fields(interface, &at, values, body + size)) {
        return false;
    }
    cJSON *made = cJSON_CreateObject();
    bool all = made;
    for (int row = 0; all && row < interface->reply_field_count; row++) {
        const nx_field *field = &interface->reply_fields[row];
        all = values[row].size ? add_field(made, field, &values[row], secrets) : !field->required;
    }
    if (!all) {
        nx_json_free(made); /* for want of a field or of memory, which the parser reports */
        return false;
    }
    memcpy(errmsg, words.text, words.size);
    errmsg[words.size] = '\0';
    *fields = made;
    return true;
}
