/* test_hooks.c: what a blocking call asks meanwhile: is it interrupted, and what is the token. */
#include "lanes.h"

#include <stdio.h>
#include <string.h>

typedef struct hook_state {
    server *server;
    int asked;
    const char *tokens[4];
    char stale[4][64];
} hook_state;

static bool interrupt_when_it_has_arrived(void *context)
{
    hook_state *hooks = context;
    hooks->asked++;
    return server_requests(hooks->server) > 0;
}

static void test_interrupt(void **state)
{
    (void)state;
    server *server = server_start(&hold, 1);
    nontax_client *client = client_for(server_url(server), 5);
    hook_state hooks_state = {.server = server};
    nontax_hooks hooks = {.context = &hooks_state, .interrupted = interrupt_when_it_has_arrived};
    nontax_call *call = call_for(client, "order-1");
    nontax_client_run(client, call, &hooks);
    expect(call, NONTAX_IN_DOUBT, NONTAX_CAUSE_CANCELLED);
    assert_true(hooks_state.asked > 0);
    nontax_call_free(call);
    nontax_client_free(client);
    server_stop(server);
}

static bool interrupt_after_the_answer(void *context)
{
    hook_state *hooks = context;
    if (server_requests(hooks->server) == 0) {
        return false;
    }
    server_release(hooks->server);
    server_wait_for_answers(hooks->server, 1);
    return true;
}

static void test_answer_counts_in_spite_of_an_interrupt(void **state)
{
    (void)state;
    server *server = server_start(&hold, 1);
    nontax_client *client = client_for(server_url(server), 5);
    hook_state hooks_state = {.server = server};
    nontax_hooks hooks = {.context = &hooks_state, .interrupted = interrupt_after_the_answer};
    nontax_call *call = call_for(client, "order-1");
    nontax_client_run(client, call, &hooks);
    expect_inserted(call, "order-1");
    nontax_call_free(call);
    nontax_client_free(client);
    server_stop(server);
}

static bool hand_out_token(void *context, nontax_call *call)
{
    hook_state *hooks = context;
    const char *stale = nontax_call_stale_token(call);
    assert_true(hooks->asked < 4);
    snprintf(hooks->stale[hooks->asked], sizeof hooks->stale[0], "%s", stale ? stale : "");
    const char *token = hooks->tokens[hooks->asked++];
    return token && nontax_call_set_token(call, token, strlen(token)) == NONTAX_OK;
}

static nontax_call *run_with(hook_state *hooks_state, const server_step *steps, int count,
                             int requests, const char *second_token)
{
    server *server = server_start(steps, count);
    nontax_client *client = client_for(server_url(server), 5);
    nontax_hooks hooks = {.context = hooks_state, .token = hand_out_token};
    nontax_call *call = call_without_token(client, "order-1");
    nontax_client_run(client, call, &hooks);
    nontax_client_close_idle(client);
    server_settle(server);
    assert_int_equal(server_requests(server), requests);
    for (int i = 0; i < requests; i++) {
        assert_non_null(strstr(server_head(server, i), i == 0 ? TOKEN_IN_QUERY : second_token));
    }
    nontax_client_free(client);
    server_stop(server);
    return call;
}

static nontax_call *run_with_tokens(hook_state *hooks_state, const server_step *steps, int count,
                                    int requests)
{
    return run_with(hooks_state, steps, count, requests, NEWER_TOKEN);
}

static nontax_call *run_with_equal_tokens(hook_state *hooks_state, const server_step *steps,
                                          int count)
{
    return run_with(hooks_state, steps, count, 2, TOKEN_IN_QUERY);
}

static void test_token_from_the_hook(void **state)
{
    (void)state;
    hook_state hooks = {.tokens = {TOKEN}};
    nontax_call *call = run_with_tokens(&hooks, NULL, 0, 1);
    expect_inserted(call, "order-1");
    assert_int_equal(hooks.asked, 1);
    assert_string_equal(hooks.stale[0], "");
    nontax_call_free(call);
}

