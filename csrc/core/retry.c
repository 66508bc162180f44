/* retry.c: what may be repeated by itself, and nothing else. A bill must never go out twice unless
 * WeChat has said that it did not take the first, or not one byte of the first body was sent. Only
 * an interface that changes nothing may be asked again when its answer did not come. */
#include "retry.h"

/* Pauses of one bill for the minute's quota. After so many full minutes something else must be
 * using up the quota, and waiting longer does not help. */
enum { MAX_QUOTA_PAUSES = 10 };

nx_again nx_retry_decide(const nontax_result *result, const nx_history *history)
{
    bool may_repeat = history->repeats < history->retries;
    if (result->outcome == NONTAX_NOT_SENT) {
        bool again = result->cause == NONTAX_CAUSE_CONNECTION && may_repeat;
        return again ? NX_AGAIN_SAME : NX_AGAIN_NEVER;
    }
    if (result->outcome == NONTAX_IN_DOUBT) {
        /* Whoever only asked may ask again, unless it was the caller who ended it. */
        bool again = history->read_only && may_repeat && result->cause != NONTAX_CAUSE_CANCELLED &&
                     result->cause != NONTAX_CAUSE_MEMORY;
        return again ? NX_AGAIN_SAME : NX_AGAIN_NEVER;
    }
    if (result->outcome == NONTAX_INSERTED) {
        return NX_AGAIN_NEVER;
    }
    switch (nontax_errcode_find(result->errcode)->reaction) {
    case NONTAX_REACTION_NEW_TOKEN:
    case NONTAX_REACTION_NEW_TOKEN_OR_SAME:
        return history->token_renewed ? NX_AGAIN_NEVER : NX_AGAIN_NEW_TOKEN;
    case NONTAX_REACTION_REPEAT:
        return may_repeat ? NX_AGAIN_SAME : NX_AGAIN_NEVER;
    case NONTAX_REACTION_NEXT_MINUTE:
        return history->bulk && history->quota_pauses < MAX_QUOTA_PAUSES ? NX_AGAIN_NEXT_MINUTE
                                                                         : NX_AGAIN_NEVER;
    case NONTAX_REACTION_NONE:
        break;
    }
    return NX_AGAIN_NEVER;
}

int64_t nx_retry_delay_ms(int repeats, uint32_t random)
{
    int64_t longest = repeats < 6 ? INT64_C(200) << repeats : 10000;
    return longest - (int64_t)(random % (uint32_t)(longest / 2 + 1));
}

bool nontax_result_stops_run(const nontax_result *result)
{
    if (result->cause == NONTAX_CAUSE_TLS || result->cause == NONTAX_CAUSE_TOKEN) {
        return true;
    }
    if (result->cause == NONTAX_CAUSE_LATER) {
        return false; /* whoever has it so knows what to do */
    }
    return result->outcome == NONTAX_REJECTED && nontax_errcode_find(result->errcode)->stops_run;
}
