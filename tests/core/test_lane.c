/* test_lane.c: lanes and blocking calls against a server that answers and fails as told. */
#include "lanes.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- one call ---------------------------------------------------------------------------- */

static void test_request_as_the_server_sees_it(void **state)
{
    (void)state;
    char length[64];
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_call *call = call_for(client, "order-1");
    nontax_client_run(client, call, NULL);
    expect_inserted(call, "order-1");
    assert_int_equal(nontax_call_result(call)->attempts, 1);
    assert_int_equal(nontax_call_result(call)->http_status, 200);
    assert_int_equal(nontax_call_result(call)->curl_code, 0);

    const char *head = server_head(server, 0), *body = server_body(server, 0);
    static const char line[] =
        "POST /nontax/insertbill?access_token=" TOKEN_IN_QUERY " HTTP/1.1\r\n";
    assert_memory_equal(head, line, strlen(line));
    assert_non_null(strstr(head, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(head, "\r\nUser-Agent: nontax/" NONTAX_VERSION "\r\n"));
    snprintf(length, sizeof length, "\r\nContent-Length: %zu\r\n", strlen(body));
    assert_non_null(strstr(head, length));
    assert_null(strstr(head, "Expect:"));
    assert_null(strstr(head, "Cookie:"));
    assert_null(strstr(head, "Transfer-Encoding:"));
    assert_string_equal(body, sample_body);

    nontax_call_free(call);
    nontax_client_free(client);
    server_stop(server);
}

static void test_path_of_base_url(void **state)
{
    (void)state;
    char url[128];
    server *server = server_start(NULL, 0);
    snprintf(url, sizeof url, "%s/gateway/", server_url(server));
    nontax_client *client = client_for(url, 0);
    nontax_call *call = call_for(client, "order-1");
    nontax_client_run(client, call, NULL);
    expect_inserted(call, "order-1");
    assert_non_null(
        strstr(server_head(server, 0), "POST /gateway/nontax/insertbill?access_token="));
    nontax_call_free(call);
    nontax_client_free(client);
    server_stop(server);
}

static void test_proxies_of_the_environment_are_not_for_the_loopback(void **state)
{
    (void)state;
    int refusing;
    const char *proxy = refusing_url(&refusing);
    setenv("http_proxy", proxy, 1);
    setenv("all_proxy", proxy, 1);
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_call *call = call_for(client, "order-1");
    nontax_client_run(client, call, NULL);
    unsetenv("http_proxy");
    unsetenv("all_proxy");
    expect_inserted(call, "order-1");
    nontax_call_free(call);
    nontax_client_free(client);
    server_stop(server);
    close(refusing);
}

static void test_connection_is_kept(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    run_calls(client, 5);
    assert_int_equal(server_connections(server), 1);
    nontax_client_close_idle(client);
    run_calls(client, 2);
    assert_int_equal(server_connections(server), 2);
    nontax_client_free(client);
    server_settle(server);
    assert_int_equal(server_requests(server), 7);
    server_stop(server);
}

static void test_idle_connection_is_not_trusted(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    run_calls(client, 1);
    clock_forward(20000);
    run_calls(client, 1);
    assert_int_equal(server_connections(server), 1);
    clock_forward(35000);
    run_calls(client, 1);
    assert_int_equal(server_connections(server), 2);
    nontax_client_free(client);
    server_stop(server);
}

typedef struct burst {
    server *server;
    nontax_client *client;
    bool done;
} burst;

/* Runs another call while one is under way, as another thread would. */
static bool run_another(void *context)
{
    burst *burst = context;
    if (!burst->done) {
        burst->done = true;
        run_calls(burst->client, 1);
        server_release(burst->server);
    }
    return false;
}

static void test_lanes_of_a_burst_do_not_stay(void **state)
{
    (void)state;
    server *server = server_start(&hold, 1);
    nontax_client *client = client_for(server_url(server), 0);
    burst burst = {.server = server, .client = client};
    const nontax_hooks hooks = {.context = &burst, .interrupted = run_another};
    nontax_call *call = call_for(client, "order-1");
    nontax_client_run(client, call, &hooks);
    nontax_call_free(call);
    assert_int_equal(client->idle_connections, 2);
    clock_forward(20000);
    run_calls(client, 1); /* on the one that came back last */
    assert_int_equal(client->idle_connections, 2);
    clock_forward(20000);
    run_calls(client, 1);
    assert_int_equal(client->idle_connections, 1);
    assert_int_equal(server_connections(server), 2);
    nontax_client_free(client);
    server_settle(server);
    assert_int_equal(server_requests(server), 4);
    server_stop(server);
}

/* ---- many calls -------------------------------------------------------------------------- */

static void test_many_calls_on_one_lane(void **state)
{
    (void)state;
    enum { CALLS = 20 };
    bool seen[CALLS] = {false};
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    nx_lane *lane = new_lane(client, CALLS);
    for (int i = 0; i < CALLS; i++) {
        char order_id[32];
        snprintf(order_id, sizeof order_id, "many-%02d", i);
        nontax_call *call = call_for(client, order_id);
        nontax_call_set_owner(call, &seen[i]);
        add(lane, call);
    }
    for (int i = 0; i < CALLS; i++) {
        char order_id[32];
        nontax_call *call = take(lane);
        bool *own = nontax_call_owner(call);
        assert_false(*own);
        *own = true;
        snprintf(order_id, sizeof order_id, "many-%02d", (int)(own - seen));
        expect_inserted(call, order_id);
        assert_int_equal(server_bodies(server, order_id), 1);
        nontax_call_free(call);
    }
    assert_null(nx_lane_take(lane));
    assert_int_equal(server_requests(server), CALLS);
    assert_between(server_connections(server), 1, CALLS);
    nx_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}

static void test_waves_on_one_lane(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    nx_lane *lane = new_lane(client, 3);
    for (int wave = 0; wave < 5; wave++) {
        for (int i = 0; i < 3; i++) {
            add(lane, call_for(client, "wave"));
        }
        for (int i = 0; i < 3; i++) {
            nontax_call *call = take(lane);
            expect_inserted(call, "wave");
            nontax_call_free(call);
        }
    }
    assert_between(server_connections(server), 1, 3);
    nx_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}

typedef struct worker {
    nontax_client *client;
    int number;
    bool good;
    pthread_t thread;
} worker;

static bool work(worker *worker)
{
    for (int i = 0; i < 8; i++) {
        char order_id[32];
        snprintf(order_id, sizeof order_id, "worker-%d-%d", worker->number, i);
        nontax_call *call = call_for(worker->client, order_id);
        nontax_client_run(worker->client, call, NULL);
        const nontax_result *result = nontax_call_result(call);
        REQUIRE(result->outcome == NONTAX_INSERTED);
        const cJSON *code = cJSON_GetObjectItem(result->fields, "code");
        REQUIRE(strcmp(code->valuestring, order_id) == 0);
        nontax_call_free(call);
    }
    return true;
}

static void *run_worker(void *context)
{
    worker *worker = context;
    worker->good = work(worker);
    return NULL;
}

static void test_threads_share_a_client(void **state)
{
    (void)state;
    worker workers[6];
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    for (int i = 0; i < (int)COUNT(workers); i++) {
        workers[i] = (worker){.client = client, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]), 0);
    }
    for (size_t i = 0; i < COUNT(workers); i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        assert_true(workers[i].good);
    }
    assert_int_equal(server_requests(server), 8 * (int)COUNT(workers));
    assert_between(server_connections(server), 1, (int)COUNT(workers));
    nontax_client_free(client);
    server_stop(server);
}

