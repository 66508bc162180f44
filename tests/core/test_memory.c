/* test_memory.c: every allocation fails once, and whatever the library says then is true; and what
 * is given back is wiped. */
#include "support.h"
#include "sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lane.h"
#include "memory.h"
#include "problems.h"
#include "reply.h"
#include "request.h"

/* ---- starting and clients ---------------------------------------------------------------- */

enum { FIRST_CLIENT_MOST = 50 }; /* allocations, and more than there are */

/* The first client of a process starts the library: that can be tried only once in each. */
static bool first_client(void *context)
{
    long number = *(long *)context;
    nontax_settings settings = NONTAX_SETTINGS_DEFAULT;
    nontax_client *client = NULL;
    nontax_text why = {.text = ""};
    use_heap();
    fail_at(number, false);
    nontax_status status = nontax_client_new(&settings, &client, &why);
    fail_no_more();
    REQUIRE(number < FIRST_CLIENT_MOST || !heap_failed());
    if (heap_failed()) {
        REQUIRE(status == NONTAX_NO_MEMORY || status == NONTAX_OK);
        REQUIRE((status == NONTAX_OK) == (client != NULL));
        REQUIRE(status == NONTAX_OK || *why.text);
    } else {
        REQUIRE(status == NONTAX_OK);
    }
    nontax_client_free(client);
    return true;
}

static void test_first_client(void **state)
{
    (void)state;
    for (long number = 1; number <= FIRST_CLIENT_MOST; number++) {
        if (!clean_in_child(first_client, &number)) {
            fail_msg("allocation %ld", number);
        }
    }
}

static bool make_client(long number, bool and_all_after)
{
    nontax_settings settings = NONTAX_SETTINGS_DEFAULT;
    nontax_client *client = (nontax_client *)&settings;
    nontax_text why = {.text = ""};
    static const char *const others[] = {"https://api2.weixin.qq.com", NULL};
    settings.fallback_base_urls = others;
    settings.ca_file = "/proc/self/exe"; /* any file that can be read */
    settings.proxy = "http://127.0.0.1:1";
    fail_at(number, and_all_after);
    nontax_status status = nontax_client_new(&settings, &client, &why);
    fail_no_more();
    REQUIRE((status == NONTAX_OK) == (client != NULL));
    if (heap_failed()) {
        /* libcurl can do without some of them. */
        REQUIRE(status == NONTAX_NO_MEMORY || (status == NONTAX_OK && !and_all_after));
        REQUIRE(status == NONTAX_OK || strstr(why.text, "memory"));
    } else {
        REQUIRE(status == NONTAX_OK);
    }
    nontax_client_free(client);
    return true;
}

static bool clients(void *context)
{
    (void)context;
    use_heap();
    REQUIRE(nontax_start(NULL) == NONTAX_OK);
    return with_every_failure(make_client);
}

static void test_client(void **state)
{
    (void)state;
    assert_true(clean_in_child(clients, NULL));
}

/* ---- calls -------------------------------------------------------------------------------- */

/* Whether a call's result fits what the server has seen of it: how many requests have arrived, and
 * how many of them were taken. */
static bool is_true(const nontax_call *call, int arrived, int taken)
{
    const nontax_result *result = nontax_call_result(call);
    REQUIRE(nontax_call_finished(call));
    REQUIRE(taken <= 1);
    switch (result->outcome) {
    case NONTAX_INSERTED:
        REQUIRE(taken == 1);
        /* What stands behind the fields that are checked must be there, too. */
        REQUIRE(strcmp(cJSON_GetObjectItem(result->fields, "openid")->valuestring, "o-1") == 0);
        return true;
    case NONTAX_REJECTED:
        REQUIRE(arrived == 1 && taken == 0);
        return true;
    case NONTAX_NOT_SENT:
        REQUIRE(taken == 0);
        break;
    case NONTAX_IN_DOUBT:
        break;
    }
    REQUIRE(*result->reason);
    REQUIRE(heap_failed());
    return true;
}

