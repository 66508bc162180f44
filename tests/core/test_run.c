/* test_run.c: runs: one token for all calls, their pace, and how calls and runs are ended. */
#include "support.h"

#include <pthread.h>
#include <string.h>

#include "call.h"
#include "clock.h"
#include "engine.h"

/* ---- shared ------------------------------------------------------------------------------ */

static nontax_run *new_run(nontax_client *client, nontax_run_settings settings)
{
    nontax_run *run = NULL;
    nontax_text why;
    assert_int_equal(nontax_run_new(client, &settings, &run, &why), NONTAX_OK);
    return run;
}

static nontax_call *add(nontax_run *run, nontax_client *client, const char *order_id)
{
    nontax_call *call = call_without_token(client, order_id);
    assert_int_equal(nontax_run_add(run, call), NONTAX_OK);
    return call;
}

static void set_token(nontax_run *run, const char *token)
{
    assert_int_equal(nontax_run_set_token(run, token, strlen(token)), NONTAX_OK);
}

static void step_until_requests(nontax_run *run, server *server, int count)
{
    while (server_requests(server) < count) {
        (void)nontax_run_step(run, 10);
    }
}

static nontax_call *take(nontax_run *run)
{
    nontax_call *call;
    while (!(call = nontax_run_take(run))) {
        (void)nontax_run_step(run, 50);
    }
    return call;
}

static void take_inserted(nontax_run *run)
{
    nontax_call *call = take(run);
    expect(call, NONTAX_INSERTED, NONTAX_CAUSE_NONE);
    nontax_call_free(call);
}

/* ---- the lane, which is borrowed ----------------------------------------------------------- */

static void run_one(nontax_client *client, nontax_run_settings settings, const char *order_id)
{
    nontax_run *run = new_run(client, settings);
    set_token(run, TOKEN);
    add(run, client, order_id);
    take_inserted(run);
    nontax_run_free(run);
}

static void test_runs_and_calls_share_connections(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    run_one(client, (nontax_run_settings){.concurrency = 16}, "one");
    run_one(client, (nontax_run_settings){.concurrency = 2}, "two");
    nontax_call *call = call_for(client, "three");
    nontax_client_run(client, call, NULL);
    expect(call, NONTAX_INSERTED, NONTAX_CAUSE_NONE);
    nontax_call_free(call);
    run_one(client, (nontax_run_settings){.concurrency = 16}, "four");
    assert_int_equal(server_connections(server), 1);
    nontax_client_free(client);
    server_stop(server);
}

static void test_a_closed_run(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *closed = new_run(client, (nontax_run_settings){.concurrency = 2});
    set_token(closed, TOKEN);
    add(closed, client, "one");
    while (!nontax_run_finished(closed)) {
        (void)nontax_run_step(closed, 50);
    }
    nontax_call *late = add(closed, client, "two");
    nontax_run_close(closed);
    nontax_run_close(closed);
    run_one(client, (nontax_run_settings){.concurrency = 1}, "three"); /* on its connection */
    take_inserted(closed);
    assert_ptr_equal(nontax_run_take(closed), late);
    assert_true(nontax_call_result(late)->outcome != NONTAX_INSERTED);
    nontax_call_free(late);
    assert_null(nontax_run_take(closed));
    nontax_call *refused = call_without_token(client, "four");
    assert_int_equal(nontax_run_add(closed, refused), NONTAX_WRONG_PROCESS);
    assert_false(nontax_call_finished(refused));
    nontax_call_free(refused);
    assert_int_equal(nontax_run_wants_in(closed), -1);
    assert_int_equal(nontax_run_step(closed, 1000), NONTAX_STEP_IDLE);
    assert_int_equal(nontax_run_set_token(closed, TOKEN, strlen(TOKEN)), NONTAX_WRONG_PROCESS);
    assert_int_equal(nontax_run_descriptor(closed), -1);
    nontax_run_wakeup(closed);
    nontax_run_end(closed);
    nontax_run_free(closed);
    nontax_client_free(client);
    server_stop(server);
}

/* Rate and quota are a run's: the next one on the lane begins at once. */
static void test_nothing_of_a_run_is_left_on_its_lane(void **state)
{
    (void)state;
    static const server_step steps[] = {{0}, {.body = "{\"errcode\":45011}"}};
    server *server = server_start(steps, COUNT(steps));
    nontax_client *client = client_for(server_url(server), 0);
    run_one(client, (nontax_run_settings){.concurrency = 1, .rate = 0.001}, "one");
    const nx_lane *lane = client->idle;
    nontax_run *paused = new_run(client, (nontax_run_settings){.concurrency = 1, .bulk = true});
    set_token(paused, TOKEN);
    add(paused, client, "two");
    step_until_requests(paused, server, 2);
    while (nontax_run_wants_in(paused) == 0) {
        (void)nontax_run_step(paused, 10);
    }
    nontax_run_wakeup(paused);
    nontax_run_free(paused);
    assert_ptr_equal(client->idle, lane);
    run_one(client, (nontax_run_settings){.concurrency = 1}, "three");
    assert_ptr_equal(client->idle, lane);
    assert_int_equal(server_requests(server), 3);
    nontax_client_free(client);
    server_stop(server);
}

/* ---- making, taking in, the pace ---------------------------------------------------------- */

