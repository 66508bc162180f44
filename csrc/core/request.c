/* request.c: check a payload against its interface and print it. */
#include "request.h"

#include <stdio.h>
#include <string.h>

#include "fields.h"
#include "json.h"
#include "leaves.h"
#include "problems.h"
#include "text.h"

/* A bit for each row of an interface, of which none has more than 32. */
typedef uint32_t rows;

typedef struct check {
    const nontax_interface *interface;
    bool allow_extra;
    nx_report report;
} check;

static const nx_place whole = {NULL, "", 0};

static void add_problem(check *check, const nx_place *here, const char *message)
{
    nx_report_problem(&check->report, here, message);
}

/* ---- objects ----------------------------------------------------------------------------- */

static void check_members(check *check, const cJSON *object, int parent, const nx_place *here);

static void check_row(check *check, const cJSON *item, int row, const nx_place *here)
{
    if (cJSON_IsInvalid(item)) {
        return; /* reported by whoever could not convert it */
    }
    const nx_field *field = &check->interface->fields[row];
    if (!nx_is_object_row(field)) {
        nx_check_leaf(&check->report, field, item, here);
    } else if (cJSON_IsObject(item)) {
        check_members(check, item, row, here);
    } else {
        char message[64];
        snprintf(message, sizeof message, "must be an object, not %s", nx_kind_of(item));
        add_problem(check, here, message);
    }
}

static void check_unknown(check *check, const cJSON *item, const nx_place *here)
{
    const nontax_interface *interface = check->interface;
    char message[NX_MAX_PATH + 64], right_path[NX_MAX_PATH];
    for (int row = 0; row < interface->field_count; row++) {
        if (strcmp(interface->fields[row].name, nx_name_of(item)) == 0) {
            nx_row_path(interface, row, right_path);
            snprintf(message, sizeof message, "stands in the wrong place: it belongs at %s",
                     right_path);
            add_problem(check, here, message);
            return;
        }
    }
    if (check->allow_extra) {
        nx_check_extra(&check->report, item, here);
        return;
    }
    for (int row = 0; row < interface->field_count; row++) {
        if (nx_same_but_for_spelling(interface->fields[row].name, nx_name_of(item))) {
            snprintf(message, sizeof message, "is not a field of this interface; did you mean %s?",
                     interface->fields[row].name);
            add_problem(check, here, message);
            return;
        }
    }
    add_problem(check, here, "is not a field of this interface");
}

static void check_missing(check *check, int row, rows seen, const nx_place *here)
{
    if (check->interface->fields[row].required && !(seen & ((rows)1 << row))) {
        add_problem(check, here, "is missing");
    }
}

/* Marks the row as seen; a second time is a problem (a mapping can have a name twice). */
static bool first_time(check *check, int row, rows *seen, const nx_place *here)
{
    rows bit = (rows)1 << row;
    if (*seen & bit) {
        add_problem(check, here, "is given twice");
        return false;
    }
    *seen |= bit;
    return true;
}

static void check_members(check *check, const cJSON *object, int parent, const nx_place *here)
{
    const nontax_interface *interface = check->interface;
    parent = nx_row_of_members(interface, object, parent);
    rows seen = 0;
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, object)
    {
        int row = nx_find_member(interface, parent, nx_name_of(item));
        const nx_place there = {here, nx_name_of(item), 0};
        if (row < 0) {
            check_unknown(check, item, &there);
        } else if (first_time(check, row, &seen, &there)) {
            check_row(check, item, row, &there);
        }
    }
    int row = -1;
    while ((row = nx_next_member(interface, parent, row)) >= 0) {
        const nx_place there = {here, interface->fields[row].name, 0};
        check_missing(check, row, seen, &there);
    }
}

static void check_flat(check *check, const cJSON *payload)
{
    rows seen = 0;
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, payload)
    {
        int row = nx_find_leaf(check->interface, nx_name_of(item));
        const nx_place there = {&whole, nx_name_of(item), 0};
        if (row < 0) {
            check_unknown(check, item, &there);
        } else if (first_time(check, row, &seen, &there)) {
            check_row(check, item, row, &there);
        }
    }
    for (int row = 0; row < check->interface->field_count; row++) {
        if (!nx_is_object_row(&check->interface->fields[row])) {
            const nx_place there = {&whole, check->interface->fields[row].name, 0};
            check_missing(check, row, seen, &there);
        }
    }
}

/* ---- the whole --------------------------------------------------------------------------- */

static nontax_status check_payload(check *check, cJSON **payload)
{
    if (!cJSON_IsObject(*payload)) {
        if (!cJSON_IsInvalid(*payload)) {
            char message[64];
            snprintf(message, sizeof message, "must be an object with fields, not %s",
                     nx_kind_of(*payload));
            add_problem(check, &whole, message);
        }
    } else if (nx_is_flat(check->interface, *payload)) {
        check_flat(check, *payload);
        if (check->report.status == NONTAX_OK && check->report.problems->count == 0) {
            cJSON *nested = nx_nest(check->interface, *payload);
            if (!nested) {
                return NONTAX_NO_MEMORY;
            }
            nx_json_free(*payload);
            *payload = nested;
        }
    } else {
        check_members(check, *payload, -1, &whole);
    }
    if (check->report.status == NONTAX_OK && check->report.problems->count > 0) {
        return NONTAX_BAD_PAYLOAD;
    }
    return check->report.status;
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
            status = nx_append_encoded(text, nx_name_of(item));
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
    check check = {interface, extra, {problems, NONTAX_OK}};
    if (!payload) {
        return NONTAX_NO_MEMORY;
    }
    nontax_status status = check_payload(&check, &payload);
    if (status == NONTAX_OK) {
        status = copy_secret(interface, payload, secret);
    }
    if (status == NONTAX_OK) {
        status =
            interface->form == NX_QUERY ? print_query(payload, text) : nx_json_print(payload, text);
    }
    nx_json_free(payload);
    return status;
}
