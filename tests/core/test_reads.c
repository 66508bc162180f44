/* test_reads.c: interfaces that change nothing are asked again, within one deadline, when no usable
 * answer came; all others never are. */
#include "lanes.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BY_SECRET "{'grant_type':'client_credential','appid':'wx1','secret':'12345678'}"

typedef struct question {
    const char *interface;
    const char *payload;
    const char *answer;
} question;

static const question reading[] = {
    {"getauthdata", "{'s_pappid':'d','order_id':'o'}",
     "{\"errcode\":0,\"invoice_status\":\"never auth\"}"},
    {"getticket", "{'type':'wx_card'}", "{\"errcode\":0,\"ticket\":\"t\",\"expires_in\":7200}"},
    {"stable_token", BY_SECRET, "{\"access_token\":\"t\",\"expires_in\":7200}"},
};

static const question changing[] = {
    {"rejectinsert", "{'s_pappid':'d','order_id':'o','reason':'r'}", "{\"errcode\":0}"},
    {"token", BY_SECRET, "{\"access_token\":\"t\",\"expires_in\":7200}"},
    {"seturl", "{}", "{\"errcode\":0,\"invoice_url\":\"u\"}"},
};

/* What is no usable answer, of those that a server can give at once. */
static const server_step doubtful[] = {
    {.move = CLOSE_AFTER_HEAD},
    {.move = CLOSE_AFTER_BODY},
    {.move = CLOSE_IN_REPLY, .body = "{\"errcode\":0,\"errmsg\":\"ok\"}"},
    {.body = "<html>"},
    {.body = ""},
    {.body = "{\"errcode\":-1,\"errmsg\":\"system error\"}"},
    {.status = 504, .body = "timeout"},
};

static void expect_outcome(const nontax_call *call, nontax_outcome outcome, int attempts)
{
    const nontax_result *result = nontax_call_result(call);
    if (result->outcome != outcome || result->attempts != attempts) {
        print_error("%s: %s after %d attempts, errcode %d: %s\n",
                    nontax_interface_name(nontax_call_interface(call)),
                    nontax_outcome_name(result->outcome), result->attempts, result->errcode,
                    result->reason);
    }
    assert_true(nontax_call_finished(call));
    assert_int_equal(result->outcome, outcome);
    assert_int_equal(result->attempts, attempts);
}

/* Steps to the call's end without waiting for its pauses, which are shorter than two seconds. */
static void run_past_pauses(nx_lane *lane, nontax_call *call)
{
    assert_int_equal(nx_lane_add(lane, call), NONTAX_OK);
    while (nx_lane_take(lane) != call) {
        if (call->state == NX_CALL_PAUSING) {
            clock_forward(2000);
        }
        (void)nx_lane_step(lane, 10);
    }
}

/* ---- no usable answer --------------------------------------------------------------------- */

static void test_asked_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(reading) * COUNT(doubtful); i++) {
        const question *question = &reading[i % COUNT(reading)];
        const server_step steps[] = {
            doubtful[i / COUNT(reading)], doubtful[i / COUNT(reading)], {.body = question->answer}};
        server *server = server_start(steps, COUNT(steps));
        nontax_client *client = client_for(server_url(server), 2);
        nx_lane *lane = new_lane(client, 1);
        nontax_call *call = call_with(client, question->interface, question->payload);
        run_past_pauses(lane, call);
        expect_outcome(call, NONTAX_INSERTED, 3);
        assert_string_equal(nontax_call_result(call)->reason, "");
        nontax_call_free(call);
        nx_lane_free(lane);
        nontax_client_free(client);
        server_stop(server);
    }
}

static void test_not_for_ever(void **state)
{
    (void)state;
    static const server_step minus_one = {.body = "{\"errcode\":-1}"};
    const server_step steps[] = {minus_one, minus_one, minus_one, minus_one};
    for (int retries = 0; retries < 3; retries++) {
        server *server = server_start(steps, COUNT(steps));
        nontax_client *client = client_for(server_url(server), retries);
        nx_lane *lane = new_lane(client, 1);
        nontax_call *call = call_with(client, reading[0].interface, reading[0].payload);
        run_past_pauses(lane, call);
        expect_outcome(call, NONTAX_IN_DOUBT, retries + 1);
        assert_int_equal(nontax_call_result(call)->errcode, -1);
        assert_int_equal(server_requests(server), retries + 1);
        nontax_call_free(call);
        nx_lane_free(lane);
        nontax_client_free(client);
        server_stop(server);
    }
}