static void test_settings_that_cannot_be_used(void **state)
{
    (void)state;
    nontax_client *client = client_for("http://127.0.0.1:1", 0);
    static const nontax_run_settings wrong[] = {
        {.concurrency = 0},
        {.concurrency = -1},
        {.concurrency = 1001},
        {.concurrency = 1, .rate = -1},
        {.concurrency = 1, .rate = 2e6},
        {.concurrency = 1, .rate = 0.0 / 0.0},
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        nontax_run *run = (nontax_run *)client;
        nontax_text why = {.text = ""};
        assert_int_equal(nontax_run_new(client, &wrong[i], &run, &why), NONTAX_BAD_SETTING);
        assert_null(run);
        assert_string_equal(why.setting, wrong[i].concurrency == 1 ? "rate" : "concurrency");
        assert_memory_equal(why.text, why.setting, strlen(why.setting));
    }
    nontax_client_free(client);
    nontax_run_free(NULL);
}

static void test_it_takes_as_many_as_it_was_made_for(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 2});
    assert_int_equal(nontax_run_wants_in(run), 0);
    assert_false(nontax_run_needs_token(run));
    add(run, client, "one");
    assert_int_equal(nontax_run_wants_in(run), 0);
    /* One that is finished already counts until it is taken out. */
    nontax_call *invalid =
        nontax_call_new(client, nontax_interface_find("insertbill")); /* no payload */
    assert_non_null(invalid);
    assert_int_equal(nontax_run_add(run, invalid), NONTAX_OK);
    assert_int_equal(nontax_run_wants_in(run), -1);
    assert_ptr_equal(nontax_run_finished(run), invalid);
    assert_ptr_equal(nontax_run_take(run), invalid);
    nontax_call_free(invalid);
    assert_int_equal(nontax_run_wants_in(run), 0);
    add(run, client, "two");
    assert_int_equal(nontax_run_wants_in(run), -1);
    set_token(run, TOKEN);
    take_inserted(run);
    assert_int_equal(nontax_run_wants_in(run), 0);
    take_inserted(run);
    assert_null(nontax_run_take(run));
    nontax_run_free(run);
    nontax_client_free(client);
    server_stop(server);
}

static void test_a_rate(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 9, .rate = 0.01});
    assert_int_equal(nontax_run_wants_in(run), 0);
    add(run, client, "one");
    assert_int_equal(nontax_run_wants_in(run), -1); /* it has not had its turn */
    clock_forward(500000);
    set_token(run, TOKEN); /* the next one in a hundred seconds */
    int64_t wait = nontax_run_wants_in(run);
    assert_between(wait, 90000, 100000);
    clock_forward(60000);
    assert_between(nontax_run_wants_in(run), 1, wait - 60000);
    clock_forward(600000);
    assert_int_equal(nontax_run_wants_in(run), 0);
    /* Time that was not used does not make up for a burst. */
    add(run, client, "two");
    set_token(run, TOKEN);
    assert_between(nontax_run_wants_in(run), 90000, 100000);
    nontax_run_free(run);
    nontax_client_free(client);
    server_stop(server);
}

/* A refused token, a busy WeChat, the minute's quota: what is sent once more takes its turn, too.
 */
static void test_a_rate_holds_for_what_is_sent_again(void **state)
{
    (void)state;
    const server_step refusals[] = {
        bad_token, busy, {.body = "{\"errcode\":45011,\"errmsg\":\"minute quota\"}"}};
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        server *server = server_start(&refusals[i], 1);
        nontax_client *client = client_for(server_url(server), 1);
        nontax_run *run = new_run(
            client, (nontax_run_settings){
                        .concurrency = 1, .rate = 0.01, .bulk = true, .quota_pause_ms = 1000});
        assert_int_equal(nontax_run_wants_in(run), 0);
        set_token(run, TOKEN);
        nontax_call *call = add(run, client, "one");
        while (call->state != NX_CALL_PAUSING && !nontax_run_needs_token(run)) {
            (void)nontax_run_step(run, 10);
        }
        if (nontax_run_needs_token(run)) {
            set_token(run, NEWER_TOKEN);
        }
        clock_forward(10000); /* no other pause is as long */
        (void)nontax_run_step(run, 0);
        assert_int_equal(call->state, NX_CALL_PAUSING);
        assert_int_equal(server_requests(server), 1);
        clock_forward(100000);
        take_inserted(run);
        assert_int_equal(server_requests(server), 2);
        nontax_run_free(run);
        nontax_client_free(client);
        server_stop(server);
    }
}

/* ---- tokens ------------------------------------------------------------------------------ */

static void test_one_token_for_all(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 4});
    add(run, client, "one");
    add(run, client, "two");
    (void)nontax_run_step(run, 0);
    assert_true(nontax_run_needs_token(run));
    assert_null(nontax_run_stale_token(run));
    assert_int_equal(server_connections(server), 0);
    assert_int_equal(nontax_run_set_token(run, "a b", 3), NONTAX_BAD_TOKEN);
    assert_int_equal(nontax_run_set_token(run, "", 0), NONTAX_BAD_TOKEN);
    assert_true(nontax_run_needs_token(run));
    set_token(run, TOKEN);
    assert_false(nontax_run_needs_token(run));
    take_inserted(run);
    take_inserted(run);
    /* It counts for a moment longer, and is asked for again after that. */
    add(run, client, "three");
    assert_false(nontax_run_needs_token(run));
    take_inserted(run);
    clock_forward(2000);
    nontax_call *late = add(run, client, "four");
    assert_true(nontax_run_needs_token(run));
    assert_null(nontax_run_stale_token(run));
    nontax_run_no_token(run);
    assert_ptr_equal(nontax_run_take(run), late);
    expect(late, NONTAX_NOT_SENT, NONTAX_CAUSE_TOKEN);
    assert_true(nontax_call_gave_up(late));
    nontax_call_free(late);
    nontax_run_free(run);
    nontax_client_free(client);
    assert_int_equal(server_requests(server), 3);
    server_stop(server);
}

