/* leaves.c: what the value of each kind of field must be. */
#include "leaves.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "characters.h"
#include "json.h"
#include "text.h"

enum { MAX_DEPTH = 64 }; /* of values inside an extra field */

/* Many systems drop what cannot be seen at an end, and others keep it: two ids that look alike
 * would not be the same. */
static bool check_ends(nx_report *report, const char *text, const nx_place *here)
{
    char name[NX_MAX_CHARACTER_NAME];
    const char *last = nx_last_character(text);
    bool begins = nx_unseen_size(text) > 0, ends = nx_unseen_size(last) > 0;
    if (begins) {
        nx_name_character(name, text);
        nx_report_value(report, here, NONTAX_PROBLEM_BEGINS_WITH, name);
    }
    if (ends) {
        nx_name_character(name, last);
        nx_report_value(report, here, NONTAX_PROBLEM_ENDS_WITH, name);
    }
    return !begins && !ends;
}

/* Whether it is a text without anything odd: if not, that is reported, and nothing more can be said
 * about it. */
static bool check_text(nx_report *report, const cJSON *item, const nx_place *here)
{
    const char *text = item->valuestring;
    if (nx_is_number(item)) {
        nx_report_problem(report, here, NONTAX_PROBLEM_NUMBER_NOT_TEXT);
    } else if (!cJSON_IsString(item)) {
        nx_report_value(report, here, NONTAX_PROBLEM_NOT_TEXT, nx_kind_of(item));
    } else if (!nx_utf8_valid(text, strlen(text))) {
        nx_report_problem(report, here, NONTAX_PROBLEM_NOT_UTF8);
    } else if (nx_is_blank(text)) {
        nx_report_problem(report, here, *text ? NONTAX_PROBLEM_BLANK : NONTAX_PROBLEM_EMPTY);
    } else {
        return check_ends(report, text, here);
    }
    return false;
}

/* "61725984-6126f6f9-040f19c4" */
static void check_rid(nx_report *report, const cJSON *item, const nx_place *here)
{
    size_t size = nx_rid_size(item->valuestring);
    if (size == 0 || item->valuestring[size]) {
        nx_report_problem(report, here, NONTAX_PROBLEM_NOT_RID);
    }
}

static void check_interface_path(nx_report *report, const cJSON *item, const nx_place *here)
{
    if (item->valuestring[0] != '/' || item->valuestring[1] == '/' ||
        strpbrk(item->valuestring, "?#: ") != NULL) {
        nx_report_problem(report, here, NONTAX_PROBLEM_NOT_INTERFACE_PATH);
    }
}

static void check_choice(nx_report *report, const cJSON *item, const nx_field *field,
                         const nx_place *here)
{
    char choices[192] = "";
    for (const char *const *choice = field->choices; *choice; choice++) {
        if (strcmp(*choice, item->valuestring) == 0) {
            return;
        }
        size_t used = strlen(choices);
        snprintf(choices + used, sizeof choices - used, "%s%s", used ? ", " : "", *choice);
    }
    nx_report_value(report, here, NONTAX_PROBLEM_NOT_A_CHOICE, choices);
}

static void report_not_finite(nx_report *report, const cJSON *item, const nx_place *here)
{
    if (cJSON_IsNumber(item) && isnan(item->valuedouble)) {
        nx_report_value(report, here, NONTAX_PROBLEM_EMPTY_CELL, "NaN");
    } else {
        nx_report_problem(report, here, NONTAX_PROBLEM_NOT_NUMBER);
    }
}

static void check_fen(nx_report *report, const cJSON *item, const nx_place *here)
{
    long long value = 0;
    switch (nx_is_time(item) ? NX_INTEGER_WRONG_KIND : nx_read_integer(item, &value)) {
    case NX_INTEGER_OK:
        if (value < 0) {
            nx_report_problem(report, here, NONTAX_PROBLEM_FEN_NEGATIVE);
        }
        break;
    case NX_INTEGER_WRONG_KIND:
        nx_report_value(report, here, NONTAX_PROBLEM_NOT_FEN, nx_kind_of(item));
        break;
    case NX_INTEGER_FRACTION:
        nx_report_problem(report, here, NONTAX_PROBLEM_FEN_FRACTION);
        break;
    case NX_INTEGER_TOO_LARGE:
        nx_report_problem(report, here, NONTAX_PROBLEM_INTEGER_RANGE);
        break;
    case NX_INTEGER_NOT_FINITE:
        report_not_finite(report, item, here);
        break;
    }
}

/* 2026111509 is rather a time to the hour than Unix seconds, which it will be in 2034. */
static bool reads_as_hour(long long value)
{
    long long year = value / 1000000, month = value / 10000 % 100, day = value / 100 % 100;
    bool reads = year >= 1990 && year <= 2099 && month >= 1 && month <= 12 && day >= 1 &&
                 day <= 31 && value % 100 <= 24;
    return reads && value > (long long)time(NULL) + 86400;
}

