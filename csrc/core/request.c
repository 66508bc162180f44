/* request.c: check a payload against its interface and print it. */
#include "request.h"

#include <string.h>

#include "characters.h"
#include "fields.h"
#include "leaves.h"
#include "payload.h"
#include "print.h"
#include "problems.h"
#include "text.h"

/* A bit for each row of an interface, of which none has more than 32. */
typedef uint32_t rows;

enum { FLAT = -2 }; /* in place of a parent row: all leaves stand side by side */

typedef struct check {
    const nontax_interface *interface;
    nontax_extra extra;
    nx_report report;
} check;

static const nx_place whole = {NULL, "", 0};

/* ---- objects ----------------------------------------------------------------------------- */

static void check_members(check *check, const nx_value *object, int parent, const nx_place *here);

static void check_row(check *check, const nx_value *value, int row, const nx_place *here)
{
    const nx_field *field = &check->interface->fields[row];
    if (nx_report_if_problem(&check->report, value, here)) {
        return;
    }
    if (!nx_is_object_row(field)) {
        nx_check_leaf(&check->report, field, value, here);
    } else if (value->kind == NX_VALUE_OBJECT) {
        check_members(check, value, row, here);
    } else {
        nx_report_value(&check->report, here, NONTAX_PROBLEM_NOT_OBJECT, nx_value_kind_name(value));
    }
}

static int find_row(const check *check, int parent, const char *name)
{
    return parent == FLAT ? nx_find_leaf(check->interface, name)
                          : nx_find_member(check->interface, parent, name);
}

static void report_unknown(check *check, const char *name, int meant, const nx_place *here)
{
    const char *right = meant < 0 ? NULL : check->interface->fields[meant].name;
    const char *character = right ? nx_find_unseen(name) : NULL;
    if (character) {
        char named[NX_MAX_CHARACTER_NAME];
        nx_name_character(named, character);
        nx_report_values(&check->report, here, NONTAX_PROBLEM_NAME_CHARACTER, named, right);
    } else if (right) {
        nx_report_value(&check->report, here, NONTAX_PROBLEM_UNKNOWN_FIELD_LIKE, right);
    } else {
        nx_report_problem(&check->report, here, NONTAX_PROBLEM_UNKNOWN_FIELD);
    }
}

/* Whether a member that is unknown may stay so: where the field that was meant is missing, another
 * spelling of its name is no extra. */
static bool is_allowed_extra(const check *check, const nx_value *object, int parent, int meant)
{
    if (check->extra == NONTAX_EXTRA_REFUSE) {
        return false;
    }
    const char *name = meant < 0 ? "" : check->interface->fields[meant].name;
    return meant < 0 || find_row(check, parent, name) != meant || nx_value_find(object, name);
}

static void check_unknown(check *check, const nx_value *object, int parent, const nx_value *value,
                          const nx_place *here)
{
    const nontax_interface *interface = check->interface;
    const char *name = value->name;
    int right = nx_find_row(interface, name);
    if (right >= 0) {
        char path[NX_MAX_PATH];
        nx_row_path(interface, right, path);
        nx_report_value(&check->report, here, NONTAX_PROBLEM_WRONG_PLACE, path);
        return;
    }
    int meant = nx_find_meant(interface, name);
    if (is_allowed_extra(check, object, parent, meant)) {
        if (check->extra == NONTAX_EXTRA_SEND) {
            nx_check_extra(&check->report, value, here);
        }
    } else if (*name || !nx_report_if_problem(&check->report, value, here)) {
        report_unknown(check, name, meant, here);
    }
}

static void check_missing(check *check, int row, rows seen, const nx_place *here)
{
    if (check->interface->fields[row].required && !(seen & ((rows)1 << row))) {
        nx_report_problem(&check->report, here, NONTAX_PROBLEM_MISSING);
    }
}

/* Marks the row as seen; a second time is a problem (a mapping can have a name twice). */
static bool first_time(check *check, int row, rows *seen, const nx_place *here)
{
    rows bit = (rows)1 << row;
    if (*seen & bit) {
        nx_report_problem(&check->report, here, NONTAX_PROBLEM_GIVEN_TWICE);
        return false;
    }
    *seen |= bit;
    return true;
}

/* Checks what is there; which of the fields are. */
static rows check_given(check *check, const nx_value *object, int parent, const nx_place *here)
{
    rows seen = 0;
    for (const nx_value *value = object->first; value; value = value->next) {
        int row = find_row(check, parent, value->name);
        const nx_place there = {here, value->name, 0};
        if (row < 0) {
            check_unknown(check, object, parent, value, &there);
        } else if (first_time(check, row, &seen, &there)) {
            check_row(check, value, row, &there);
        }
    }
    return seen;
}

