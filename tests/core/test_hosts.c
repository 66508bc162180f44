/* test_hosts.c: further hosts: which are tried, when, and which must never be. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hosts.h"
#include "lane.h"

enum { PREFERRED_MS = 30 * 1000 };

static const server_step no_handshake = {.move = CLOSE_AT_ONCE};

/* ---- shared ------------------------------------------------------------------------------- */

static nontax_status new_client(const char *first, const char *const *others, int retries,
                                nontax_client **client, nontax_text *why)
{
    nontax_settings settings = NONTAX_SETTINGS_DEFAULT;
    settings.base_url = first;
    settings.fallback_base_urls = others;
    settings.retries = retries;
    settings.timeout_ms = settings.connect_timeout_ms = 24 * 3600 * 1000; /* no test waits for it */
    return nontax_client_new(&settings, client, why);
}

static nontax_client *client_of(const char *first, const char *second, const char *third,
                                int retries)
{
    const char *const others[] = {second, third, NULL};
    nontax_client *client = NULL;
    nontax_text why;
    if (new_client(first, others, retries, &client, &why) != NONTAX_OK) {
        fail_msg("%s", why.text);
    }
    return client;
}

/* Inserts one bill, with so many attempts. */
static void insert(nontax_client *client, int attempts)
{
    nontax_call *call = call_for(client, "order-1");
    nontax_client_run(client, call, NULL);
    expect(call, NONTAX_INSERTED, NONTAX_CAUSE_NONE);
    assert_int_equal(nontax_call_result(call)->attempts, attempts);
    nontax_call_free(call);
}

/* An https URL of a server that speaks no TLS: each try is a connection, and nothing is sent. */
static char *https_url(const server *server)
{
    char *url = malloc(64);
    assert_non_null(url);
    snprintf(url, 64, "https%s", strchr(server_url(server), ':'));
    return url;
}

/* ---- settings ----------------------------------------------------------------------------- */

static void test_they_are_copied(void **state)
{
    (void)state;
    char second[] = "https://api2.weixin.qq.com//";
    const char *others[] = {second, "https://sh.api.weixin.qq.com/a/", NULL};
    nontax_client *client = NULL;
    nontax_text why;
    assert_int_equal(new_client("https://api.weixin.qq.com", others, 0, &client, &why), NONTAX_OK);
    memset(second, 'x', sizeof second - 1);
    others[1] = NULL;
    assert_int_equal(client->base_url_count, 3);
    assert_string_equal(client->base_urls[0], "https://api.weixin.qq.com");
    assert_string_equal(client->base_urls[1], "https://api2.weixin.qq.com");
    assert_string_equal(client->base_urls[2], "https://sh.api.weixin.qq.com/a");
    assert_int_equal(nx_hosts_first(client), 0);
    nontax_client_free(client);
}

static void test_none(void **state)
{
    (void)state;
    static const char *const none[] = {NULL};
    nontax_client *client = NULL;
    nontax_text why;
    assert_int_equal(new_client("https://api.weixin.qq.com", none, 0, &client, &why), NONTAX_OK);
    assert_int_equal(client->base_url_count, 1);
    nontax_client_free(client);
}

static void test_bad_ones(void **state)
{
    (void)state;
    static const char mixed[] = "fallback_base_urls must be on this machine if base_url is";
    static const struct {
        const char *first, *second, *words;
    } rows[] = {
        {"https://a.example", "b.example", "fallback_base_urls is not a URL"},
        {"https://a.example", "", "fallback_base_urls is not a URL"},
        {"https://a.example", "https://b.example?c", "fallback_base_urls must have neither a user"},
        {"https://a.example", "https://user:hunter2hunter2@b.example",
         "fallback_base_urls must have neither a user"},
        {"https://a.example", "ftp://b.example", "fallback_base_urls must begin with https://"},
        {"https://a.example", "http://b.example", "is allowed only to this machine"},
        /* A bill meant for WeChat must not end up in a sandbox, nor the other way round. */
        {"https://a.example", "http://127.0.0.1:1", mixed},
        {"https://a.example", "https://localhost", mixed},
        {"http://127.0.0.1:1", "https://a.example", mixed},
        {"http://[::1]:1", "https://a.example", mixed},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (int place = 0; place < 2; place++) {
            const char *const others[] = {place ? rows[i].first : rows[i].second,
                                          place ? rows[i].second : NULL, NULL};
            nontax_client *client = (nontax_client *)&others; /* must be overwritten */
            nontax_text why = {.text = ""};
            assert_int_equal(new_client(rows[i].first, others, 0, &client, &why),
                             NONTAX_BAD_SETTING);
            assert_null(client);
            if (!strstr(why.text, rows[i].words) || strstr(why.text, "hunter2")) {
                fail_msg("row %zu: %s", i, why.text);
            }
        }
    }
}