static void test_others_never(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(changing) * COUNT(doubtful); i++) {
        const question *question = &changing[i % COUNT(changing)];
        server *server = server_start(&doubtful[i / COUNT(changing)], 1);
        nontax_client *client = client_for(server_url(server), 5);
        nontax_call *call = call_with(client, question->interface, question->payload);
        nontax_client_run(client, call, NULL);
        expect_outcome(call, NONTAX_IN_DOUBT, 1);
        nontax_client_close_idle(client);
        server_settle(server);
        assert_int_equal(server_connections(server), 1);
        nontax_call_free(call);
        nontax_client_free(client);
        server_stop(server);
    }
}

static void test_answers_are_not_doubted(void **state)
{
    (void)state;
    static const server_step refusal = {.body = "{\"errcode\":45009}"};
    for (size_t i = 0; i < COUNT(reading); i++) {
        server *server = server_start(&refusal, 1);
        nontax_client *client = client_for(server_url(server), 5);
        nontax_call *call = call_with(client, reading[i].interface, reading[i].payload);
        nontax_client_run(client, call, NULL);
        expect_outcome(call, NONTAX_REJECTED, 1);
        nontax_call_free(call);
        nontax_client_free(client);
        server_stop(server);
    }
}

/* ---- kept connections --------------------------------------------------------------------- */

/* When a kept connection ends under a GET, libcurl begins it again on a new one by itself: for a
 * question that is welcome, but a second ordinary token would end the first. */
static void run_on_an_ending_connection(const question *question, nontax_outcome outcome)
{
    const server_step steps[] = {
        {.body = question->answer}, {.move = CLOSE_AFTER_HEAD}, {.body = question->answer}};
    server *server = server_start(steps, COUNT(steps));
    nontax_client *client = client_for(server_url(server), 0);
    for (int i = 0; i < 2; i++) {
        nontax_call *call = call_with(client, question->interface, question->payload);
        nontax_client_run(client, call, NULL);
        expect_outcome(call, i ? outcome : NONTAX_INSERTED, 1);
        nontax_call_free(call);
    }
    nontax_client_free(client);
    server_settle(server);
    assert_int_equal(server_requests(server), outcome == NONTAX_INSERTED ? 2 : 1);
    server_stop(server);
}

static void test_get_on_an_ending_connection(void **state)
{
    (void)state;
    run_on_an_ending_connection(&reading[1], NONTAX_INSERTED);
    run_on_an_ending_connection(&changing[1], NONTAX_IN_DOUBT);
}

/* ---- time --------------------------------------------------------------------------------- */

/* Time goes by, in steps so small that nobody was away, until the attempt is over. */
static void let_attempt_end(nx_lane *lane, const nontax_call *call)
{
    while (call->state == NX_CALL_RUNNING) {
        clock_forward(300);
        (void)nx_lane_step(lane, 0);
    }
}

/* Each attempt has its share of what is left, and all of them together no more than the whole. */
static void test_silence_is_asked_again_within_one_deadline(void **state)
{
    (void)state;
    enum { ATTEMPTS = 3 };
    static const server_step steps[ATTEMPTS] = {
        {.move = ANSWER_WHEN_TOLD}, {.move = ANSWER_WHEN_TOLD}, {.move = ANSWER_WHEN_TOLD}};
    for (size_t i = 0; i < COUNT(reading); i++) {
        server *server = server_start(steps, COUNT(steps));
        nontax_client *client = client_for(server_url(server), ATTEMPTS - 1);
        nx_lane *lane = new_lane(client, 1);
        nontax_call *call = call_with(client, reading[i].interface, reading[i].payload);
        int64_t deadline = call->deadline, left = nontax_call_time_left(call);
        assert_int_equal(nx_lane_add(lane, call), NONTAX_OK);
        for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
            step_until_requests(lane, server, attempt + 1);
            if (attempt == 0) {
                assert_between(call->attempt_until, deadline - left, deadline - left / 2);
            }
            assert_true(call->attempt_until <= deadline);
            let_attempt_end(lane, call);
            if (attempt + 1 < ATTEMPTS) {
                assert_true(call->state == NX_CALL_PAUSING);
                assert_true(nontax_call_time_left(call) > 0);
                clock_forward(2000);
            }
        }
        assert_ptr_equal(nx_lane_take(lane), call);
        expect_outcome(call, NONTAX_IN_DOUBT, ATTEMPTS);
        assert_true(nontax_call_result(call)->timed_out);
        assert_int_equal(nontax_call_time_left(call), 0);
        assert_int_equal(call->deadline, deadline);
        assert_int_equal(server_requests(server), ATTEMPTS);
        nontax_call_free(call);
        nx_lane_free(lane);
        nontax_client_free(client);
        server_stop(server);
        clock_forward(0);
    }
}

