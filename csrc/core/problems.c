/* problems.c: all that is wrong with a payload, and where. */
#include "problems.h"

#include <stdio.h>
#include <string.h>

#include "memory.h"
#include "text.h"

enum {
    MAX_PROBLEMS = 100, /* more help nobody */
    MAX_MESSAGE = 512,
    MAX_VALUE = 256
};

typedef struct problem_kind {
    const char *name;
    const char *message;
} problem_kind;

static const problem_kind kinds[] = {
    [NONTAX_PROBLEM_MORE] = {"more", "there are more problems than are listed here"},
    [NONTAX_PROBLEM_NOT_FIELDS] = {"not_fields", "must be an object with fields, not {kind}"},
    [NONTAX_PROBLEM_NOT_OBJECT] = {"not_object", "must be an object, not {kind}"},
    [NONTAX_PROBLEM_MISSING] = {"missing", "is missing"},
    [NONTAX_PROBLEM_GIVEN_TWICE] = {"given_twice", "is given twice"},
    [NONTAX_PROBLEM_WRONG_PLACE] = {"wrong_place", "is in the wrong place: it belongs at {path}"},
    [NONTAX_PROBLEM_UNKNOWN_FIELD] = {"unknown_field", "is not a field of this interface"},
    [NONTAX_PROBLEM_UNKNOWN_FIELD_LIKE] = {"unknown_field_like",
                                           "is not a field of this interface; did you mean "
                                           "{name}?"},
    [NONTAX_PROBLEM_NAME_CHARACTER] = {"name_character",
                                       "is not a field of this interface: it has {character} in "
                                       "its name; did you mean {name}?"},
    [NONTAX_PROBLEM_NAME_NOT_UTF8] = {"name_not_utf8", "has a name that is not valid UTF-8"},
    [NONTAX_PROBLEM_NAME_NOT_TEXT] = {"name_not_text",
                                      "has a name that is not a string but {kind}"},
    [NONTAX_PROBLEM_NOT_TEXT] = {"not_text", "must be a string, not {kind}"},
    [NONTAX_PROBLEM_NUMBER_NOT_TEXT] = {"number_not_text",
                                        "must be a string, not a number (as a number it would lose "
                                        "leading zeros)"},
    [NONTAX_PROBLEM_EMPTY] = {"empty", "is empty"},
    [NONTAX_PROBLEM_BLANK] = {"blank", "is blank"},
    [NONTAX_PROBLEM_BEGINS_WITH] = {"begins_with", "begins with {character}"},
    [NONTAX_PROBLEM_ENDS_WITH] = {"ends_with", "ends with {character}"},
    [NONTAX_PROBLEM_NOT_UTF8] = {"not_utf8", "is not valid UTF-8"},
    [NONTAX_PROBLEM_HAS_NUL] = {"has_nul", "contains a NUL character"},
    [NONTAX_PROBLEM_HAS_SURROGATE] = {"has_surrogate", "contains an unpaired surrogate"},
    [NONTAX_PROBLEM_NOT_RID] = {"not_rid",
                                "must be three groups of eight hexadecimal digits, as an error's "
                                "rid"},
    [NONTAX_PROBLEM_NOT_INTERFACE_PATH] = {"not_interface_path",
                                           "must be a path such as \"/nontax/insertbill\", without "
                                           "a host"},
    [NONTAX_PROBLEM_NOT_A_CHOICE] = {"not_a_choice", "must be one of {choices}"},
    [NONTAX_PROBLEM_EMPTY_CELL] = {"empty_cell", "is {text}, the value of an empty cell"},
    [NONTAX_PROBLEM_NOT_NUMBER] = {"not_number", "is not a number that JSON can represent"},
    [NONTAX_PROBLEM_NOT_BOOLEAN] = {"not_boolean", "must be true or false"},
    [NONTAX_PROBLEM_NOT_FEN] = {"not_fen", "must be an integer, the amount in fen, not {kind}"},
    [NONTAX_PROBLEM_FEN_FRACTION] = {"fen_fraction",
                                     "must be an integer, the amount in fen: 12.34 yuan is 1234, "
                                     "not 12.34"},
    [NONTAX_PROBLEM_FEN_NEGATIVE] = {"fen_negative",
                                     "must not be negative: it is an amount in fen"},
    [NONTAX_PROBLEM_INTEGER_RANGE] = {"integer_range", "is too large for a 64-bit integer"},
    [NONTAX_PROBLEM_INTEGER_RAISED] = {"integer_raised", "is not an integer: it raised {error}"},
    [NONTAX_PROBLEM_NOT_TIME] = {"not_time",
                                 "must be Unix seconds as an integer or a string of 10 digits, not "
                                 "{kind}"},
    [NONTAX_PROBLEM_TIME_FORM] = {"time_form",
                                  "must be Unix seconds of 10 digits, such as 1511169724"},
    [NONTAX_PROBLEM_TIME_MILLISECONDS] = {"time_milliseconds",
                                          "must be Unix seconds of 10 digits; this looks like "
                                          "milliseconds"},
    [NONTAX_PROBLEM_TIME_TO_THE_HOUR] =
        {"time_to_the_hour", "must be Unix seconds; this looks like year, month, day and hour"},
    [NONTAX_PROBLEM_TIME_TEXT] = {"time_text", "must be Unix seconds as an integer, not a string"},
    [NONTAX_PROBLEM_TIME_NAIVE] =
        {"time_naive", "has no time zone, so its moment is ambiguous: add one, such as +08:00"},
    [NONTAX_PROBLEM_TIME_OFFSET] = {"time_offset",
                                    "has the UTC offset {offset}, which no time zone uses"},
    [NONTAX_PROBLEM_TIME_RAISED] = {"time_raised", "is not a time: it raised {error}"},
    [NONTAX_PROBLEM_FOREIGN] = {"foreign", "is {kind}, which JSON cannot represent"},
    [NONTAX_PROBLEM_TOO_DEEP] = {"too_deep", "is nested too deeply"},
    [NONTAX_PROBLEM_TOO_MANY] = {"too_many", "has too many values"},
    [NONTAX_PROBLEM_INSIDE_ITSELF] = {"inside_itself", "contains itself"},
    [NONTAX_PROBLEM_UNREADABLE] = {"unreadable", "cannot be read: it raised {error}"},
    [NONTAX_PROBLEM_NO_PAIRS] = {"no_pairs", "cannot be read: its items() does not return pairs"},
    [NONTAX_PROBLEM_FILE_UNREADABLE] = {"file_unreadable", "cannot be read"},
    [NONTAX_PROBLEM_NOT_PDF] = {"not_pdf", "is not a PDF: it does not begin with %PDF-"},
    [NONTAX_PROBLEM_ZIP_NOT_PDF] = {"zip_not_pdf",
                                    "is not a PDF but a ZIP archive, as an OFD file is: WeChat "
                                    "takes PDF only"},
};