/* ---- when nothing could be sent ------------------------------------------------------------ */

static void test_next_host_when_refused(void **state)
{
    (void)state;
    int refusing;
    char *url = refusing_url(&refusing);
    server *server = server_start(NULL, 0);
    nontax_client *client = client_of(url, server_url(server), NULL, 0);
    insert(client, 2);
    assert_int_equal(server_requests(server), 1);
    assert_string_equal(server_body(server, 0), sample_body);
    nontax_client_free(client);
    server_stop(server);
    close(refusing);
}

static void test_next_host_after_a_failed_handshake(void **state)
{
    (void)state;
    server *bad = server_start(&no_handshake, 1), *good = server_start(NULL, 0);
    char *url = https_url(bad);
    nontax_client *client = client_of(url, server_url(good), NULL, 0);
    insert(client, 2);
    assert_int_equal(server_connections(bad), 1);
    assert_int_equal(server_requests(good), 1);
    nontax_client_free(client);
    server_stop(bad);
    server_stop(good);
    free(url);
}

static void test_third_host(void **state)
{
    (void)state;
    int refusing;
    char *url = refusing_url(&refusing);
    server *bad = server_start(&no_handshake, 1), *good = server_start(NULL, 0);
    char *bad_url = https_url(bad);
    nontax_client *client = client_of(url, bad_url, server_url(good), 0);
    insert(client, 3);
    insert(client, 1);
    assert_int_equal(server_connections(bad), 1);
    nontax_client_free(client);
    server_stop(bad);
    server_stop(good);
    free(bad_url);
    close(refusing);
}

/* The last one's words are the result's, and hosts cost none of the repeats. */
static void test_all_fail(void **state)
{
    (void)state;
    static const server_step steps[] = {{.move = CLOSE_AT_ONCE}, {.move = CLOSE_AT_ONCE}};
    int refusing;
    char *url = refusing_url(&refusing);
    server *bad = server_start(steps, COUNT(steps));
    char *bad_url = https_url(bad);
    for (int order = 0; order < 2; order++) {
        nontax_client *client = client_of(order ? bad_url : url, order ? url : bad_url, NULL, 0);
        nontax_call *call = call_for(client, "order-1");
        nontax_client_run(client, call, NULL);
        expect(call, NONTAX_NOT_SENT, NONTAX_CAUSE_CONNECTION);
        assert_int_equal(nontax_call_result(call)->attempts, 2);
        assert_int_equal(nx_hosts_first(client), 0);
        nontax_call_free(call);
        nontax_client_free(client);
    }
    assert_int_equal(server_connections(bad), 2);
    server_stop(bad);
    free(bad_url);
    close(refusing);
}

/* After a round without success comes a pause, and another round from the first host on. */
static void test_repeats_are_rounds(void **state)
{
    (void)state;
    static const server_step steps[] = {{.move = CLOSE_AT_ONCE}, {.move = CLOSE_AT_ONCE}};
    int refusing;
    char *url = refusing_url(&refusing);
    server *bad = server_start(steps, COUNT(steps));
    char *bad_url = https_url(bad);
    nontax_client *client = client_of(bad_url, url, NULL, 1);
    nx_lane *lane = NULL;
    assert_int_equal(nx_lane_new(client, 1, &lane), NONTAX_OK);
    nontax_call *call = call_for(client, "order-1");
    assert_int_equal(nx_lane_add(lane, call), NONTAX_OK);
    while (call->state != NX_CALL_PAUSING) {
        (void)nx_lane_step(lane, 10);
    }
    assert_int_equal(nontax_call_result(call)->attempts, 2);
    assert_int_equal(server_connections(bad), 1);
    clock_forward(2000); /* longer than this pause */
    while (!nx_lane_take(lane)) {
        (void)nx_lane_step(lane, 10);
    }
    expect(call, NONTAX_NOT_SENT, NONTAX_CAUSE_CONNECTION);
    assert_int_equal(nontax_call_result(call)->attempts, 4);
    assert_int_equal(server_connections(bad), 2);
    nontax_call_free(call);
    nx_lane_free(lane);
    nontax_client_free(client);
    server_stop(bad);
    free(bad_url);
    close(refusing);
}

