/* request.c: check a payload against its interface and print it. */
#include "request.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

enum {
    MAX_DEPTH = 64,      /* of values inside an extra field */
    MAX_PROBLEMS = 100,  /* more help nobody */
    MAX_PATH_TEXT = 256, /* of a problem's path; longer names are cut */
    MAX_ROWS = 32,       /* of one interface: a bit each in `seen` */
    MAX_JSON = 256 * 1024 * 1024
};

/* A raw cJSON item's valueint is unused by cJSON; ours says what the raw text is. */
enum { RAW_NUMBER = 1, RAW_TIME = 2 };

typedef struct check {
    const nontax_interface *interface;
    bool allow_extra;
    nontax_problems *problems;
    nontax_status status;
} check;

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

cJSON *nontax_json_invalid(void)
{
    cJSON *item = cJSON_CreateNull();
    if (item) {
        item->type = cJSON_Invalid;
    }
    return item;
}

static bool is_raw(const cJSON *item, int kind)
{
    return cJSON_IsRaw(item) && item->valueint == kind;
}

/* ---- problems --------------------------------------------------------------------------- */

nontax_status nontax_problems_add(nontax_problems *problems, const char *path, const char *message)
{
    if (problems->count >= MAX_PROBLEMS) {
        return NONTAX_OK;
    }
    if (problems->count + 1 == MAX_PROBLEMS) {
        path = "";
        message = "there are more problems than are listed here";
    }
    if (problems->count == problems->capacity) {
        size_t capacity = problems->capacity ? 2 * problems->capacity : 8;
        nontax_problem *grown = nx_realloc(problems->list, capacity * sizeof *grown);
        if (!grown) {
            return NONTAX_NO_MEMORY;
        }
        problems->list = grown;
        problems->capacity = capacity;
    }
    char short_path[MAX_PATH_TEXT];
    nx_text_copy(short_path, sizeof short_path, path, strlen(path));
    nontax_problem problem = {nx_strdup(short_path), nx_strdup(message)};
    if (problem.message) { /* a name in it may have been cut in the middle of a character */
        nx_text_copy(problem.message, strlen(message) + 1, message, strlen(message));
    }
    if (!problem.path || !problem.message) {
        nx_free(problem.path);
        nx_free(problem.message);
        return NONTAX_NO_MEMORY;
    }
    problems->list[problems->count++] = problem;
    return NONTAX_OK;
}

void nx_problems_free(nontax_problems *problems)
{
    for (size_t i = 0; i < problems->count; i++) {
        nx_free(problems->list[i].path);
        nx_free(problems->list[i].message);
    }
    nx_free(problems->list);
    *problems = (nontax_problems){0};
}

static void join_path(char *target, const char *parent, const char *name)
{
    char clean[96], joined[MAX_PATH_TEXT + sizeof clean + 1];
    nx_text_copy(clean, sizeof clean, name, strlen(name));
    snprintf(joined, sizeof joined, "%.*s%s%s", MAX_PATH_TEXT, parent, *parent ? "." : "",
             *clean ? clean : "\"\"");
    nx_text_copy(target, MAX_PATH_TEXT, joined, strlen(joined));
}

/* A place in the payload, linked to the places above it. They live on the C stack, and are put
 * together to a path only when there is something to report. */
typedef struct place {
    const struct place *above; /* NULL: the whole payload */
    const char *name;          /* NULL: the element `index` of a list */
    int index;
} place;

static const place whole = {NULL, "", 0};

static void write_path(const place *here, char *target)
{
    *target = '\0';
    if (here->above) {
        char parent[MAX_PATH_TEXT], index[16];
        write_path(here->above, parent);
        snprintf(index, sizeof index, "%d", here->index);
        join_path(target, parent, here->name ? here->name : index);
    }
}

static void add_problem(check *check, const place *here, const char *message)
{
    char path[MAX_PATH_TEXT];
    write_path(here, path);
    nontax_status status = nontax_problems_add(check->problems, path, message);
    if (status != NONTAX_OK) {
        check->status = status;
    }
}

/* A tree that was put together wrongly can have a member without a name. */
static const char *name_of(const cJSON *member)
{
    return member->string ? member->string : "";
}

/* ---- the outline of an interface --------------------------------------------------------- */

