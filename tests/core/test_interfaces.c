/* test_interfaces.c: every interface's payload and request, queries, files, and credentials that
 * must not come back. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lane.h"
#include "problems.h"
#include "request.h"

#define SECRET "0123456789abcdef0123456789abcdef"
#define BY_SECRET "{'grant_type':'client_credential','appid':'wx1','secret':'" SECRET "'}"
#define TOKEN_REPLY "{\"access_token\":\"" NEWER_TOKEN "\",\"expires_in\":7200}"

/* One interface: a payload that is right, and the request that comes of it. */
typedef struct row {
    const char *name;
    const char *payload;
    const char *start; /* of the request's head */
    const char *body;
    const char *reply;
    bool read_only;
    bool answers_secret;
} row;

#define POST_WITH_TOKEN(path) "POST " path "?access_token=" TOKEN_IN_QUERY " HTTP/1.1\r\n"

static const row rows[] = {
    {"createbillcard", "{'invoice_info':{'payee':'某市财政局','base_info':{'logo_url':'u'}}}",
     POST_WITH_TOKEN("/nontax/createbillcard"),
     "{\"invoice_info\":{\"payee\":\"某市财政局\",\"base_info\":{\"logo_url\":\"u\"}}}",
     "{\"errcode\":0,\"card_id\":\"p1\"}", false, false},
    {"seturl", "{}", POST_WITH_TOKEN("/card/invoice/seturl"), "{}",
     "{\"errcode\":\"0\",\"invoice_url\":\"https://mp.example/?s_pappid=d3\"}", false, false},
    {"getpdf", "{'action':'get_url','s_media_id':'75195574948725301'}",
     POST_WITH_TOKEN("/card/invoice/platform/getpdf"),
     "{\"action\":\"get_url\",\"s_media_id\":\"75195574948725301\"}",
     "{\"errcode\":0,\"pdf_url\":\"u\",\"pdf_url_expire_time\":7200}", true, false},
    {"updatestatus", "{'card_id':'p1','code':'c1','reimburse_status':'INVOICE_REIMBURSE_CANCEL'}",
     POST_WITH_TOKEN("/card/invoice/platform/updatestatus"),
     "{\"card_id\":\"p1\",\"code\":\"c1\",\"reimburse_status\":\"INVOICE_REIMBURSE_CANCEL\"}",
     "{\"errcode\":0}", false, false},
    {"getticket", "{'type':'wx_card'}",
     "GET /cgi-bin/ticket/getticket?access_token=" TOKEN_IN_QUERY "&type=wx_card HTTP/1.1\r\n", "",
     "{\"errcode\":0,\"ticket\":\"m7R\",\"expires_in\":7200}", true, true},
    {"getbillauthurl",
     "{'s_pappid':'d3','order_id':'o','money':1200,'timestamp':1474875876,'source':'web',"
     "'redirect_url':'https://a.example/?b=c&d','ticket':'m7R'}",
     POST_WITH_TOKEN("/nontax/getbillauthurl"),
     "{\"s_pappid\":\"d3\",\"order_id\":\"o\",\"money\":1200,\"timestamp\":1474875876,"
     "\"source\":\"web\",\"redirect_url\":\"https://a.example/?b=c&d\",\"ticket\":\"m7R\"}",
     "{\"errcode\":0,\"auth_url\":\"u\",\"expire_time\":7200}", false, false},
    {"getauthdata", "{'s_pappid':'d3','order_id':'o'}",
     POST_WITH_TOKEN("/card/invoice/getauthdata"), "{\"s_pappid\":\"d3\",\"order_id\":\"o\"}",
     "{\"errcode\":0,\"invoice_status\":\"never auth\"}", true, false},
    {"rejectinsert", "{'s_pappid':'d3','order_id':'o','reason':'已退款'}",
     POST_WITH_TOKEN("/card/invoice/rejectinsert"),
     "{\"s_pappid\":\"d3\",\"order_id\":\"o\",\"reason\":\"已退款\"}", "{\"errcode\":0}", false,
     false},
    {"stable_token", BY_SECRET, "POST /cgi-bin/stable_token HTTP/1.1\r\n",
     "{\"grant_type\":\"client_credential\",\"appid\":\"wx1\",\"secret\":\"" SECRET "\"}",
     TOKEN_REPLY, true, true},
    {"token", BY_SECRET,
     "GET /cgi-bin/token?grant_type=client_credential&appid=wx1&secret=" SECRET " HTTP/1.1\r\n", "",
     TOKEN_REPLY, false, true},
    {"rid/get", "{'rid':'61725984-6126f6f9-040f19c4'}", POST_WITH_TOKEN("/cgi-bin/openapi/rid/get"),
     "{\"rid\":\"61725984-6126f6f9-040f19c4\"}",
     "{\"errcode\":0,\"request\":{\"client_ip\":\"1.2.3.4\"}}", true, true},
    {"quota/get", "{'cgi_path':'/nontax/insertbill'}",
     POST_WITH_TOKEN("/cgi-bin/openapi/quota/get"), "{\"cgi_path\":\"/nontax/insertbill\"}",
     "{\"errcode\":0,\"quota\":{\"used\":1}}", true, false},
};

/* ---- shared ------------------------------------------------------------------------------- */

