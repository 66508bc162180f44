/* leaves.c: what the value of each kind of field must be. */
#include "leaves.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "characters.h"
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
static bool check_text(nx_report *report, const nx_value *value, const nx_place *here)
{
    const char *text = value->text;
    if (nx_value_is_number(value)) {
        nx_report_problem(report, here, NONTAX_PROBLEM_NUMBER_NOT_TEXT);
    } else if (value->kind != NX_VALUE_TEXT) {
        nx_report_value(report, here, NONTAX_PROBLEM_NOT_TEXT, nx_value_kind_name(value));
    } else if (!nx_utf8_valid(text, value->size)) {
        nx_report_problem(report, here, NONTAX_PROBLEM_NOT_UTF8);
    } else if (nx_is_blank(text)) {
        nx_report_problem(report, here, *text ? NONTAX_PROBLEM_BLANK : NONTAX_PROBLEM_EMPTY);
    } else {
        return check_ends(report, text, here);
    }
    return false;
}

/* "61725984-6126f6f9-040f19c4" */
static void check_rid(nx_report *report, const nx_value *value, const nx_place *here)
{
    size_t size = nx_rid_size(value->text);
    if (size == 0 || value->text[size]) {
        nx_report_problem(report, here, NONTAX_PROBLEM_NOT_RID);
    }
}

static void check_interface_path(nx_report *report, const nx_value *value, const nx_place *here)
{
    if (value->text[0] != '/' || value->text[1] == '/' || strpbrk(value->text, "?#: ") != NULL) {
        nx_report_problem(report, here, NONTAX_PROBLEM_NOT_INTERFACE_PATH);
    }
}

static void check_choice(nx_report *report, const nx_value *value, const nx_field *field,
                         const nx_place *here)
{
    char choices[192] = "";
    for (const char *const *choice = field->choices; *choice; choice++) {
        if (strcmp(*choice, value->text) == 0) {
            return;
        }
        size_t used = strlen(choices);
        snprintf(choices + used, sizeof choices - used, "%s%s", used ? ", " : "", *choice);
    }
    nx_report_value(report, here, NONTAX_PROBLEM_NOT_A_CHOICE, choices);
}

static void report_not_finite(nx_report *report, const nx_value *value, const nx_place *here)
{
    if (value->kind == NX_VALUE_DOUBLE && isnan(value->number)) {
        nx_report_value(report, here, NONTAX_PROBLEM_EMPTY_CELL, "NaN");
    } else {
        nx_report_problem(report, here, NONTAX_PROBLEM_NOT_NUMBER);
    }
}

static void check_fen(nx_report *report, const nx_value *value, const nx_place *here)
{
    int64_t fen = 0;
    switch (value->kind == NX_VALUE_TIME ? NX_INTEGER_WRONG_KIND : nx_value_integer(value, &fen)) {
    case NX_INTEGER_OK:
        if (fen < 0) {
            nx_report_problem(report, here, NONTAX_PROBLEM_FEN_NEGATIVE);
        }
        break;
    case NX_INTEGER_WRONG_KIND:
        nx_report_value(report, here, NONTAX_PROBLEM_NOT_FEN, nx_value_kind_name(value));
        break;
    case NX_INTEGER_FRACTION:
        nx_report_problem(report, here, NONTAX_PROBLEM_FEN_FRACTION);
        break;
    case NX_INTEGER_TOO_LARGE:
        nx_report_problem(report, here, NONTAX_PROBLEM_INTEGER_RANGE);
        break;
    case NX_INTEGER_NOT_FINITE:
        report_not_finite(report, value, here);
        break;
    }
}

/* 2026111509 is rather a time to the hour than Unix seconds, which it will be in 2034. */
static bool reads_as_hour(int64_t value)
{
    int64_t year = value / 1000000, month = value / 10000 % 100, day = value / 100 % 100;
    bool reads = year >= 1990 && year <= 2099 && month >= 1 && month <= 12 && day >= 1 &&
                 day <= 31 && value % 100 <= 24;
    return reads && value > (int64_t)time(NULL) + 86400;
}

