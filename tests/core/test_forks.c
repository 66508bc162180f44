/* test_forks.c: what was made before a fork is the parent's, and hooks that fork. */
#include "lanes.h"

#include <string.h>
#include <unistd.h>

typedef struct fork_state {
    server *server;
    nontax_client *client;
    nx_lane *lane;
    nontax_call *running;
} fork_state;

static bool use_the_parents_lane(void *context)
{
    fork_state *parent = context;
    nontax_call *call = call_for(parent->client, "child");
    REQUIRE(nx_lane_add(parent->lane, call) == NONTAX_WRONG_PROCESS);
    REQUIRE(!nontax_call_finished(call));
    REQUIRE(nx_lane_step(parent->lane, 1000) == NONTAX_STEP_IDLE);
    REQUIRE(nx_lane_take(parent->lane) == NULL);
    REQUIRE(nx_lane_descriptor(parent->lane) == -1);
    nx_lane_cancel(parent->lane, parent->running);
    nx_lane_free(parent->lane);
    nontax_call_free(call);
    return true;
}

static void test_child_leaves_the_parents_lane_alone(void **state)
{
    (void)state;
    server *server = server_start(&hold, 1);
    fork_state parent = {.server = server, .client = client_for(server_url(server), 0)};
    parent.lane = new_lane(parent.client, 2);
    parent.running = call_for(parent.client, "parent");
    add(parent.lane, parent.running);
    step_until_requests(parent.lane, server, 1);
    assert_true(true_in_child(use_the_parents_lane, &parent));
    server_release(server);
    assert_ptr_equal(take(parent.lane), parent.running);
    expect_inserted(parent.running, "parent");
    assert_int_equal(server_connections(server), 1);
    assert_int_equal(server_requests(server), 1);
    nontax_call_free(parent.running);
    nx_lane_free(parent.lane);
    nontax_client_free(parent.client);
    server_stop(server);
}

static bool call_in_the_child(void *context)
{
    fork_state *parent = context;
    for (int i = 0; i < 2; i++) {
        nontax_call *call = call_for(parent->client, "child");
        nontax_client_run(parent->client, call, NULL);
        REQUIRE(nontax_call_result(call)->outcome == NONTAX_INSERTED);
        nontax_call_free(call);
    }
    nontax_client_free(parent->client);
    return true;
}

static void test_child_has_its_own_connection(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    fork_state parent = {.server = server, .client = client_for(server_url(server), 0)};
    run_calls(parent.client, 1);
    assert_int_equal(server_connections(server), 1);
    assert_true(true_in_child(call_in_the_child, &parent));
    assert_int_equal(server_connections(server), 2);
    run_calls(parent.client, 2);
    assert_int_equal(server_connections(server), 2);
    assert_int_equal(server_bodies(server, "\"child\""), 2);
    nontax_client_free(parent.client);
    server_stop(server);
}

/* A call that was made before the fork, but never sent, is the parent's to send. */
static bool send_the_parents_call(void *context)
{
    fork_state *parent = context;
    nx_lane *lane = NULL;
    nontax_client_run(parent->client, parent->running, NULL);
    REQUIRE(nontax_call_finished(parent->running));
    REQUIRE(nontax_call_result(parent->running)->outcome == NONTAX_IN_DOUBT); /* of the parent */
    REQUIRE(nontax_call_result(parent->running)->cause == NONTAX_CAUSE_CANCELLED);
    REQUIRE(nx_lane_new(parent->client, 1, &lane) == NONTAX_OK);
    nx_lane_free(lane);
    return true;
}

/* The same with a lane of the child's own. */
static bool add_the_parents_call(void *context)
{
    fork_state *parent = context;
    nx_lane *lane = NULL;
    REQUIRE(nx_lane_new(parent->client, 1, &lane) == NONTAX_OK);
    if (nx_lane_add(lane, parent->running) == NONTAX_OK) {
        while (nx_lane_take(lane) != parent->running) {
            (void)nx_lane_step(lane, 50);
        }
    }
    return true;
}

