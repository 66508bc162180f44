/* fields.c: where the fields of an interface stand, and the shapes that its payload can have. */
#include "fields.h"

#include <string.h>

#include "characters.h"
#include "json.h"
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

int nx_find_member(const nontax_interface *interface, int parent, const char *name)
{
    int row = -1;
    while ((row = nx_next_member(interface, parent, row)) >= 0) {
        if (strcmp(interface->fields[row].name, name) == 0) {
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
        if (!nx_is_object_row(&interface->fields[i]) &&
            strcmp(interface->fields[i].name, name) == 0) {
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
        if (strcmp(interface->fields[row].name, name) == 0) {
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
static bool is_unwrapped(const nontax_interface *interface, const cJSON *object, int wrapper)
{
    if (cJSON_GetObjectItemCaseSensitive(object, interface->fields[wrapper].name)) {
        return false;
    }
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, object)
    {
        if (nx_find_member(interface, wrapper, nx_name_of(item)) >= 0) {
            return true;
        }
    }
    return false;
}

int nx_row_of_members(const nontax_interface *interface, const cJSON *object, int parent)
{
    int row = -1;
    while ((row = nx_next_member(interface, parent, row)) >= 0) {
        if (interface->fields[row].kind == NX_WRAPPER && is_unwrapped(interface, object, row)) {
            return row;
        }
    }
    return parent;
}

bool nx_is_flat(const nontax_interface *interface, const cJSON *payload)
{
    bool nested_leaf = false;
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, payload)
    {
        int row = nx_find_member(interface, -1, nx_name_of(item));
        if (row >= 0 && nx_is_object_row(&interface->fields[row])) {
            return false;
        }
        nested_leaf = nested_leaf || (row < 0 && nx_find_leaf(interface, nx_name_of(item)) >= 0);
    }
    return interface->flat_allowed && nested_leaf;
}

static bool add_item(cJSON *object, const char *name, cJSON *item)
{
    if (item && cJSON_AddItemToObjectCS(object, name, item)) {
        return true;
    }
    cJSON_Delete(item);
    return false;
}

cJSON *nx_nest(const nontax_interface *interface, cJSON *flat)
{
    cJSON *parents[8] = {cJSON_CreateObject()};
    if (!parents[0]) {
        return NULL;
    }
    for (int row = 0; row < interface->field_count; row++) {
        const nx_field *field = &interface->fields[row];
        cJSON *item;
        if (nx_is_object_row(field)) {
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
        if (!cJSON_AddItemToObject(parents[0], nx_name_of(item), item)) {
            cJSON_Delete(item);
            cJSON_Delete(parents[0]);
            return NULL;
        }
    }
    return parents[0];
}

void nx_drop_extra(const nontax_interface *interface, cJSON *object, int parent)
{
    parent = nx_row_of_members(interface, object, parent);
    for (cJSON *item = object->child, *next; item; item = next) {
        next = item->next;
        int row = nx_find_member(interface, parent, nx_name_of(item));
        if (row < 0) {
            nx_json_free(cJSON_DetachItemViaPointer(object, item));
        } else if (nx_is_object_row(&interface->fields[row])) {
            nx_drop_extra(interface, item, row);
        }
    }
}
