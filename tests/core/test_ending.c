/* test_ending.c: calls whose time is over, that are cancelled, or whose lane is freed. */
#include "lanes.h"

#include "client.h"
#include "clock.h"

/* ---- time --------------------------------------------------------------------------------- */

static void test_deadline_while_waiting_for_the_answer(void **state)
{
    (void)state;
    server *server = server_start(&hold, 1);
    nontax_client *client = client_for(server_url(server), 5);
    nx_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    step_until_requests(lane, server, 1);
    clock_forward(client->timeout_ms + 100);
    (void)nx_lane_step(lane, 0); /* somebody was away: what has arrived comes first */
    assert_null(nx_lane_take(lane));
    clock_forward(client->timeout_ms);
    (void)nx_lane_step(lane, 0);
    while (nx_lane_take(lane) != call) {
        clock_forward(300);
        (void)nx_lane_step(lane, 0);
    }
    expect(call, NONTAX_IN_DOUBT, NONTAX_CAUSE_CONNECTION);
    assert_true(nontax_call_result(call)->timed_out);
    assert_int_equal(nontax_call_result(call)->attempts, 1);
    nontax_call_free(call);
    nx_lane_free(lane);
    server_release(server);
    server_settle(server);
    assert_int_equal(server_requests(server), 1);
    nontax_client_free(client);
    server_stop(server);
}

static void test_answer_that_came_while_nobody_looked(void **state)
{
    (void)state;
    server *server = server_start(&hold, 1);
    nontax_client *client = client_for(server_url(server), 0);
    nx_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    step_until_requests(lane, server, 1);
    server_release(server);
    server_wait_for_answers(server, 1);
    clock_forward(10 * client->timeout_ms);
    assert_ptr_equal(take(lane), call);
    expect_inserted(call, "order-1");
    nontax_call_free(call);
    nx_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}

static void test_time_was_over_before(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 5);
    nx_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    clock_forward(client->timeout_ms + 1);
    add(lane, call);
    assert_ptr_equal(nx_lane_take(lane), call);
    expect(call, NONTAX_NOT_SENT, NONTAX_CAUSE_CONNECTION);
    assert_true(nontax_call_result(call)->timed_out);
    assert_int_equal(nontax_call_result(call)->attempts, 0);
    nontax_call_free(call);
    nx_lane_free(lane);
    nontax_client_free(client);
    assert_int_equal(server_connections(server), 0);
    server_stop(server);
}

/* What was begun, and then left alone for too long before anything could go out, is not sent. */
static void test_time_was_over_before_it_was_sent(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    nx_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    clock_forward(client->timeout_ms + 100);
    (void)nx_lane_step(lane, 0);
    assert_ptr_equal(nx_lane_take(lane), call);
    expect(call, NONTAX_NOT_SENT, NONTAX_CAUSE_CONNECTION);
    assert_true(nontax_call_result(call)->timed_out);
    nontax_call_free(call);
    nx_lane_free(lane);
    server_settle(server);
    assert_int_equal(server_requests(server), 0);
    nontax_client_free(client);
    server_stop(server);
}

