/* test_call.c: the settings of a client, and the states of a call, without a network. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "call.h"
#include "clock.h"

/* ---- settings ---------------------------------------------------------------------------- */

static nontax_settings good_settings(void)
{
    return (nontax_settings)NONTAX_SETTINGS_DEFAULT;
}

static void expect_client(nontax_settings settings)
{
    nontax_client *client = NULL;
    nontax_text why;
    nontax_status status = nontax_client_new(&settings, &client, &why);
    if (status != NONTAX_OK) {
        print_error("%s: %s\n", settings.base_url, why.text);
    }
    assert_int_equal(status, NONTAX_OK);
    assert_non_null(client);
    nontax_client_free(client);
}

static void expect_refusal(nontax_settings settings, const char *setting, const char *words)
{
    nontax_client *client = (nontax_client *)&settings; /* must be overwritten */
    nontax_text why = {.text = ""};
    assert_int_equal(nontax_client_new(&settings, &client, &why), NONTAX_BAD_SETTING);
    assert_null(client);
    assert_string_equal(why.setting, setting);
    if (!strstr(why.text, words)) {
        fail_msg("%s: %s", settings.base_url ? settings.base_url : "NULL", why.text);
    }
}

static void test_default_settings(void **state)
{
    (void)state;
    nontax_settings settings = good_settings();
    assert_string_equal(settings.base_url, "https://api.weixin.qq.com");
    assert_int_equal(settings.extra, NONTAX_EXTRA_REFUSE);
    expect_client(settings);
}

static void test_version(void **state)
{
    (void)state;
    nontax_text why;
    assert_string_equal(nontax_version(), NONTAX_VERSION);
    assert_int_equal(nontax_start(&why), NONTAX_OK);
    assert_int_equal(nontax_start(NULL), NONTAX_OK);
}

static void test_good_base_urls(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "https://api.weixin.qq.com",
        "https://api.weixin.qq.com/",
        "https://api.weixin.qq.com:8443",
        "HTTPS://API.weixin.qq.com",
        "https://gateway.example/wechat/",
        "https://10.0.0.1",
        "https://[2001:db8::1]:8443",
        "http://127.0.0.1",
        "http://127.0.0.1:8080/",
        "http://127.9.9.9",
        "http://localhost:8080",
        "http://LocalHost",
        "HTTP://127.0.0.1",
        "http://[::1]:8080",
        "http://[0:0:0:0:0:0:0:1]",
        "https://localhost",
    };
    for (size_t i = 0; i < COUNT(urls); i++) {
        nontax_settings settings = good_settings();
        settings.base_url = urls[i];
        expect_client(settings);
    }
}

static void test_bad_base_urls(void **state)
{
    (void)state;
    static const char not_a_url[] = "base_url is not a URL: ";
    static const char parts[] = "base_url must have neither a user, a query nor a fragment";
    static const char scheme[] = "base_url must begin with https://";
    static const char loopback[] = "is allowed only to this machine";
    static const struct {
        const char *url;
        const char *words;
    } rows[] = {
        {"", not_a_url},
        {"api.weixin.qq.com", not_a_url},
        {"https://", not_a_url},
        {"https:// api.weixin.qq.com", not_a_url},
        {"https://api.weixin.qq.com:99999", not_a_url},
        {"https://api.weixin.qq.com\nx", not_a_url},
        {"https://user@api.weixin.qq.com", parts},
        {"https://user:password@api.weixin.qq.com", parts},
        {"https://api.weixin.qq.com?a=b", parts},
        {"https://api.weixin.qq.com/?a", parts},
        {"https://api.weixin.qq.com/#a", parts},
        {"ftp://api.weixin.qq.com", scheme},
        {"file:///etc/passwd", ""},
        {"http://api.weixin.qq.com", loopback},
        {"http://10.0.0.1", loopback},
        {"http://128.0.0.1", loopback},
        {"http://126.255.255.255", loopback},
        {"http://0.0.0.0", loopback},
        {"http://localhost.example", loopback},
        {"http://127.0.0.1.example", loopback},
        {"http://[::2]", loopback},
        {"http://[2001:db8::1]", loopback},
        {"http://evil.example/127.0.0.1", loopback},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        nontax_settings settings = good_settings();
        settings.base_url = rows[i].url;
        expect_refusal(settings, "base_url", rows[i].words);
    }
}