static void test_one_renewal_for_all(void **state)
{
    (void)state;
    const server_step steps[] = {bad_token, bad_token};
    server *server = server_start(steps, 2);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 2});
    add(run, client, "one");
    add(run, client, "two");
    set_token(run, TOKEN);
    step_until_requests(run, server, 2); /* both with the old one */
    while (!nontax_run_needs_token(run)) {
        (void)nontax_run_step(run, 10);
    }
    assert_string_equal(nontax_run_stale_token(run), TOKEN);
    set_token(run, NEWER_TOKEN);
    assert_null(nontax_run_stale_token(run));
    /* Whichever comes back later is sent with the newer one, and nobody is asked. */
    take_inserted(run);
    take_inserted(run);
    assert_false(nontax_run_needs_token(run));
    nontax_run_free(run);
    nontax_client_free(client);
    assert_int_equal(server_requests(server), 4);
    assert_int_equal(server_insertions(server), 2);
    server_stop(server);
}

/* 40001 passes by itself at times: the same token is tried once more, and only once. */
static void test_the_same_token_again(void **state)
{
    (void)state;
    const server_step steps[] = {bad_token, bad_token};
    server *server = server_start(steps, COUNT(steps));
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 1});
    nontax_call *call = add(run, client, "one");
    set_token(run, TOKEN);
    assert_false(nontax_run_may_keep_token(run));
    for (int refusals = 1; refusals <= 2; refusals++) {
        int64_t begun = nx_now_ms();
        while (!nontax_run_needs_token(run)) {
            assert_null(nontax_run_take(run));
            (void)nontax_run_step(run, 10);
        }
        assert_between(nx_now_ms() - begun, refusals == 1 ? 0 : 990, EVER);
        assert_int_equal(server_requests(server), refusals);
        assert_string_equal(nontax_run_stale_token(run), TOKEN);
        assert_int_equal(nontax_run_may_keep_token(run), refusals == 1);
        set_token(run, TOKEN);
    }
    assert_ptr_equal(nontax_run_take(run), call);
    expect(call, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    assert_int_equal(nontax_call_result(call)->errcode, 40001);
    nontax_call_free(call);
    nontax_run_free(run);
    nontax_client_free(client);
    server_stop(server);
}

/* While a refused token is tried once more, no other bill of a bulk run is sent with it. */
static void test_a_token_under_trial_is_not_used(void **state)
{
    (void)state;
    server *server = server_start(&bad_token, 1);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 4, .bulk = true});
    add(run, client, "one");
    set_token(run, TOKEN);
    while (!nontax_run_needs_token(run)) {
        (void)nontax_run_step(run, 10);
    }
    set_token(run, TOKEN);
    assert_between(nontax_run_wants_in(run), 900, 1001);
    add(run, client, "two");
    for (int i = 0; i < 10; i++) {
        (void)nontax_run_step(run, 10);
        assert_int_equal(server_requests(server), 1);
    }
    for (int taken = 0; taken < 2; taken++) {
        while (!nontax_run_finished(run)) {
            (void)nontax_run_step(run, 100);
        }
        nontax_call *call = nontax_run_take(run);
        expect(call, NONTAX_INSERTED, NONTAX_CAUSE_NONE);
        nontax_call_free(call);
    }
    assert_int_equal(server_requests(server), 3);
    nontax_run_free(run);
    nontax_client_free(client);
    server_stop(server);
}

static void test_waiting_for_a_token_takes_a_calls_time(void **state)
{
    (void)state;
    server *server = server_start(&bad_token, 1);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 2});
    nontax_call *refused = add(run, client, "refused");
    set_token(run, TOKEN);
    while (!nontax_run_needs_token(run)) {
        (void)nontax_run_step(run, 10);
    }
    clock_forward(60000);
    nontax_call *never = add(run, client, "never");
    clock_forward(100000);
    (void)nontax_run_step(run, 0);
    assert_ptr_equal(nontax_run_take(run), refused);
    expect(refused, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    assert_null(nontax_run_take(run));
    assert_true(nontax_run_needs_token(run));
    clock_forward(121000 + 60000);
    (void)nontax_run_step(run, 0);
    assert_ptr_equal(nontax_run_take(run), never);
    expect(never, NONTAX_NOT_SENT, NONTAX_CAUSE_CONNECTION);
    assert_true(nontax_call_result(never)->timed_out);
    assert_false(nontax_run_needs_token(run));
    nontax_call_free(refused);
    nontax_call_free(never);
    nontax_run_free(run);
    nontax_client_free(client);
    assert_int_equal(server_requests(server), 1);
    server_stop(server);
}