static void expect_outcome(const nontax_call *call, nontax_outcome outcome)
{
    const nontax_result *result = nontax_call_result(call);
    if (result->outcome != outcome) {
        print_error("%s: %s, errcode %d: %s\n", nontax_interface_name(nontax_call_interface(call)),
                    nontax_outcome_name(result->outcome), result->errcode, result->reason);
    }
    assert_true(nontax_call_finished(call));
    assert_int_equal(result->outcome, outcome);
}

static void expect_start(server *server, int index, const char *start)
{
    const char *head = server_head(server, index);
    if (strncmp(head, start, strlen(start)) != 0) {
        fail_msg("not %s but %s", start, head);
    }
}

static int count_of(const char *text, const char *part)
{
    int count = 0;
    for (; (text = strstr(text, part)); text += strlen(part)) {
        count++;
    }
    return count;
}

/* ---- every interface ---------------------------------------------------------------------- */

static void test_what_is_known_of_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const nontax_interface *interface = nontax_interface_find(rows[i].name);
        assert_non_null(interface);
        assert_string_equal(nontax_interface_name(interface), rows[i].name);
        assert_false(nontax_interface_takes_file(interface));
        assert_int_equal(nontax_interface_is_read_only(interface), rows[i].read_only);
        assert_int_equal(nontax_interface_answers_secret(interface), rows[i].answers_secret);
    }
    /* What may never be repeated by itself, and the only one that takes a file. */
    assert_false(nontax_interface_is_read_only(nontax_interface_find("insertbill")));
    assert_false(nontax_interface_takes_file(nontax_interface_find("insertbill")));
    assert_false(nontax_interface_takes_secret(nontax_interface_find("insertbill")));
    assert_false(nontax_interface_is_read_only(nontax_interface_find("setpdf")));
    assert_true(nontax_interface_takes_file(nontax_interface_find("setpdf")));
    assert_null(nontax_interface_find("/nontax/insertbill"));
    assert_null(nontax_interface_find("clear_quota"));
}

/* All on one connection, so that each form of request follows another on the same transfer. */
static void test_requests_as_the_server_sees_them(void **state)
{
    (void)state;
    enum { ROUNDS = 2 };
    server_step steps[ROUNDS * COUNT(rows)] = {0};
    for (size_t i = 0; i < COUNT(steps); i++) {
        steps[i].body = rows[i % COUNT(rows)].reply;
    }
    server *server = server_start(steps, (int)COUNT(steps));
    nontax_client *client = client_for(server_url(server), 0);
    for (size_t i = 0; i < COUNT(steps); i++) {
        const row *row = &rows[i % COUNT(rows)];
        bool is_get = strncmp(row->start, "GET", 3) == 0;
        nontax_call *call = call_with(client, row->name, row->payload);
        nontax_client_run(client, call, NULL);
        expect_outcome(call, NONTAX_INSERTED);
        assert_int_equal(nontax_call_result(call)->attempts, 1);
        expect_start(server, (int)i, row->start);
        const char *head = server_head(server, (int)i);
        assert_string_equal(server_body(server, (int)i), row->body);
        assert_int_equal(count_of(head, "Content-Type: application/json\r\n"), !is_get);
        assert_int_equal(count_of(head, "Content-Length:"), !is_get);
        assert_null(strstr(head, "Transfer-Encoding:"));
        assert_null(strstr(head, "Expect:"));
        nontax_call_free(call);
    }
    assert_int_equal(server_connections(server), 1);
    nontax_client_free(client);
    server_stop(server);
}

/* Each documented field of a reply is needed, but for those that WeChat leaves out at times. */
static void test_replies_without_their_fields(void **state)
{
    (void)state;
    static const server_step step = {.body = "{\"errcode\":0,\"errmsg\":\"ok\"}"};
    for (size_t i = 0; i < COUNT(rows); i++) {
        bool has_fields = !strstr("updatestatus rejectinsert", rows[i].name);
        server *server = server_start(&step, 1);
        nontax_client *client = client_for(server_url(server), 0);
        nontax_call *call = call_with(client, rows[i].name, rows[i].payload);
        nontax_client_run(client, call, NULL);
        expect_outcome(call, has_fields ? NONTAX_IN_DOUBT : NONTAX_INSERTED);
        assert_int_equal(strstr(nontax_call_result(call)->reason, "has no ") != NULL, has_fields);
        nontax_call_free(call);
        nontax_client_free(client);
        server_stop(server);
    }
}