static bool hand_out_newer_token(void *context, nontax_call *call)
{
    const char *token = nontax_call_stale_token(call) ? NEWER_TOKEN : TOKEN;
    (void)context;
    return nontax_call_set_token(call, token, strlen(token)) == NONTAX_OK;
}

/* From the payload to the result, with the first token refused or not. */
static bool run_call(server *server, nontax_client *client, long number, bool and_all_after)
{
    const nontax_hooks hooks = {.token = hand_out_newer_token};
    int requests = server_requests(server), insertions = server_insertions(server);
    cJSON *bill = flat_bill();
    fail_at(number, and_all_after);
    nontax_call *call = nontax_call_new(client, nontax_interface_find("insertbill"));
    if (call) {
        (void)nontax_call_set_payload(call, nontax_payload_from_json(bill));
        nontax_client_run(client, call, &hooks);
    } else {
        cJSON_Delete(bill);
    }
    fail_no_more();
    nontax_client_close_idle(client);
    server_settle(server);
    requests = server_requests(server) - requests;
    insertions = server_insertions(server) - insertions;
    REQUIRE(call ? is_true(call, requests, insertions) : heap_failed());
    nontax_call_free(call);
    return true;
}

static bool run_cold_call(long number, bool and_all_after)
{
    static const server_step refusal = {.body = "{\"errcode\":40001,\"errmsg\":\"" TOKEN "\"}"};
    server *server = server_start(&refusal, 1);
    nontax_client *client = client_for(server_url(server), 0);
    bool good = run_call(server, client, number, and_all_after);
    nontax_client_free(client);
    server_stop(server);
    return good;
}

/* With a connection that is there already. */
static bool run_warm_call(long number, bool and_all_after)
{
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_call *first = call_for(client, "first");
    nontax_client_run(client, first, NULL);
    REQUIRE(nontax_call_result(first)->outcome == NONTAX_INSERTED);
    nontax_call_free(first);
    bool good = run_call(server, client, number, and_all_after);
    nontax_client_free(client);
    server_stop(server);
    return good;
}

static bool cold_calls(void *context)
{
    (void)context;
    use_heap();
    return with_every_failure(run_cold_call);
}

static bool warm_calls(void *context)
{
    (void)context;
    use_heap();
    return with_every_failure(run_warm_call);
}

static void test_cold_call(void **state)
{
    (void)state;
    assert_true(clean_in_child(cold_calls, NULL));
}

static void test_warm_call(void **state)
{
    (void)state;
    assert_true(clean_in_child(warm_calls, NULL));
}

/* The other ways of a request: a file, a query, and a token that an AppSecret buys. An answer must
 * have come for every success, and nothing may have arrived that counts as not sent. */
static bool run_other(const char *interface, const char *answer, long number, bool and_all_after)
{
    static const nontax_file file = {
        .name = "a \"b\".pdf", .data = "%PDF-1.7", .size = 8, .descriptor = -1};
    const nontax_hooks hooks = {.token = hand_out_newer_token};
    const server_step step = {.body = answer};
    server *server = server_start(&step, 1);
    nontax_client *client = client_for(server_url(server), 0);
    bool uploads = nontax_interface_takes_file(nontax_interface_find(interface));
    cJSON *payload = json(strcmp(interface, "getticket") == 0
                              ? "{'type':'wx_card'}"
                              : "{'grant_type':'client_credential','appid':'a','secret':'s/1'}");
    fail_at(number, and_all_after);
    nontax_call *call = nontax_call_new(client, nontax_interface_find(interface));
    if (call && uploads) {
        (void)nontax_call_set_file(call, &file);
    } else if (call) {
        (void)nontax_call_set_payload(call, nontax_payload_from_json(payload));
    }
    if (call) {
        nontax_client_run(client, call, &hooks);
    }
    fail_no_more();
    if (!call || uploads) {
        cJSON_Delete(payload);
    }
    nontax_client_close_idle(client);
    server_settle(server);
    REQUIRE(call ? is_true(call, server_requests(server), server_requests(server)) : heap_failed());
    nontax_call_free(call);
    nontax_client_free(client);
    server_stop(server);
    return true;
}