static void test_waiting_for_a_token_takes_none_of_a_bulk_runs_bills(void **state)
{
    (void)state;
    server *server = server_start(&bad_token, 1);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 2, .bulk = true});
    for (int i = 0; i < 2; i++) {
        assert_int_equal(nontax_run_wants_in(run), 0);
        add(run, client, "any");
    }
    clock_forward(500000);
    (void)nontax_run_step(run, 0);
    assert_null(nontax_run_take(run));
    set_token(run, TOKEN);
    take_inserted(run);
    while (!nontax_run_needs_token(run)) {
        (void)nontax_run_step(run, 10);
    }
    clock_forward(1000000);
    set_token(run, NEWER_TOKEN);
    take_inserted(run);
    nontax_run_free(run);
    nontax_client_free(client);
    assert_int_equal(server_requests(server), 3);
    server_stop(server);
}

/* ---- waiting for a newer token, or not --------------------------------------------------- */

static void step_until_a_token_is_needed(nontax_run *run)
{
    while (!nontax_run_needs_token(run)) {
        (void)nontax_run_step(run, 10);
    }
}

static void test_a_newer_token_can_be_had_later(void **state)
{
    (void)state;
    server *server = server_start(&bad_token, 1);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 2, .bulk = true});
    add(run, client, "one");
    set_token(run, TOKEN);
    step_until_a_token_is_needed(run);
    assert_int_equal(nontax_run_token_in(run, 500000), NONTAX_OK);
    assert_false(nontax_run_needs_token(run));
    add(run, client, "two"); /* it waits, too */
    assert_null(nontax_run_finished(run));
    assert_false(nontax_run_needs_token(run));
    clock_forward(499000);
    (void)nontax_run_step(run, 0);
    assert_false(nontax_run_needs_token(run));
    clock_forward(501000);
    assert_true(nontax_run_needs_token(run));
    assert_string_equal(nontax_run_stale_token(run), TOKEN);
    set_token(run, NEWER_TOKEN); /* the time of waiting was not theirs */
    take_inserted(run);
    take_inserted(run);
    nontax_run_free(run);
    nontax_client_free(client);
    assert_int_equal(server_requests(server), 3);
    server_stop(server);
}

static void test_it_does_not_wait_for_a_newer_token_for_ever(void **state)
{
    (void)state;
    server *server = server_start(&bad_token, 1);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 1, .bulk = true});
    nontax_call *call = add(run, client, "one");
    set_token(run, TOKEN);
    step_until_a_token_is_needed(run);
    int waits = 0;
    while (!nontax_run_finished(run)) {
        assert_int_equal(nontax_run_token_in(run, 1000), NONTAX_OK);
        waits++;
        clock_forward(waits * INT64_C(2000));
    }
    assert_int_equal(waits, 3 + 1);
    assert_ptr_equal(nontax_run_take(run), call);
    expect(call, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    nontax_call_free(call);
    nontax_run_free(run);
    nontax_client_free(client);
    server_stop(server);
}

/* A single call has its own time, which it does not spend on that. */
static void test_a_single_call_does_not_wait_for_a_newer_token(void **state)
{
    (void)state;
    server *server = server_start(&bad_token, 1);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 1});
    nontax_call *call = add(run, client, "one");
    set_token(run, TOKEN);
    step_until_a_token_is_needed(run);
    assert_int_equal(nontax_run_token_in(run, 1000), NONTAX_OK);
    assert_ptr_equal(nontax_run_take(run), call);
    expect(call, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    nontax_call_free(call);
    nontax_run_free(run);
    nontax_client_free(client);
    server_stop(server);
}

static void test_a_run_that_never_waits_for_a_token(void **state)
{
    (void)state;
    server *server = server_start(&bad_token, 1);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run =
        new_run(client, (nontax_run_settings){.concurrency = 3, .bulk = true, .never_waits = true});
    nontax_call *refused = add(run, client, "refused");
    set_token(run, TOKEN); /* for the first one it waits */
    step_until_a_token_is_needed(run);
    nontax_call *waiting = add(run, client, "waiting");
    assert_int_equal(nontax_run_token_in(run, 500000), NONTAX_OK);
    nontax_call *later = add(run, client, "later");
    nontax_call *ended[] = {refused, waiting, later};
    for (size_t i = 0; i < COUNT(ended); i++) {
        assert_ptr_equal(nontax_run_take(run), ended[i]);
        expect(ended[i], i == 0 ? NONTAX_REJECTED : NONTAX_NOT_SENT, NONTAX_CAUSE_LATER);
        nontax_call_free(ended[i]);
    }
    clock_forward(501000);
    add(run, client, "again");
    assert_true(nontax_run_needs_token(run));
    set_token(run, NEWER_TOKEN);
    take_inserted(run);
    nontax_run_free(run);
    nontax_client_free(client);
    assert_int_equal(server_requests(server), 2);
    server_stop(server);
}

