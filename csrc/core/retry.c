/* retry.c: what may be repeated by itself, and nothing else. A bill must never go out twice unless
 * WeChat has said that it did not take the first, or not one byte of the first body was sent. */
#include "retry.h"

nx_again nx_retry_decide(const nontax_result *result, int repeats, int retries, bool token_renewed)
{
    if (result->outcome == NONTAX_NOT_SENT) {
        bool again = result->cause == NONTAX_CAUSE_CONNECTION && repeats < retries;
        return again ? NX_AGAIN_SAME : NX_AGAIN_NEVER;
    }
    if (result->outcome != NONTAX_REJECTED) {
        return NX_AGAIN_NEVER;
    }
    switch (result->errcode) {
    case 40001:
    case 40014:
    case 42001:
        return token_renewed ? NX_AGAIN_NEVER : NX_AGAIN_NEW_TOKEN;
    case 72036: /* the bill is being changed right now */
    case 72054: /* an insertion of it is under way */
        return repeats < retries ? NX_AGAIN_SAME : NX_AGAIN_NEVER;
    default:
        return NX_AGAIN_NEVER;
    }
}

int64_t nx_retry_delay_ms(int repeats, uint32_t random)
{
    int64_t longest = repeats < 6 ? INT64_C(200) << repeats : 10000;
    return longest - (int64_t)(random % (uint32_t)(longest / 2 + 1));
}