static void check_seconds(nx_report *report, int64_t value, const nx_place *here)
{
    static const int64_t lowest = INT64_C(1000000000), highest = INT64_C(9999999999);
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

static void check_time_text(nx_report *report, const nx_value *value, const nx_place *here)
{
    const char *text = value->text;
    if (!check_text(report, value, here)) {
        return;
    }
    bool digits = nx_all_digits(text) && *text != '0' && strlen(text) <= 13;
    check_seconds(report, digits ? strtoll(text, NULL, 10) : 0, here);
}

static void check_time(nx_report *report, const nx_value *value, const nx_place *here)
{
    int64_t seconds = 0;
    switch (nx_value_integer(value, &seconds)) {
    case NX_INTEGER_OK:
        check_seconds(report, seconds, here);
        break;
    case NX_INTEGER_WRONG_KIND:
        nx_report_value(report, here, NONTAX_PROBLEM_NOT_TIME, nx_value_kind_name(value));
        break;
    case NX_INTEGER_NOT_FINITE:
        report_not_finite(report, value, here);
        break;
    default:
        nx_report_problem(report, here, NONTAX_PROBLEM_TIME_FORM);
    }
}

bool nx_report_if_problem(nx_report *report, const nx_value *value, const nx_place *here)
{
    if (value->kind != NX_VALUE_PROBLEM) {
        return false;
    }
    nx_report_value(report, here, value->problem, value->text);
    return true;
}

/* A name is compared with so many that follow: with all, a huge object would take minutes. */
#define MAX_APART 1000

/* The name of an extra field, or of something in it. An odd mapping can have one twice. */
static void check_extra_name(nx_report *report, const nx_value *value, const nx_place *here)
{
    if (!nx_utf8_valid(value->name, strlen(value->name))) {
        nx_report_problem(report, here, NONTAX_PROBLEM_NAME_NOT_UTF8);
    }
    int left = MAX_APART;
    for (const nx_value *later = value->next; later && left > 0; later = later->next, left--) {
        if (strcmp(later->name, value->name) == 0) {
            nx_report_problem(report, here, NONTAX_PROBLEM_GIVEN_TWICE);
            return;
        }
    }
}

static void check_extra_value(nx_report *report, const nx_value *value, const nx_place *here,
                              int depth);

static void check_extra_members(nx_report *report, const nx_value *value, const nx_place *here,
                                int depth)
{
    int index = 0;
    for (const nx_value *member = value->first; member; member = member->next) {
        const nx_place there = {here, member->name, index++};
        if (member->name) {
            check_extra_name(report, member, &there);
        }
        check_extra_value(report, member, &there, depth + 1);
    }
}

/* A value under a name that the interface does not have: anything that JSON can hold. */
static void check_extra_value(nx_report *report, const nx_value *value, const nx_place *here,
                              int depth)
{
    if (depth > MAX_DEPTH) {
        nx_report_problem(report, here, NONTAX_PROBLEM_TOO_DEEP);
        return;
    }
    switch (value->kind) {
    case NX_VALUE_PROBLEM:
        (void)nx_report_if_problem(report, value, here);
        break;
    case NX_VALUE_FOREIGN:
        nx_report_value(report, here, NONTAX_PROBLEM_FOREIGN, nx_value_kind_name(value));
        break;
    case NX_VALUE_TEXT:
        if (!nx_utf8_valid(value->text, value->size)) {
            nx_report_problem(report, here, NONTAX_PROBLEM_NOT_UTF8);
        }
        break;
    case NX_VALUE_DOUBLE:
        if (!isfinite(value->number)) {
            report_not_finite(report, value, here);
        }
        break;
    case NX_VALUE_NUMBER:
        if (!nx_is_number_literal(value->text)) {
            report_not_finite(report, value, here);
        }
        break;
    case NX_VALUE_RAW:
        report_not_finite(report, value, here);
        break;
    case NX_VALUE_OBJECT:
    case NX_VALUE_LIST:
        check_extra_members(report, value, here, depth);
        break;
    default:
        break; /* nothing can be wrong with it */
    }
}

void nx_check_leaf(nx_report *report, const nx_field *field, const nx_value *value,
                   const nx_place *here)
{
    switch (field->kind) {
    case NX_TEXT:
    case NX_SECRET:
        if (check_text(report, value, here) && field->choices) {
            check_choice(report, value, field, here);
        }
        break;
    case NX_RID:
        if (check_text(report, value, here)) {
            check_rid(report, value, here);
        }
        break;
    case NX_PATH:
        if (check_text(report, value, here)) {
            check_interface_path(report, value, here);
        }
        break;
    case NX_FEN:
        check_fen(report, value, here);
        break;
    case NX_TIME:
        if (value->kind == NX_VALUE_TEXT) {
            check_time_text(report, value, here);
        } else {
            check_time(report, value, here);
        }
        break;
    case NX_SECONDS:
        if (value->kind == NX_VALUE_TEXT) {
            nx_report_problem(report, here, NONTAX_PROBLEM_TIME_TEXT);
        } else {
            check_time(report, value, here);
        }
        break;
    case NX_BOOL:
        if (value->kind != NX_VALUE_TRUE && value->kind != NX_VALUE_FALSE) {
            nx_report_problem(report, here, NONTAX_PROBLEM_NOT_BOOLEAN);
        }
        break;
    default:
        break; /* not in requests */
    }
}

void nx_check_extra(nx_report *report, const nx_value *value, const nx_place *here)
{
    if (!nx_report_if_problem(report, value, here)) {
        check_extra_name(report, value, here);
        check_extra_value(report, value, here, 1);
    }
}