/* A file is read again from its beginning, a query is asked of the next host, too. */
static void test_files_and_queries(void **state)
{
    (void)state;
    static const server_step steps[] = {
        {.body = "{\"errcode\":0,\"s_media_id\":\"1\"}"},
        {.body = "{\"errcode\":0,\"ticket\":\"t\",\"expires_in\":7200}"}};
    const nontax_file file = {.name = "a.pdf", .data = "%PDF-1.7", .size = 8, .descriptor = -1};
    int refusing;
    char *url = refusing_url(&refusing);
    server *server = server_start(steps, COUNT(steps));
    nontax_client *client = client_of(url, server_url(server), NULL, 0);
    nontax_call *call = call_of(client, "setpdf");
    assert_int_equal(nontax_call_set_file(call, &file), NONTAX_OK);
    assert_int_equal(nontax_call_set_token(call, TOKEN, strlen(TOKEN)), NONTAX_OK);
    nontax_client_run(client, call, NULL);
    expect(call, NONTAX_INSERTED, NONTAX_CAUSE_NONE);
    assert_int_equal(nontax_call_result(call)->attempts, 2);
    assert_non_null(strstr(server_body(server, 0), "\r\n\r\n%PDF-1.7\r\n--nontax-"));
    nontax_call_free(call);

    nx_hosts_prefer(client, 0);
    call = call_with(client, "getticket", "{'type':'wx_card'}");
    nontax_client_run(client, call, NULL);
    expect(call, NONTAX_INSERTED, NONTAX_CAUSE_NONE);
    assert_int_equal(nontax_call_result(call)->attempts, 2);
    nontax_call_free(call);
    nontax_client_free(client);
    server_stop(server);
    close(refusing);
}

/* ---- when something was sent, or an answer came -------------------------------------------- */

static void expect_no_other_host(const server_step *step, nontax_outcome outcome)
{
    server *first = server_start(step, 1), *second = server_start(NULL, 0);
    nontax_client *client = client_of(server_url(first), server_url(second), NULL, 5);
    nontax_call *call = call_for(client, "order-1");
    nontax_client_run(client, call, NULL);
    assert_true(nontax_call_finished(call));
    assert_int_equal(nontax_call_result(call)->outcome, outcome);
    assert_int_equal(nontax_call_result(call)->attempts, 1);
    assert_int_equal(server_connections(first), 1);
    assert_int_equal(server_connections(second), 0);
    nontax_call_free(call);
    nontax_client_free(client);
    server_stop(first);
    server_stop(second);
}

static void test_never_another_host_for_what_may_have_arrived(void **state)
{
    (void)state;
    static const server_step doubtful[] = {
        {.move = CLOSE_AFTER_HEAD},
        {.move = CLOSE_AFTER_BODY},
        {.move = CLOSE_IN_REPLY},
        {.body = "<html>"},
        {.body = ""},
        {.body = "{\"errcode\":-1}"},
        {.status = 502, .body = "bad gateway"},
        {.status = 302, .header = "Location: https://a.example/\r\n", .body = ""},
    };
    for (size_t i = 0; i < COUNT(doubtful); i++) {
        expect_no_other_host(&doubtful[i], NONTAX_IN_DOUBT);
    }
}

static void test_no_other_host_after_an_answer(void **state)
{
    (void)state;
    static const server_step answers[] = {{.body = "{\"errcode\":72038}"},
                                          {.body = "{\"errcode\":45009}"},
                                          {.body = "{\"errcode\":40222}"},
                                          {.body = "{\"errcode\":45011}"}};
    expect_no_other_host(&(server_step){0}, NONTAX_INSERTED);
    for (size_t i = 0; i < COUNT(answers); i++) {
        expect_no_other_host(&answers[i], NONTAX_REJECTED);
    }
}