/* ---- connections that fail --------------------------------------------------------------- */

static void test_refused_connection(void **state)
{
    (void)state;
    int refusing;
    const char *url = refusing_url(&refusing);
    for (int retries = 0; retries < 4; retries++) {
        nontax_client *client = client_for(url, retries);
        nx_lane *lane = new_lane(client, 1);
        nontax_call *call = call_for(client, "order-1");
        add(lane, call);
        for (int attempts = 1; attempts <= retries; attempts++) {
            while (nontax_call_result(call)->attempts < attempts) {
                (void)nx_lane_step(lane, 10);
            }
            step_until_state(lane, call, NX_CALL_PAUSING);
            assert_null(nx_lane_take(lane));
            clock_forward(2000); /* longer than any of these pauses */
        }
        assert_ptr_equal(take(lane), call);
        expect(call, NONTAX_NOT_SENT, NONTAX_CAUSE_CONNECTION);
        assert_int_equal(nontax_call_result(call)->attempts, retries + 1);
        assert_int_equal(nontax_call_result(call)->curl_code, CURLE_COULDNT_CONNECT);
        assert_int_equal(nontax_call_result(call)->http_status, 0);
        assert_false(nontax_call_result(call)->timed_out);
        assert_non_null(strstr(nontax_call_result(call)->reason, "127.0.0.1"));
        nontax_call_free(call);
        nx_lane_free(lane);
        nontax_client_free(client);
    }
    close(refusing);
}

