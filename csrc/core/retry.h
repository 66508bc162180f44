/* retry.h: what may be repeated by itself, and when. The whole list is in retry.c. */
#ifndef NONTAX_RETRY_H
#define NONTAX_RETRY_H

#include "nontax.h"

typedef enum nx_again {
    NX_AGAIN_NEVER,
    NX_AGAIN_SAME,       /* as it is, after a pause */
    NX_AGAIN_NEW_TOKEN,  /* with a newer access token */
    NX_AGAIN_NEXT_MINUTE /* when the next minute's quota begins */
} nx_again;

/* Decides from an attempt's result alone whether the call may be repeated. */
typedef struct nx_history {
    int retries;        /* how often it may be repeated */
    int repeats;        /* how often it was */
    bool token_renewed; /* it had its second token, or needs none */
    bool read_only;     /* its interface changes nothing */
    bool bulk;          /* the minute's quota may be waited for, */
    int quota_pauses;   /* which it was so many times */
} nx_history;
nx_again nx_retry_decide(const nontax_result *result, const nx_history *history);

/* How long to wait before repeat number `repeats` + 1, in milliseconds: doubling from 200 ms to
 * 10 s. `random`, any 32 bits, takes away up to a half, so that callers which failed together do
 * not come back together. */
int64_t nx_retry_delay_ms(int repeats, uint32_t random);

#endif