static void test_reply_fields_of_the_wrong_kind(void **state)
{
    (void)state;
    static const struct {
        const char *name, *payload, *reply;
    } wrong[] = {
        {"getticket", "{'type':'wx_card'}",
         "{\"errcode\":0,\"ticket\":\"t\",\"expires_in\":\"7200s\"}"},
        {"getticket", "{'type':'wx_card'}",
         "{\"errcode\":0,\"ticket\":\"t\",\"expires_in\":\"1234567890123456\"}"},
        {"getticket", "{'type':'wx_card'}",
         "{\"errcode\":0,\"ticket\":\"t\",\"expires_in\":\"-\"}"},
        {"getticket", "{'type':'wx_card'}", "{\"errcode\":0,\"ticket\":\"t\",\"expires_in\":1.5}"},
        {"getticket", "{'type':'wx_card'}", "{\"errcode\":0,\"ticket\":\"t\",\"expires_in\":1e99}"},
        {"getticket", "{'type':'wx_card'}", "{\"errcode\":0,\"ticket\":\"\",\"expires_in\":7200}"},
        {"quota/get", "{'cgi_path':'/a'}", "{\"errcode\":0,\"quota\":[]}"},
        {"rid/get", "{'rid':'61725984-6126f6f9-040f19c4'}", "{\"errcode\":0,\"request\":\"\"}"},
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        const server_step step = {.body = wrong[i].reply};
        server *server = server_start(&step, 1);
        nontax_client *client = client_for(server_url(server), 0);
        nontax_call *call = call_with(client, wrong[i].name, wrong[i].payload);
        nontax_client_run(client, call, NULL);
        expect_outcome(call, NONTAX_IN_DOUBT);
        assert_non_null(strstr(nontax_call_result(call)->reason, "has an unusable "));
        nontax_call_free(call);
        nontax_client_free(client);
        server_stop(server);
    }
}

/* ---- payloads ----------------------------------------------------------------------------- */

/* `expected`: "path: message\n" for every problem; "": there is none. */
static void expect_problems_with(const char *interface, cJSON *payload, nontax_extra extra,
                                 const char *expected)
{
    nontax_problems problems = {0};
    nx_buffer text = {0}, secret = {0};
    char found[4096] = "";
    size_t size = 0;
    nontax_status status =
        nx_request_build(nontax_interface_find(interface), nontax_payload_from_json(payload), extra,
                         &problems, &text, &secret);
    for (size_t i = 0; i < problems.count; i++) {
        size += (size_t)snprintf(found + size, sizeof found - size, "%s: %s\n",
                                 problems.list[i].path, problems.list[i].message);
        assert_true(size < sizeof found);
    }
    nontax_problems_free(&problems);
    assert_string_equal(found, expected);
    assert_int_equal(status, *expected ? NONTAX_BAD_PAYLOAD : NONTAX_OK);
    assert_int_equal(text.data == NULL, *expected != '\0');
    nx_buffer_free(&text);
    nx_buffer_free(&secret);
}

static void expect_problems(const char *interface, const char *payload, const char *expected)
{
    expect_problems_with(interface, json(payload), NONTAX_EXTRA_REFUSE, expected);
}

static void test_missing_and_unknown_fields(void **state)
{
    (void)state;
    expect_problems("createbillcard", "{}", "invoice_info: is missing\n");
    expect_problems("createbillcard", "{'invoice_info':{'payee':'p'}}",
                    "invoice_info.base_info: is missing\n");
    /* As the page's table has it, without the wrapper of its sample. */
    expect_problems("createbillcard", "{'payee':'p','base_info':{'logo_url':'u'}}",
                    "payee: is in the wrong place: it belongs at invoice_info.payee\n"
                    "base_info: is in the wrong place: it belongs at invoice_info.base_info\n"
                    "invoice_info: is missing\n");
    expect_problems("seturl", "{'a':1}", "a: is not a field of this interface\n");
    expect_problems("rejectinsert", "{'s_pappid':'d','order_id':'o','reason':''}",
                    "reason: is empty\n");
    expect_problems("rejectinsert", "{'s_pappid':'d','order_id':'o','reason':'r','url':''}",
                    "url: is empty\n");
    expect_problems("getauthdata", "{'spappid':'d','order_id':1}",
                    "spappid: is not a field of this interface; did you mean s_pappid?\n"
                    "order_id: must be a string, not a number (as a number it would lose leading "
                    "zeros)\n"
                    "s_pappid: is missing\n");
}

static void test_choices(void **state)
{
    (void)state;
    expect_problems("updatestatus", "{'card_id':'c','code':'d','reimburse_status':'CANCEL'}",
                    "reimburse_status: must be one of INVOICE_REIMBURSE_INIT, "
                    "INVOICE_REIMBURSE_LOCK, INVOICE_REIMBURSE_CLOSURE, "
                    "INVOICE_REIMBURSE_CANCEL\n");
    expect_problems("getpdf", "{'action':'get_URL','s_media_id':'1'}",
                    "action: must be one of get_url\n");
    expect_problems("getticket", "{'type':'jsapi'}", "type: must be one of wx_card\n");
    expect_problems("getticket", "{'type':null}", "type: must be a string, not null\n");
    expect_problems("getticket", "{'type':''}", "type: is empty\n");
}

static void test_rids(void **state)
{
    (void)state;
    static const char wrong[] =
        "rid: must be three groups of eight hexadecimal digits, as an error's rid\n";
    static const char *const bad[] = {
        "rid: 61725984-6126f6f9-040f19c4",
        "61725984-6126f6f9-040f19c",
        "61725984-6126f6f9-040f19c45",
        "61725984-6126f6f9-040f19c4.",
        "6172598g-6126f6f9-040f19c4",
        "61725984 6126f6f9 040f19c4",
        "61725984-6126f6f9",
        "MO0693er74",
        "61725984-6126f6f9-040f19c4-00000",
        "617259846126f6f9040f19c4",
    };
    expect_problems("rid/get", "{'rid':'61725984-6126f6f9-040f19c4'}", "");
    expect_problems("rid/get", "{'rid':'6172ABCD-6126F6F9-040F19C4'}", "");
    for (size_t i = 0; i < COUNT(bad); i++) {
        cJSON *payload = json("{}");
        put(payload, "rid", cJSON_CreateString(bad[i]));
        expect_problems_with("rid/get", payload, NONTAX_EXTRA_REFUSE, wrong);
    }
    expect_problems("rid/get", "{'rid':'61725984-6126f6f9-040f19c4 '}",
                    "rid: ends with U+0020 (space)\n");
    expect_problems("rid/get", "{'rid':''}", "rid: is empty\n");
    expect_problems("rid/get", "{'rid':true}", "rid: must be a string, not a boolean\n");
}