static void test_a_run_that_never_waits_for_the_minute(void **state)
{
    (void)state;
    static const server_step steps[] = {{.body = "{\"errcode\":45011,\"errmsg\":\"minute\"}"}};
    server *server = server_start(steps, COUNT(steps));
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run = new_run(
        client, (nontax_run_settings){
                    .concurrency = 1, .bulk = true, .never_waits = true, .quota_pause_ms = 500000});
    set_token(run, TOKEN);
    nontax_call *call = add(run, client, "refused");
    assert_ptr_equal(take(run), call);
    expect(call, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    assert_int_equal(nontax_call_result(call)->errcode, 45011);
    nontax_call_free(call);
    assert_int_equal(nontax_run_wants_in(run), 0);
    call = add(run, client, "unsent");
    assert_ptr_equal(nontax_run_take(run), call); /* at once */
    expect(call, NONTAX_NOT_SENT, NONTAX_CAUSE_LATER);
    nontax_call_free(call);
    clock_forward(502000);
    add(run, client, "sent");
    set_token(run, TOKEN); /* the first one's second is over */
    take_inserted(run);
    nontax_run_free(run);
    nontax_client_free(client);
    assert_int_equal(server_requests(server), 2);
    server_stop(server);
}

/* The pause takes nothing of a bill's own time. */
static void test_the_minutes_pause_extends_the_deadline(void **state)
{
    (void)state;
    static const server_step steps[] = {{.body = "{\"errcode\":45011,\"errmsg\":\"minute\"}"}};
    server *server = server_start(steps, COUNT(steps));
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run = new_run(
        client, (nontax_run_settings){.concurrency = 1, .bulk = true, .quota_pause_ms = 500000});
    set_token(run, TOKEN);
    add(run, client, "one"); /* it has two minutes */
    step_until_requests(run, server, 1);
    for (int i = 0; i < 20; i++) {
        (void)nontax_run_step(run, 10);
    }
    clock_forward(502000);
    take_inserted(run);
    nontax_run_free(run);
    nontax_client_free(client);
    assert_int_equal(server_requests(server), 2);
    server_stop(server);
}

/* ---- two bills about the same -------------------------------------------------------------- */

static nontax_call *add_bill(nontax_run *run, nontax_client *client, const char *order_id,
                             const char *number, cJSON *(*shape)(void))
{
    bool flat = shape == flat_bill;
    cJSON *bill = shape();
    put(bill, "order_id", cJSON_CreateString(order_id));
    put(bill,
        flat                   ? "billing_code"
        : shape == sample_bill ? "card_ext.user_card.invoice_user_data.billing_code"
                               : "card_ext.user_card.billing_code",
        cJSON_CreateString(number));
    nontax_call *call = nontax_call_new(client, nontax_interface_find("insertbill"));
    assert_non_null(call);
    assert_int_equal(nontax_call_set_payload(call, nontax_payload_from_json(bill)), NONTAX_OK);
    assert_int_equal(nontax_run_add(run, call), NONTAX_OK);
    return call;
}

static void expect_twin(nontax_run *run, nontax_call *call, nontax_twin expected, int64_t place)
{
    uint32_t found = 4711;
    assert_ptr_equal(take(run), call);
    assert_int_equal(nontax_run_twin(run, call, &found), expected);
    assert_int_equal(found, place);
    nontax_call_free(call);
}

static void test_twins(void **state)
{
    (void)state;
#define REFUSED(code) {.body = "{\"errcode\":" #code ",\"errmsg\":\"repeated\"}"}
    static const server_step steps[] = {REFUSED(72056), REFUSED(72042), REFUSED(72018),
                                        REFUSED(72056), REFUSED(72038)};
#undef REFUSED
    server *server = server_start(steps, COUNT(steps));
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 1, .bulk = true});
    set_token(run, TOKEN);
    expect_twin(run, add_bill(run, client, "a", "1", sample_bill), NONTAX_TWIN_NONE, 4711);
    expect_twin(run, add_bill(run, client, "b", "1", flat_bill), NONTAX_TWIN_NUMBER, 0);
    set_token(run, TOKEN);
    expect_twin(run, add_bill(run, client, "a", "2", table_bill), NONTAX_TWIN_ORDER, 0);
    expect_twin(run, add_bill(run, client, "c", "3", table_bill), NONTAX_TWIN_NONE, 4711);
    /* Only where WeChat has said that it is a duplicate. */
    expect_twin(run, add_bill(run, client, "a", "1", sample_bill), NONTAX_TWIN_NONE, 4711);
    nontax_run_free(run);
    nontax_client_free(client);
    server_stop(server);
    assert_string_equal(nontax_twin_name(NONTAX_TWIN_ORDER), "order");
    assert_string_equal(nontax_twin_name(NONTAX_TWIN_NUMBER), "number");
}

/* ---- cancelling one call ------------------------------------------------------------------ */

static void test_cancel_while_it_waits_for_a_token(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 2});
    nontax_call *call = add(run, client, "never");
    add(run, client, "other");
    nontax_run_cancel(run, call);
    expect(call, NONTAX_NOT_SENT, NONTAX_CAUSE_CANCELLED);
    nontax_call_free(call);
    assert_int_equal(nontax_run_wants_in(run), 0); /* its place is free */
    assert_true(nontax_run_needs_token(run));      /* for the other one */
    set_token(run, TOKEN);
    take_inserted(run);
    assert_null(nontax_run_take(run));
    nontax_run_free(run);
    nontax_client_free(client);
    assert_int_equal(server_requests(server), 1);
    assert_int_equal(server_bodies(server, "never"), 0);
    server_stop(server);
}

static void test_cancel_while_it_waits_for_a_newer_token(void **state)
{
    (void)state;
    server *server = server_start(&bad_token, 1);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 1});
    nontax_call *call = add(run, client, "one");
    set_token(run, TOKEN);
    while (!nontax_run_needs_token(run)) {
        (void)nontax_run_step(run, 10);
    }
    nontax_run_cancel(run, call);
    expect(call, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    assert_int_equal(nontax_call_result(call)->errcode, 40001);
    assert_false(nontax_run_needs_token(run));
    nontax_call_free(call);
    nontax_run_free(run);
    nontax_client_free(client);
    assert_int_equal(server_requests(server), 1);
    server_stop(server);
}

