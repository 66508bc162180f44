/* twins.h: which calls of a run are about the same order, or the same printed number. WeChat takes
 * the first and refuses the second as a duplicate: then it is not the second that was delivered. */
#ifndef NONTAX_TWINS_H
#define NONTAX_TWINS_H

#include "interfaces.h"

/* What two payloads have in common; 0: nothing known. Hashes, as a run may have millions. */
typedef struct nx_keys {
    uint64_t order;
    uint64_t number;
} nx_keys;

/* Of a payload in any of its shapes, valid or not. */
nx_keys nx_keys_of(const nontax_interface *interface, const nontax_payload *payload);

/* A hash table that grows. */
typedef struct nx_twins_table {
    struct nx_twins_slot *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t used;
} nx_twins_table;

/* Two generations of keys: when the newer one is full, it becomes the older, and the older is
 * forgotten. So the last 100,000 calls are always known, in 8 MiB at most. */
typedef struct nx_twins {
    nx_twins_table newer;
    nx_twins_table older;
} nx_twins;

/* Without memory the keys are forgotten: then no twin is reported. */
void nx_twins_add(nx_twins *twins, const nx_keys *keys, uint32_t place);

/* Another call with the same order, or else the same number, and its place. */
nontax_twin nx_twins_find(const nx_twins *twins, const nx_keys *keys, uint32_t place,
                          uint32_t *other);

void nx_twins_free(nx_twins *twins);

#endif
