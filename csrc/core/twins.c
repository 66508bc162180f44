/* twins.c: which calls of a run have the same keys; see twins.h. */
#include "twins.h"

#include <string.h>

#include "fields.h"
#include "memory.h"

enum {
    MAX_DEPTH = 4, /* of a bill's objects */
    KEPT_CALLS = 100000,
    MOST_KEYS = 2 * KEPT_CALLS, /* in one generation */
    FIRST_CAPACITY = 64
};

typedef struct nx_twins_slot {
    uint64_t key; /* 0: free */
    uint32_t first;
    uint32_t last;
} slot;

/* ---- keys -------------------------------------------------------------------------------- */

/* FNV-1a, with its bits mixed at the end, as the table uses the lowest ones. */
static uint64_t hash_of(const char *name, const char *text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    const char *const parts[] = {name, "=", text};
    for (int i = 0; i < 3; i++) {
        for (const char *c = parts[i]; *c; c++) {
            hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
        }
    }
    hash = (hash ^ (hash >> 33)) * UINT64_C(0xff51afd7ed558ccd);
    hash ^= hash >> 33;
    return hash ? hash : 1;
}

static const nx_field *field_of(const nontax_interface *interface, const char *name)
{
    int row = nx_find_row(interface, name);
    return row < 0 ? NULL : &interface->fields[row];
}

/* Sums, so that the order of the fields does not matter. */
static void add_keys(nx_keys *keys, const nontax_interface *interface, const nx_value *object,
                     int depth)
{
    for (const nx_value *value = object->first; value; value = value->next) {
        const nx_field *field = field_of(interface, value->name);
        if (!field) {
            continue;
        }
        if (nx_is_object_row(field) && value->kind == NX_VALUE_OBJECT && depth < MAX_DEPTH) {
            add_keys(keys, interface, value, depth + 1);
        } else if (field->key == NX_KEY_ORDER && value->kind == NX_VALUE_TEXT) {
            keys->order += hash_of(field->name, value->text);
        } else if (field->key == NX_KEY_NUMBER && value->kind == NX_VALUE_TEXT) {
            keys->number += hash_of(field->name, value->text);
        }
    }
}

nx_keys nx_keys_of(const nontax_interface *interface, const nontax_payload *payload)
{
    nx_keys keys = {0, 0};
    const nx_value *root = payload ? nx_payload_root(payload) : NULL;
    if (root && root->kind == NX_VALUE_OBJECT) {
        add_keys(&keys, interface, root, 0);
    }
    return keys;
}

/* ---- one generation ---------------------------------------------------------------------- */

/* The key's slot, or the free one where it belongs; NULL: there is no table. */
static slot *find_slot(const nx_twins_table *table, uint64_t key)
{
    if (!table->capacity) {
        return NULL;
    }
    size_t place = (size_t)key & (table->capacity - 1);
    while (table->slots[place].key && table->slots[place].key != key) {
        place = (place + 1) & (table->capacity - 1);
    }
    return &table->slots[place];
}

static const slot *find(const nx_twins_table *table, uint64_t key)
{
    const slot *found = find_slot(table, key);
    return found && found->key ? found : NULL;
}

/* Makes room for one more. */
static bool reserve(nx_twins_table *table)
{
    if ((table->used + 1) * 8 <= table->capacity * 7) {
        return true;
    }
    size_t capacity = table->capacity ? 2 * table->capacity : FIRST_CAPACITY;
    nx_twins_table grown = {nx_calloc(capacity, sizeof(slot)), capacity, table->used};
    if (!grown.slots) {
        return false;
    }
    for (size_t i = 0; i < table->capacity; i++) {
        if (table->slots[i].key) {
            *find_slot(&grown, table->slots[i].key) = table->slots[i];
        }
    }
    nx_free(table->slots);
    *table = grown;
    return true;
}

/* ---- both -------------------------------------------------------------------------------- */

static void add_key(nx_twins *twins, uint64_t key, uint32_t place)
{
    if (!key || !reserve(&twins->newer)) {
        return;
    }
    slot *target = find_slot(&twins->newer, key);
    if (target->key) {
        target->last = place;
        return;
    }
    const slot *older = find(&twins->older, key);
    *target = (slot){key, older ? older->first : place, place};
    twins->newer.used++;
}

void nx_twins_add(nx_twins *twins, const nx_keys *keys, uint32_t place)
{
    if (twins->newer.used + 2 > MOST_KEYS) {
        nx_free(twins->older.slots);
        twins->older = twins->newer;
        twins->newer = (nx_twins_table){0};
    }
    add_key(twins, keys->order, place);
    add_key(twins, keys->number, place);
}

static bool find_other(const nx_twins_table *table, uint64_t key, uint32_t place, uint32_t *other)
{
    const slot *found = key ? find(table, key) : NULL;
    if (!found || (found->first == place && found->last == place)) {
        return false;
    }
    *other = found->first != place ? found->first : found->last;
    return true;
}

nontax_twin nx_twins_find(const nx_twins *twins, const nx_keys *keys, uint32_t place,
                          uint32_t *other)
{
    if (find_other(&twins->newer, keys->order, place, other) ||
        find_other(&twins->older, keys->order, place, other)) {
        return NONTAX_TWIN_ORDER;
    }
    if (find_other(&twins->newer, keys->number, place, other) ||
        find_other(&twins->older, keys->number, place, other)) {
        return NONTAX_TWIN_NUMBER;
    }
    return NONTAX_TWIN_NONE;
}

void nx_twins_free(nx_twins *twins)
{
    nx_free(twins->newer.slots);
    nx_free(twins->older.slots);
    *twins = (nx_twins){0};
}