static void test_interface_paths(void **state)
{
    (void)state;
    static const char wrong[] =
        "cgi_path: must be a path such as \"/nontax/insertbill\", without a host\n";
    static const char *const bad[] = {
        "nontax/insertbill",
        "https://api.weixin.qq.com/nontax/insertbill",
        "//api.weixin.qq.com/nontax/insertbill",
        "/nontax/insertbill?access_token=x",
        "/nontax/insertbill#x",
        "/nontax/insert bill",
        "/a:b",
    };
    expect_problems("quota/get", "{'cgi_path':'/cgi-bin/openapi/rid/get'}", "");
    expect_problems("quota/get", "{'cgi_path':'/'}", "");
    for (size_t i = 0; i < COUNT(bad); i++) {
        cJSON *payload = json("{}");
        put(payload, "cgi_path", cJSON_CreateString(bad[i]));
        expect_problems_with("quota/get", payload, NONTAX_EXTRA_REFUSE, wrong);
    }
    expect_problems("quota/get", "{'cgi_path':''}", "cgi_path: is empty\n");
    expect_problems("quota/get", "{'cgi_path':[]}", "cgi_path: must be a string, not a list\n");
}

/* getbillauthurl with another timestamp. */
static cJSON *order(cJSON *timestamp)
{
    cJSON *payload = json("{'s_pappid':'d','order_id':'o','money':1,'source':'app','ticket':'t'}");
    put(payload, "timestamp", timestamp);
    return payload;
}

static void test_seconds(void **state)
{
    (void)state;
    static const char interface[] = "getbillauthurl";
    expect_problems_with(interface, order(cJSON_CreateNumber(1474875876)), NONTAX_EXTRA_REFUSE, "");
    expect_problems_with(interface, order(nontax_json_number("1474875876")), NONTAX_EXTRA_REFUSE,
                         "");
    expect_problems_with(interface, order(nontax_json_time(1474875876)), NONTAX_EXTRA_REFUSE, "");
    expect_problems_with(interface, order(cJSON_CreateString("1474875876")), NONTAX_EXTRA_REFUSE,
                         "timestamp: must be Unix seconds as an integer, not a string\n");
    expect_problems_with(interface, order(cJSON_CreateNumber(1474875876000.0)), NONTAX_EXTRA_REFUSE,
                         "timestamp: must be Unix seconds of 10 digits; this looks like "
                         "milliseconds\n");
    expect_problems_with(interface, order(cJSON_CreateNumber(1474875876.5)), NONTAX_EXTRA_REFUSE,
                         "timestamp: must be Unix seconds of 10 digits, such as 1511169724\n");
    expect_problems_with(interface, order(nontax_json_time(-1)), NONTAX_EXTRA_REFUSE,
                         "timestamp: must be Unix seconds of 10 digits, such as 1511169724\n");
    expect_problems_with(interface, order(cJSON_CreateTrue()), NONTAX_EXTRA_REFUSE,
                         "timestamp: must be Unix seconds as an integer or a string of 10 digits, "
                         "not a boolean\n");
}

static void test_booleans(void **state)
{
    (void)state;
    static const char *const bad[] = {"'true'", "1", "0", "null", "[]", "{}"};
    static const char rest[] = "'grant_type':'client_credential','appid':'wx1','secret':'s'";
    char payload[256];
    for (size_t i = 0; i < COUNT(bad); i++) {
        snprintf(payload, sizeof payload, "{%s,'force_refresh':%s}", rest, bad[i]);
        expect_problems("stable_token", payload, "force_refresh: must be true or false\n");
    }
    for (int force = 0; force < 2; force++) {
        snprintf(payload, sizeof payload, "{%s,'force_refresh':%s}", rest,
                 force ? "true" : "false");
        expect_problems("stable_token", payload, "");
    }
}

/* A flat row is understood for bills only. */
static void test_only_bills_are_flat(void **state)
{
    (void)state;
    expect_problems("createbillcard", "{'payee':'p','logo_url':'u'}",
                    "payee: is in the wrong place: it belongs at invoice_info.payee\n"
                    "logo_url: is in the wrong place: it belongs at "
                    "invoice_info.base_info.logo_url\n"
                    "invoice_info: is missing\n");
}

/* ---- queries ------------------------------------------------------------------------------ */

static void expect_query(cJSON *payload, const char *expected, const char *expected_secret)
{
    nontax_problems problems = {0};
    nx_buffer text = {0}, secret = {0};
    assert_int_equal(nx_request_build(nontax_interface_find("token"),
                                      nontax_payload_from_json(payload), NONTAX_EXTRA_REFUSE,
                                      &problems, &text, &secret),
                     NONTAX_OK);
    assert_string_equal(text.data, expected);
    assert_string_equal(secret.data, expected_secret);
    nx_buffer_free(&text);
    nx_buffer_free(&secret);
    nontax_problems_free(&problems);
}