static void expect_sent_by_the_parent(bool (*child)(void *context))
{
    server *server = server_start(NULL, 0);
    fork_state parent = {.server = server, .client = client_for(server_url(server), 0)};
    parent.running = call_for(parent.client, "parent");
    assert_true(true_in_child(child, &parent));
    nontax_client_run(parent.client, parent.running, NULL);
    expect_inserted(parent.running, "parent");
    assert_int_equal(server_bodies(server, "\"parent\""), 1);
    nontax_call_free(parent.running);
    nontax_client_free(parent.client);
    server_stop(server);
}

static void test_child_does_not_send_the_parents_call(void **state)
{
    (void)state;
    expect_sent_by_the_parent(send_the_parents_call);
}

static void test_childs_lane_does_not_send_the_parents_call(void **state)
{
    (void)state;
    expect_sent_by_the_parent(add_the_parents_call);
}

/* A hook that forks, as a signal handler or a token source may. */
typedef struct forking_hook {
    server *server;
    int ends[2];
    int child; /* 0: in the child itself */
    bool forked;
} forking_hook;

static void fork_once(forking_hook *hook)
{
    if (!hook->forked) {
        hook->forked = true;
        assert_int_equal(pipe(hook->ends), 0);
        hook->child = fork();
        assert_true(hook->child >= 0);
    }
}

static bool fork_when_it_has_arrived(void *context)
{
    forking_hook *hook = context;
    if (!hook->forked && server_requests(hook->server) > 0) {
        fork_once(hook);
        if (hook->child != 0) {
            server_release(hook->server);
        }
    }
    return false;
}

static bool fork_and_hand_out_token(void *context, nontax_call *call)
{
    fork_once(context);
    return nontax_call_set_token(call, TOKEN, strlen(TOKEN)) == NONTAX_OK;
}

static void run_with_fork(forking_hook *hook, const nontax_hooks *hooks, const server_step *step)
{
    server *server = hook->server = server_start(step, step ? 1 : 0);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_call *call = call_without_token(client, "forked");
    if (!hooks->token) {
        assert_int_equal(nontax_call_set_token(call, TOKEN, strlen(TOKEN)), NONTAX_OK);
    }
    nontax_client_run(client, call, hooks);
    if (hook->child == 0) {
        const nontax_result *result = nontax_call_result(call);
        child_verdict(hook->ends[1], nontax_call_finished(call) &&
                                         result->outcome == NONTAX_IN_DOUBT &&
                                         result->cause == NONTAX_CAUSE_CANCELLED);
    }
    close(hook->ends[1]);
    assert_true(parent_verdict(hook->ends[0], hook->child));
    expect_inserted(call, "forked");
    assert_int_equal(server_bodies(server, "forked"), 1);
    assert_int_equal(server_connections(server), 1);
    nontax_call_free(call);
    nontax_client_free(client);
    server_stop(server);
}

static void test_fork_while_waiting_for_the_answer(void **state)
{
    (void)state;
    forking_hook hook = {0};
    nontax_hooks hooks = {.context = &hook, .interrupted = fork_when_it_has_arrived};
    run_with_fork(&hook, &hooks, &hold);
}

static void test_fork_in_the_token_source(void **state)
{
    (void)state;
    forking_hook hook = {0};
    nontax_hooks hooks = {.context = &hook, .token = fork_and_hand_out_token};
    run_with_fork(&hook, &hooks, NULL);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup(test, true_time)
    const struct CMUnitTest tests[] = {
        TEST(test_child_leaves_the_parents_lane_alone),
        TEST(test_child_has_its_own_connection),
        TEST(test_child_does_not_send_the_parents_call),
        TEST(test_childs_lane_does_not_send_the_parents_call),
        TEST(test_fork_while_waiting_for_the_answer),
        TEST(test_fork_in_the_token_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
