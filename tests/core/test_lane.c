/* test_lane.c: lanes and blocking calls against a server that answers, fails and hangs as told. */
#include "support.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "call.h"
#include "engine.h"
#include "lane.h"

static const server_step hold = {.move = ANSWER_WHEN_TOLD};
static const server_step bad_token = {
    .body = "{\"errcode\":40001,\"errmsg\":\"invalid credential " TOKEN
            " rid: 61725984-6126f6f9-040f19c4\"}"};
static const server_step busy = {.body = "{\"errcode\":72036,\"errmsg\":\"busy\"}"};

/* ---- shared ------------------------------------------------------------------------------ */

/* The clock is put right again, whatever the test before did. */
static int true_time(void **state)
{
    (void)state;
    clock_forward(0);
    return 0;
}

static nontax_lane *new_lane(nontax_client *client, int parallel)
{
    nontax_lane *lane = NULL;
    assert_int_equal(nontax_lane_new(client, parallel, &lane), NONTAX_OK);
    return lane;
}

static void add(nontax_lane *lane, nontax_call *call)
{
    assert_int_equal(nontax_lane_add(lane, call), NONTAX_OK);
}

/* Steps until a call comes off the lane. */
static nontax_call *take(nontax_lane *lane)
{
    nontax_call *call;
    while (!(call = nontax_lane_take(lane))) {
        (void)nontax_lane_step(lane, 50);
    }
    return call;
}

static void step_until_requests(nontax_lane *lane, server *server, int count)
{
    while (server_requests(server) < count) {
        (void)nontax_lane_step(lane, 10);
    }
}

static void step_until_state(nontax_lane *lane, const nontax_call *call, nx_call_state wanted)
{
    while (call->state != wanted) {
        (void)nontax_lane_step(lane, 10);
    }
}

static void expect(const nontax_call *call, nontax_outcome outcome, nontax_cause cause)
{
    const nontax_result *result = nontax_call_result(call);
    if (result->outcome != outcome || result->cause != cause) {
        print_error("%s, errcode %d: %s\n", nontax_outcome_name(result->outcome), result->errcode,
                    result->reason);
    }
    assert_true(nontax_call_finished(call));
    assert_int_equal(result->outcome, outcome);
    assert_int_equal(result->cause, cause);
}

static void expect_inserted(const nontax_call *call, const char *order_id)
{
    expect(call, NONTAX_INSERTED, NONTAX_CAUSE_NONE);
    const cJSON *fields = nontax_call_result(call)->fields;
    /* The server gives the order's id as the code: each answer belongs to its own call. */
    assert_string_equal(cJSON_GetObjectItem(fields, "code")->valuestring, order_id);
    assert_string_equal(cJSON_GetObjectItem(fields, "openid")->valuestring, "o-1");
}

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