static void test_queries(void **state)
{
    (void)state;
    expect_query(json(BY_SECRET), "grant_type=client_credential&appid=wx1&secret=" SECRET, SECRET);
    /* In the caller's order, each value encoded: nothing in it can end it or begin another. */
    expect_query(json("{'secret':'a&b=c#d?e/f g+h%20','appid':'张-._~','grant_type':"
                      "'client_credential'}"),
                 "secret=a%26b%3Dc%23d%3Fe%2Ff%20g%2Bh%2520&appid=%E5%BC%A0-._~&grant_type="
                 "client_credential",
                 "a&b=c#d?e/f g+h%20");
}

/* There is no place in a query for what is not text. */
static void test_queries_have_no_extra_fields(void **state)
{
    (void)state;
    expect_problems_with("getticket", json("{'type':'wx_card','x':{'a':[1]}}"), NONTAX_EXTRA_SEND,
                         "x: is not a field of this interface\n");
    expect_problems_with("getauthdata", json("{'s_pappid':'d','order_id':'o','x':{'a':[1]}}"),
                         NONTAX_EXTRA_SEND, "");
}

/* ---- files -------------------------------------------------------------------------------- */

static const server_step uploaded = {.body =
                                         "{\"errcode\":0,\"s_media_id\":\"75195574948725301\"}"};

static nontax_call *upload(nontax_client *client, const nontax_file *file)
{
    nontax_call *call = call_of(client, "setpdf");
    assert_int_equal(nontax_call_set_file(call, file), NONTAX_OK);
    assert_true(nontax_call_needs_token(call));
    assert_int_equal(nontax_call_set_token(call, TOKEN, strlen(TOKEN)), NONTAX_OK);
    nontax_client_run(client, call, NULL);
    return call;
}

/* Larger than any of libcurl's buffers, and different at every place. */
static char *large_pdf(size_t size)
{
    char *data = malloc(size);
    assert_non_null(data);
    uint32_t x = 1;
    for (size_t i = 0; i < size; i++) {
        x = x * 1664525 + 1013904223;
        data[i] = (char)(x >> 24);
    }
    memcpy(data, "%PDF-1.7\n", 9);
    return data;
}

static void expect_upload(server *server, int index, const char *name, const char *data,
                          size_t size)
{
    char line[128], frame[512], end[64];
    const char *head = server_head(server, index), *body = server_body(server, index);
    expect_start(server, index, POST_WITH_TOKEN("/card/invoice/platform/setpdf"));
    const char *boundary = strstr(head, "\r\nContent-Type: multipart/form-data; boundary=nontax-");
    assert_non_null(boundary);
    assert_int_equal(count_of(head, "Content-Type:"), 1);
    assert_null(strstr(head, "Expect:"));
    snprintf(line, sizeof line, "%.39s", strstr(boundary, "nontax-"));
    assert_null(strpbrk(line, "\r\n"));
    int start = snprintf(frame, sizeof frame,
                         "--%s\r\nContent-Disposition: form-data; name=\"pdf\"; filename=\"%s\"\r\n"
                         "Content-Type: application/pdf\r\n\r\n",
                         line, name);
    int rest = snprintf(end, sizeof end, "\r\n--%s--\r\n", line);
    assert_int_equal(server_body_size(server, index), (size_t)start + size + (size_t)rest);
    assert_memory_equal(body, frame, (size_t)start);
    assert_memory_equal(body + start, data, size);
    assert_memory_equal(body + start + size, end, (size_t)rest);
}

static void test_uploads(void **state)
{
    (void)state;
    enum { LARGE = 300 * 1000 };
    server_step steps[3];
    char path[] = "/tmp/nontax-upload-XXXXXX";
    for (size_t i = 0; i < COUNT(steps); i++) {
        steps[i] = uploaded;
    }
    char *data = large_pdf(LARGE);
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(write(descriptor, "before", 6), 6);
    assert_int_equal(write(descriptor, data, LARGE), LARGE);
    const nontax_file files[] = {
        {.name = "a.pdf", .data = data, .size = 9, .descriptor = -1},
        {.name = "电子\"票据\".pdf", .data = data, .size = LARGE, .descriptor = -1},
        {.name = "b.pdf", .size = LARGE, .descriptor = descriptor, .offset = 6},
    };
    static const char *const names[] = {"a.pdf", "电子%22票据%22.pdf", "b.pdf"};
    server *server = server_start(steps, COUNT(steps));
    nontax_client *client = client_for(server_url(server), 0);
    for (size_t i = 0; i < COUNT(files); i++) {
        nontax_call *call = upload(client, &files[i]);
        expect_outcome(call, NONTAX_INSERTED);
        const cJSON *fields = nontax_call_result(call)->fields;
        assert_string_equal(cJSON_GetObjectItem(fields, "s_media_id")->valuestring,
                            "75195574948725301");
        expect_upload(server, (int)i, names[i], data, files[i].size);
        nontax_call_free(call);
    }
    assert_int_equal(server_connections(server), 1);
    nontax_client_free(client);
    server_stop(server);
    close(descriptor);
    free(data);
}

