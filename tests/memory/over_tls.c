/* over_tls.c: every allocation of a bulk run over TLS fails once, from the handshake on, and what
 * is said of each bill then is printed for tests/test_memory_over_tls.py to compare.
 *
 * usage: over_tls URL CA_FILE TOKEN   (each line: order_id, outcome) */
#include "support.h"
#include "sweep.h"

#include <stdio.h>

enum { CALLS = 3 };

static const char *const outcomes[] = {[NONTAX_INSERTED] = "inserted",
                                       [NONTAX_REJECTED] = "rejected",
                                       [NONTAX_NOT_SENT] = "not_sent",
                                       [NONTAX_IN_DOUBT] = "in_doubt"};

static char **arguments;

static bool insert(long number, bool and_all_after)
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
        REQUIRE(nontax_call_set_payload(calls[i], nontax_payload_from_json(bill)) == NONTAX_OK);
    }
    fail_at(number, and_all_after);
    nontax_status status = nontax_run_new(client, &run_settings, &run, &why);
    bool ended = run && finish_run(run, calls, CALLS, arguments[2], settings.timeout_ms);
    fail_no_more();
    REQUIRE(status == NONTAX_OK ? ended : heap_failed() && !run);
    nontax_run_free(run);
    for (int i = 0; i < CALLS; i++) {
        printf("%s %s\n", order_ids[i],
               run ? outcomes[nontax_call_result(calls[i])->outcome] : "not_sent");
        nontax_call_free(calls[i]);
    }
    nontax_client_free(client);
    clock_forward(0);
    return true;
}

int main(int count, char **words)
{
    if (count != 4) {
        return 2;
    }
    arguments = words + 1;
    use_heap();
    return with_every_failure(insert) ? 0 : 1;
}
