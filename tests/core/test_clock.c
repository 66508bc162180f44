/* test_clock.c: the clock on the wall jumps; what a call waits for does not change. */
#include "support.h"

#include <string.h>

enum { DAY_MS = 24 * 3600 * 1000 };

static const int64_t jumps[] = {-300LL * DAY_MS, 300LL * DAY_MS};

static nontax_run *run_with(nontax_client *client, const char *order_id)
{
    const nontax_run_settings settings = {.concurrency = 1, .bulk = true};
    nontax_run *run;
    nontax_text why;
    assert_int_equal(nontax_run_new(client, &settings, &run, &why), NONTAX_OK);
    assert_int_equal(nontax_run_add(run, call_without_token(client, order_id)), NONTAX_OK);
    assert_int_equal(nontax_run_set_token(run, TOKEN, strlen(TOKEN)), NONTAX_OK);
    return run;
}

static void expect_inserted(nontax_run *run)
{
    nontax_call *call;
    while (!(call = nontax_run_take(run))) {
        (void)nontax_run_step(run, 1000);
    }
    assert_int_equal(nontax_call_result(call)->outcome, NONTAX_INSERTED);
    nontax_call_free(call);
}

static void test_jump_during_a_call(void **state)
{
    (void)state;
    static const server_step step = {.move = ANSWER_WHEN_TOLD};
    for (size_t i = 0; i < COUNT(jumps); i++) {
        server *server = server_start(&step, 1);
        nontax_client *client = client_for(server_url(server), 0);
        nontax_run *run = run_with(client, "a");
        while (server_requests(server) == 0) {
            (void)nontax_run_step(run, 10);
        }
        wall_clock_jump(jumps[i]);
        (void)nontax_run_step(run, 10);
        assert_null(nontax_run_finished(run));
        server_release(server);
        expect_inserted(run);
        wall_clock_jump(0);
        nontax_run_free(run);
        nontax_client_free(client);
        server_stop(server);
    }
}

/* The pause ends a minute from now at the latest, whatever the wall says by then. */
static void test_jump_during_a_pause(void **state)
{
    (void)state;
    static const server_step step = {.body = "{\"errcode\":45011}"};
    for (size_t i = 0; i < COUNT(jumps); i++) {
        server *server = server_start(&step, 1);
        nontax_client *client = client_for(server_url(server), 0);
        nontax_run *run = run_with(client, "a");
        while (server_requests(server) == 0) {
            (void)nontax_run_step(run, 10);
        }
        server_wait_for_answers(server, 1);
        while (nontax_run_step(run, 100) == NONTAX_STEP_BUSY) {
        }
        wall_clock_jump(jumps[i]);
        (void)nontax_run_step(run, 500);
        assert_int_equal(server_requests(server), 1);
        clock_forward(62 * 1000);
        expect_inserted(run);
        clock_forward(0);
        wall_clock_jump(0);
        nontax_run_free(run);
        nontax_client_free(client);
        server_stop(server);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jump_during_a_call),
        cmocka_unit_test(test_jump_during_a_pause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
