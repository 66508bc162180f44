/* leaves.c: what the value of each kind of field must be. */
#include "leaves.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "text.h"

enum { MAX_DEPTH = 64 }; /* of values inside an extra field */

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
static bool check_text(nx_report *report, const cJSON *item, const nx_place *here)
{
    char message[128];
    if (!cJSON_IsString(item)) {
        bool number = nx_is_number(item);
        bool nan = number && item->valuestring && strcmp(item->valuestring, "nan") == 0;
        const char *why = nan      ? " (an empty cell?)"
                          : number ? " (as a number it would lose leading zeros)"
                                   : "";
        snprintf(message, sizeof message, "must be a string, not %s%s", nx_kind_of(item), why);
        nx_report_problem(report, here, message);
    } else if (is_blank(item->valuestring)) {
        nx_report_problem(report, here, *item->valuestring ? "is blank" : "is empty");
    } else if (!nx_utf8_valid(item->valuestring, strlen(item->valuestring))) {
        nx_report_problem(report, here, "is not valid UTF-8");
    } else {
        return true;
    }
    return false;
}

/* "61725984-6126f6f9-040f19c4" */
static void check_rid(nx_report *report, const cJSON *item, const nx_place *here)
{
    size_t size = nx_rid_size(item->valuestring);
    if (size == 0 || item->valuestring[size]) {
        nx_report_problem(report, here,
                          "must be three groups of eight hexadecimal digits, as an error's rid");
    }
}

static void check_interface_path(nx_report *report, const cJSON *item, const nx_place *here)
{
    if (item->valuestring[0] != '/' || item->valuestring[1] == '/' ||
        strpbrk(item->valuestring, "?#: ") != NULL) {
        nx_report_problem(report, here,
                          "must be a path such as \"/nontax/insertbill\", without a host");
    }
}

static void check_choice(nx_report *report, const cJSON *item, const nx_field *field,
                         const nx_place *here)
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
    nx_report_problem(report, here, message);
}

static void check_fen(nx_report *report, const cJSON *item, const nx_place *here)
{
    long long value = 0;
    char message[128];
    switch (nx_is_time(item) ? NX_INTEGER_WRONG_KIND : nx_read_integer(item, &value)) {
    case NX_INTEGER_OK:
        if (value < 0) {
            nx_report_problem(report, here, "must not be negative: it is an amount in fen");
        }
        break;
    case NX_INTEGER_WRONG_KIND:
        snprintf(message, sizeof message, "must be an integer, the amount in fen, not %s",
                 nx_kind_of(item));
        nx_report_problem(report, here, message);
        break;
    case NX_INTEGER_FRACTION:
        nx_report_problem(report, here,
                          "must be an integer, the amount in fen: 12.34 yuan is 1234, not 12.34");
        break;
    case NX_INTEGER_TOO_LARGE:
        nx_report_problem(report, here, "is too large for a 64-bit integer");
        break;
    case NX_INTEGER_NOT_FINITE:
        nx_report_problem(report, here, "is not a number that JSON can hold (an empty cell?)");
        break;
    }
}

static void check_time(nx_report *report, const cJSON *item, const nx_place *here)
{
    static const long long lowest = 1000000000LL, highest = 9999999999LL;
    long long value = 0;
    char message[160];
    if (cJSON_IsString(item)) {
        if (!nx_all_digits(item->valuestring) || strlen(item->valuestring) != 10 ||
            item->valuestring[0] == '0') {
            nx_report_problem(report, here,
                              "must be Unix seconds of 10 digits, such as \"1511169724\"");
        }
        return;
    }
    nx_integer found = nx_read_integer(item, &value);
    if (found == NX_INTEGER_WRONG_KIND) {
        snprintf(message, sizeof message,
                 "must be Unix seconds as an integer or a string of 10 digits, not %s",
                 nx_kind_of(item));
        nx_report_problem(report, here, message);
    } else if (found != NX_INTEGER_OK || value < lowest || value > highest) {
        bool milliseconds =
            found == NX_INTEGER_OK && value / 1000 >= lowest && value / 1000 <= highest;
        nx_report_problem(report, here,
                          milliseconds
                              ? "must be Unix seconds of 10 digits; this looks like milliseconds"
                              : "must be Unix seconds of 10 digits, such as 1511169724");
    }
}

/* A name is compared with so many that follow: with all, a huge object would take minutes. */
#define MAX_APART 1000

/* The name of an extra field, or of something in it. An odd mapping can have one twice. */
static void check_extra_name(nx_report *report, const cJSON *item, const nx_place *here)
{
    const char *name = nx_name_of(item);
    if (!nx_utf8_valid(name, strlen(name))) {
        nx_report_problem(report, here, "has a name that is not valid UTF-8");
    }
    int left = MAX_APART;
    for (const cJSON *later = item->next; later && left > 0; later = later->next, left--) {
        if (strcmp(nx_name_of(later), name) == 0) {
            nx_report_problem(report, here, "is given twice");
            return;
        }
    }
}

/* A value under a name that the interface does not have: anything that JSON can hold. */
static void check_extra_value(nx_report *report, const cJSON *item, const nx_place *here, int depth)
{
    if (depth > MAX_DEPTH) {
        nx_report_problem(report, here, "is nested too deeply");
    } else if (cJSON_IsString(item)) {
        if (!nx_utf8_valid(item->valuestring, strlen(item->valuestring))) {
            nx_report_problem(report, here, "is not valid UTF-8");
        }
    } else if (cJSON_IsNumber(item)) {
        if (!isfinite(item->valuedouble)) {
            nx_report_problem(report, here, "is not a number that JSON can hold (an empty cell?)");
        }
    } else if (cJSON_IsRaw(item)) {
        if (item->valueint == 0 || !nx_is_number_literal(item->valuestring)) {
            nx_report_problem(report, here, "is not a number that JSON can hold (an empty cell?)");
        }
    } else if (cJSON_IsObject(item) || cJSON_IsArray(item)) {
        int index = 0;
        const cJSON *member = NULL;
        cJSON_ArrayForEach(member, item)
        {
            const nx_place there = {here, member->string, index++};
            if (member->string) {
                check_extra_name(report, member, &there);
            }
            check_extra_value(report, member, &there, depth + 1);
        }
    }
}

void nx_check_leaf(nx_report *report, const nx_field *field, const cJSON *item,
                   const nx_place *here)
{
    switch (field->kind) {
    case NX_TEXT:
    case NX_SECRET:
        if (check_text(report, item, here) && field->choices) {
            check_choice(report, item, field, here);
        }
        break;
    case NX_RID:
        if (check_text(report, item, here)) {
            check_rid(report, item, here);
        }
        break;
    case NX_PATH:
        if (check_text(report, item, here)) {
            check_interface_path(report, item, here);
        }
        break;
    case NX_FEN:
        check_fen(report, item, here);
        break;
    case NX_TIME:
        check_time(report, item, here);
        break;
    case NX_SECONDS:
        if (cJSON_IsString(item)) {
            nx_report_problem(report, here, "must be Unix seconds as an integer, not a string");
        } else {
            check_time(report, item, here);
        }
        break;
    case NX_BOOL:
        if (!cJSON_IsBool(item)) {
            nx_report_problem(report, here, "must be true or false");
        }
        break;
    default:
        break; /* not in requests */
    }
}

void nx_check_extra(nx_report *report, const cJSON *item, const nx_place *here)
{
    check_extra_name(report, item, here);
    check_extra_value(report, item, here, 1);
}