/* With true pauses, through the blocking call. */
static void test_refused_connection_blocking(void **state)
{
    (void)state;
    int refusing;
    nontax_client *client = client_for(refusing_url(&refusing), 1);
    nontax_call *call = call_for(client, "order-1");
    nontax_client_run(client, call, NULL);
    expect(call, NONTAX_NOT_SENT, NONTAX_CAUSE_CONNECTION);
    assert_int_equal(nontax_call_result(call)->attempts, 2);
    nontax_call_free(call);
    nontax_client_free(client);
    close(refusing);
}

/* A server that ends the connection, on a new one and on one that was used before. If it has not
 * read the body, the client may or may not have begun to send it; but whatever the outcome is, it
 * fits what the server has seen, and the bill does not arrive twice. */
static void try_ending(server_move move, bool reused)
{
    const server_step steps[] = {{.move = ANSWER}, {.move = move}};
    server *server = server_start(reused ? steps : steps + 1, reused ? 2 : 1);
    nontax_client *client = client_for(server_url(server), 2);
    if (reused) {
        run_calls(client, 1);
    }
    nontax_call *call = call_for(client, "once");
    nontax_client_run(client, call, NULL);
    nontax_client_close_idle(client);
    server_settle(server);
    bool reads_all = move == CLOSE_AFTER_BODY || move == CLOSE_IN_REPLY;
    if (reads_all || nontax_call_result(call)->outcome == NONTAX_IN_DOUBT) {
        expect(call, NONTAX_IN_DOUBT, NONTAX_CAUSE_CONNECTION);
        assert_int_equal(nontax_call_result(call)->attempts, 1);
        assert_false(nontax_call_result(call)->timed_out);
        assert_int_equal(server_bodies(server, "\"once\""), reads_all);
    } else {
        /* Nothing had left for the first connection: libcurl or the lane took a second one. */
        expect_inserted(call, "once");
        assert_int_equal(server_connections(server), 2);
        assert_int_equal(server_bodies(server, "\"once\""), 1);
    }
    nontax_call_free(call);
    nontax_client_free(client);
    server_stop(server);
}

static void test_server_ends_the_connection(void **state)
{
    (void)state;
    static const server_move moves[] = {CLOSE_AT_ONCE, CLOSE_AFTER_HEAD, CLOSE_AFTER_BODY,
                                        CLOSE_IN_REPLY};
    for (size_t i = 0; i < COUNT(moves); i++) {
        for (int round = 0; round < 5; round++) {
            try_ending(moves[i], false);
            try_ending(moves[i], true);
        }
    }
}

/* The server goes away between two calls: the second one must not be lost over it. */
static void test_server_closes_an_idle_connection(void **state)
{
    (void)state;
    const server_step steps[] = {{.move = ANSWER_AND_CLOSE}, {.move = ANSWER}};
    server *server = server_start(steps, 2);
    nontax_client *client = client_for(server_url(server), 0);
    run_calls(client, 1);
    server_settle(server);
    run_calls(client, 1);
    assert_int_equal(server_connections(server), 2);
    nontax_client_free(client);
    server_stop(server);
}

/* Bytes that wait on a connection must not become another bill's answer. */
static void test_answer_that_nobody_asked_for(void **state)
{
    (void)state;
    const server_step steps[] = {{.move = ANSWER_AND_MORE}, {.move = ANSWER_AND_MORE}};
    server *server = server_start(steps, 2);
    nontax_client *client = client_for(server_url(server), 0);
    for (int i = 0; i < 3; i++) {
        char order_id[32];
        snprintf(order_id, sizeof order_id, "order-%d", i);
        nontax_call *call = call_for(client, order_id);
        nontax_client_run(client, call, NULL);
        expect_inserted(call, order_id);
        assert_int_equal(nontax_call_result(call)->attempts, 1);
        nontax_call_free(call);
        server_wait_for_answers(server, i + 1);
    }
    assert_int_equal(server_connections(server), 3);
    assert_int_equal(server_requests(server), 3);
    nontax_client_free(client);
    server_stop(server);
}

