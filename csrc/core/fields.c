/* fields.c: where the fields of an interface stand, and the shapes that its payload can have. */
#include "fields.h"

#include <string.h>

#include "characters.h"
#include "problems.h"
#include "text.h"

int nx_next_member(const nontax_interface *interface, int parent, int after)
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

/* Most names differ in their first character. */
static bool is_named(const nx_field *field, const char *name)
{
    return *field->name == *name && strcmp(field->name, name) == 0;
}

int nx_find_member(const nontax_interface *interface, int parent, const char *name)
{
    const nx_field *fields = interface->fields;
    int depth = parent < 0 ? 0 : fields[parent].depth + 1;
    for (int row = parent + 1; row < interface->field_count && fields[row].depth >= depth; row++) {
        if (fields[row].depth == depth && is_named(&fields[row], name)) {
            return row;
        }
    }
    return -1;
}

bool nx_is_object_row(const nx_field *field)
{
    return field->kind == NX_OBJECT || field->kind == NX_WRAPPER;
}

int nx_find_leaf(const nontax_interface *interface, const char *name)
{
    for (int i = 0; i < interface->field_count; i++) {
        if (is_named(&interface->fields[i], name) && !nx_is_object_row(&interface->fields[i])) {
            return i;
        }
    }
    return -1;
}

void nx_row_path(const nontax_interface *interface, int row, char *target)
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
        char parent[NX_MAX_PATH];
        memcpy(parent, target, sizeof parent);
        nx_join_path(target, parent, names[--count]);
    }
}

int nx_find_row(const nontax_interface *interface, const char *name)
{
    for (int row = 0; row < interface->field_count; row++) {
        if (is_named(&interface->fields[row], name)) {
            return row;
        }
    }
    return -1;
}

/* Skips what does not matter in a name: separators, and what cannot be seen. */
static const char *skip(const char *name)
{
    size_t size;
    while ((size = *name == '_' || *name == '-' ? 1 : nx_unseen_size(name)) > 0) {
        name += size;
    }
    return name;
}

static bool same_but_for_spelling(const char *left, const char *right)
{
    for (;;) {
        left = skip(left);
        right = skip(right);
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

int nx_find_meant(const nontax_interface *interface, const char *name)
{
    bool valid = nx_utf8_valid(name, strlen(name));
    for (int row = 0; valid && row < interface->field_count; row++) {
        if (same_but_for_spelling(interface->fields[row].name, name)) {
            return row;
        }
    }
    return -1;
}

/* Whether the members of a wrapper stand in its parent, without the wrapper. */
static bool is_unwrapped(const nontax_interface *interface, const nx_value *object, int wrapper)
{
    if (nx_value_find(object, interface->fields[wrapper].name)) {
        return false;
    }
    for (const nx_value *value = object->first; value; value = value->next) {
        if (nx_find_member(interface, wrapper, value->name) >= 0) {
            return true;
        }
    }
    return false;
}

int nx_row_of_members(const nontax_interface *interface, const nx_value *object, int parent)
{
    int row = -1;
    while ((row = nx_next_member(interface, parent, row)) >= 0) {
        if (interface->fields[row].kind == NX_WRAPPER && is_unwrapped(interface, object, row)) {
            return row;
        }
    }
    return parent;
}

bool nx_is_flat(const nontax_interface *interface, const nx_value *payload)
{
    bool nested_leaf = false;
    if (!interface->flat_allowed || payload->kind != NX_VALUE_OBJECT) {
        return false;
    }
    for (const nx_value *value = payload->first; value; value = value->next) {
        int row = nx_find_member(interface, -1, value->name);
        if (row >= 0 && nx_is_object_row(&interface->fields[row])) {
            return false;
        }
        nested_leaf = nested_leaf || (row < 0 && nx_find_leaf(interface, value->name) >= 0);
    }
    return nested_leaf;
}

/* Takes the first member of that name out; NULL: there is none. */
static nx_value *take_member(nx_value *object, const char *name)
{
    nx_value *before = NULL, *member = object->first;
    while (member && strcmp(member->name, name) != 0) {
        before = member;
        member = member->next;
    }
    return member ? nx_value_take(object, before) : NULL;
}

nontax_status nx_nest(const nontax_interface *interface, nontax_payload *payload)
{
    nx_value *flat = nx_payload_root(payload);
    nx_value *parents[8] = {nx_payload_new_object(payload, NULL)};
    if (!parents[0]) {
        return NONTAX_NO_MEMORY;
    }
    for (int row = 0; row < interface->field_count; row++) {
        const nx_field *field = &interface->fields[row];
        nx_value *value;
        if (nx_is_object_row(field)) {
            value = nx_payload_new_object(payload, field->name);
            if (!value) {
                return NONTAX_NO_MEMORY;
            }
            parents[field->depth + 1] = value;
        } else {
            value = take_member(flat, field->name);
            if (!value) {
                continue; /* an optional field that is not given */
            }
        }
        nx_value_append(parents[field->depth], value);
    }
    while (flat->first) {
        nx_value_append(parents[0], nx_value_take(flat, NULL));
    }
    nx_payload_set_root(payload, parents[0]);
    return NONTAX_OK;
}

void nx_drop_extra(const nontax_interface *interface, nx_value *object, int parent)
{
    parent = nx_row_of_members(interface, object, parent);
    for (nx_value *before = NULL, *value = object->first; value; value = value->next) {
        int row = nx_find_member(interface, parent, value->name);
        if (row < 0) {
            (void)nx_value_take(object, before);
            continue;
        }
        if (nx_is_object_row(&interface->fields[row])) {
            nx_drop_extra(interface, value, row);
        }
        before = value;
    }
}