static void check_seconds(nx_report *report, long long value, const nx_place *here)
{
    static const long long lowest = 1000000000LL, highest = 9999999999LL;
    if (value >= lowest && value <= highest) {
        if (reads_as_hour(value)) {
            nx_report_problem(report, here, NONTAX_PROBLEM_TIME_TO_THE_HOUR);
        }
    } else if (value / 1000 >= lowest && value / 1000 <= highest) {
        nx_report_problem(report, here, NONTAX_PROBLEM_TIME_MILLISECONDS);
    } else {
        nx_report_problem(report, here, NONTAX_PROBLEM_TIME_FORM);
    }
}

static void check_time_text(nx_report *report, const cJSON *item, const nx_place *here)
{
    const char *text = item->valuestring;
    if (!check_text(report, item, here)) {
        return;
    }
    bool digits = nx_all_digits(text) && *text != '0' && strlen(text) <= 13;
    check_seconds(report, digits ? strtoll(text, NULL, 10) : 0, here);
}

static void check_time(nx_report *report, const cJSON *item, const nx_place *here)
{
    long long value = 0;
    switch (nx_read_integer(item, &value)) {
    case NX_INTEGER_OK:
        check_seconds(report, value, here);
        break;
    case NX_INTEGER_WRONG_KIND:
        nx_report_value(report, here, NONTAX_PROBLEM_NOT_TIME, nx_kind_of(item));
        break;
    case NX_INTEGER_NOT_FINITE:
        report_not_finite(report, item, here);
        break;
    default:
        nx_report_problem(report, here, NONTAX_PROBLEM_TIME_FORM);
    }
}

bool nx_report_if_problem(nx_report *report, const cJSON *item, const nx_place *here)
{
    nontax_problem_id id;
    if (!nx_is_problem(item, &id)) {
        return false;
    }
    nx_report_value(report, here, id, item->valuestring);
    return true;
}

/* A name is compared with so many that follow: with all, a huge object would take minutes. */
#define MAX_APART 1000

/* The name of an extra field, or of something in it. An odd mapping can have one twice. */
static void check_extra_name(nx_report *report, const cJSON *item, const nx_place *here)
{
    const char *name = nx_name_of(item);
    if (!nx_utf8_valid(name, strlen(name))) {
        nx_report_problem(report, here, NONTAX_PROBLEM_NAME_NOT_UTF8);
    }
    int left = MAX_APART;
    for (const cJSON *later = item->next; later && left > 0; later = later->next, left--) {
        if (strcmp(nx_name_of(later), name) == 0) {
            nx_report_problem(report, here, NONTAX_PROBLEM_GIVEN_TWICE);
            return;
        }
    }
}

/* A value under a name that the interface does not have: anything that JSON can hold. */
static void check_extra_value(nx_report *report, const cJSON *item, const nx_place *here, int depth)
{
    if (depth > MAX_DEPTH) {
        nx_report_problem(report, here, NONTAX_PROBLEM_TOO_DEEP);
    } else if (nx_report_if_problem(report, item, here)) {
        return;
    } else if (nx_is_foreign(item)) {
        nx_report_value(report, here, NONTAX_PROBLEM_FOREIGN, nx_kind_of(item));
    } else if (cJSON_IsString(item)) {
        if (!nx_utf8_valid(item->valuestring, strlen(item->valuestring))) {
            nx_report_problem(report, here, NONTAX_PROBLEM_NOT_UTF8);
        }
    } else if (cJSON_IsNumber(item)) {
        if (!isfinite(item->valuedouble)) {
            report_not_finite(report, item, here);
        }
    } else if (cJSON_IsRaw(item)) {
        if (item->valueint == 0 || !nx_is_number_literal(item->valuestring)) {
            report_not_finite(report, item, here);
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
        if (cJSON_IsString(item)) {
            check_time_text(report, item, here);
        } else {
            check_time(report, item, here);
        }
        break;
    case NX_SECONDS:
        if (cJSON_IsString(item)) {
            nx_report_problem(report, here, NONTAX_PROBLEM_TIME_TEXT);
        } else {
            check_time(report, item, here);
        }
        break;
    case NX_BOOL:
        if (!cJSON_IsBool(item)) {
            nx_report_problem(report, here, NONTAX_PROBLEM_NOT_BOOLEAN);
        }
        break;
    default:
        break; /* not in requests */
    }
}

void nx_check_extra(nx_report *report, const cJSON *item, const nx_place *here)
{
    if (!nx_report_if_problem(report, item, here)) {
        check_extra_name(report, item, here);
        check_extra_value(report, item, here, 1);
    }
}
