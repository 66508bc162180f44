/* test_threads.c: threads on one client: calls, closing, and other clients coming and going. */
#include "support.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { THREADS = 4, CALLS = 25 };

typedef struct worker {
    nontax_client *client;
    const char *url;
    int number;
    int inserted;
} worker;

static void *call_again_and_again(void *context)
{
    worker *worker = context;
    for (int i = 0; i < CALLS; i++) {
        char order_id[32];
        snprintf(order_id, sizeof order_id, "thread-%d-%d", worker->number, i);
        nontax_call *call = call_for(worker->client, order_id);
        nontax_client_run(worker->client, call, NULL);
        const nontax_result *result = nontax_call_result(call);
        if (result->outcome == NONTAX_INSERTED) {
            const cJSON *code = cJSON_GetObjectItem(result->fields, "code");
            worker->inserted += strcmp(code->valuestring, order_id) == 0;
        }
        nontax_call_free(call);
    }
    return NULL;
}

static void *close_again_and_again(void *context)
{
    const worker *worker = context;
    for (int i = 0; i < CALLS; i++) {
        nontax_client_close_idle(worker->client);
        nontax_client *other = client_for(worker->url, 0);
        nontax_client_free(other);
    }
    return NULL;
}

static void test_one_client(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    pthread_t threads[THREADS + 1];
    worker workers[THREADS + 1];
    for (int i = 0; i <= THREADS; i++) {
        workers[i] = (worker){client, server_url(server), i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL,
                                        i < THREADS ? call_again_and_again : close_again_and_again,
                                        &workers[i]),
                         0);
    }
    for (int i = 0; i <= THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(workers[i].inserted, CALLS);
    }
    assert_int_equal(server_insertions(server), THREADS * CALLS);
    nontax_client_free(client);
    server_stop(server);
}

/* A lane of its own for each thread, all on one client. */
static void *run_a_lane(void *context)
{
    worker *worker = context;
    nontax_run *run = NULL;
    nontax_text why;
    const nontax_run_settings settings = {.concurrency = 4};
    if (nontax_run_new(worker->client, &settings, &run, &why) != NONTAX_OK) {
        return NULL;
    }
    int added = 0, taken = 0;
    while (taken < CALLS) {
        while (added < CALLS && nontax_run_wants_in(run) == 0) {
            char order_id[32];
            snprintf(order_id, sizeof order_id, "run-%d-%d", worker->number, added++);
            (void)nontax_run_add(run, call_without_token(worker->client, order_id));
            if (nontax_run_needs_token(run)) {
                (void)nontax_run_set_token(run, TOKEN, strlen(TOKEN));
            }
        }
        (void)nontax_run_step(run, 1000);
        if (nontax_run_needs_token(run)) {
            (void)nontax_run_set_token(run, TOKEN, strlen(TOKEN));
        }
        for (nontax_call *call; (call = nontax_run_take(run)); taken++) {
            worker->inserted += nontax_call_result(call)->outcome == NONTAX_INSERTED;
            nontax_call_free(call);
        }
    }
    nontax_run_free(run);
    return NULL;
}

static void test_runs(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    pthread_t threads[THREADS];
    worker workers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (worker){client, server_url(server), i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, run_a_lane, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(workers[i].inserted, CALLS);
    }
    assert_int_equal(server_insertions(server), THREADS * CALLS);
    nontax_client_free(client);
    server_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_client),
        cmocka_unit_test(test_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