/* The path of the interface would end up behind them. */
static void test_empty_query_and_fragment(void **state)
{
    (void)state;
    static const char *const urls[] = {"https://api.weixin.qq.com?", "https://api.weixin.qq.com/?",
                                       "https://api.weixin.qq.com/#", "https://a@",
                                       "https://@api.weixin.qq.com"};
    for (size_t i = 0; i < COUNT(urls); i++) {
        nontax_settings settings = good_settings();
        settings.base_url = urls[i];
        expect_refusal(settings, "base_url", "base_url");
    }
}

static void test_no_base_url(void **state)
{
    (void)state;
    nontax_settings settings = good_settings();
    settings.base_url = NULL;
    expect_refusal(settings, "base_url", "base_url");
}

/* A secret in the URL must not come back in the message. */
static void test_refusals_echo_no_password(void **state)
{
    (void)state;
    nontax_settings settings = good_settings();
    nontax_client *client;
    nontax_text why;
    settings.base_url = "https://user:hunter2hunter2@api.weixin.qq.com";
    assert_int_equal(nontax_client_new(&settings, &client, &why), NONTAX_BAD_SETTING);
    assert_null(strstr(why.text, "hunter2"));
}

static void test_timeouts(void **state)
{
    (void)state;
    static const int64_t day = 24 * 3600 * 1000;
    static const int64_t good[] = {1, day}, bad[] = {0, -1, day + 1, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < COUNT(good); i++) {
        nontax_settings settings = good_settings();
        settings.timeout_ms = settings.connect_timeout_ms = good[i];
        expect_client(settings);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        nontax_settings settings = good_settings();
        settings.timeout_ms = bad[i];
        expect_refusal(settings, "timeout", "timeout must be more than 0 and at most a day");
        settings = good_settings();
        settings.connect_timeout_ms = bad[i];
        expect_refusal(settings, "connect_timeout", "must be more than 0 and at most a day");
    }
}

static void test_retries(void **state)
{
    (void)state;
    static const int good[] = {0, 100}, bad[] = {-1, 101, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < COUNT(good); i++) {
        nontax_settings settings = good_settings();
        settings.retries = good[i];
        expect_client(settings);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        nontax_settings settings = good_settings();
        settings.retries = bad[i];
        expect_refusal(settings, "retries", "retries must be between 0 and 100");
    }
}

static void test_ca_file(void **state)
{
    (void)state;
    char path[] = "/tmp/nontax-ca-XXXXXX";
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    close(descriptor);
    nontax_settings settings = good_settings();
    settings.ca_file = path;
    expect_client(settings);
    unlink(path);
    expect_refusal(settings, "ca_file", "ca_file cannot be read: /tmp/nontax-ca-");
    settings.ca_file = "";
    expect_refusal(settings, "ca_file", "ca_file cannot be read: ");
}

static void test_proxies(void **state)
{
    (void)state;
    static const char *const proxies[] = {"", "http://proxy.example:3128", "proxy.example"};
    for (size_t i = 0; i < COUNT(proxies); i++) {
        nontax_settings settings = good_settings();
        settings.proxy = proxies[i];
        expect_client(settings);
    }
}

static void test_settings_are_copied(void **state)
{
    (void)state;
    char url[] = "http://127.0.0.1:1/";
    nontax_client *client = client_for(url, 0);
    memset(url, 'x', sizeof url - 1);
    assert_string_equal(client->base_urls[0], "http://127.0.0.1:1");
    nontax_client_free(client);
    nontax_client_free(NULL);
}

static void test_slashes_at_the_end(void **state)
{
    (void)state;
    static const char *const rows[][2] = {{"https://a.example", "https://a.example"},
                                          {"https://a.example/", "https://a.example"},
                                          {"https://a.example///", "https://a.example"},
                                          {"https://a.example/b/", "https://a.example/b"}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        nontax_client *client = client_for(rows[i][0], 0);
        assert_string_equal(client->base_urls[0], rows[i][1]);
        nontax_client_free(client);
    }
}

/* ---- tokens ------------------------------------------------------------------------------ */