static void run_calls(nontax_client *client, int count)
{
    for (int i = 0; i < count; i++) {
        char order_id[32];
        snprintf(order_id, sizeof order_id, "order-%d", i);
        nontax_call *call = call_for(client, order_id);
        nontax_client_run(client, call, NULL);
        expect_inserted(call, order_id);
        nontax_call_free(call);
    }
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

/* ---- many calls -------------------------------------------------------------------------- */

static void test_many_calls_on_one_lane(void **state)
{
    (void)state;
    enum { CALLS = 20 };
    bool seen[CALLS] = {false};
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_lane *lane = new_lane(client, CALLS);
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
    assert_null(nontax_lane_take(lane));
    assert_int_equal(server_requests(server), CALLS);
    assert_between(server_connections(server), 1, CALLS);
    nontax_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}

static void test_waves_on_one_lane(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_lane *lane = new_lane(client, 3);
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
    nontax_lane_free(lane);
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
        nontax_lane *lane = new_lane(client, 1);
        nontax_call *call = call_for(client, "order-1");
        add(lane, call);
        for (int attempts = 1; attempts <= retries; attempts++) {
            while (nontax_call_result(call)->attempts < attempts) {
                (void)nontax_lane_step(lane, 10);
            }
            step_until_state(lane, call, NX_CALL_PAUSING);
            assert_null(nontax_lane_take(lane));
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
        nontax_lane_free(lane);
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
        assert_int_equal(nontax_call_set_payload(call, bill), NONTAX_OK);
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
    nontax_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    while (nontax_lane_take(lane) != call) {
        if (call->state == NX_CALL_PAUSING) {
            clock_forward(2000);
        }
        (void)nontax_lane_step(lane, 10);
    }
    nontax_lane_free(lane);
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
    nontax_lane *lane = new_lane(client, 1);
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
    nontax_lane_free(lane);
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

/* ---- time --------------------------------------------------------------------------------- */

static void test_deadline_while_waiting_for_the_answer(void **state)
{
    (void)state;
    server *server = server_start(&hold, 1);
    nontax_client *client = client_for(server_url(server), 5);
    nontax_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    step_until_requests(lane, server, 1);
    clock_forward(client->timeout_ms + 100);
    (void)nontax_lane_step(lane, 0); /* somebody was away: what has arrived comes first */
    assert_null(nontax_lane_take(lane));
    clock_forward(client->timeout_ms);
    (void)nontax_lane_step(lane, 0);
    while (nontax_lane_take(lane) != call) {
        clock_forward(300);
        (void)nontax_lane_step(lane, 0);
    }
    expect(call, NONTAX_IN_DOUBT, NONTAX_CAUSE_CONNECTION);
    assert_true(nontax_call_result(call)->timed_out);
    assert_int_equal(nontax_call_result(call)->attempts, 1);
    nontax_call_free(call);
    nontax_lane_free(lane);
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
    nontax_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    step_until_requests(lane, server, 1);
    server_release(server);
    server_wait_for_answers(server, 1);
    clock_forward(10 * client->timeout_ms);
    assert_ptr_equal(take(lane), call);
    expect_inserted(call, "order-1");
    nontax_call_free(call);
    nontax_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}

static void test_time_was_over_before(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 5);
    nontax_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    clock_forward(client->timeout_ms + 1);
    add(lane, call);
    assert_ptr_equal(nontax_lane_take(lane), call);
    expect(call, NONTAX_NOT_SENT, NONTAX_CAUSE_CONNECTION);
    assert_true(nontax_call_result(call)->timed_out);
    assert_int_equal(nontax_call_result(call)->attempts, 0);
    nontax_call_free(call);
    nontax_lane_free(lane);
    nontax_client_free(client);
    assert_int_equal(server_connections(server), 0);
    server_stop(server);
}

static void test_deadline_while_pausing(void **state)
{
    (void)state;
    server *server = server_start(&busy, 1);
    nontax_client *client = client_for(server_url(server), 5);
    nontax_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    step_until_state(lane, call, NX_CALL_PAUSING);
    clock_forward(client->timeout_ms + 1);
    assert_ptr_equal(take(lane), call);
    expect(call, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    assert_int_equal(nontax_call_result(call)->errcode, 72036);
    assert_int_equal(nontax_call_result(call)->attempts, 1);
    nontax_call_free(call);
    nontax_lane_free(lane);
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
    nontax_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    call->repeats = 6; /* the pause after the seventh attempt has at least 5 s */
    call->deadline = nx_now_ms() + 4000;
    add(lane, call);
    while (call->state == NX_CALL_RUNNING) {
        (void)nontax_lane_step(lane, 10);
    }
    assert_ptr_equal(nontax_lane_take(lane), call);
    expect(call, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    nontax_call_free(call);
    nontax_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}

/* ---- cancelling --------------------------------------------------------------------------- */

static void test_cancel_before_the_first_step(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 5);
    nontax_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    nontax_lane_cancel(lane, call);
    expect(call, NONTAX_NOT_SENT, NONTAX_CAUSE_CANCELLED);
    assert_null(nontax_lane_take(lane));
    (void)nontax_lane_step(lane, 0);
    assert_null(nontax_lane_take(lane));
    nontax_lane_free(lane);
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
    nontax_lane *lane = new_lane(client, 2);
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    step_until_requests(lane, server, 1);
    nontax_lane_cancel(lane, call);
    expect(call, NONTAX_IN_DOUBT, NONTAX_CAUSE_CANCELLED);
    assert_false(nontax_call_result(call)->timed_out);
    assert_null(nontax_lane_take(lane));
    server_release(server);

    /* The lane goes on, and the late answer is nobody's. */
    nontax_call *other = call_for(client, "order-2");
    add(lane, other);
    assert_ptr_equal(take(lane), other);
    expect_inserted(other, "order-2");
    assert_int_equal(server_bodies(server, "order-1"), 1);
    nontax_call_free(call);
    nontax_call_free(other);
    nontax_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}

static void test_cancel_while_pausing(void **state)
{
    (void)state;
    server *server = server_start(&busy, 1);
    nontax_client *client = client_for(server_url(server), 5);
    nontax_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    step_until_state(lane, call, NX_CALL_PAUSING);
    nontax_lane_cancel(lane, call);
    expect(call, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    assert_int_equal(nontax_call_result(call)->errcode, 72036);
    clock_forward(2000);
    (void)nontax_lane_step(lane, 0);
    assert_null(nontax_lane_take(lane));
    nontax_lane_free(lane);
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
    nontax_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    step_until_state(lane, call, NX_CALL_FINISHED);
    nontax_lane_cancel(lane, call);
    expect_inserted(call, "order-1");
    assert_null(nontax_lane_take(lane));
    nontax_call_free(call);

    call = call_for(client, "order-2");
    add(lane, call);
    step_until_state(lane, call, NX_CALL_NEEDS_TOKEN);
    nontax_lane_cancel(lane, call);
    expect(call, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    assert_null(nontax_lane_take(lane));
    nontax_call_free(call);
    nontax_lane_free(lane);
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
    nontax_lane *lane = new_lane(client, 4);
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
    nontax_lane_free(lane);
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
    nontax_lane *lane = new_lane(client, 1);
    assert_int_equal(nontax_lane_step(lane, 0), NONTAX_STEP_IDLE);
    assert_null(nontax_lane_take(lane));
    nontax_lane_free(lane);
    nontax_lane_free(NULL);
    nontax_client_free(client);
}

/* A call that cannot be sent comes straight back. */
static void test_add_of_a_call_that_is_not_ready(void **state)
{
    (void)state;
    nontax_client *client = client_for("http://127.0.0.1:1", 0);
    nontax_lane *lane = new_lane(client, 1);
    nontax_call *call = call_without_token(client, "order-1");
    add(lane, call);
    assert_ptr_equal(nontax_lane_take(lane), call);
    assert_true(nontax_call_needs_token(call));
    nontax_call_give_up(call);
    add(lane, call);
    assert_ptr_equal(nontax_lane_take(lane), call);
    expect(call, NONTAX_NOT_SENT, NONTAX_CAUSE_TOKEN);
    nontax_call_free(call);
    nontax_lane_free(lane);
    nontax_client_free(client);
}

/* ---- hooks -------------------------------------------------------------------------------- */

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

static nontax_call *run_with_tokens(hook_state *hooks_state, const server_step *steps, int count,
                                    int requests)
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
        assert_non_null(strstr(server_head(server, i), i == 0 ? TOKEN_IN_QUERY : NEWER_TOKEN));
    }
    nontax_client_free(client);
    server_stop(server);
    return call;
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

static void test_equal_token_is_not_sent_again(void **state)
{
    (void)state;
    hook_state hooks = {.tokens = {TOKEN, TOKEN}};
    nontax_call *call = run_with_tokens(&hooks, &bad_token, 1, 1);
    expect(call, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    assert_int_equal(nontax_call_result(call)->errcode, 40001);
    assert_string_equal(nontax_call_result(call)->errmsg,
                        "invalid credential *** rid: 61725984-6126f6f9-040f19c4");
    assert_string_equal(nontax_call_result(call)->rid, "61725984-6126f6f9-040f19c4");
    assert_int_equal(hooks.asked, 2);
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
    nontax_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    assert_ptr_equal(take(lane), call);
    assert_false(nontax_call_finished(call));
    assert_true(nontax_call_needs_token(call));
    assert_string_equal(nontax_call_stale_token(call), TOKEN);
    assert_null(nontax_lane_take(lane));
    assert_int_equal(nontax_call_set_token(call, NEWER_TOKEN, strlen(NEWER_TOKEN)), NONTAX_OK);
    add(lane, call);
    assert_ptr_equal(take(lane), call);
    expect_inserted(call, "order-1");
    assert_non_null(strstr(server_head(server, 1), "?access_token=" NEWER_TOKEN " "));
    nontax_call_free(call);
    nontax_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}

/* ---- the descriptor ----------------------------------------------------------------------- */

#if NX_ENGINE_EPOLL
static bool is_readable(int descriptor, int wait_ms)
{
    struct pollfd watched = {.fd = descriptor, .events = POLLIN};
    return poll(&watched, 1, wait_ms) == 1;
}
#endif

static void test_no_descriptor(void **state)
{
    (void)state;
    nontax_client *client = client_for("http://127.0.0.1:1", 0);
    nontax_lane *lane = new_lane(client, 1);
    int descriptor = nontax_lane_descriptor(lane);
    assert_int_equal(descriptor >= 0, NX_ENGINE_EPOLL);
    assert_int_equal(nontax_lane_descriptor(lane), descriptor);
    nontax_lane_free(lane);
    nontax_client_free(client);
}

#if NX_ENGINE_EPOLL
enum { EVER = 60000 }; /* an event loop that sleeps so long has slept through its event */

/* Drives the lane as an event loop does: step() only after the descriptor became readable. */
static nontax_call *take_by_descriptor(nontax_lane *lane)
{
    int descriptor = nontax_lane_descriptor(lane);
    nontax_call *call;
    while (!(call = nontax_lane_take(lane))) {
        assert_true(is_readable(descriptor, EVER));
        (void)nontax_lane_step(lane, 0);
    }
    return call;
}

static void test_descriptor_tells_of_replies(void **state)
{
    (void)state;
    server *server = server_start(&hold, 1);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_lane *lane = new_lane(client, 4);
    int descriptor = nontax_lane_descriptor(lane);
    assert_false(is_readable(descriptor, 0));
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    while (server_requests(server) < 1) { /* it may be on its way, with nothing left to do here */
        (void)is_readable(descriptor, 10);
        (void)nontax_lane_step(lane, 0);
    }
    /* While nothing happens it comes to rest. */
    while (is_readable(descriptor, 0)) {
        (void)nontax_lane_step(lane, 0);
    }
    assert_null(nontax_lane_take(lane));
    server_release(server);
    assert_ptr_equal(take_by_descriptor(lane), call);
    expect_inserted(call, "order-1");
    nontax_call_free(call);
    nontax_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}

static void test_descriptor_tells_of_many_replies(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_lane *lane = new_lane(client, 8);
    for (int i = 0; i < 8; i++) {
        add(lane, call_for(client, "many"));
    }
    for (int i = 0; i < 8; i++) {
        nontax_call *call = take_by_descriptor(lane);
        expect_inserted(call, "many");
        nontax_call_free(call);
    }
    nontax_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}

static void test_descriptor_tells_of_pauses(void **state)
{
    (void)state;
    int refusing;
    nontax_client *client = client_for(refusing_url(&refusing), 2);
    nontax_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    add(lane, call);
    assert_ptr_equal(take_by_descriptor(lane), call);
    expect(call, NONTAX_NOT_SENT, NONTAX_CAUSE_CONNECTION);
    assert_int_equal(nontax_call_result(call)->attempts, 3);
    nontax_call_free(call);
    nontax_lane_free(lane);
    nontax_client_free(client);
    close(refusing);
}

static void test_descriptor_tells_of_deadlines(void **state)
{
    (void)state;
    server *server = server_start(&hold, 1);
    nontax_client *client = client_for(server_url(server), 2);
    nontax_lane *lane = new_lane(client, 1);
    nontax_call *call = call_for(client, "order-1");
    call->deadline = nx_now_ms() + 1000;
    add(lane, call);
    assert_ptr_equal(take_by_descriptor(lane), call);
    assert_true(nontax_call_result(call)->timed_out);
    nontax_call_free(call);
    nontax_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}
#endif

/* ---- forks -------------------------------------------------------------------------------- */

typedef struct fork_state {
    server *server;
    nontax_client *client;
    nontax_lane *lane;
    nontax_call *running;
} fork_state;

static bool use_the_parents_lane(void *context)
{
    fork_state *parent = context;
    nontax_call *call = call_for(parent->client, "child");
    REQUIRE(nontax_lane_add(parent->lane, call) == NONTAX_WRONG_PROCESS);
    REQUIRE(!nontax_call_finished(call));
    REQUIRE(nontax_lane_step(parent->lane, 1000) == NONTAX_STEP_IDLE);
    REQUIRE(nontax_lane_take(parent->lane) == NULL);
    REQUIRE(nontax_lane_descriptor(parent->lane) == -1);
    nontax_lane_cancel(parent->lane, parent->running);
    nontax_lane_free(parent->lane);
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
    nontax_lane_free(parent.lane);
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
    nontax_lane *lane = NULL;
    nontax_client_run(parent->client, parent->running, NULL);
    REQUIRE(nontax_call_finished(parent->running));
    REQUIRE(nontax_call_result(parent->running)->outcome == NONTAX_IN_DOUBT); /* of the parent */
    REQUIRE(nontax_call_result(parent->running)->cause == NONTAX_CAUSE_CANCELLED);
    REQUIRE(nontax_lane_new(parent->client, 1, &lane) == NONTAX_OK);
    nontax_lane_free(lane);
    return true;
}

static void test_child_does_not_send_the_parents_call(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    fork_state parent = {.server = server, .client = client_for(server_url(server), 0)};
    parent.running = call_for(parent.client, "parent");
    assert_true(true_in_child(send_the_parents_call, &parent));
    nontax_client_run(parent.client, parent.running, NULL);
    expect_inserted(parent.running, "parent");
    assert_int_equal(server_bodies(server, "\"parent\""), 1);
    nontax_call_free(parent.running);
    nontax_client_free(parent.client);
    server_stop(server);
}

/* The same with a lane of the child's own. */
static bool add_the_parents_call(void *context)
{
    fork_state *parent = context;
    nontax_lane *lane = NULL;
    REQUIRE(nontax_lane_new(parent->client, 1, &lane) == NONTAX_OK);
    if (nontax_lane_add(lane, parent->running) == NONTAX_OK) {
        while (nontax_lane_take(lane) != parent->running) {
            (void)nontax_lane_step(lane, 50);
        }
    }
    return true;
}

static void test_childs_lane_does_not_send_the_parents_call(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    fork_state parent = {.server = server, .client = client_for(server_url(server), 0)};
    parent.running = call_for(parent.client, "parent");
    assert_true(true_in_child(add_the_parents_call, &parent));
    nontax_client_run(parent.client, parent.running, NULL);
    expect_inserted(parent.running, "parent");
    assert_int_equal(server_bodies(server, "\"parent\""), 1);
    nontax_call_free(parent.running);
    nontax_client_free(parent.client);
    server_stop(server);
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
        TEST(test_request_as_the_server_sees_it),
        TEST(test_path_of_base_url),
        TEST(test_proxies_of_the_environment_are_not_for_the_loopback),
        TEST(test_connection_is_kept),
        TEST(test_idle_connection_is_not_trusted),
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
        TEST(test_deadline_while_waiting_for_the_answer),
        TEST(test_answer_that_came_while_nobody_looked),
        TEST(test_time_was_over_before),
        TEST(test_deadline_while_pausing),
        TEST(test_no_time_for_a_pause),
        TEST(test_cancel_before_the_first_step),
        TEST(test_cancel_while_waiting_for_the_answer),
        TEST(test_cancel_while_pausing),
        TEST(test_cancel_when_done),
        TEST(test_free_with_calls_under_way),
        TEST(test_free_of_nothing),
        TEST(test_add_of_a_call_that_is_not_ready),
        TEST(test_interrupt),
        TEST(test_answer_counts_in_spite_of_an_interrupt),
        TEST(test_token_from_the_hook),
        TEST(test_newer_token_from_the_hook),
        TEST(test_second_refusal_is_final),
        TEST(test_equal_token_is_not_sent_again),
        TEST(test_hook_without_a_newer_token),
        TEST(test_token_renewal_on_a_lane),
        TEST(test_no_descriptor),
#if NX_ENGINE_EPOLL
        TEST(test_descriptor_tells_of_replies),
        TEST(test_descriptor_tells_of_many_replies),
        TEST(test_descriptor_tells_of_pauses),
        TEST(test_descriptor_tells_of_deadlines),
#endif
        TEST(test_child_leaves_the_parents_lane_alone),
        TEST(test_child_has_its_own_connection),
        TEST(test_child_does_not_send_the_parents_call),
        TEST(test_childs_lane_does_not_send_the_parents_call),
        TEST(test_fork_while_waiting_for_the_answer),
        TEST(test_fork_in_the_token_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
