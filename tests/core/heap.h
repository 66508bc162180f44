/* heap.h: an allocator for the library, for libcurl and for cJSON that fails when it is told to. */
#ifndef NONTAX_TESTS_HEAP_H
#define NONTAX_TESTS_HEAP_H

#include <stdbool.h>

/* From here on all of them use it. */
void use_heap(void);

/* The so-manieth allocation from here on fails, and all later ones as well or not. */
void fail_at(long number, bool and_all_after);
void fail_no_more(void);
/* Whether one has failed since. */
bool heap_failed(void);

/* How many allocations were not freed yet. */
long heap_live(void);
/* How many more there are than `before`, once a thread of libcurl's has ended that nobody waits
 * for. */
long leaked(long before);

#endif