static void test_valid_tokens(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        char token[] = {'a', (char)c, 'b'};
        assert_int_equal(nontax_token_problem(token, sizeof token) == NULL, c > 0x20 && c < 0x7F);
    }
    assert_non_null(nontax_token_problem("", 0));
    assert_null(nontax_token_problem("a", 1));
    assert_non_null(nontax_token_problem("a\n", 2));
    assert_non_null(nontax_token_problem(" a", 2));
    assert_non_null(nontax_token_problem("a\0", 2));
    assert_null(nontax_token_problem("ab c", 2));
    assert_null(nontax_token_problem(TOKEN, strlen(TOKEN)));
}

static void test_written_forms_are_no_tokens(void **state)
{
    (void)state;
    static const struct {
        const char *token, *problem;
    } rows[] = {
        {"", "is empty"},
        {"b'72_abcdef'", "is the text of a bytes object"},
        {"b\"72_abcdef\"", "is the text of a bytes object"},
        {"\"72_abcdef\"", "is enclosed in quotes"},
        {"'72_abcdef'", "is enclosed in quotes"},
        {"\"72_abcdef\"\n", "is enclosed in quotes"},
        {"{\"access_token\":\"72_abcdef\"}", "is a JSON object: take its access_token"},
        {"{ \"access_token\": \"72_abcdef\" }", "is a JSON object: take its access_token"},
        {"72_abc def", "contains characters that an access token cannot have"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *problem = nontax_token_problem(rows[i].token, strlen(rows[i].token));
        assert_non_null(problem);
        assert_int_equal(strncmp(problem, rows[i].problem, strlen(rows[i].problem)), 0);
        assert_null(strstr(problem, "72_abc"));
    }
    assert_null(nontax_token_problem("b", 1));
    assert_null(nontax_token_problem("b72_abcdef'", 11));
}

/* ---- states ------------------------------------------------------------------------------ */

static int setup_client(void **state)
{
    *state = client_for("http://127.0.0.1:1", 0);
    return 0;
}

static int free_client(void **state)
{
    nontax_client_free(*state);
    return 0;
}

static nontax_call *new_call(nontax_client *client)
{
    nontax_call *call = nontax_call_new(client, nontax_interface_find("insertbill"));
    assert_non_null(call);
    return call;
}

static void expect_result(const nontax_call *call, nontax_outcome outcome, nontax_cause cause)
{
    const nontax_result *result = nontax_call_result(call);
    assert_int_equal(result->outcome, outcome);
    assert_int_equal(result->cause, cause);
}

static void test_new_call(void **state)
{
    nontax_call *call = new_call(*state);
    assert_false(nontax_call_needs_token(call));
    assert_true(nontax_call_finished(call));
    assert_null(nontax_call_stale_token(call));
    assert_int_equal(nontax_call_problems(call)->count, 0);
    expect_result(call, NONTAX_NOT_SENT, NONTAX_CAUSE_PAYLOAD);
    assert_int_equal(nontax_call_result(call)->attempts, 0);
    nontax_call_free(call);
    nontax_call_free(NULL);
}

static void test_payload_then_token(void **state)
{
    nontax_call *call = new_call(*state);
    assert_int_equal(nontax_call_set_payload(call, nontax_payload_from_json(sample_bill())),
                     NONTAX_OK);
    assert_true(nontax_call_needs_token(call));
    assert_false(nontax_call_finished(call));
    assert_null(nontax_call_stale_token(call));
    expect_result(call, NONTAX_NOT_SENT, NONTAX_CAUSE_TOKEN);

    assert_int_equal(nontax_call_set_token(call, "bad token", 9), NONTAX_BAD_TOKEN);
    assert_int_equal(nontax_call_set_token(call, "", 0), NONTAX_BAD_TOKEN);
    assert_true(nontax_call_needs_token(call));
    assert_null(strstr(nontax_call_result(call)->reason, "bad token"));

    assert_int_equal(nontax_call_set_token(call, TOKEN, strlen(TOKEN)), NONTAX_OK);
    assert_false(nontax_call_needs_token(call));
    assert_false(nontax_call_finished(call));
    assert_null(nontax_call_stale_token(call));
    nontax_call_free(call);
}

static void test_give_up_without_a_token(void **state)
{
    nontax_call *call = call_without_token(*state, "order-1");
    assert_false(nontax_call_gave_up(call));
    nontax_call_give_up(call);
    assert_true(nontax_call_gave_up(call));
    assert_true(nontax_call_finished(call));
    assert_false(nontax_call_needs_token(call));
    expect_result(call, NONTAX_NOT_SENT, NONTAX_CAUSE_TOKEN);
    nontax_call_free(call);
}

static void test_invalid_payload(void **state)
{
    nontax_call *call = new_call(*state);
    assert_int_equal(
        nontax_call_set_payload(call, nontax_payload_from_json(json("{'order_id':'o'}"))),
        NONTAX_BAD_PAYLOAD);
    assert_true(nontax_call_finished(call));
    assert_false(nontax_call_needs_token(call));
    assert_int_equal(nontax_call_problems(call)->count, 3);
    assert_string_equal(nontax_call_problems(call)->list[0].path, "card_id");
    expect_result(call, NONTAX_NOT_SENT, NONTAX_CAUSE_PAYLOAD);
    nontax_call_free(call);
}

static void test_no_payload_for_want_of_memory(void **state)
{
    nontax_call *call = new_call(*state);
    assert_int_equal(nontax_call_set_payload(call, NULL), NONTAX_NO_MEMORY);
    assert_true(nontax_call_finished(call));
    expect_result(call, NONTAX_NOT_SENT, NONTAX_CAUSE_MEMORY);
    nontax_call_free(call);
}

/* The example at the top of nontax.h sets the token whatever the payload was. */
static void test_token_after_an_invalid_payload(void **state)
{
    nontax_call *call = new_call(*state);
    assert_int_equal(
        nontax_call_set_payload(call, nontax_payload_from_json(json("{'order_id':'o'}"))),
        NONTAX_BAD_PAYLOAD);
    (void)nontax_call_set_token(call, TOKEN, strlen(TOKEN));
    assert_true(nontax_call_finished(call));
    nontax_client_run(*state, call, NULL);
    expect_result(call, NONTAX_NOT_SENT, NONTAX_CAUSE_PAYLOAD);
    assert_int_equal(nontax_call_result(call)->attempts, 0);
    nontax_call_free(call);
}

static void test_owner(void **state)
{
    nontax_call *call = new_call(*state);
    int owner = 0;
    assert_null(nontax_call_owner(call));
    nontax_call_set_owner(call, &owner);
    assert_ptr_equal(nontax_call_owner(call), &owner);
    nontax_call_free(call);
}

/* ---- time --------------------------------------------------------------------------------- */

static int true_time_and_free(void **state)
{
    clock_forward(0);
    return free_client(state);
}

static void test_limit_time(void **state)
{
    nontax_client *client = *state;
    nontax_call *call = call_for(client, "order-1");
    int64_t whole = nontax_call_time_left(call);
    assert_between(whole, client->timeout_ms / 2, client->timeout_ms);
    /* It only shortens. */
    nontax_call_limit_time(call, 10 * client->timeout_ms);
    assert_true(nontax_call_time_left(call) <= whole);
    nontax_call_limit_time(call, INT64_MAX);
    assert_true(nontax_call_time_left(call) <= whole);
    nontax_call_limit_time(call, 60000);
    assert_between(nontax_call_time_left(call), 30000, 60000);
    nontax_call_limit_time(call, 90000);
    assert_between(nontax_call_time_left(call), 30000, 60000);
    /* From now, not from the call's beginning. */
    clock_forward(20000);
    nontax_call_limit_time(call, 30000);
    assert_between(nontax_call_time_left(call), 15000, 30000);
    clock_forward(30000);
    assert_int_equal(nontax_call_time_left(call), 0);
    nontax_call_free(call);
}

static void test_no_time_is_left(void **state)
{
    static const int64_t limits[] = {0, -1, -1000000, INT64_MIN};
    for (size_t i = 0; i < COUNT(limits); i++) {
        nontax_call *call = call_for(*state, "order-1");
        nontax_call_limit_time(call, limits[i]);
        assert_int_equal(nontax_call_time_left(call), 0);
        nontax_client_run(*state, call, NULL);
        assert_true(nontax_call_finished(call));
        expect_result(call, NONTAX_NOT_SENT, NONTAX_CAUSE_CONNECTION);
        assert_true(nontax_call_result(call)->timed_out);
        assert_int_equal(nontax_call_result(call)->attempts, 0);
        nontax_call_free(call);
    }
}

/* ---- a refused token ---------------------------------------------------------------------- */

/* As a lane leaves it when WeChat has refused the token. */
static nontax_call *call_refused_with(nontax_client *client, int errcode)
{
    nontax_call *call = call_for(client, "order-1");
    call->result = (nontax_result){.outcome = NONTAX_REJECTED,
                                   .has_errcode = true,
                                   .errcode = errcode,
                                   .http_status = 200,
                                   .attempts = 1};
    call->token_refused = true;
    call->state = NX_CALL_NEEDS_TOKEN;
    return call;
}

static nontax_call *refused_call(nontax_client *client)
{
    return call_refused_with(client, 40001);
}

static void test_stale_token(void **state)
{
    nontax_call *call = refused_call(*state);
    assert_true(nontax_call_needs_token(call));
    assert_string_equal(nontax_call_stale_token(call), TOKEN);
    nontax_call_free(call);
}

static void test_newer_token(void **state)
{
    nontax_call *call = refused_call(*state);
    assert_int_equal(nontax_call_set_token(call, "new line\n", 9), NONTAX_BAD_TOKEN);
    assert_string_equal(nontax_call_stale_token(call), TOKEN);
    assert_int_equal(nontax_call_set_token(call, NEWER_TOKEN, strlen(NEWER_TOKEN)), NONTAX_OK);
    assert_false(nontax_call_needs_token(call));
    assert_false(nontax_call_finished(call));
    assert_null(nontax_call_stale_token(call));
    nontax_call_free(call);
}

static void expect_final_refusal(nontax_call *call, int errcode)
{
    assert_false(nontax_call_may_keep_token(call));
    assert_int_equal(nontax_call_set_token(call, TOKEN, strlen(TOKEN)), NONTAX_OK);
    assert_true(nontax_call_finished(call));
    expect_result(call, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    assert_int_equal(nontax_call_result(call)->errcode, errcode);
    nontax_call_free(call);
}

static void test_equal_token_ends_the_call(void **state)
{
    expect_final_refusal(call_refused_with(*state, 40014), 40014);
    expect_final_refusal(call_refused_with(*state, 42001), 42001);
}

/* 40001 passes by itself at times: the same token is tried once more, and only once. */
static void test_equal_token_after_a_momentary_refusal(void **state)
{
    nontax_call *call = refused_call(*state);
    assert_true(nontax_call_may_keep_token(call));
    assert_int_equal(nontax_call_set_token(call, TOKEN, strlen(TOKEN)), NONTAX_OK);
    assert_int_equal(call->state, NX_CALL_READY);
    assert_between(call->not_before - nx_now_ms(), 900, 1000);
    call->token_refused = true;
    call->state = NX_CALL_NEEDS_TOKEN;
    expect_final_refusal(call, 40001);

    call = refused_call(*state);
    call->token_renewed = true;
    expect_final_refusal(call, 40001);

    call = refused_call(*state);
    nontax_call_limit_time(call, 500);
    assert_int_equal(nontax_call_set_token(call, TOKEN, strlen(TOKEN)), NONTAX_OK);
    assert_true(nontax_call_finished(call));
    nontax_call_free(call);
}

static void test_tokens_that_begin_alike_differ(void **state)
{
    nontax_call *call = refused_call(*state);
    assert_int_equal(nontax_call_set_token(call, TOKEN "x", strlen(TOKEN) + 1), NONTAX_OK);
    assert_false(nontax_call_finished(call));
    nontax_call_free(call);
    call = refused_call(*state);
    assert_int_equal(nontax_call_set_token(call, TOKEN, strlen(TOKEN) - 1), NONTAX_OK);
    assert_false(nontax_call_finished(call));
    nontax_call_free(call);
}

static void test_give_up_keeps_the_refusal(void **state)
{
    nontax_call *call = refused_call(*state);
    nontax_call_give_up(call);
    assert_true(nontax_call_finished(call));
    expect_result(call, NONTAX_REJECTED, NONTAX_CAUSE_NONE);
    assert_int_equal(nontax_call_result(call)->errcode, 40001);
    nontax_call_free(call);
}

/* ---- running it --------------------------------------------------------------------------- */

static void test_run_without_hooks(void **state)
{
    nontax_call *call = call_without_token(*state, "order-1");
    nontax_client_run(*state, call, NULL);
    assert_true(nontax_call_finished(call));
    expect_result(call, NONTAX_NOT_SENT, NONTAX_CAUSE_TOKEN);
    nontax_call_free(call);
}

static void test_run_with_empty_hooks(void **state)
{
    static const nontax_hooks none = {0};
    nontax_call *call = call_without_token(*state, "order-1");
    nontax_client_run(*state, call, &none);
    assert_true(nontax_call_finished(call));
    expect_result(call, NONTAX_NOT_SENT, NONTAX_CAUSE_TOKEN);
    nontax_call_free(call);
}

static void test_run_of_a_finished_call(void **state)
{
    nontax_call *call = new_call(*state);
    assert_int_equal(nontax_call_set_payload(call, nontax_payload_from_json(json("{}"))),
                     NONTAX_BAD_PAYLOAD);
    nontax_client_run(*state, call, NULL);
    assert_true(nontax_call_finished(call));
    expect_result(call, NONTAX_NOT_SENT, NONTAX_CAUSE_PAYLOAD);
    nontax_call_free(call);
}

static bool run_without_payload(void *context)
{
    nontax_client *client = context;
    nontax_call *call = nontax_call_new(client, nontax_interface_find("insertbill"));
    REQUIRE(call);
    alarm(10); /* ends this child where it would never end */
    nontax_client_run(client, call, NULL);
    REQUIRE(nontax_call_finished(call));
    REQUIRE(nontax_call_result(call)->outcome == NONTAX_NOT_SENT);
    REQUIRE(nontax_call_result(call)->cause == NONTAX_CAUSE_PAYLOAD);
    return true;
}

static void test_run_without_payload(void **state)
{
    assert_true(true_in_child(run_without_payload, *state));
}

int main(void)
{
#define TEST_WITH_CLIENT(test) cmocka_unit_test_setup_teardown(test, setup_client, free_client)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_settings),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_good_base_urls),
        cmocka_unit_test(test_bad_base_urls),
        cmocka_unit_test(test_empty_query_and_fragment),
        cmocka_unit_test(test_no_base_url),
        cmocka_unit_test(test_refusals_echo_no_password),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_retries),
        cmocka_unit_test(test_ca_file),
        cmocka_unit_test(test_proxies),
        cmocka_unit_test(test_settings_are_copied),
        cmocka_unit_test(test_slashes_at_the_end),
        cmocka_unit_test(test_valid_tokens),
        cmocka_unit_test(test_written_forms_are_no_tokens),
        TEST_WITH_CLIENT(test_new_call),
        TEST_WITH_CLIENT(test_payload_then_token),
        TEST_WITH_CLIENT(test_give_up_without_a_token),
        TEST_WITH_CLIENT(test_invalid_payload),
        TEST_WITH_CLIENT(test_no_payload_for_want_of_memory),
        TEST_WITH_CLIENT(test_token_after_an_invalid_payload),
        TEST_WITH_CLIENT(test_owner),
        cmocka_unit_test_setup_teardown(test_limit_time, setup_client, true_time_and_free),
        TEST_WITH_CLIENT(test_no_time_is_left),
        TEST_WITH_CLIENT(test_stale_token),
        TEST_WITH_CLIENT(test_newer_token),
        TEST_WITH_CLIENT(test_equal_token_ends_the_call),
        TEST_WITH_CLIENT(test_equal_token_after_a_momentary_refusal),
        TEST_WITH_CLIENT(test_tokens_that_begin_alike_differ),
        TEST_WITH_CLIENT(test_give_up_keeps_the_refusal),
        TEST_WITH_CLIENT(test_run_without_hooks),
        TEST_WITH_CLIENT(test_run_with_empty_hooks),
        TEST_WITH_CLIENT(test_run_of_a_finished_call),
        TEST_WITH_CLIENT(test_run_without_payload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
