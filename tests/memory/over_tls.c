/* over_tls.c: every allocation of a bulk run over TLS fails once, from the handshake on, and what
 * is said of each bill then is printed for tests/test_memory_over_tls.py to compare.
 *
 * usage: over_tls URL CA_FILE TOKEN   (each line: order_id, outcome) */
#include "heap.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

enum { CALLS = 3 };

static const char *const outcomes[] = {[NONTAX_INSERTED] = "inserted",
                                       [NONTAX_REJECTED] = "rejected",
                                       [NONTAX_NOT_SENT] = "not_sent",
                                       [NONTAX_IN_DOUBT] = "in_doubt"};

/* Ends every call of a run: none may stay without an outcome. */
static bool finish(nontax_run *run, nontax_call **calls, const char *token, int64_t forward)
{
    for (int added = 0, taken = 0; taken < CALLS;) {
        while (added < CALLS && nontax_run_wants_in(run) == 0) {
            REQUIRE(nontax_run_add(run, calls[added++]) == NONTAX_OK);
        }
        if (nontax_run_needs_token(run) &&
            nontax_run_set_token(run, token, strlen(token)) != NONTAX_OK) {
            REQUIRE(heap_failed());
            nontax_run_no_token(run);
        }
        if (nontax_run_step(run, 100) == NONTAX_STEP_IDLE && heap_failed()) {
            /* libcurl can lose a transfer so; the jumps are those of test_memory.c. */
            clock_forward(forward);
            forward = 400;
        }
        while (nontax_run_take(run)) {
            taken++;
        }
    }
    return true;
}

static bool insert(char **arguments, long number, bool and_all_after)
{
    nontax_settings settings = NONTAX_SETTINGS_DEFAULT;
    const nontax_run_settings run_settings = {.concurrency = CALLS};
    nontax_client *client = NULL;
    nontax_run *run = NULL;
    nontax_call *calls[CALLS];
    char order_ids[CALLS][40];
    nontax_text why;
    settings.base_url = arguments[0];
    settings.ca_file = arguments[1];
    settings.timeout_ms = settings.connect_timeout_ms = 120000; /* no test waits for it */
    REQUIRE(nontax_client_new(&settings, &client, &why) == NONTAX_OK);
    for (int i = 0; i < CALLS; i++) {
        snprintf(order_ids[i], sizeof order_ids[i], "%ld-%d-%d", number, and_all_after, i);
        calls[i] = call_of(client, "insertbill");
        cJSON *bill = flat_bill();
        put(bill, "order_id", cJSON_CreateString(order_ids[i]));
        put(bill, "billing_code", cJSON_CreateString(order_ids[i]));
        REQUIRE(nontax_call_set_payload(calls[i], bill) == NONTAX_OK);
    }
    fail_at(number, and_all_after);
    nontax_status status = nontax_run_new(client, &run_settings, &run, &why);
    bool ended = run && finish(run, calls, arguments[2], client->timeout_ms);
    fail_no_more();
    REQUIRE(status == NONTAX_OK ? ended : heap_failed() && !run);
    nontax_run_free(run);
    for (int i = 0; i < CALLS; i++) {
        printf("%s %s\n", order_ids[i],
               run ? outcomes[nontax_call_result(calls[i])->outcome] : "not_sent");
        nontax_call_free(calls[i]);
    }
    nontax_client_free(client);
    return true;
}

int main(int count, char **arguments)
{
    if (count != 4) {
        return 2;
    }
    arguments++;
    use_heap();
    if (!insert(arguments, 0, false)) { /* what libcurl keeps for ever comes into being here */
        return 1;
    }
    for (int and_all_after = 0; and_all_after < 2; and_all_after++) {
        long number = 0;
        do {
            long before = heap_live();
            if (!insert(arguments, ++number, and_all_after)) {
                return 1;
            }
            long left = leaked(before);
            if (left != 0) {
                print_error("allocation %ld failed: %ld more are left\n", number, left);
                return 1;
            }
        } while (heap_failed());
    }
    return 0;
}