static void check_members(check *check, const nx_value *object, int parent, const nx_place *here)
{
    const nontax_interface *interface = check->interface;
    parent = nx_row_of_members(interface, object, parent);
    rows seen = check_given(check, object, parent, here);
    int row = -1;
    while ((row = nx_next_member(interface, parent, row)) >= 0) {
        const nx_place there = {here, interface->fields[row].name, 0};
        check_missing(check, row, seen, &there);
    }
}

static void check_flat(check *check, const nx_value *root)
{
    rows seen = check_given(check, root, FLAT, &whole);
    for (int row = 0; row < check->interface->field_count; row++) {
        if (!nx_is_object_row(&check->interface->fields[row])) {
            const nx_place there = {&whole, check->interface->fields[row].name, 0};
            check_missing(check, row, seen, &there);
        }
    }
}

/* ---- the whole --------------------------------------------------------------------------- */

/* Checks the payload; if there is nothing wrong with it, it is afterwards what shall be sent. */
static nontax_status check_payload(check *check, nontax_payload *payload)
{
    nx_value *root = payload && nontax_payload_is_whole(payload) ? nx_payload_root(payload) : NULL;
    if (!root) {
        return NONTAX_NO_MEMORY;
    }
    bool flat = nx_is_flat(check->interface, root);
    if (nx_report_if_problem(&check->report, root, &whole)) {
        /* nothing more can be said about it */
    } else if (root->kind != NX_VALUE_OBJECT) {
        nx_report_value(&check->report, &whole, NONTAX_PROBLEM_NOT_FIELDS,
                        nx_value_kind_name(root));
    } else if (flat) {
        check_flat(check, root);
    } else {
        check_members(check, root, -1, &whole);
    }
    if (check->report.status != NONTAX_OK) {
        return check->report.status;
    }
    if (check->report.problems->count > 0) {
        return NONTAX_BAD_PAYLOAD;
    }
    if (flat && nx_nest(check->interface, payload) != NONTAX_OK) {
        return NONTAX_NO_MEMORY;
    }
    if (check->extra == NONTAX_EXTRA_IGNORE) {
        nx_drop_extra(check->interface, nx_payload_root(payload), -1);
    }
    return NONTAX_OK;
}

static nontax_status print_query(const nx_value *root, nx_buffer *text)
{
    nontax_status status = NONTAX_OK;
    for (const nx_value *value = root->first; value; value = value->next) {
        const char *separator = text->size ? "&" : "";
        if (status == NONTAX_OK) {
            status = nx_buffer_append(text, separator, strlen(separator));
        }
        if (status == NONTAX_OK) {
            status = nx_append_encoded(text, value->name);
        }
        if (status == NONTAX_OK) {
            status = nx_buffer_append(text, "=", 1);
        }
        if (status == NONTAX_OK) {
            status = nx_append_encoded(text, value->text); /* all fields are texts */
        }
    }
    return status;
}

static nontax_status copy_secret(const nontax_interface *interface, const nx_value *root,
                                 nx_buffer *secret)
{
    for (int row = 0; row < interface->field_count; row++) {
        const nx_field *field = &interface->fields[row];
        if (field->kind == NX_SECRET) {
            const nx_value *value = nx_value_find(root, field->name);
            return nx_buffer_append(secret, value->text, value->size);
        }
    }
    return NONTAX_OK;
}

nontax_status nx_request_build(const nontax_interface *interface, nontax_payload *payload,
                               nontax_extra extra, nontax_problems *problems, nx_buffer *text,
                               nx_buffer *secret)
{
    /* What an interface of another form does not know could not be printed. */
    bool refused = extra == NONTAX_EXTRA_SEND && interface->form != NX_JSON;
    check check = {interface, refused ? NONTAX_EXTRA_REFUSE : extra, {problems, NONTAX_OK}};
    nontax_status status = check_payload(&check, payload);
    const nx_value *root = status == NONTAX_OK ? nx_payload_root(payload) : NULL;
    if (status == NONTAX_OK) {
        status = copy_secret(interface, root, secret);
    }
    if (status == NONTAX_OK) {
        status = interface->form == NX_QUERY ? print_query(root, text) : nx_print_json(root, text);
    }
    nontax_payload_free(payload);
    return status;
}

nontax_status nontax_payload_check(const nontax_interface *interface, nontax_payload *payload,
                                   nontax_extra extra, nontax_problems *problems)
{
    check check = {interface, extra, {problems, NONTAX_OK}};
    nontax_status status = check_payload(&check, payload);
    nontax_payload_free(payload);
    return status;
}