/* A body that does not go out at once. */
static void test_large_body(void **state)
{
    (void)state;
    static const server_move moves[] = {ANSWER, CLOSE_AFTER_HEAD, CLOSE_AFTER_BODY};
    enum { SIZE = 8 * 1024 * 1024 };
    char *title = malloc(SIZE + 1);
    assert_non_null(title);
    memset(title, 't', SIZE);
    title[SIZE] = '\0';
    for (size_t i = 0; i < COUNT(moves); i++) {
        const server_step step = {.move = moves[i]};
        server *server = server_start(&step, 1);
        nontax_client *client = client_for(server_url(server), 0);
        nontax_call *call = nontax_call_new(client, nontax_interface_find("insertbill"));
        cJSON *bill = sample_bill();
        put(bill, "card_ext.user_card.invoice_user_data.title", cJSON_CreateString(title));
        assert_int_equal(nontax_call_set_payload(call, nontax_payload_from_json(bill)), NONTAX_OK);
        assert_int_equal(nontax_call_set_token(call, TOKEN, strlen(TOKEN)), NONTAX_OK);
        nontax_client_run(client, call, NULL);
        int arrived = server_bodies(server, "order-1");
        if (moves[i] == ANSWER) {
            expect_inserted(call, "order-1");
            assert_int_equal(strlen(server_body(server, 0)),
                             strlen(sample_body) - strlen("张三") + SIZE);
        } else if (moves[i] == CLOSE_AFTER_BODY) {
            expect(call, NONTAX_IN_DOUBT, NONTAX_CAUSE_CONNECTION);
            assert_int_equal(arrived, 1);
        } else {
            assert_int_not_equal(nontax_call_result(call)->outcome, NONTAX_INSERTED);
            assert_int_equal(nontax_call_result(call)->cause, NONTAX_CAUSE_CONNECTION);
            assert_int_equal(arrived, 0);
        }
        nontax_call_free(call);
        nontax_client_free(client);
        server_stop(server);
    }
    free(title);
}

/* ---- replies ------------------------------------------------------------------------------ */

/* One call with this answer, and how many requests it took. */
static nontax_call *call_answered(const server_step *steps, int count, int retries, int requests)
{
    server *server = server_start(steps, count);
    nontax_client *client = client_for(server_url(server), retries);
    nx_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    while (nx_lane_take(lane) != call) {
        if (call->state == NX_CALL_PAUSING) {
            clock_forward(2000);
        }
        (void)nx_lane_step(lane, 10);
    }
    nx_lane_free(lane);
    server_settle(server);
    assert_int_equal(server_requests(server), requests);
    nontax_client_free(client);
    server_stop(server);
    return call;
}

static void expect_answered(server_step step, nontax_outcome outcome, nontax_cause cause)
{
    nontax_call *call = call_answered(&step, 1, 5, 1);
    expect(call, outcome, cause);
    assert_int_equal(nontax_call_result(call)->http_status, step.status ? step.status : 200);
    assert_int_equal(nontax_call_result(call)->attempts, 1);
    nontax_call_free(call);
}