/* Libcurl would connect and send in the very steps in which answers are looked for. */
static void test_cancel_sends_nothing(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 1});
    set_token(run, TOKEN);
    nontax_call *call = add(run, client, "never");
    nontax_run_cancel(run, call);
    expect(call, NONTAX_NOT_SENT, NONTAX_CAUSE_CANCELLED);
    nontax_call_free(call);
    add(run, client, "other");
    take_inserted(run);
    nontax_run_free(run);
    nontax_client_free(client);
    server_settle(server);
    assert_int_equal(server_requests(server), 1);
    assert_int_equal(server_bodies(server, "never"), 0);
    server_stop(server);
}

static void test_cancel_while_it_waits_for_the_answer(void **state)
{
    (void)state;
    server *server = server_start(&hold, 1);
    nontax_client *client = client_for(server_url(server), 5);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 2});
    set_token(run, TOKEN);
    nontax_call *call = add(run, client, "one");
    step_until_requests(run, server, 1);
    nontax_run_cancel(run, call);
    expect(call, NONTAX_IN_DOUBT, NONTAX_CAUSE_CANCELLED);
    assert_false(nontax_call_result(call)->timed_out);
    nontax_call_free(call);
    server_release(server);
    add(run, client, "other"); /* gets its own answer */
    nontax_call *other = take(run);
    assert_string_equal(cJSON_GetObjectItem(nontax_call_result(other)->fields, "code")->valuestring,
                        "other");
    nontax_call_free(other);
    nontax_run_free(run);
    nontax_client_close_idle(client); /* the run's connections */
    server_settle(server);
    nontax_client_free(client);
    assert_int_equal(server_bodies(server, "\"one\""), 1);
    server_stop(server);
}

static void test_cancel_when_the_answer_is_there(void **state)
{
    (void)state;
    server *server = server_start(&hold, 1);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 2});
    set_token(run, TOKEN);
    nontax_call *call = add(run, client, "one");
    step_until_requests(run, server, 1);
    server_release(server);
    server_wait_for_answers(server, 1);
    nontax_run_cancel(run, call);
    expect(call, NONTAX_INSERTED, NONTAX_CAUSE_NONE);
    assert_null(nontax_run_take(run));
    nontax_call_free(call);

    /* And when the run has read it. */
    call = add(run, client, "two");
    while (!nontax_run_finished(run)) {
        (void)nontax_run_step(run, 50);
    }
    nontax_run_cancel(run, call);
    expect(call, NONTAX_INSERTED, NONTAX_CAUSE_NONE);
    assert_null(nontax_run_finished(run));
    nontax_call_free(call);
    nontax_run_free(run);
    nontax_client_free(client);
    server_stop(server);
}

static void test_cancel_while_it_pauses(void **state)
{
    (void)state;
    server *server = server_start(&busy, 1);
    nontax_client *client = client_for(server_url(server), 5);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 1});
    set_token(run, TOKEN);
    nontax_call *call = add(run, client, "one");
    while (call->state != NX_CALL_PAUSING) {
        (void)nontax_run_step(run, 10);
    }
    clock_forward(5000); /* its pause is over, and yet it is not sent again */
    nontax_run_cancel(run, call);
    expect(call, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    assert_int_equal(nontax_call_result(call)->errcode, 72036);
    nontax_call_free(call);
    nontax_run_free(run);
    nontax_client_free(client);
    server_settle(server);
    assert_int_equal(server_requests(server), 1);
    server_stop(server);
}

/* Cancelling reads what has come for the others, which then lies ready. */
static void test_cancel_keeps_the_others_answers(void **state)
{
    (void)state;
    server *server = server_start(&hold, 1);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 3});
    set_token(run, TOKEN);
    nontax_call *call = add(run, client, "one");
    step_until_requests(run, server, 1);
    nontax_call *other = add(run, client, "two");
    while (server_insertions(server) < 1) {
        (void)nontax_run_step(run, 0);
    }
    server_wait_for_answers(server, 1);
    nontax_run_cancel(run, call);
    expect(call, NONTAX_IN_DOUBT, NONTAX_CAUSE_CANCELLED);
    assert_ptr_equal(nontax_run_take(run), other);
    expect(other, NONTAX_INSERTED, NONTAX_CAUSE_NONE);
    nontax_call_free(call);
    nontax_call_free(other);
    server_release(server);
    nontax_run_free(run);
    nontax_client_free(client);
    server_stop(server);
}

/* ---- ending a run ------------------------------------------------------------------------- */

static void test_end(void **state)
{
    (void)state;
    server *server = server_start(&hold, 1);
    nontax_client *client = client_for(server_url(server), 5);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 4});
    set_token(run, TOKEN);
    nontax_call *sent = add(run, client, "sent");
    step_until_requests(run, server, 1);
    nontax_call *unsent = add(run, client, "unsent");
    clock_forward(2000);
    nontax_call *waiting = add(run, client, "waiting"); /* for a token */
    nontax_run_end(run);
    expect(sent, NONTAX_IN_DOUBT, NONTAX_CAUSE_CANCELLED);
    expect(unsent, NONTAX_NOT_SENT, NONTAX_CAUSE_CANCELLED);
    expect(waiting, NONTAX_NOT_SENT, NONTAX_CAUSE_TOKEN);
    int count = 0;
    for (nontax_call *call; (call = nontax_run_take(run)); count++) {
        nontax_call_free(call);
    }
    assert_int_equal(count, 3);
    assert_int_equal(nontax_run_wants_in(run), 0);
    server_release(server);
    /* It can be used again. */
    set_token(run, TOKEN);
    add(run, client, "after");
    take_inserted(run);
    nontax_run_free(run);
    nontax_client_close_idle(client); /* the run's connections */
    server_settle(server);
    nontax_client_free(client);
    assert_int_equal(server_requests(server), 2);
    assert_int_equal(server_bodies(server, "unsent"), 0);
    server_stop(server);
}