/* No two clients have the same boundary: nobody can put one into a file beforehand. */
static void test_boundaries_differ(void **state)
{
    (void)state;
    nontax_client *one = client_for("http://127.0.0.1:1", 0);
    nontax_client *two = client_for("http://127.0.0.1:1", 0);
    assert_int_equal(strlen(one->boundary), 39);
    assert_int_equal(strspn(one->boundary + 7, "0123456789abcdef"), 32);
    assert_string_not_equal(one->boundary, two->boundary);
    nontax_client_free(one);
    nontax_client_free(two);
}

/* An upload between two bills and a query: the transfer is set right for each. */
static void test_forms_follow_each_other(void **state)
{
    (void)state;
    const server_step steps[] = {{0},
                                 uploaded,
                                 {0},
                                 {.body = "{\"errcode\":0,\"ticket\":\"t\",\"expires_in\":1}"},
                                 uploaded};
    const nontax_file file = {.name = "a.pdf", .data = "%PDF-", .size = 5, .descriptor = -1};
    server *server = server_start(steps, COUNT(steps));
    nontax_client *client = client_for(server_url(server), 0);
    for (int i = 0; i < (int)COUNT(steps); i++) {
        nontax_call *call;
        if (i == 1 || i == 4) {
            call = upload(client, &file);
            expect_upload(server, i, "a.pdf", "%PDF-", 5);
        } else {
            call = i == 3 ? call_with(client, "getticket", "{'type':'wx_card'}")
                          : call_for(client, "order-1");
            nontax_client_run(client, call, NULL);
            assert_string_equal(server_body(server, i), i == 3 ? "" : sample_body);
            assert_null(strstr(server_head(server, i), "multipart"));
        }
        expect_outcome(call, NONTAX_INSERTED);
        nontax_call_free(call);
    }
    assert_int_equal(server_connections(server), 1);
    nontax_client_free(client);
    server_stop(server);
}

/* Its size was promised in the head: the request cannot be finished, and nothing follows on its
 * connection. */
static void test_upload_of_a_file_that_becomes_shorter(void **state)
{
    (void)state;
    enum { LARGE = 300 * 1000 };
    char path[] = "/tmp/nontax-upload-XXXXXX";
    char *data = large_pdf(LARGE);
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(write(descriptor, data, LARGE), LARGE);
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 5);
    const nontax_file file = {.name = "a.pdf", .size = LARGE, .descriptor = descriptor};
    nontax_call *call = call_of(client, "setpdf");
    assert_int_equal(nontax_call_set_file(call, &file), NONTAX_OK);
    assert_int_equal(ftruncate(descriptor, LARGE / 2), 0);
    assert_int_equal(nontax_call_set_token(call, TOKEN, strlen(TOKEN)), NONTAX_OK);
    nontax_client_run(client, call, NULL);
    expect_outcome(call, NONTAX_IN_DOUBT);
    assert_int_equal(nontax_call_result(call)->cause, NONTAX_CAUSE_CANCELLED);
    assert_string_equal(nontax_call_result(call)->reason, "the file could not be read to its end");
    assert_int_equal(nontax_call_result(call)->attempts, 1);
    nontax_call_free(call);

    call = call_for(client, "order-1");
    nontax_client_run(client, call, NULL);
    expect_outcome(call, NONTAX_INSERTED);
    nontax_call_free(call);
    assert_int_equal(server_connections(server), 2);
    assert_int_equal(server_requests(server), 1);
    nontax_client_free(client);
    server_stop(server);
    close(descriptor);
    free(data);
}

static void expect_file_problems(nontax_client *client, const nontax_file *file,
                                 const char *expected)
{
    char found[512] = "";
    size_t size = 0;
    nontax_call *call = call_of(client, "setpdf");
    assert_int_equal(nontax_call_set_file(call, file), NONTAX_BAD_PAYLOAD);
    const nontax_problems *problems = nontax_call_problems(call);
    for (size_t i = 0; i < problems->count; i++) {
        size += (size_t)snprintf(found + size, sizeof found - size, "%s: %s\n",
                                 problems->list[i].path, problems->list[i].message);
    }
    assert_string_equal(found, expected);
    expect_outcome(call, NONTAX_NOT_SENT);
    assert_int_equal(nontax_call_result(call)->cause, NONTAX_CAUSE_PAYLOAD);
    assert_false(nontax_call_needs_token(call));
    nontax_call_free(call);
}

static void test_files_that_are_refused(void **state)
{
    (void)state;
    nontax_client *client = client_for("http://127.0.0.1:1", 0);
    nontax_file file = {.name = "a.pdf", .data = "", .size = 0, .descriptor = -1};
    expect_file_problems(client, &file, "pdf: is empty\n");
    file.data = "hello";
    file.size = 5;
    expect_file_problems(client, &file, "pdf: is not a PDF: it does not begin with %PDF-\n");
    file.data = "PK\x03\x04....";
    file.size = 8;
    expect_file_problems(client, &file,
                         "pdf: is not a PDF but a ZIP archive, as an OFD file is: WeChat takes PDF "
                         "only\n");
    file.data = "hello";
    file.size = 5;
    file.name = "";
    expect_file_problems(client, &file,
                         "pdf: is not a PDF: it does not begin with %PDF-\n"
                         "filename: is empty\n");
    file.data = "%PDF-";
    file.name = "\xB5\xE7.pdf"; /* as GBK has it */
    expect_file_problems(client, &file, "filename: is not valid UTF-8\n");
    file = (nontax_file){.name = "a.pdf", .size = 5, .descriptor = -1};
    expect_file_problems(client, &file, "pdf: cannot be read\n");
    nontax_client_free(client);
}

