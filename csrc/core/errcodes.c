/* errcodes.c: looking up WeChat's error codes. */
#include "nontax.h"

#include <stdlib.h>

static const char *const category_names[] = {
    "success",        "access_token", "account", "quota", "parameter",
    "not_authorized", "duplicate",    "state",   "busy",  "unknown",
};

static const char *const retry_names[] = {"no", "yes", "later", "after_token_refresh"};

#define ADVICE_SUCCESS "No action required."
#define ADVICE_ACCESS_TOKEN "Fetch a current access token and send again."
#define ADVICE_ACCOUNT                                                                             \
    "Check in the console what the account is allowed to do; repeating does not help."
#define ADVICE_QUOTA "A limit is reached: send less, and continue later."
#define ADVICE_PARAMETER                                                                           \
    "Compare the request with the interface's page; repeating it as it is does not help."
#define ADVICE_NOT_AUTHORIZED "The citizen must authorise the order first."
#define ADVICE_DUPLICATE "It was inserted before: treat it as delivered."
#define ADVICE_STATE                                                                               \
    "The bill or the card is in a state that does not allow this: look at its state first."
#define ADVICE_BUSY "WeChat is busy: try again later."

enum { STOPS_BILL = false, STOPS_RUN = true };

/* A row may bring its own advice; NULL takes the category's. */
#define ADVICE_OR(advice, fallback) ((advice) != NULL ? (advice) : (fallback))

static const nontax_errcode table[] = {
#define ERRCODE(code, name, category, retry, reaction, stops, advice)                              \
    {code,                                                                                         \
     #name,                                                                                        \
     NONTAX_CATEGORY_##category,                                                                   \
     NONTAX_RETRY_##retry,                                                                         \
     NONTAX_REACTION_##reaction,                                                                   \
     STOPS_##stops,                                                                                \
     ADVICE_OR(advice, ADVICE_##category)},
#include "errcodes.def"
#undef ERRCODE
};

static const nontax_errcode unknown = {
    .name = "UNKNOWN",
    .category = NONTAX_CATEGORY_UNKNOWN,
    .retry = NONTAX_RETRY_NO,
    .advice = "This code is not in nontax's table: look it up at developers.weixin.qq.com.",
};

static int compare(const void *left, const void *right)
{
    int a = *(const int *)left, b = ((const nontax_errcode *)right)->code;
    return (a > b) - (a < b);
}

const nontax_errcode *nontax_errcode_find(int code)
{
    const nontax_errcode *found =
        bsearch(&code, table, sizeof table / sizeof *table, sizeof *table, compare);
    return found ? found : &unknown;
}

const nontax_errcode *nontax_errcodes(size_t *count)
{
    *count = sizeof table / sizeof *table;
    return table;
}

const char *nontax_category_name(nontax_category category)
{
    return category_names[category];
}

const char *nontax_retry_name(nontax_retry retry)
{
    return retry_names[retry];
}