static bool run_upload(long number, bool and_all_after)
{
    return run_other("setpdf", "{\"errcode\":0,\"s_media_id\":\"1\",\"openid\":\"o-1\"}", number,
                     and_all_after);
}

static bool run_query(long number, bool and_all_after)
{
    return run_other("getticket",
                     "{\"errcode\":0,\"ticket\":\"t\",\"expires_in\":1,\"openid\":\"o-1\"}", number,
                     and_all_after);
}

static bool fetch_token(long number, bool and_all_after)
{
    return run_other("stable_token", "{\"access_token\":\"t\",\"expires_in\":1,\"openid\":\"o-1\"}",
                     number, and_all_after);
}

static bool uploads(void *context)
{
    (void)context;
    use_heap();
    return with_every_failure(run_upload);
}

static bool queries(void *context)
{
    (void)context;
    use_heap();
    return with_every_failure(run_query);
}

static bool token_fetches(void *context)
{
    (void)context;
    use_heap();
    return with_every_failure(fetch_token);
}

static void test_upload(void **state)
{
    (void)state;
    assert_true(clean_in_child(uploads, NULL));
}

static void test_query(void **state)
{
    (void)state;
    assert_true(clean_in_child(queries, NULL));
}

static void test_token_fetch(void **state)
{
    (void)state;
    assert_true(clean_in_child(token_fetches, NULL));
}

/* Several calls at once: one that fails must not take others with it unseen. */
static bool run_lane(long number, bool and_all_after)
{
    enum { CALLS = 3 };
    static const char *const order_ids[CALLS] = {"\"lane-0\"", "\"lane-1\"", "\"lane-2\""};
    nontax_call *calls[CALLS];
    nx_lane *lane = NULL;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    for (int i = 0; i < CALLS; i++) {
        char order_id[32];
        snprintf(order_id, sizeof order_id, "lane-%d", i);
        calls[i] = call_for(client, order_id);
    }
    fail_at(number, and_all_after);
    if (nx_lane_new(client, CALLS, &lane) == NONTAX_OK) {
        for (int i = 0; i < CALLS; i++) {
            REQUIRE(nx_lane_add(lane, calls[i]) == NONTAX_OK);
        }
        int64_t forward = client->timeout_ms;
        for (int taken = 0; taken < CALLS;) {
            nontax_step step = nx_lane_step(lane, 20);
            if (step == NONTAX_STEP_IDLE && heap_failed()) {
                /* libcurl can lose a transfer so. Further jumps pass the time that a lane gives to
                 * answers that have come while it was away. */
                clock_forward(forward);
                forward = 400;
            }
            while (nx_lane_take(lane)) {
                taken++;
            }
        }
    } else {
        REQUIRE(heap_failed() && !lane);
    }
    fail_no_more();
    bool made = lane != NULL;
    nx_lane_free(lane);
    server_settle(server);
    for (int i = 0; i < CALLS; i++) {
        int taken = server_bodies(server, order_ids[i]);
        REQUIRE(made ? is_true(calls[i], taken, taken) : taken == 0);
        nontax_call_free(calls[i]);
    }
    nontax_client_free(client);
    server_stop(server);
    clock_forward(0);
    return true;
}

static bool lanes(void *context)
{
    (void)context;
    use_heap();
    return with_every_failure(run_lane);
}

static void test_lane(void **state)
{
    (void)state;
    assert_true(clean_in_child(lanes, NULL));
}