static void test_silence_then_an_answer(void **state)
{
    (void)state;
    const server_step steps[] = {{.move = ANSWER_WHEN_TOLD}, {.body = reading[0].answer}};
    server *server = server_start(steps, COUNT(steps));
    nontax_client *client = client_for(server_url(server), 1);
    nx_lane *lane = new_lane(client, 1);
    nontax_call *call = call_with(client, reading[0].interface, reading[0].payload);
    assert_int_equal(nx_lane_add(lane, call), NONTAX_OK);
    step_until_requests(lane, server, 1);
    let_attempt_end(lane, call);
    clock_forward(2000);
    while (nx_lane_take(lane) != call) {
        (void)nx_lane_step(lane, 10);
    }
    expect_outcome(call, NONTAX_INSERTED, 2);
    assert_false(nontax_call_result(call)->timed_out);
    nontax_call_free(call);
    nx_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}

/* One that changes something has the whole time for its only attempt. */
static void test_silence_ends_the_others(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(changing); i++) {
        server *server = server_start(&hold, 1);
        nontax_client *client = client_for(server_url(server), 5);
        nx_lane *lane = new_lane(client, 1);
        nontax_call *call = call_with(client, changing[i].interface, changing[i].payload);
        assert_int_equal(nx_lane_add(lane, call), NONTAX_OK);
        assert_int_equal(call->attempt_until, call->deadline);
        step_until_requests(lane, server, 1);
        let_attempt_end(lane, call);
        assert_ptr_equal(nx_lane_take(lane), call);
        expect_outcome(call, NONTAX_IN_DOUBT, 1);
        assert_true(nontax_call_result(call)->timed_out);
        nontax_call_free(call);
        nx_lane_free(lane);
        nontax_client_free(client);
        server_release(server);
        server_settle(server);
        assert_int_equal(server_requests(server), 1);
        server_stop(server);
        clock_forward(0);
    }
}

/* Who ends a question does not want it asked again. */
static void test_cancelled_question(void **state)
{
    (void)state;
    server *server = server_start(&hold, 1);
    nontax_client *client = client_for(server_url(server), 5);
    nx_lane *lane = new_lane(client, 1);
    nontax_call *call = call_with(client, reading[1].interface, reading[1].payload);
    assert_int_equal(nx_lane_add(lane, call), NONTAX_OK);
    step_until_requests(lane, server, 1);
    nx_lane_cancel(lane, call);
    /* A GET has no body: it was sent when its head was. */
    expect_outcome(call, NONTAX_IN_DOUBT, 1);
    assert_int_equal(nontax_call_result(call)->cause, NONTAX_CAUSE_CANCELLED);
    nontax_call_free(call);
    nx_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}

/* A query of which nothing was sent is not in doubt. */
static void test_get_that_could_not_be_sent(void **state)
{
    (void)state;
    int refusing;
    nontax_client *client = client_for(refusing_url(&refusing), 0);
    nontax_call *call = call_with(client, changing[1].interface, changing[1].payload);
    nontax_client_run(client, call, NULL);
    expect_outcome(call, NONTAX_NOT_SENT, 1);
    nontax_call_free(call);
    nontax_client_free(client);
    close(refusing);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, NULL, true_time)
    const struct CMUnitTest tests[] = {
        TEST(test_asked_again),
        TEST(test_not_for_ever),
        TEST(test_others_never),
        TEST(test_answers_are_not_doubted),
        TEST(test_get_on_an_ending_connection),
        TEST(test_silence_is_asked_again_within_one_deadline),
        TEST(test_silence_then_an_answer),
        TEST(test_silence_ends_the_others),
        TEST(test_cancelled_question),
        TEST(test_get_that_could_not_be_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