_Static_assert(sizeof kinds / sizeof *kinds == NONTAX_PROBLEM_COUNT, "one for each id");

const char *nontax_problem_id_name(nontax_problem_id id)
{
    return kinds[id].name;
}

const char *nontax_problem_message(nontax_problem_id id)
{
    return kinds[id].message;
}

static void free_problem(nontax_problem *problem)
{
    nx_free(problem->path);
    nx_free(problem->message);
    for (int i = 0; i < NONTAX_PROBLEM_VALUES; i++) {
        nx_free(problem->values[i].text);
    }
}

void nontax_problems_free(nontax_problems *problems)
{
    for (size_t i = 0; i < problems->count; i++) {
        free_problem(&problems->list[i]);
    }
    nx_free(problems->list);
    *problems = (nontax_problems){0};
}

/* The message with its values put in; each value and its name are kept beside it. */
static nontax_status set_message(nontax_problem *problem, const char *const given[])
{
    char message[MAX_MESSAGE], value[MAX_VALUE];
    const char *rest = kinds[problem->id].message, *brace;
    size_t used = 0;
    for (int i = 0; (brace = strchr(rest, '{')) && i < NONTAX_PROBLEM_VALUES; i++) {
        const char *end = strchr(brace, '}'), *text = given[i] ? given[i] : "";
        nx_text_copy(value, sizeof value, text, strlen(text));
        used += (size_t)snprintf(message + used, sizeof message - used, "%.*s%s",
                                 (int)(brace - rest), rest, value);
        used = used < sizeof message ? used : sizeof message - 1;
        snprintf(problem->values[i].name, sizeof problem->values[i].name, "%.*s",
                 (int)(end - brace - 1), brace + 1);
        problem->values[i].text = nx_strdup(value);
        if (!problem->values[i].text) {
            return NONTAX_NO_MEMORY;
        }
        rest = end + 1;
    }
    snprintf(message + used, sizeof message - used, "%s", rest);
    problem->message = nx_strdup(message);
    if (problem->message) { /* a value may have been cut in the middle of a character */
        nx_text_copy(problem->message, strlen(message) + 1, message, strlen(message));
    }
    return problem->message ? NONTAX_OK : NONTAX_NO_MEMORY;
}