/* A run keeps calls waiting for a token, and for others to end. */
static bool run_run(long number, bool and_all_after)
{
    enum { CALLS = 3 };
    static const char *const order_ids[CALLS] = {"\"run-0\"", "\"run-1\"", "\"run-2\""};
    static const nontax_run_settings settings = {.concurrency = 2};
    nontax_call *calls[CALLS];
    nontax_run *run = NULL;
    nontax_text why;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    for (int i = 0; i < CALLS; i++) {
        char order_id[32];
        snprintf(order_id, sizeof order_id, "run-%d", i);
        calls[i] = call_without_token(client, order_id);
    }
    fail_at(number, and_all_after);
    nontax_status status = nontax_run_new(client, &settings, &run, &why);
    REQUIRE(status == NONTAX_OK ? run != NULL : heap_failed() && !run);
    REQUIRE(!run || finish_run(run, calls, CALLS, TOKEN, client->timeout_ms));
    fail_no_more();
    bool made = run != NULL;
    nontax_run_free(run);
    nontax_client_close_idle(client); /* the run's connections */
    server_settle(server);
    for (int i = 0; i < CALLS; i++) {
        int taken = server_bodies(server, order_ids[i]);
        REQUIRE(made ? is_true(calls[i], taken, taken) : taken == 0);
        nontax_call_free(calls[i]);
    }
    nontax_client_free(client);
    server_stop(server);
    clock_forward(0);
    return true;
}

static bool runs(void *context)
{
    (void)context;
    use_heap();
    return with_every_failure(run_run);
}

static void test_run(void **state)
{
    (void)state;
    assert_true(clean_in_child(runs, NULL));
}

/* ---- requests ----------------------------------------------------------------------------- */

static bool build(cJSON *payload, nontax_extra extra, bool valid, long number, bool and_all_after)
{
    nontax_problems problems = {0};
    nx_buffer body = {0}, secret = {0};
    fail_at(number, and_all_after);
    nontax_status status =
        nx_request_build(nontax_interface_find("insertbill"), nontax_payload_from_json(payload),
                         extra, &problems, &body, &secret);
    fail_no_more();
    REQUIRE((status == NONTAX_OK) == (body.data != NULL));
    REQUIRE(status == NONTAX_NO_MEMORY || status == (valid ? NONTAX_OK : NONTAX_BAD_PAYLOAD));
    /* A failure may pass unnoticed only where nothing is missing because of it. */
    REQUIRE((status == NONTAX_NO_MEMORY) == heap_failed());
    for (size_t i = 0; i < problems.count; i++) {
        const nontax_problem *problem = &problems.list[i];
        REQUIRE(problem->path && problem->message);
        REQUIRE(!*problem->values[0].name == !problem->values[0].text);
    }
    nx_buffer_free(&body);
    nontax_problems_free(&problems);
    return true;
}

static bool build_flat(long number, bool and_all_after)
{
    cJSON *bill = flat_bill();
    put(bill, "extra", json("{'a':[1,2,'b']}"));
    put(bill, "number", nontax_json_number("12.50"));
    return build(bill, NONTAX_EXTRA_SEND, true, number, and_all_after);
}

static bool build_without_extra(long number, bool and_all_after)
{
    cJSON *bill = flat_bill();
    put(bill, "extra", json("{'a':[1,2,'b']}"));
    return build(bill, NONTAX_EXTRA_IGNORE, true, number, and_all_after);
}

static bool build_sample(long number, bool and_all_after)
{
    return build(sample_bill(), NONTAX_EXTRA_SEND, true, number, and_all_after);
}

static bool build_with_problems(long number, bool and_all_after)
{
    cJSON *bill = json("{'card_ext':{'user_card':{'fee':'1','title':' x','billing_time':1}}}");
    for (int i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof name, "x%d", i);
        put(bill, name, cJSON_CreateString("\xFF"));
    }
    return build(bill, NONTAX_EXTRA_REFUSE, false, number, and_all_after);
}

static bool make_leaves(long number, bool and_all_after)
{
    fail_at(number, and_all_after);
    cJSON *literal = nontax_json_number("12.50");
    cJSON *moment = nontax_json_time(1511169724);
    cJSON *foreign = nontax_json_foreign("a Decimal");
    cJSON *problem = nontax_json_problem(NONTAX_PROBLEM_EMPTY_CELL, "NaT");
    fail_no_more();
    REQUIRE(heap_failed() == !(literal && moment && foreign && problem));
    cJSON_Delete(literal);
    cJSON_Delete(moment);
    cJSON_Delete(foreign);
    cJSON_Delete(problem);
    return true;
}

