/* sweep.h: attempts with each allocation of the library, of libcurl and of cJSON failing in turn.
 */
#ifndef NONTAX_TESTS_SWEEP_H
#define NONTAX_TESTS_SWEEP_H

#include <stdbool.h>

#include "nontax.h"

/* From here on all of them allocate in a way that can be made to fail. */
void use_heap(void);

/* The so-manieth allocation from here on fails, and all later ones as well or not. */
void fail_at(long number, bool and_all_after);
void fail_no_more(void);
/* Whether one has failed since. */
bool heap_failed(void);

/* Makes the attempt with its first allocation failing, then with its second, and so on until all
 * succeed; then again, with all later ones failing as well. Every time nothing may be left. */
bool with_every_failure(bool (*attempt)(long number, bool and_all_after));

/* Drives a run until each of the calls has ended, for an attempt. */
bool finish_run(nontax_run *run, nontax_call **calls, int count, const char *token,
                int64_t timeout_ms);

#endif