static void test_deadline_while_pausing(void **state)
{
    (void)state;
    server *server = server_start(&busy, 1);
    nontax_client *client = client_for(server_url(server), 5);
    nx_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    step_until_state(lane, call, NX_CALL_PAUSING);
    clock_forward(client->timeout_ms + 1);
    assert_ptr_equal(take(lane), call);
    expect(call, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    assert_int_equal(nontax_call_result(call)->errcode, 72036);
    assert_int_equal(nontax_call_result(call)->attempts, 1);
    nontax_call_free(call);
    nx_lane_free(lane);
    server_settle(server);
    assert_int_equal(server_requests(server), 1);
    nontax_client_free(client);
    server_stop(server);
}

/* A pause that would end after the deadline is not begun. */
static void test_no_time_for_a_pause(void **state)
{
    (void)state;
    server *server = server_start(&busy, 1);
    nontax_client *client = client_for(server_url(server), 10);
    nx_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    call->repeats = 6; /* the pause after the seventh attempt has at least 5 s */
    call->deadline = nx_now_ms() + 4000;
    add(lane, call);
    while (call->state == NX_CALL_RUNNING) {
        (void)nx_lane_step(lane, 10);
    }
    assert_ptr_equal(nx_lane_take(lane), call);
    expect(call, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    nontax_call_free(call);
    nx_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}

/* ---- cancelling --------------------------------------------------------------------------- */

static void test_cancel_before_the_first_step(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 5);
    nx_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    nx_lane_cancel(lane, call);
    expect(call, NONTAX_NOT_SENT, NONTAX_CAUSE_CANCELLED);
    assert_null(nx_lane_take(lane));
    (void)nx_lane_step(lane, 0);
    assert_null(nx_lane_take(lane));
    nx_lane_free(lane);
    server_settle(server);
    assert_int_equal(server_requests(server), 0);
    nontax_call_free(call);
    nontax_client_free(client);
    server_stop(server);
}

static void test_cancel_while_waiting_for_the_answer(void **state)
{
    (void)state;
    server *server = server_start(&hold, 1);
    nontax_client *client = client_for(server_url(server), 5);
    nx_lane *lane = new_lane(client, 2);
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    step_until_requests(lane, server, 1);
    nx_lane_cancel(lane, call);
    expect(call, NONTAX_IN_DOUBT, NONTAX_CAUSE_CANCELLED);
    assert_false(nontax_call_result(call)->timed_out);
    assert_null(nx_lane_take(lane));
    server_release(server);

    /* The lane goes on, and the late answer is nobody's. */
    nontax_call *other = call_for(client, "order-2");
    add(lane, other);
    assert_ptr_equal(take(lane), other);
    expect_inserted(other, "order-2");
    assert_int_equal(server_bodies(server, "order-1"), 1);
    nontax_call_free(call);
    nontax_call_free(other);
    nx_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}

static void test_cancel_while_pausing(void **state)
{
    (void)state;
    server *server = server_start(&busy, 1);
    nontax_client *client = client_for(server_url(server), 5);
    nx_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    step_until_state(lane, call, NX_CALL_PAUSING);
    nx_lane_cancel(lane, call);
    expect(call, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    assert_int_equal(nontax_call_result(call)->errcode, 72036);
    clock_forward(2000);
    (void)nx_lane_step(lane, 0);
    assert_null(nx_lane_take(lane));
    nx_lane_free(lane);
    server_settle(server);
    assert_int_equal(server_requests(server), 1);
    nontax_call_free(call);
    nontax_client_free(client);
    server_stop(server);
}

static void test_cancel_when_done(void **state)
{
    (void)state;
    const server_step steps[] = {{.move = ANSWER}, bad_token};
    server *server = server_start(steps, 2);
    nontax_client *client = client_for(server_url(server), 5);
    nx_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    step_until_state(lane, call, NX_CALL_FINISHED);
    nx_lane_cancel(lane, call);
    expect_inserted(call, "order-1");
    assert_null(nx_lane_take(lane));
    nontax_call_free(call);

    call = call_for(client, "order-2");
    add(lane, call);
    step_until_state(lane, call, NX_CALL_NEEDS_TOKEN);
    nx_lane_cancel(lane, call);
    expect(call, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    assert_null(nx_lane_take(lane));
    nontax_call_free(call);
    nx_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}

/* All four kinds at once; afterwards every call is finished and its owner's again. */
static void test_free_with_calls_under_way(void **state)
{
    (void)state;
    const server_step steps[] = {busy, {.move = ANSWER}, hold};
    server *server = server_start(steps, 3);
    nontax_client *client = client_for(server_url(server), 5);
    nx_lane *lane = new_lane(client, 4);
    nontax_call *pausing = call_for(client, "pausing");
    add(lane, pausing);
    step_until_state(lane, pausing, NX_CALL_PAUSING);
    pausing->due = INT64_MAX; /* it stays so, however slow this machine is */
    nontax_call *done = call_for(client, "done");
    add(lane, done);
    step_until_state(lane, done, NX_CALL_FINISHED);
    nontax_call *waiting = call_for(client, "waiting");
    add(lane, waiting);
    step_until_requests(lane, server, 3);
    nontax_call *unsent = call_for(client, "unsent");
    add(lane, unsent);
    nx_lane_free(lane);
    expect_inserted(done, "done");
    expect(waiting, NONTAX_IN_DOUBT, NONTAX_CAUSE_CANCELLED);
    expect(unsent, NONTAX_NOT_SENT, NONTAX_CAUSE_CANCELLED);
    expect(pausing, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    nontax_call_free(pausing);
    nontax_call_free(done);
    nontax_call_free(waiting);
    nontax_call_free(unsent);
    server_release(server);
    server_settle(server);
    assert_int_equal(server_requests(server), 3);
    nontax_client_free(client);
    server_stop(server);
}

static void test_free_of_nothing(void **state)
{
    (void)state;
    nontax_client *client = client_for("http://127.0.0.1:1", 0);
    nx_lane *lane = new_lane(client, 1);
    assert_int_equal(nx_lane_step(lane, 0), NONTAX_STEP_IDLE);
    assert_null(nx_lane_take(lane));
    nx_lane_free(lane);
    nx_lane_free(NULL);
    nontax_client_free(client);
}

/* A call that cannot be sent comes straight back. */
static void test_add_of_a_call_that_is_not_ready(void **state)
{
    (void)state;
    nontax_client *client = client_for("http://127.0.0.1:1", 0);
    nx_lane *lane = new_lane(client, 1);
    nontax_call *call = call_without_token(client, "order-1");
    add(lane, call);
    assert_ptr_equal(nx_lane_take(lane), call);
    assert_true(nontax_call_needs_token(call));
    nontax_call_give_up(call);
    add(lane, call);
    assert_ptr_equal(nx_lane_take(lane), call);
    expect(call, NONTAX_NOT_SENT, NONTAX_CAUSE_TOKEN);
    nontax_call_free(call);
    nx_lane_free(lane);
    nontax_client_free(client);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup(test, true_time)
    const struct CMUnitTest tests[] = {
        TEST(test_deadline_while_waiting_for_the_answer),
        TEST(test_answer_that_came_while_nobody_looked),
        TEST(test_time_was_over_before),
        TEST(test_time_was_over_before_it_was_sent),
        TEST(test_deadline_while_pausing),
        TEST(test_no_time_for_a_pause),
        TEST(test_cancel_before_the_first_step),
        TEST(test_cancel_while_waiting_for_the_answer),
        TEST(test_cancel_while_pausing),
        TEST(test_cancel_when_done),
        TEST(test_free_with_calls_under_way),
        TEST(test_free_of_nothing),
        TEST(test_add_of_a_call_that_is_not_ready),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