static bool requests(void *context)
{
    (void)context;
    use_heap();
    REQUIRE(nontax_start(NULL) == NONTAX_OK); /* it is what tells cJSON of the allocator */
    return with_every_failure(build_flat) && with_every_failure(build_without_extra) &&
           with_every_failure(build_sample) && with_every_failure(build_with_problems) &&
           with_every_failure(make_leaves);
}

static void test_requests(void **state)
{
    (void)state;
    assert_true(clean_in_child(requests, NULL));
}

/* ---- replies ------------------------------------------------------------------------------ */

static bool read_reply(const char *body, nontax_outcome outcome, long number, bool and_all_after)
{
    nontax_result result = {0};
    cJSON *fields = NULL;
    const nx_secrets secrets = {{TOKEN}};
    fail_at(number, and_all_after);
    nx_reply_read(nontax_interface_find("insertbill"), body, strlen(body), 200, &secrets, &result,
                  &fields);
    fail_no_more();
    REQUIRE(result.outcome == (heap_failed() ? NONTAX_IN_DOUBT : outcome));
    REQUIRE(!heap_failed() || *result.reason);
    cJSON_Delete(fields);
    return true;
}

static bool read_success(long number, bool and_all_after)
{
    return read_reply("{\"errcode\":0,\"errmsg\":\"ok\",\"code\":\"c\",\"openid\":\"o\",\"x\":[1]}",
                      NONTAX_INSERTED, number, and_all_after);
}

static bool read_refusal(long number, bool and_all_after)
{
    return read_reply("{\"errcode\":40001,\"errmsg\":\"bad " TOKEN "\"}", NONTAX_REJECTED, number,
                      and_all_after);
}

static bool replies(void *context)
{
    (void)context;
    use_heap();
    REQUIRE(nontax_start(NULL) == NONTAX_OK);
    return with_every_failure(read_success) && with_every_failure(read_refusal);
}

static void test_replies(void **state)
{
    (void)state;
    assert_true(clean_in_child(replies, NULL));
}

/* ---- what is given back ------------------------------------------------------------------- */

static int freed, freed_with_a_token;

/* Only for a process that frees nothing but buffers: each has room for a token. */
static void look_and_free(void *memory)
{
    if (memory) {
        freed++;
        freed_with_a_token += memcmp(memory, TOKEN, strlen(TOKEN)) == 0;
        free(memory);
    }
}

static bool buffers_are_wiped(void *context)
{
    (void)context;
    static const nontax_allocator looking = {malloc, calloc, realloc, strdup, look_and_free};
    static const char more[1000] = "";
    nx_buffer buffer = {0};
    nontax_set_allocator(&looking);
    REQUIRE(nx_buffer_append(&buffer, TOKEN, strlen(TOKEN)) == NONTAX_OK);
    REQUIRE(nx_buffer_append(&buffer, more, sizeof more) == NONTAX_OK);
    REQUIRE(freed == 1); /* it has grown */
    REQUIRE(memcmp(buffer.data, TOKEN, strlen(TOKEN)) == 0);
    nx_buffer_clear(&buffer, 1); /* it is larger than that */
    REQUIRE(freed == 2);
    REQUIRE(nx_buffer_append(&buffer, TOKEN, strlen(TOKEN)) == NONTAX_OK);
    nx_buffer_free(&buffer);
    REQUIRE(freed == 3);
    REQUIRE(freed_with_a_token == 0);
    return true;
}

static void test_buffers_are_wiped(void **state)
{
    (void)state;
    assert_true(clean_in_child(buffers_are_wiped, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_client), cmocka_unit_test(test_client),
        cmocka_unit_test(test_cold_call),    cmocka_unit_test(test_warm_call),
        cmocka_unit_test(test_upload),       cmocka_unit_test(test_query),
        cmocka_unit_test(test_token_fetch),  cmocka_unit_test(test_lane),
        cmocka_unit_test(test_run),          cmocka_unit_test(test_requests),
        cmocka_unit_test(test_replies),      cmocka_unit_test(test_buffers_are_wiped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