static void test_end_when_answers_are_there(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 8});
    set_token(run, TOKEN);
    for (int i = 0; i < 8; i++) {
        add(run, client, "many");
    }
    while (server_requests(server) < 8) {
        (void)nontax_run_step(run, 1);
    }
    server_wait_for_answers(server, 8);
    nontax_run_end(run);
    for (int i = 0; i < 8; i++) {
        nontax_call *call = nontax_run_take(run);
        assert_non_null(call);
        expect(call, NONTAX_INSERTED, NONTAX_CAUSE_NONE);
        nontax_call_free(call);
    }
    nontax_run_free(run);
    nontax_client_free(client);
    server_stop(server);
}

static void test_free_with_calls_in_every_state(void **state)
{
    (void)state;
    const server_step steps[] = {bad_token, hold, busy, hold};
    server *server = server_start(steps, 4);
    nontax_client *client = client_for(server_url(server), 5);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 6});
    set_token(run, TOKEN);
    for (int i = 0; i < 4; i++) {
        add(run, client, "many");
    }
    step_until_requests(run, server, 4);
    (void)nontax_run_step(run, 10);
    clock_forward(2000);
    add(run, client, "waiting");
    nontax_run_free(run); /* what it forgets is a leak for ASan and valgrind */
    server_release(server);
    nontax_client_free(client);
    server_stop(server);
}

/* ---- the descriptor ----------------------------------------------------------------------- */

static void test_descriptor(void **state)
{
    (void)state;
    nontax_client *client = client_for("http://127.0.0.1:1", 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 1});
    int descriptor = nontax_run_descriptor(run);
    assert_int_equal(descriptor >= 0, NX_ENGINE_EPOLL);
    assert_int_equal(nontax_run_descriptor(run), descriptor);
    nontax_run_free(run);
    nontax_client_free(client);
}

#if NX_ENGINE_EPOLL
/* Drives the run as an event loop does: step() only after the descriptor became readable. */
static nontax_call *take_by_descriptor(nontax_run *run)
{
    int descriptor = nontax_run_descriptor(run);
    nontax_call *call;
    while (!(call = nontax_run_take(run))) {
        if (!nontax_run_needs_token(run)) {
            assert_true(is_readable(descriptor, EVER));
        } else {
            set_token(run, nontax_run_stale_token(run) ? NEWER_TOKEN : TOKEN);
        }
        (void)nontax_run_step(run, 0);
    }
    return call;
}

static void test_descriptor_tells_of_everything(void **state)
{
    (void)state;
    const server_step steps[] = {bad_token, busy, {.move = CLOSE_AFTER_BODY}};
    server *server = server_start(steps, 3);
    nontax_client *client = client_for(server_url(server), 2);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 1});
    for (int i = 0; i < 3; i++) {
        add(run, client, "one");
        nontax_call *call = take_by_descriptor(run);
        /* Refused, busy, and then the connection ends; afterwards all is well. */
        expect(call, i == 0 ? NONTAX_IN_DOUBT : NONTAX_INSERTED,
               i == 0 ? NONTAX_CAUSE_CONNECTION : NONTAX_CAUSE_NONE);
        nontax_call_free(call);
    }
    nontax_run_free(run);
    nontax_client_free(client);
    assert_int_equal(server_requests(server), 5);
    server_stop(server);
}

/* Once: whoever has heard that a token is needed is not told again until there is news. */
static void expect_told(nontax_run *run, int descriptor)
{
    assert_true(is_readable(descriptor, 0));
    (void)nontax_run_step(run, 0);
    assert_false(is_readable(descriptor, 20));
}

static void test_descriptor_tells_of_what_no_connection_does(void **state)
{
    (void)state;
    nontax_client *client = client_for("http://127.0.0.1:1", 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 4});
    int descriptor = nontax_run_descriptor(run);
    nontax_call *call = add(run, client, "one");
    expect_told(run, descriptor);
    nontax_run_wakeup(run);
    expect_told(run, descriptor);
    /* What is added or ended in between does not silence it. */
    nontax_run_wakeup(run);
    nontax_call *other = add(run, client, "two");
    nontax_run_cancel(run, other);
    nontax_call_free(other);
    expect_told(run, descriptor);
    nontax_call *ended = call_without_token(client, "three");
    nontax_call_cancel(ended);
    assert_int_equal(nontax_run_add(run, ended), NONTAX_OK);
    expect_told(run, descriptor);
    assert_ptr_equal(nontax_run_take(run), ended);
    nontax_run_put_back(run, ended);
    expect_told(run, descriptor);
    nontax_run_cancel(run, call);
    nontax_call_free(call);
    nontax_run_free(run);
    nontax_client_free(client);
}

static void *wakeup(void *run)
{
    nontax_run_wakeup(run);
    return NULL;
}

