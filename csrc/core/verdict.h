/* verdict.h: what became of one attempt: inserted, rejected, not sent, or in doubt. */
#ifndef NONTAX_VERDICT_H
#define NONTAX_VERDICT_H

#include "http.h"

/* Where an attempt's result is written, and what must not be seen in it. */
typedef struct nx_account {
    const nontax_interface *interface;
    nx_secrets secrets;
    nontax_result *result;
    cJSON **fields;
    nx_buffer *reply;
} nx_account;

/* Says what became of a transfer that libcurl has ended with `code`, and forgets the token. */
void nx_transfer_finish(nx_transfer *transfer, CURLcode code, const nx_account *account);

/* Says what is known of a transfer that was taken off the multi handle before its end: because the
 * time was over, or for another reason. */
void nx_transfer_abandon(nx_transfer *transfer, bool timed_out, const nx_account *account);

#endif