/* The member rows of row `parent` (-1: the whole payload): the first one after row `after` (-1: the
 * very first), or -1. */
static int next_member(const nontax_interface *interface, int parent, int after)
{
    int depth = parent < 0 ? 0 : interface->fields[parent].depth + 1;
    for (int i = after < 0 ? parent + 1 : after + 1; i < interface->field_count; i++) {
        if (interface->fields[i].depth == depth) {
            return i;
        }
        if (interface->fields[i].depth < depth) {
            break;
        }
    }
    return -1;
}

static int find_member(const nontax_interface *interface, int parent, const char *name)
{
    int row = -1;
    while ((row = next_member(interface, parent, row)) >= 0) {
        if (strcmp(interface->fields[row].name, name) == 0) {
            return row;
        }
    }
    return -1;
}

static bool is_object_row(const nx_field *field)
{
    return field->kind == NX_OBJECT || field->kind == NX_WRAPPER;
}

/* A leaf anywhere in the outline; their names are unique in it. */
static int find_leaf(const nontax_interface *interface, const char *name)
{
    for (int i = 0; i < interface->field_count; i++) {
        if (!is_object_row(&interface->fields[i]) && strcmp(interface->fields[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

static void row_path(const nontax_interface *interface, int row, char *target)
{
    const char *names[8];
    int count = 0;
    for (int depth = interface->fields[row].depth; row >= 0 && count < 8; row--) {
        if (interface->fields[row].depth == depth) {
            names[count++] = interface->fields[row].name;
            depth--;
        }
    }
    *target = '\0';
    while (count > 0) {
        char parent[MAX_PATH_TEXT];
        memcpy(parent, target, sizeof parent);
        join_path(target, parent, names[--count]);
    }
}

/* ---- leaves ------------------------------------------------------------------------------ */

static const char *kind_of(const cJSON *item)
{
    if (cJSON_IsString(item)) {
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

static bool all_digits(const char *text)
{
    return *text && strspn(text, "0123456789") == strlen(text);
}

static bool is_number_literal(const char *text)
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

typedef enum integer_check {
    INTEGER_OK,
    INTEGER_WRONG_KIND,
    INTEGER_FRACTION,
    INTEGER_TOO_LARGE,
    INTEGER_NOT_FINITE
} integer_check;

/* Reads an integer that must fit into 64 bits, from either way of writing one. */
static integer_check read_integer(const cJSON *item, long long *value)
{
    if (cJSON_IsNumber(item)) {
        if (!isfinite(item->valuedouble)) {
            return INTEGER_NOT_FINITE;
        }
        /* From 1e15 on cJSON prints doubles with an exponent, and from 2^53 on they are inexact. */
        if (fabs(item->valuedouble) >= 1e15) {
            return INTEGER_TOO_LARGE;
        }
        *value = (long long)item->valuedouble;
        return item->valuedouble == (double)*value ? INTEGER_OK : INTEGER_FRACTION;
    }
    if (!is_raw(item, RAW_NUMBER)) {
        return INTEGER_WRONG_KIND;
    }
    const char *text = item->valuestring;
    if (!is_number_literal(text)) {
        return INTEGER_NOT_FINITE;
    }
    bool negative = *text == '-';
    const char *digits = text + negative;
    if (!all_digits(digits)) {
        return INTEGER_FRACTION;
    }
    unsigned long long magnitude = 0;
    for (; *digits; digits++) {
        unsigned digit = (unsigned)(*digits - '0');
        if (magnitude > ((unsigned long long)LLONG_MAX - digit) / 10) {
            return INTEGER_TOO_LARGE;
        }
        magnitude = magnitude * 10 + digit;
    }
    *value = negative ? -(long long)magnitude : (long long)magnitude;
    return INTEGER_OK;
}

/* Also for what Chinese keyboards and tables fill a cell with. */
static bool is_blank(const char *text)
{
    static const char ideographic_space[] = "\xE3\x80\x80", no_break_space[] = "\xC2\xA0";
    while (*text) {
        if (strncmp(text, ideographic_space, 3) == 0) {
            text += 3;
        } else if (strncmp(text, no_break_space, 2) == 0) {
            text += 2;
        } else if (strchr(" \t\r\n", *text)) {
            text++;
        } else {
            return false;
        }
    }
    return true;
}

/* Whether it is a text at all: if not, that is reported, and nothing more can be said about it. */
static bool check_text(check *check, const cJSON *item, const place *here)
{
    char message[128];
    if (!cJSON_IsString(item)) {
        bool raw = is_raw(item, RAW_NUMBER), number = cJSON_IsNumber(item) || raw;
        const char *why = raw && strcmp(item->valuestring, "nan") == 0 ? " (an empty cell?)"
                          : number ? " (as a number it would lose leading zeros)"
                                   : "";
        snprintf(message, sizeof message, "must be a string, not %s%s", kind_of(item), why);
        add_problem(check, here, message);
    } else if (is_blank(item->valuestring)) {
        add_problem(check, here, *item->valuestring ? "is blank" : "is empty");
    } else if (!nx_utf8_valid(item->valuestring, strlen(item->valuestring))) {
        add_problem(check, here, "is not valid UTF-8");
    } else {
        return true;
    }
    return false;
}

/* "61725984-6126f6f9-040f19c4" */
static void check_rid(check *check, const cJSON *item, const place *here)
{
    size_t size = nx_rid_size(item->valuestring);
    if (size == 0 || item->valuestring[size]) {
        add_problem(check, here,
                    "must be three groups of eight hexadecimal digits, as an error's rid");
    }
}

static void check_interface_path(check *check, const cJSON *item, const place *here)
{
    if (item->valuestring[0] != '/' || item->valuestring[1] == '/' ||
        strpbrk(item->valuestring, "?#: ") != NULL) {
        add_problem(check, here, "must be a path such as \"/nontax/insertbill\", without a host");
    }
}

static void check_choice(check *check, const cJSON *item, const nx_field *field, const place *here)
{
    char message[192] = "must be one of";
    for (const char *const *choice = field->choices; *choice; choice++) {
        if (strcmp(*choice, item->valuestring) == 0) {
            return;
        }
        size_t used = strlen(message);
        snprintf(message + used, sizeof message - used, "%s %s",
                 choice == field->choices ? "" : ",", *choice);
    }
    add_problem(check, here, message);
}

static void check_fen(check *check, const cJSON *item, const place *here)
{
    long long value = 0;
    char message[128];
    switch (read_integer(item, &value)) {
    case INTEGER_OK:
        if (value < 0) {
            add_problem(check, here, "must not be negative: it is an amount in fen");
        }
        break;
    case INTEGER_WRONG_KIND:
        snprintf(message, sizeof message, "must be an integer, the amount in fen, not %s",
                 kind_of(item));
        add_problem(check, here, message);
        break;
    case INTEGER_FRACTION:
        add_problem(check, here,
                    "must be an integer, the amount in fen: 12.34 yuan is 1234, not 12.34");
        break;
    case INTEGER_TOO_LARGE:
        add_problem(check, here, "is too large for a 64-bit integer");
        break;
    case INTEGER_NOT_FINITE:
        add_problem(check, here, "is not a number that JSON can hold (an empty cell?)");
        break;
    }
}

static void check_time(check *check, const cJSON *item, const place *here)
{
    static const long long lowest = 1000000000LL, highest = 9999999999LL;
    long long value = 0;
    char message[160];
    integer_check found;
    if (cJSON_IsString(item)) {
        if (!all_digits(item->valuestring) || strlen(item->valuestring) != 10 ||
            item->valuestring[0] == '0') {
            add_problem(check, here, "must be Unix seconds of 10 digits, such as \"1511169724\"");
        }
        return;
    }
    if (is_raw(item, RAW_TIME)) {
        cJSON number = *item;
        number.valueint = RAW_NUMBER;
        found = read_integer(&number, &value);
    } else {
        found = read_integer(item, &value);
    }
    if (found == INTEGER_WRONG_KIND) {
        snprintf(message, sizeof message,
                 "must be Unix seconds as an integer or a string of 10 digits, not %s",
                 kind_of(item));
        add_problem(check, here, message);
    } else if (found != INTEGER_OK || value < lowest || value > highest) {
        bool milliseconds =
            found == INTEGER_OK && value / 1000 >= lowest && value / 1000 <= highest;
        add_problem(check, here,
                    milliseconds ? "must be Unix seconds of 10 digits; this looks like milliseconds"
                                 : "must be Unix seconds of 10 digits, such as 1511169724");
    }
}

/* A name is compared with so many that follow: with all, a huge object would take minutes. */
#define MAX_APART 1000

/* The name of an extra field, or of something in it. An odd mapping can have one twice. */
static void check_extra_name(check *check, const cJSON *item, const place *here)
{
    const char *name = name_of(item);
    if (!nx_utf8_valid(name, strlen(name))) {
        add_problem(check, here, "has a name that is not valid UTF-8");
    }
    int left = MAX_APART;
    for (const cJSON *later = item->next; later && left > 0; later = later->next, left--) {
        if (strcmp(name_of(later), name) == 0) {
            add_problem(check, here, "is given twice");
            return;
        }
    }
}

/* A value under a name that the interface does not have: anything that JSON can hold. */
static void check_extra(check *check, const cJSON *item, const place *here, int depth)
{
    if (depth > MAX_DEPTH) {
        add_problem(check, here, "is nested too deeply");
    } else if (cJSON_IsString(item)) {
        if (!nx_utf8_valid(item->valuestring, strlen(item->valuestring))) {
            add_problem(check, here, "is not valid UTF-8");
        }
    } else if (cJSON_IsNumber(item)) {
        if (!isfinite(item->valuedouble)) {
            add_problem(check, here, "is not a number that JSON can hold (an empty cell?)");
        }
    } else if (cJSON_IsRaw(item)) {
        if (item->valueint == 0 || !is_number_literal(item->valuestring)) {
            add_problem(check, here, "is not a number that JSON can hold (an empty cell?)");
        }
    } else if (cJSON_IsObject(item) || cJSON_IsArray(item)) {
        int index = 0;
        const cJSON *member = NULL;
        cJSON_ArrayForEach(member, item)
        {
            const place there = {here, member->string, index++};
            if (member->string) {
                check_extra_name(check, member, &there);
            }
            check_extra(check, member, &there, depth + 1);
        }
    }
}

/* ---- objects ----------------------------------------------------------------------------- */

static void check_members(check *check, const cJSON *object, int parent, const place *here);

static void check_row(check *check, const cJSON *item, int row, const place *here)
{
    if (cJSON_IsInvalid(item)) {
        return; /* reported by whoever could not convert it */
    }
    const nx_field *field = &check->interface->fields[row];
    switch (field->kind) {
    case NX_TEXT:
    case NX_SECRET:
        if (check_text(check, item, here) && field->choices) {
            check_choice(check, item, field, here);
        }
        break;
    case NX_RID:
        if (check_text(check, item, here)) {
            check_rid(check, item, here);
        }
        break;
    case NX_PATH:
        if (check_text(check, item, here)) {
            check_interface_path(check, item, here);
        }
        break;
    case NX_FEN:
        check_fen(check, item, here);
        break;
    case NX_TIME:
        check_time(check, item, here);
        break;
    case NX_SECONDS:
        if (cJSON_IsString(item)) {
            add_problem(check, here, "must be Unix seconds as an integer, not a string");
        } else {
            check_time(check, item, here);
        }
        break;
    case NX_BOOL:
        if (!cJSON_IsBool(item)) {
            add_problem(check, here, "must be true or false");
        }
        break;
    default:
        if (cJSON_IsObject(item)) {
            check_members(check, item, row, here);
        } else {
            char message[64];
            snprintf(message, sizeof message, "must be an object, not %s", kind_of(item));
            add_problem(check, here, message);
        }
    }
}

static bool same_but_for_spelling(const char *left, const char *right)
{
    for (;;) {
        left += strspn(left, " \t_-");
        right += strspn(right, " \t_-");
        if (!*left || !*right) {
            return *left == *right;
        }
        if ((*left | 0x20) != (*right | 0x20)) {
            return false;
        }
        left++;
        right++;
    }
}

static void check_unknown(check *check, const cJSON *item, const place *here)
{
    const nontax_interface *interface = check->interface;
    char message[MAX_PATH_TEXT + 64], right_path[MAX_PATH_TEXT];
    for (int row = 0; row < interface->field_count; row++) {
        if (strcmp(interface->fields[row].name, name_of(item)) == 0) {
            row_path(interface, row, right_path);
            snprintf(message, sizeof message, "stands in the wrong place: it belongs at %s",
                     right_path);
            add_problem(check, here, message);
            return;
        }
    }
    if (check->allow_extra) {
        check_extra_name(check, item, here);
        check_extra(check, item, here, 1);
        return;
    }
    for (int row = 0; row < interface->field_count; row++) {
        if (same_but_for_spelling(interface->fields[row].name, name_of(item))) {
            snprintf(message, sizeof message, "is not a field of this interface; did you mean %s?",
                     interface->fields[row].name);
            add_problem(check, here, message);
            return;
        }
    }
    add_problem(check, here, "is not a field of this interface");
}

/* Whether the members of a wrapper stand in its parent, without the wrapper. */
static bool is_unwrapped(const nontax_interface *interface, const cJSON *object, int wrapper)
{
    if (cJSON_GetObjectItemCaseSensitive(object, interface->fields[wrapper].name)) {
        return false;
    }
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, object)
    {
        if (find_member(interface, wrapper, name_of(item)) >= 0) {
            return true;
        }
    }
    return false;
}

static void check_missing(check *check, int row, uint32_t seen, const place *here)
{
    if (check->interface->fields[row].required && !(seen & (UINT32_C(1) << row))) {
        add_problem(check, here, "is missing");
    }
}

/* Marks the row as seen; a second time is a problem (a mapping can have a name twice). */
static bool first_time(check *check, int row, uint32_t *seen, const place *here)
{
    uint32_t bit = UINT32_C(1) << row;
    if (*seen & bit) {
        add_problem(check, here, "is given twice");
        return false;
    }
    *seen |= bit;
    return true;
}

static void check_members(check *check, const cJSON *object, int parent, const place *here)
{
    const nontax_interface *interface = check->interface;
    int row = -1;
    while ((row = next_member(interface, parent, row)) >= 0) {
        if (interface->fields[row].kind == NX_WRAPPER && is_unwrapped(interface, object, row)) {
            parent = row;
            break;
        }
    }
    uint32_t seen = 0;
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, object)
    {
        const place there = {here, name_of(item), 0};
        row = find_member(interface, parent, name_of(item));
        if (row < 0) {
            check_unknown(check, item, &there);
        } else if (first_time(check, row, &seen, &there)) {
            check_row(check, item, row, &there);
        }
    }
    row = -1;
    while ((row = next_member(interface, parent, row)) >= 0) {
        const place there = {here, interface->fields[row].name, 0};
        check_missing(check, row, seen, &there);
    }
}

/* ---- flat rows --------------------------------------------------------------------------- */

/* A flat row has a nested leaf on its top level, and none of the objects that leaves belong in. */
static bool is_flat(const nontax_interface *interface, const cJSON *payload)
{
    bool nested_leaf = false;
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, payload)
    {
        int row = find_member(interface, -1, name_of(item));
        if (row >= 0 && is_object_row(&interface->fields[row])) {
            return false;
        }
        nested_leaf = nested_leaf || (row < 0 && find_leaf(interface, name_of(item)) >= 0);
    }
    return interface->flat_allowed && nested_leaf;
}

static void check_flat(check *check, const cJSON *payload)
{
    uint32_t seen = 0;
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, payload)
    {
        int row = find_leaf(check->interface, name_of(item));
        const place there = {&whole, name_of(item), 0};
        if (row < 0) {
            check_unknown(check, item, &there);
        } else if (first_time(check, row, &seen, &there)) {
            check_row(check, item, row, &there);
        }
    }
    for (int row = 0; row < check->interface->field_count; row++) {
        if (!is_object_row(&check->interface->fields[row])) {
            const place there = {&whole, check->interface->fields[row].name, 0};
            check_missing(check, row, seen, &there);
        }
    }
}

static bool add_item(cJSON *object, const char *name, cJSON *item)
{
    if (item && cJSON_AddItemToObjectCS(object, name, item)) {
        return true;
    }
    cJSON_Delete(item);
    return false;
}

/* Moves the leaves of a checked flat row into the outline's shape; extra fields stay on top. */
static cJSON *nest(const nontax_interface *interface, cJSON *flat)
{
    cJSON *parents[8] = {cJSON_CreateObject()};
    if (!parents[0]) {
        return NULL;
    }
    for (int row = 0; row < interface->field_count; row++) {
        const nx_field *field = &interface->fields[row];
        cJSON *item;
        if (is_object_row(field)) {
            item = cJSON_CreateObject();
            parents[field->depth + 1] = item;
        } else {
            item = cJSON_DetachItemFromObjectCaseSensitive(flat, field->name);
            if (!item) {
                continue; /* an optional field that is not given */
            }
        }
        if (!add_item(parents[field->depth], field->name, item)) {
            cJSON_Delete(parents[0]);
            return NULL;
        }
    }
    while (flat->child) {
        cJSON *item = cJSON_DetachItemViaPointer(flat, flat->child);
        if (!cJSON_AddItemToObject(parents[0], name_of(item), item)) {
            cJSON_Delete(item);
            cJSON_Delete(parents[0]);
            return NULL;
        }
    }
    return parents[0];
}

/* ---- the whole --------------------------------------------------------------------------- */

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

static nontax_status check_payload(check *check, cJSON **payload)
{
    if (!cJSON_IsObject(*payload)) {
        if (!cJSON_IsInvalid(*payload)) {
            char message[64];
            snprintf(message, sizeof message, "must be an object with fields, not %s",
                     kind_of(*payload));
            add_problem(check, &whole, message);
        }
    } else if (is_flat(check->interface, *payload)) {
        check_flat(check, *payload);
        if (check->status == NONTAX_OK && check->problems->count == 0) {
            cJSON *nested = nest(check->interface, *payload);
            if (!nested) {
                return NONTAX_NO_MEMORY;
            }
            nx_json_free(*payload);
            *payload = nested;
        }
    } else {
        check_members(check, *payload, -1, &whole);
    }
    if (check->status == NONTAX_OK && check->problems->count > 0) {
        return NONTAX_BAD_PAYLOAD;
    }
    return check->status;
}

/* cJSON's own growing buffer leaves unwiped copies behind, so it prints into ours. It does not say
 * why it failed; what was checked can only be too large for the room. */
static nontax_status print_json(cJSON *payload, nx_buffer *text)
{
    for (size_t room = 1024; room <= MAX_JSON; room *= 4) {
        if (nx_buffer_reserve(text, room) != NONTAX_OK) {
            return NONTAX_NO_MEMORY;
        }
        if (cJSON_PrintPreallocated(payload, text->data, (int)room, false)) {
            text->size = strlen(text->data);
            return NONTAX_OK;
        }
        nx_wipe(text->data, room);
        nx_buffer_free(text);
    }
    return NONTAX_NO_MEMORY;
}

static nontax_status print_query(const cJSON *payload, nx_buffer *text)
{
    nontax_status status = NONTAX_OK;
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, payload)
    {
        const char *separator = text->size ? "&" : "";
        if (status == NONTAX_OK) {
            status = nx_buffer_append(text, separator, strlen(separator));
        }
        if (status == NONTAX_OK) {
            status = nx_append_encoded(text, name_of(item));
        }
        if (status == NONTAX_OK) {
            status = nx_buffer_append(text, "=", 1);
        }
        if (status == NONTAX_OK) {
            status = nx_append_encoded(text, item->valuestring); /* all fields are texts */
        }
    }
    return status;
}

static nontax_status copy_secret(const nontax_interface *interface, const cJSON *payload,
                                 nx_buffer *secret)
{
    for (int row = 0; row < interface->field_count; row++) {
        const nx_field *field = &interface->fields[row];
        if (field->kind == NX_SECRET) {
            const char *text = cJSON_GetObjectItemCaseSensitive(payload, field->name)->valuestring;
            return nx_buffer_append(secret, text, strlen(text));
        }
    }
    return NONTAX_OK;
}

nontax_status nx_request_build(const nontax_interface *interface, cJSON *payload, bool allow_extra,
                               nontax_problems *problems, nx_buffer *text, nx_buffer *secret)
{
    /* What an interface of this form does not know could not be printed. */
    bool extra = allow_extra && interface->form == NX_JSON;
    check check = {interface, extra, problems, NONTAX_OK};
    if (!payload) {
        return NONTAX_NO_MEMORY;
    }
    nontax_status status = check_payload(&check, &payload);
    if (status == NONTAX_OK) {
        status = copy_secret(interface, payload, secret);
    }
    if (status == NONTAX_OK) {
        status =
            interface->form == NX_QUERY ? print_query(payload, text) : print_json(payload, text);
    }
    nx_json_free(payload);
    return status;
}