static void test_a_file_is_no_payload_and_a_payload_no_file(void **state)
{
    (void)state;
    nontax_client *client = client_for("http://127.0.0.1:1", 0);
    const nontax_file file = {.name = "a.pdf", .data = "%PDF-", .size = 5, .descriptor = -1};
    nontax_call *call = call_of(client, "insertbill");
    assert_int_equal(nontax_call_set_file(call, &file), NONTAX_BAD_PAYLOAD);
    expect_outcome(call, NONTAX_NOT_SENT);
    assert_int_equal(nontax_call_set_payload(call, nontax_payload_from_json(sample_bill())),
                     NONTAX_OK);
    nontax_call_free(call);
    call = call_of(client, "setpdf");
    assert_int_equal(nontax_call_set_payload(call, nontax_payload_from_json(json("{}"))),
                     NONTAX_BAD_PAYLOAD);
    expect_outcome(call, NONTAX_NOT_SENT);
    assert_int_equal(nontax_call_set_file(call, &file), NONTAX_OK);
    size_t size = call->body.size;
    assert_int_equal(nontax_call_set_file(call, &file), NONTAX_OK);
    assert_int_equal(call->body.size, size);
    assert_int_equal(call->body.text.size + file.size + call->body.tail.size, size);
    nontax_call_free(call);
    nontax_client_free(client);
}

/* ---- credentials -------------------------------------------------------------------------- */

static const char *const by_secret[] = {"stable_token", "token"};

static void test_secret_in_place_of_a_token(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(by_secret); i++) {
        const server_step step = {.body = TOKEN_REPLY};
        server *server = server_start(&step, 1);
        nontax_client *client = client_for(server_url(server), 0);
        assert_true(nontax_interface_takes_secret(nontax_interface_find(by_secret[i])));
        nontax_call *call = call_of(client, by_secret[i]);
        assert_int_equal(nontax_call_set_payload(call, nontax_payload_from_json(json(BY_SECRET))),
                         NONTAX_OK);
        assert_false(nontax_call_needs_token(call));
        assert_false(nontax_call_finished(call));
        /* One that is given nevertheless has no place in the request. */
        assert_int_equal(nontax_call_set_token(call, TOKEN, strlen(TOKEN)), NONTAX_OK);
        nontax_client_run(client, call, NULL);
        expect_outcome(call, NONTAX_INSERTED);
        assert_false(nontax_call_result(call)->has_errcode);
        const cJSON *fields = nontax_call_result(call)->fields;
        assert_string_equal(cJSON_GetObjectItem(fields, "access_token")->valuestring, NEWER_TOKEN);
        assert_int_equal(cJSON_GetObjectItem(fields, "expires_in")->valueint, 7200);
        assert_null(strstr(server_head(server, 0), "access_token"));
        nontax_call_free(call);
        nontax_client_free(client);
        server_stop(server);
    }
}

/* Only these two answer without errcode when it went well. */
static void test_errcode_may_be_missing_there_alone(void **state)
{
    (void)state;
    static const server_step step = {
        .body = "{\"ticket\":\"t\",\"expires_in\":7200,\"access_token\":\"t\",\"code\":\"c\"}"};
    server *server = server_start(&step, 1);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_call *call = call_with(client, "getticket", "{'type':'wx_card'}");
    nontax_client_run(client, call, NULL);
    expect_outcome(call, NONTAX_IN_DOUBT);
    assert_non_null(strstr(nontax_call_result(call)->reason, "has no errcode"));
    nontax_call_free(call);
    nontax_client_free(client);
    server_stop(server);
}

/* 40001 means the AppSecret there: a newer access token would not help. */
static void test_refused_secret_is_not_sent_again(void **state)
{
    (void)state;
    static const char *const refusals[] = {"{\"errcode\":40001,\"errmsg\":\"invalid credential\"}",
                                           "{\"errcode\":40014}", "{\"errcode\":42001}",
                                           "{\"errcode\":40164}"};
    for (size_t i = 0; i < COUNT(by_secret) * COUNT(refusals); i++) {
        const server_step step = {.body = refusals[i / COUNT(by_secret)]};
        server *server = server_start(&step, 1);
        nontax_client *client = client_for(server_url(server), 5);
        nontax_call *call = call_with(client, by_secret[i % COUNT(by_secret)], BY_SECRET);
        nontax_client_run(client, call, NULL);
        expect_outcome(call, NONTAX_REJECTED);
        assert_false(nontax_call_gave_up(call));
        assert_int_equal(nontax_call_result(call)->attempts, 1);
        assert_int_equal(server_requests(server), 1);
        nontax_call_free(call);
        nontax_client_free(client);
        server_stop(server);
    }
}