static nontax_status make_room(nontax_problems *problems)
{
    if (problems->count < problems->capacity) {
        return NONTAX_OK;
    }
    size_t capacity = problems->capacity ? 2 * problems->capacity : 8;
    nontax_problem *grown = nx_realloc(problems->list, capacity * sizeof *grown);
    if (!grown) {
        return NONTAX_NO_MEMORY;
    }
    problems->list = grown;
    problems->capacity = capacity;
    return NONTAX_OK;
}

static nontax_status add_problem(nontax_problems *problems, const char *path, nontax_problem_id id,
                                 const char *const values[])
{
    if (problems->count >= MAX_PROBLEMS) {
        return NONTAX_OK;
    }
    if (problems->count + 1 == MAX_PROBLEMS) {
        path = "";
        id = NONTAX_PROBLEM_MORE;
    }
    nontax_problem problem = {.id = id, .path = nx_strdup(path)};
    if (!problem.path || make_room(problems) != NONTAX_OK ||
        set_message(&problem, values) != NONTAX_OK) {
        free_problem(&problem);
        return NONTAX_NO_MEMORY;
    }
    problems->list[problems->count++] = problem;
    return NONTAX_OK;
}

void nx_join_path(char *target, const char *parent, const char *name)
{
    char clean[96], joined[NX_MAX_PATH + sizeof clean + 1];
    nx_text_copy(clean, sizeof clean, name, strlen(name));
    snprintf(joined, sizeof joined, "%.*s%s%s", NX_MAX_PATH, parent, *parent ? "." : "",
             *clean ? clean : "\"\"");
    nx_text_copy(target, NX_MAX_PATH, joined, strlen(joined));
}

static void write_path(const nx_place *here, char *target)
{
    *target = '\0';
    if (here->above) {
        char parent[NX_MAX_PATH], index[16];
        write_path(here->above, parent);
        snprintf(index, sizeof index, "%d", here->index);
        nx_join_path(target, parent, here->name ? here->name : index);
    }
}

void nx_report_values(nx_report *report, const nx_place *here, nontax_problem_id id,
                      const char *first, const char *second)
{
    char path[NX_MAX_PATH];
    const char *const values[NONTAX_PROBLEM_VALUES] = {first, second};
    write_path(here, path);
    nontax_status status = add_problem(report->problems, path, id, values);
    if (status != NONTAX_OK) {
        report->status = status;
    }
}

void nx_report_value(nx_report *report, const nx_place *here, nontax_problem_id id,
                     const char *value)
{
    nx_report_values(report, here, id, value, NULL);
}

void nx_report_problem(nx_report *report, const nx_place *here, nontax_problem_id id)
{
    nx_report_values(report, here, id, NULL, NULL);
}