static void test_newer_token_from_the_hook(void **state)
{
    (void)state;
    hook_state hooks = {.tokens = {TOKEN, NEWER_TOKEN}};
    nontax_call *call = run_with_tokens(&hooks, &bad_token, 1, 2);
    expect_inserted(call, "order-1");
    assert_int_equal(hooks.asked, 2);
    assert_string_equal(hooks.stale[1], TOKEN);
    assert_int_equal(nontax_call_result(call)->attempts, 2);
    nontax_call_free(call);
}

static void test_second_refusal_is_final(void **state)
{
    (void)state;
    const server_step steps[] = {bad_token, {.body = "{\"errcode\":42001}"}};
    hook_state hooks = {.tokens = {TOKEN, NEWER_TOKEN, TOKEN}};
    nontax_call *call = run_with_tokens(&hooks, steps, 2, 2);
    expect(call, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    assert_int_equal(nontax_call_result(call)->errcode, 42001);
    assert_int_equal(hooks.asked, 2);
    nontax_call_free(call);
}

/* Once more, a second later, for it may have been refused for a moment only; but not a third time.
 */
static void test_equal_token_is_sent_once_more(void **state)
{
    (void)state;
    const server_step steps[] = {bad_token, bad_token};
    hook_state hooks = {.tokens = {TOKEN, TOKEN}};
    nontax_call *call = run_with_equal_tokens(&hooks, steps, 1);
    expect_inserted(call, "order-1");
    assert_int_equal(nontax_call_result(call)->attempts, 2);
    nontax_call_free(call);

    hooks = (hook_state){.tokens = {TOKEN, TOKEN, TOKEN}};
    call = run_with_equal_tokens(&hooks, steps, 2);
    expect(call, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    assert_int_equal(nontax_call_result(call)->errcode, 40001);
    assert_string_equal(nontax_call_result(call)->errmsg,
                        "invalid credential *** rid: 61725984-6126f6f9-040f19c4");
    assert_string_equal(nontax_call_result(call)->rid, "61725984-6126f6f9-040f19c4");
    assert_int_equal(hooks.asked, 3);
    nontax_call_free(call);
}

static void test_hook_without_a_newer_token(void **state)
{
    (void)state;
    hook_state hooks = {.tokens = {TOKEN}};
    nontax_call *call = run_with_tokens(&hooks, &bad_token, 1, 1);
    expect(call, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    assert_int_equal(hooks.asked, 2);
    nontax_call_free(call);
}

/* The same through a lane, whose calls come out to be given a token. */
static void test_token_renewal_on_a_lane(void **state)
{
    (void)state;
    server *server = server_start(&bad_token, 1);
    nontax_client *client = client_for(server_url(server), 0);
    nx_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    assert_ptr_equal(take(lane), call);
    assert_false(nontax_call_finished(call));
    assert_true(nontax_call_needs_token(call));
    assert_string_equal(nontax_call_stale_token(call), TOKEN);
    assert_null(nx_lane_take(lane));
    assert_int_equal(nontax_call_set_token(call, NEWER_TOKEN, strlen(NEWER_TOKEN)), NONTAX_OK);
    add(lane, call);
    assert_ptr_equal(take(lane), call);
    expect_inserted(call, "order-1");
    assert_non_null(strstr(server_head(server, 1), "?access_token=" NEWER_TOKEN " "));
    nontax_call_free(call);
    nx_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup(test, true_time)
    const struct CMUnitTest tests[] = {
        TEST(test_interrupt),
        TEST(test_answer_counts_in_spite_of_an_interrupt),
        TEST(test_token_from_the_hook),
        TEST(test_newer_token_from_the_hook),
        TEST(test_second_refusal_is_final),
        TEST(test_equal_token_is_sent_once_more),
        TEST(test_hook_without_a_newer_token),
        TEST(test_token_renewal_on_a_lane),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