/* Before the step or in the middle of it; without a descriptor that would have to be watched. */
static void test_wakeup_ends_a_step(void **state)
{
    (void)state;
    nontax_client *client = client_for("http://127.0.0.1:1", 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 4});
    assert_true(nontax_run_make_wakeable(run));
    assert_true(nontax_run_make_wakeable(run));
    int64_t began = nx_now_ms();
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, wakeup, run), 0);
        (void)nontax_run_step(run, 60000);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
    assert_true(nx_now_ms() - began < 60000);
    assert_true(nontax_run_descriptor(run) >= 0 || !NX_ENGINE_EPOLL);
    assert_true(nontax_run_make_wakeable(run));
    nontax_run_close(run);
    assert_false(nontax_run_make_wakeable(run));
    nontax_run_free(run);
    nontax_client_free(client);
}

/* A loop that watches the descriptor of an idle run is not woken, whatever the server does. */
static void test_descriptor_of_an_idle_run(void **state)
{
    (void)state;
    const server_step steps[] = {{.move = ANSWER}, hold, {.move = ANSWER_AND_CLOSE}};
    server *server = server_start(steps, 3);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 2});
    int descriptor = nontax_run_descriptor(run);
    assert_false(is_readable(descriptor, 0));
    set_token(run, TOKEN);
    add(run, client, "one");
    nontax_call_free(take_by_descriptor(run));
    assert_false(is_readable(descriptor, 20));
    /* Nor by one that was cancelled. */
    nontax_call *call = add(run, client, "two");
    step_until_requests(run, server, 2);
    nontax_run_cancel(run, call);
    nontax_call_free(call);
    server_release(server);
    (void)nontax_run_step(run, 0);
    assert_false(is_readable(descriptor, 20));
    add(run, client, "three");
    nontax_call_free(take_by_descriptor(run));
    assert_false(is_readable(descriptor, 20));
    nontax_run_free(run);
    nontax_client_free(client);
    server_stop(server);
}
#endif

/* ---- after a fork ------------------------------------------------------------------------- */

typedef struct family {
    nontax_client *client;
    nontax_run *run;
    nontax_call *call;
} family;

static bool use_the_parents_run(void *context)
{
    family *parent = context;
    REQUIRE(!nontax_run_is_ours(parent->run));
    REQUIRE(nontax_run_descriptor(parent->run) == -1);
    REQUIRE(nontax_run_set_token(parent->run, TOKEN, strlen(TOKEN)) == NONTAX_WRONG_PROCESS);
    nontax_call *call = call_without_token(parent->client, "child");
    REQUIRE(nontax_run_add(parent->run, call) == NONTAX_WRONG_PROCESS);
    nontax_call_free(call);
    nontax_run_cancel(parent->run, parent->call);
    REQUIRE(!nontax_call_finished(parent->call));
    nontax_run_free(parent->run); /* forgotten: the parent goes on with it */
    return true;
}

static void test_a_child_leaves_the_parents_run_alone(void **state)
{
    (void)state;
    server *server = server_start(&hold, 1);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_run *run = new_run(client, (nontax_run_settings){.concurrency = 1});
    assert_true(nontax_run_is_ours(run));
    set_token(run, TOKEN);
    family parent = {client, run, add(run, client, "one")};
    step_until_requests(run, server, 1);
    assert_true(true_in_child(use_the_parents_run, &parent));
    server_release(server);
    take_inserted(run);
    nontax_run_free(run);
    nontax_client_free(client);
    assert_int_equal(server_requests(server), 1);
    server_stop(server);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup(test, true_time)
    const struct CMUnitTest tests[] = {
        TEST(test_runs_and_calls_share_connections),
        TEST(test_a_closed_run),
        TEST(test_nothing_of_a_run_is_left_on_its_lane),
        TEST(test_settings_that_cannot_be_used),
        TEST(test_it_takes_as_many_as_it_was_made_for),
        TEST(test_a_rate),
        TEST(test_a_rate_holds_for_what_is_sent_again),
        TEST(test_one_token_for_all),
        TEST(test_one_renewal_for_all),
        TEST(test_the_same_token_again),
        TEST(test_a_token_under_trial_is_not_used),
        TEST(test_waiting_for_a_token_takes_a_calls_time),
        TEST(test_waiting_for_a_token_takes_none_of_a_bulk_runs_bills),
        TEST(test_a_newer_token_can_be_had_later),
        TEST(test_it_does_not_wait_for_a_newer_token_for_ever),
        TEST(test_a_single_call_does_not_wait_for_a_newer_token),
        TEST(test_a_run_that_never_waits_for_a_token),
        TEST(test_a_run_that_never_waits_for_the_minute),
        TEST(test_the_minutes_pause_extends_the_deadline),
        TEST(test_twins),
        TEST(test_cancel_while_it_waits_for_a_token),
        TEST(test_cancel_while_it_waits_for_a_newer_token),
        TEST(test_cancel_sends_nothing),
        TEST(test_cancel_while_it_waits_for_the_answer),
        TEST(test_cancel_when_the_answer_is_there),
        TEST(test_cancel_while_it_pauses),
        TEST(test_cancel_keeps_the_others_answers),
        TEST(test_end),
        TEST(test_end_when_answers_are_there),
        TEST(test_free_with_calls_in_every_state),
        TEST(test_descriptor),
#if NX_ENGINE_EPOLL
        TEST(test_descriptor_tells_of_everything),
        TEST(test_descriptor_tells_of_what_no_connection_does),
        TEST(test_wakeup_ends_a_step),
        TEST(test_descriptor_of_an_idle_run),
#endif
        TEST(test_a_child_leaves_the_parents_run_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