/* The AppSecret, or a ticket, as it is and as a query has it. */
static void expect_masked(const char *interface, const char *payload, const char *secret,
                          const char *encoded)
{
    char reply[512];
    snprintf(reply, sizeof reply,
             "{\"errcode\":40097,\"errmsg\":\"bad %s (%s)\",\"echo\":[{\"%s\":\"%s\"}]}", secret,
             encoded, secret, encoded);
    const server_step step = {.body = reply};
    server *server = server_start(&step, 1);
    nontax_client *client = client_for(server_url(server), 0);
    nontax_call *call = call_with(client, interface, payload);
    nontax_client_run(client, call, NULL);
    expect_outcome(call, NONTAX_REJECTED);
    assert_string_equal(nontax_call_result(call)->errmsg, "bad *** (***)");
    char *fields = cJSON_PrintUnformatted(nontax_call_result(call)->fields);
    assert_string_equal(fields, "{\"echo\":[{\"***\":\"***\"}]}");
    cJSON_free(fields);
    nontax_call_free(call);
    nontax_client_free(client);
    server_stop(server);
}

static void test_secrets_do_not_come_back(void **state)
{
    (void)state;
    static const char odd[] = "{'grant_type':'client_credential','appid':'wx1','secret':'"
                              "a+b/c=d&e f'}";
    for (size_t i = 0; i < COUNT(by_secret); i++) {
        expect_masked(by_secret[i], BY_SECRET, SECRET, SECRET);
        expect_masked(by_secret[i], odd, "a+b/c=d&e f", "a%2Bb%2Fc%3Dd%26e%20f");
    }
    expect_masked("getbillauthurl",
                  "{'s_pappid':'d','order_id':'o','money':1,'timestamp':1474875876,"
                  "'source':'web','ticket':'m7RQzjA_ljjE/1'}",
                  "m7RQzjA_ljjE/1", "m7RQzjA_ljjE%2f1");
    expect_masked("getticket", "{'type':'wx_card'}", TOKEN, TOKEN_IN_QUERY);
}

/* A host that cannot be reached is named in the reason, and its URL has the AppSecret in it. */
static void test_secret_is_not_in_a_reason(void **state)
{
    (void)state;
    int refusing;
    nontax_client *client = client_for(refusing_url(&refusing), 0);
    nontax_call *call = call_with(client, "token", BY_SECRET);
    nontax_client_run(client, call, NULL);
    expect_outcome(call, NONTAX_NOT_SENT);
    assert_true(*nontax_call_result(call)->reason);
    assert_null(strstr(nontax_call_result(call)->reason, SECRET));
    nontax_call_free(call);
    nontax_client_free(client);
    close(refusing);
}

/* Both tokens were on the way to WeChat: neither may be seen in its second answer. */
static void test_first_token_stays_masked(void **state)
{
    (void)state;
    static const server_step steps[] = {
        {.body = "{\"errcode\":42001,\"errmsg\":\"expired " TOKEN "\"}"},
        {.body = "{\"errcode\":72038,\"errmsg\":\"" TOKEN_IN_QUERY " then " NEWER_TOKEN "\","
                 "\"echo\":\"" TOKEN "\"}"},
    };
    server *server = server_start(steps, COUNT(steps));
    nontax_client *client = client_for(server_url(server), 0);
    nontax_call *call = call_for(client, "order-1");
    nx_lane *lane = NULL;
    assert_int_equal(nx_lane_new(client, 1, &lane), NONTAX_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(nx_lane_add(lane, call), NONTAX_OK);
        while (!nx_lane_take(lane)) {
            (void)nx_lane_step(lane, 50);
        }
        if (i == 0) {
            assert_true(nontax_call_needs_token(call));
            assert_int_equal(nontax_call_set_token(call, NEWER_TOKEN, strlen(NEWER_TOKEN)),
                             NONTAX_OK);
        }
    }
    expect_outcome(call, NONTAX_REJECTED);
    assert_string_equal(nontax_call_result(call)->errmsg, "*** then ***");
    const cJSON *echo = cJSON_GetObjectItem(nontax_call_result(call)->fields, "echo");
    assert_string_equal(echo->valuestring, "***");
    nontax_call_free(call);
    nx_lane_free(lane);
    nontax_client_free(client);
    server_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_known_of_them),
        cmocka_unit_test(test_requests_as_the_server_sees_them),
        cmocka_unit_test(test_replies_without_their_fields),
        cmocka_unit_test(test_reply_fields_of_the_wrong_kind),
        cmocka_unit_test(test_missing_and_unknown_fields),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_rids),
        cmocka_unit_test(test_interface_paths),
        cmocka_unit_test(test_seconds),
        cmocka_unit_test(test_booleans),
        cmocka_unit_test(test_only_bills_are_flat),
        cmocka_unit_test(test_queries),
        cmocka_unit_test(test_queries_have_no_extra_fields),
        cmocka_unit_test(test_uploads),
        cmocka_unit_test(test_boundaries_differ),
        cmocka_unit_test(test_forms_follow_each_other),
        cmocka_unit_test(test_upload_of_a_file_that_becomes_shorter),
        cmocka_unit_test(test_files_that_are_refused),
        cmocka_unit_test(test_a_file_is_no_payload_and_a_payload_no_file),
        cmocka_unit_test(test_secret_in_place_of_a_token),
        cmocka_unit_test(test_errcode_may_be_missing_there_alone),
        cmocka_unit_test(test_refused_secret_is_not_sent_again),
        cmocka_unit_test(test_secrets_do_not_come_back),
        cmocka_unit_test(test_secret_is_not_in_a_reason),
        cmocka_unit_test(test_first_token_stays_masked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
