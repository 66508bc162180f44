/* retry.h: what may be repeated by itself, and when. The whole list is in retry.c. */
#ifndef NONTAX_RETRY_H
#define NONTAX_RETRY_H

#include "nontax.h"

typedef enum nx_again {
    NX_AGAIN_NEVER,
    NX_AGAIN_SAME,     /* as it is, after a pause */
    NX_AGAIN_NEW_TOKEN /* with a newer access token */
} nx_again;

/* Decides from an attempt's result alone whether the call may be repeated. `repeats` is how often
 * it was repeated with the same token already, `retries` how often it may be, `token_renewed`
 * whether it had its second token. */
nx_again nx_retry_decide(const nontax_result *result, int repeats, int retries, bool token_renewed);

/* How long to wait before repeat number `repeats` + 1, in milliseconds: doubling from 200 ms to
 * 10 s, of which `random`, any 32 bits, takes away up to a half. */
int64_t nx_retry_delay_ms(int repeats, uint32_t random);

#endif
