/* test_descriptor.c: a lane's descriptor tells an event loop of all that happens. */
#include "lanes.h"

#include <unistd.h>

#include "attempts.h"
#include "clock.h"

static void test_no_descriptor(void **state)
{
    (void)state;
    nontax_client *client = client_for("http://127.0.0.1:1", 0);
    nx_lane *lane = new_lane(client, 1);
    int descriptor = nx_lane_descriptor(lane);
    assert_int_equal(descriptor >= 0, NX_ENGINE_EPOLL);
    assert_int_equal(nx_lane_descriptor(lane), descriptor);
    nx_lane_free(lane);
    nontax_client_free(client);
}

#if NX_ENGINE_EPOLL
/* Drives the lane as an event loop does: step() only after the descriptor became readable. */
static nontax_call *take_by_descriptor(nx_lane *lane)
{
    int descriptor = nx_lane_descriptor(lane);
    nontax_call *call;
    while (!(call = nx_lane_take(lane))) {
        assert_true(is_readable(descriptor, EVER));
        (void)nx_lane_step(lane, 0);
    }
    return call;
}

static void test_descriptor_tells_of_replies(void **state)
{
    (void)state;
    server *server = server_start(&hold, 1);
    nontax_client *client = client_for(server_url(server), 0);
    nx_lane *lane = new_lane(client, 4);
    int descriptor = nx_lane_descriptor(lane);
    assert_false(is_readable(descriptor, 0));
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    while (server_requests(server) < 1) { /* it may be on its way, with nothing left to do here */
        (void)is_readable(descriptor, 10);
        (void)nx_lane_step(lane, 0);
    }
    /* While nothing happens it comes to rest. */
    while (is_readable(descriptor, 0)) {
        (void)nx_lane_step(lane, 0);
    }
    assert_null(nx_lane_take(lane));
    server_release(server);
    assert_ptr_equal(take_by_descriptor(lane), call);
    expect_inserted(call, "order-1");
    nontax_call_free(call);
    nx_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}

static void test_descriptor_tells_of_many_replies(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    nx_lane *lane = new_lane(client, 8);
    for (int i = 0; i < 8; i++) {
        add(lane, call_for(client, "many"));
    }
    for (int i = 0; i < 8; i++) {
        nontax_call *call = take_by_descriptor(lane);
        expect_inserted(call, "many");
        nontax_call_free(call);
    }
    nx_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}

static const server_step leave = {.move = ANSWER_AND_CLOSE};

/* A call is over, and the server has closed the connection, which the lane keeps. */
static void wait_until_left(const nx_lane *lane)
{
    assert_int_equal(lane->connections.count, 1);
    assert_true(is_readable(lane->connections.list[0].socket, EVER));
}

static void test_descriptor_says_nothing_of_an_idle_connection(void **state)
{
    (void)state;
    server *server = server_start(&leave, 1);
    nontax_client *client = client_for(server_url(server), 0);
    nx_lane *lane = new_lane(client, 1);
    int descriptor = nx_lane_descriptor(lane);
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    assert_ptr_equal(take_by_descriptor(lane), call);
    wait_until_left(lane);
    assert_false(is_readable(descriptor, 0));
    nontax_call_free(call);
    nx_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}

/* Also where nobody asks for the descriptor, and a connection stays watched between two calls. */
static void test_an_idle_connection_is_looked_at_once(void **state)
{
    (void)state;
    server *server = server_start(&leave, 1);
    nontax_client *client = client_for(server_url(server), 0);
    nx_lane *lane = new_lane(client, 1);
    nontax_call *first = call_for(client, "order-1"), *second = call_for(client, "order-2");
    add(lane, first);
    assert_ptr_equal(take(lane), first);
    assert_true(lane->connections.list[0].watched);
    wait_until_left(lane);
    (void)nx_lane_step(lane, 0);
    assert_false(lane->connections.list[0].watched);
    assert_int_equal(nx_lane_step(lane, 0), NONTAX_STEP_IDLE);
    add(lane, second);
    assert_ptr_equal(take(lane), second);
    expect_inserted(second, "order-2");
    nontax_call_free(first);
    nontax_call_free(second);
    nx_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}

static void test_descriptor_tells_of_pauses(void **state)
{
    (void)state;
    int refusing;
    nontax_client *client = client_for(refusing_url(&refusing), 2);
    nx_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    assert_ptr_equal(take_by_descriptor(lane), call);
    expect(call, NONTAX_NOT_SENT, NONTAX_CAUSE_CONNECTION);
    assert_int_equal(nontax_call_result(call)->attempts, 3);
    nontax_call_free(call);
    nx_lane_free(lane);
    nontax_client_free(client);
    close(refusing);
}

static void test_descriptor_tells_of_deadlines(void **state)
{
    (void)state;
    server *server = server_start(&hold, 1);
    nontax_client *client = client_for(server_url(server), 2);
    nx_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    call->deadline = nx_now_ms() + 1000;
    add(lane, call);
    assert_ptr_equal(take_by_descriptor(lane), call);
    assert_true(nontax_call_result(call)->timed_out);
    nontax_call_free(call);
    nx_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}
#endif

int main(void)
{
#define TEST(test) cmocka_unit_test_setup(test, true_time)
    const struct CMUnitTest tests[] = {
        TEST(test_no_descriptor),
#if NX_ENGINE_EPOLL
        TEST(test_descriptor_tells_of_replies),
        TEST(test_descriptor_tells_of_many_replies),
        TEST(test_descriptor_says_nothing_of_an_idle_connection),
        TEST(test_an_idle_connection_is_looked_at_once),
        TEST(test_descriptor_tells_of_pauses),
        TEST(test_descriptor_tells_of_deadlines),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
