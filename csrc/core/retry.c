/* retry.c: what may be repeated by itself, and nothing else. A bill must never go out twice unless
 * WeChat has said that it did not take the first, or not one byte of the first body was sent. Only
 * an interface that changes nothing may be asked again when its answer did not come. */
#include "retry.h"

enum { MAX_QUOTA_PAUSES = 10 }; /* of one bill: somebody else must be using up the quota */

nx_again nx_retry_decide(const nontax_result *result, const nx_history *history)
{
    bool may_repeat = history->repeats < history->retries;
    if (result->outcome == NONTAX_NOT_SENT) {
        bool again = result->cause == NONTAX_CAUSE_CONNECTION && may_repeat;
        return again ? NX_AGAIN_SAME : NX_AGAIN_NEVER;
    }
    if (result->outcome == NONTAX_IN_DOUBT) {
        /* Whoever only asked may ask again, unless it was the caller who ended it. */
        bool again = history->reads && may_repeat && result->cause != NONTAX_CAUSE_CANCELLED &&
                     result->cause != NONTAX_CAUSE_MEMORY;
        return again ? NX_AGAIN_SAME : NX_AGAIN_NEVER;
    }
    if (result->outcome == NONTAX_INSERTED) {
        return NX_AGAIN_NEVER;
    }
    switch (result->errcode) {
    case 40001:
    case 40014:
    case 42001:
        return history->token_renewed ? NX_AGAIN_NEVER : NX_AGAIN_NEW_TOKEN;
    case 72036: /* the bill is being changed right now */
    case 72054: /* an insertion of it is under way */
        return may_repeat ? NX_AGAIN_SAME : NX_AGAIN_NEVER;
    case 45011: /* too many calls in this minute */
        return history->bulk && history->quota_pauses < MAX_QUOTA_PAUSES ? NX_AGAIN_NEXT_MINUTE
                                                                         : NX_AGAIN_NEVER;
    default:
        return NX_AGAIN_NEVER;
    }
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
    if (result->outcome != NONTAX_REJECTED) {
        return false;
    }
    switch (result->errcode) {
    /* The access token: a newer one was asked for before it came to this. */
    case 40001:
    case 40014:
    case 41001:
    case 42001:
    /* The account, its permissions and its IP list. Codes that may be about one bill's appid, card
     * or citizen are not here, although their category is the account's. */
    case 40090:
    case 40125:
    case 40164:
    case 40243:
    case 43104:
    case 45035:
    case 45103:
    case 48001:
    case 48004:
    case 48009:
    case 50004:
    case 50007:
    case 61003:
    case 61004:
    case 61007:
    case 72015:
    /* Quotas that are longer than a minute. */
    case 45009:
    case 45102:
    case 45104:
    case 45501:
    case 72057:
    /* The request itself was made wrongly: by a proxy, or for another kind of token. */
    case 43002:
    case 61024:
        return true;
    default:
        return result->errcode >= 89501 && result->errcode <= 89507;
    }
}