/* Nor for one that only reads: it is asked again where it was. */
static void test_reading_is_repeated_at_its_host(void **state)
{
    (void)state;
    static const server_step steps[] = {
        {.body = "{\"errcode\":-1}"},
        {.body = "{\"errcode\":0,\"invoice_status\":\"never auth\"}"}};
    server *first = server_start(steps, COUNT(steps)), *second = server_start(NULL, 0);
    nontax_client *client = client_of(server_url(first), server_url(second), NULL, 1);
    nontax_call *call = call_with(client, "getauthdata", "{'s_pappid':'d','order_id':'o'}");
    nontax_client_run(client, call, NULL);
    expect(call, NONTAX_INSERTED, NONTAX_CAUSE_NONE);
    assert_int_equal(nontax_call_result(call)->attempts, 2);
    assert_int_equal(server_requests(first), 2);
    assert_int_equal(server_connections(second), 0);
    nontax_call_free(call);
    nontax_client_free(client);
    server_stop(first);
    server_stop(second);
}

/* ---- which is the first ------------------------------------------------------------------- */

/* A host that could not be reached is passed over for half a minute, and no longer: calls that go
 * well elsewhere in the meantime do not make it more. */
static void test_preferred_for_a_while(void **state)
{
    (void)state;
    static const server_step steps[] = {{.move = CLOSE_AT_ONCE}, {.move = CLOSE_AT_ONCE}};
    server *bad = server_start(steps, COUNT(steps)), *good = server_start(NULL, 0);
    char *url = https_url(bad);
    nontax_client *client = client_of(url, server_url(good), NULL, 0);
    insert(client, 2);
    for (int i = 0; i < 4; i++) {
        insert(client, 1);
        clock_forward(PREFERRED_MS / 5);
        insert(client, 1);
    }
    assert_int_equal(server_connections(bad), 1);
    clock_forward(PREFERRED_MS / 5);
    insert(client, 2);
    assert_int_equal(server_connections(bad), 2);
    assert_int_equal(server_requests(good), 10);
    nontax_client_free(client);
    server_stop(bad);
    server_stop(good);
    free(url);
}

/* Whatever WeChat answered there, it was reached. */
static void test_a_refusal_makes_it_preferred(void **state)
{
    (void)state;
    static const server_step refusal = {.body = "{\"errcode\":72038}"};
    int refusing;
    char *url = refusing_url(&refusing);
    server *server = server_start(&refusal, 1);
    nontax_client *client = client_of(url, server_url(server), NULL, 0);
    nontax_call *call = call_for(client, "order-1");
    nontax_client_run(client, call, NULL);
    expect(call, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    assert_int_equal(nontax_call_result(call)->attempts, 2);
    nontax_call_free(call);
    insert(client, 1);
    nontax_client_free(client);
    server_stop(server);
    close(refusing);
}

/* From the preferred host the way leads on in a circle, past the last one to the first. */
static void test_preferred_host_fails(void **state)
{
    (void)state;
    int refusing;
    char *url = refusing_url(&refusing);
    server *server = server_start(NULL, 0);
    nontax_client *client = client_of(server_url(server), "http://127.0.0.1:1", url, 0);
    nx_hosts_prefer(client, 2);
    insert(client, 2);
    assert_int_equal(nx_hosts_first(client), 0);
    insert(client, 1);
    assert_int_equal(server_requests(server), 2);
    nontax_client_free(client);
    server_stop(server);
    close(refusing);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, NULL, true_time)
    const struct CMUnitTest tests[] = {
        TEST(test_they_are_copied),
        TEST(test_none),
        TEST(test_bad_ones),
        TEST(test_next_host_when_refused),
        TEST(test_next_host_after_a_failed_handshake),
        TEST(test_third_host),
        TEST(test_all_fail),
        TEST(test_repeats_are_rounds),
        TEST(test_files_and_queries),
        TEST(test_never_another_host_for_what_may_have_arrived),
        TEST(test_no_other_host_after_an_answer),
        TEST(test_reading_is_repeated_at_its_host),
        TEST(test_preferred_for_a_while),
        TEST(test_a_refusal_makes_it_preferred),
        TEST(test_preferred_host_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