static void test_answers_that_are_final(void **state)
{
    (void)state;
    static const server_step rejected[] = {
        {.body = "{\"errcode\":72038,\"errmsg\":\"never auth\"}"},
        {.body = "{\"errcode\":45009}"},
        {.body = "{\"errcode\":45011}"},
        {.body = "{\"errcode\":123456}"},
        {.status = 500, .body = "{\"errcode\":47001}"},
    };
    for (size_t i = 0; i < COUNT(rejected); i++) {
        expect_answered(rejected[i], NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    }
    expect_answered((server_step){.body = "{\"errcode\":-1}"}, NONTAX_IN_DOUBT, NONTAX_CAUSE_NONE);
}

static void test_answers_that_are_not_wechats(void **state)
{
    (void)state;
    static const server_step steps[] = {
        {.body = ""},
        {.body = "<html></html>"},
        {.body = "{}"},
        {.body = "{\"errcode\":0}"},
        {.status = 502, .body = "<html>bad gateway</html>"},
        {.status = 302, .body = "", .header = "Location: /elsewhere\r\n"},
        {.status = 307, .body = "", .header = "Location: /elsewhere\r\n"},
        {.status = 308, .body = "", .header = "Location: http://127.0.0.1:1/\r\n"},
        {.status = 401, .body = "{}", .header = "WWW-Authenticate: Basic realm=\"a\"\r\n"},
        {.status = 503, .body = "busy", .header = "Retry-After: 0\r\n"},
        {.status = 417, .body = "no"},
    };
    for (size_t i = 0; i < COUNT(steps); i++) {
        expect_answered(steps[i], NONTAX_IN_DOUBT, NONTAX_CAUSE_REPLY);
    }
}

static void test_reply_sizes(void **state)
{
    (void)state;
    enum { LIMIT = 1024 * 1024 };
    static const char start[] = "{\"errcode\":0,\"code\":\"c\",\"openid\":\"o\",\"x\":\"";
    char *body = malloc(LIMIT + 2);
    assert_non_null(body);
    for (size_t size = LIMIT; size <= LIMIT + 1; size++) {
        memset(body, 'x', size);
        memcpy(body, start, strlen(start));
        memcpy(body + size - 2, "\"}", 3);
        const server_step step = {.body = body};
        nontax_call *call = call_answered(&step, 1, 5, 1);
        if (size == LIMIT) {
            expect(call, NONTAX_INSERTED, NONTAX_CAUSE_NONE);
        } else {
            expect(call, NONTAX_IN_DOUBT, NONTAX_CAUSE_REPLY);
            assert_non_null(strstr(nontax_call_result(call)->reason, "larger than 1 MiB"));
        }
        nontax_call_free(call);
    }
    free(body);
}

/* WeChat has said that it did not take it: so it may, and does, arrive again. */
static void test_a_credential_in_a_reply_is_wiped(void **state)
{
    (void)state;
    /* Complete, and broken off in the middle. */
    static const server_step steps[] = {
        {.body = "{\"access_token\":\"91_Fresh-token.value\",\"expires_in\":7200}"},
        {.move = CLOSE_IN_REPLY,
         .body = "{\"access_token\":\"91_Fresh-token.value\",\"expires_in\":7200,"
                 "\"padding\":\"........................................................\"}"},
    };
    server *server = server_start(steps, COUNT(steps));
    nontax_client *client = client_for(server_url(server), 0);
    nx_lane *lane = new_lane(client, 1);
    for (size_t i = 0; i < COUNT(steps); i++) {
        nontax_call *call =
            call_with(client, "token",
                      "{'grant_type':'client_credential','appid':'wx1','secret':'appsecret'}");
        add(lane, call);
        /* The lane keeps it for its next call. */
        const nx_transfer *transfer = call->transfer;
        assert_ptr_equal(take(lane), call);
        assert_int_equal(nontax_call_result(call)->outcome,
                         i == 0 ? NONTAX_INSERTED : NONTAX_IN_DOUBT);
        assert_non_null(transfer->reply.data);
        assert_int_equal(transfer->reply.size, 0);
        for (size_t at = 0; at < strlen("{\"access_token\":\"91_Fresh-token.value\""); at++) {
            assert_int_equal(transfer->reply.data[at], '\0');
        }
        nontax_call_free(call);
    }
    nx_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}

static void test_busy_is_repeated(void **state)
{
    (void)state;
    const server_step steps[] = {
        busy, {.body = "{\"errcode\":72054,\"errmsg\":\"inserting\"}"}, {.move = ANSWER}};
    nontax_call *call = call_answered(steps, 3, 2, 3);
    expect_inserted(call, "order-1");
    assert_int_equal(nontax_call_result(call)->attempts, 3);
    assert_string_equal(nontax_call_result(call)->errmsg, "ok");
    nontax_call_free(call);

    call = call_answered(steps, 3, 1, 2);
    expect(call, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    assert_int_equal(nontax_call_result(call)->errcode, 72054);
    nontax_call_free(call);
}

/* After "busy", a second attempt that is in doubt is in doubt. */
static void test_doubt_after_busy(void **state)
{
    (void)state;
    const server_step steps[] = {busy, {.move = CLOSE_AFTER_BODY}};
    nontax_call *call = call_answered(steps, 2, 5, 2);
    expect(call, NONTAX_IN_DOUBT, NONTAX_CAUSE_CONNECTION);
    assert_false(nontax_call_result(call)->has_errcode);
    assert_string_equal(nontax_call_result(call)->errmsg, "");
    assert_int_equal(nontax_call_result(call)->attempts, 2);
    nontax_call_free(call);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup(test, true_time)
    const struct CMUnitTest tests[] = {
        TEST(test_request_as_the_server_sees_it),
        TEST(test_path_of_base_url),
        TEST(test_proxies_of_the_environment_are_not_for_the_loopback),
        TEST(test_connection_is_kept),
        TEST(test_idle_connection_is_not_trusted),
        TEST(test_lanes_of_a_burst_do_not_stay),
        TEST(test_many_calls_on_one_lane),
        TEST(test_waves_on_one_lane),
        TEST(test_threads_share_a_client),
        TEST(test_refused_connection),
        TEST(test_refused_connection_blocking),
        TEST(test_server_ends_the_connection),
        TEST(test_server_closes_an_idle_connection),
        TEST(test_answer_that_nobody_asked_for),
        TEST(test_large_body),
        TEST(test_answers_that_are_final),
        TEST(test_answers_that_are_not_wechats),
        TEST(test_reply_sizes),
        TEST(test_a_credential_in_a_reply_is_wiped),
        TEST(test_busy_is_repeated),
        TEST(test_doubt_after_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
