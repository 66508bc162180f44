/* test_reply.c: what a reply is taken for, whatever its bytes are. */
#include "support.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "reply.h"
#include "text.h"

#define SUCCESS "{\"errcode\":0,\"errmsg\":\"ok\",\"code\":\"682012661927\",\"openid\":\"o-1\"}"

typedef struct reading {
    nontax_result result;
    cJSON *fields;
} reading;

static reading read_bytes(const char *body, size_t size, long http_status, const char *token)
{
    reading reading;
    /* Whatever was in the result before must not show through, nor what lies behind the body. */
    memset(&reading.result, 0, sizeof reading.result);
    char *copy = malloc(size + 1);
    assert_non_null(copy);
    memcpy(copy, body, size);
    copy[size] = '\0';
    const nx_secrets secrets = {{NULL, token, "another secret"}};
    nx_reply_read(nontax_interface_find("insertbill"), copy, size, http_status, &secrets,
                  &reading.result, &reading.fields);
    free(copy);
    return reading;
}

static reading read_text(const char *body)
{
    return read_bytes(body, strlen(body), 200, TOKEN);
}

static void expect_inserted(const char *body)
{
    reading reading = read_text(body);
    if (reading.result.outcome != NONTAX_INSERTED) {
        print_error("%s: %s\n", body, reading.result.reason);
    }
    assert_int_equal(reading.result.outcome, NONTAX_INSERTED);
    assert_int_equal(reading.result.cause, NONTAX_CAUSE_NONE);
    assert_true(reading.result.has_errcode);
    assert_int_equal(reading.result.errcode, 0);
    assert_string_equal(reading.result.reason, "");
    cJSON_Delete(reading.fields);
}

static void expect_rejected(const char *body, int errcode)
{
    reading reading = read_text(body);
    if (reading.result.outcome != NONTAX_REJECTED) {
        print_error("%s: %s\n", body, reading.result.reason);
    }
    assert_int_equal(reading.result.outcome, NONTAX_REJECTED);
    assert_int_equal(reading.result.cause, NONTAX_CAUSE_NONE);
    assert_true(reading.result.has_errcode);
    assert_int_equal(reading.result.errcode, errcode);
    cJSON_Delete(reading.fields);
}

/* In doubt, and the reason has these words in it. */
static void expect_doubt_in(const char *body, size_t size, long http_status, const char *words)
{
    reading reading = read_bytes(body, size, http_status, TOKEN);
    if (reading.result.outcome != NONTAX_IN_DOUBT || !strstr(reading.result.reason, words)) {
        print_error("%s: %s\n", body, reading.result.reason);
    }
    assert_int_equal(reading.result.outcome, NONTAX_IN_DOUBT);
    assert_int_equal(reading.result.cause, NONTAX_CAUSE_REPLY);
    assert_int_equal(reading.result.http_status, http_status);
    assert_non_null(strstr(reading.result.reason, words));
    cJSON_Delete(reading.fields);
}

static void expect_doubt(const char *body, const char *words)
{
    expect_doubt_in(body, strlen(body), 200, words);
}

static const char *field(const reading *reading, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(reading->fields, name);
    assert_true(cJSON_IsString(item));
    return item->valuestring;
}

/* ---- success ----------------------------------------------------------------------------- */

static void test_success(void **state)
{
    (void)state;
    reading reading = read_text(SUCCESS);
    assert_int_equal(reading.result.outcome, NONTAX_INSERTED);
    assert_int_equal(reading.result.http_status, 200);
    assert_string_equal(reading.result.errmsg, "ok");
    assert_string_equal(reading.result.rid, "");
    assert_string_equal(field(&reading, "code"), "682012661927");
    assert_string_equal(field(&reading, "openid"), "o-1");
    assert_null(cJSON_GetObjectItem(reading.fields, "errcode"));
    assert_null(cJSON_GetObjectItem(reading.fields, "errmsg"));
    cJSON_Delete(reading.fields);
}

static void test_success_in_other_words(void **state)
{
    (void)state;
    expect_inserted("{\"errcode\":\"0\",\"errmsg\":\"ok\",\"code\":\"c\",\"openid\":\"o\"}");
    expect_inserted("{\"errcode\":0,\"code\":\"c\",\"openid\":\"o\"}");
    expect_inserted("{\"openid\":\"o\",\"code\":\"c\",\"errcode\":0.0}");
    expect_inserted("{\"errcode\":0,\"errmsg\":null,\"code\":\"c\",\"openid\":\"o\"}");
    expect_inserted(" \r\n\t" SUCCESS "\r\n ");
    expect_inserted("\xEF\xBB\xBF" SUCCESS);
    expect_inserted("{\"errcode\":0,\"code\":\"\\u5f20\",\"openid\":\"o\"}");
}

/* In any order; cJSON's comparison takes two members of one name for different. */
static bool same_members(const cJSON *left, const cJSON *right)
{
    char *one = cJSON_PrintUnformatted(left), *other = cJSON_PrintUnformatted(right);
    bool same = cJSON_Compare(left, right, true) || strcmp(one, other) == 0;
    cJSON_free(one);
    cJSON_free(other);
    return same;
}

/* A reply in WeChat's own spelling is read without a parser, one with a blank in front is parsed.
 * Neither the outcome nor what is shown of the reply may differ. */
static void expect_the_same_with_a_blank(const char *body)
{
    char spaced[1024];
    snprintf(spaced, sizeof spaced, " %s", body);
    reading plain = read_text(body), parsed = read_text(spaced);
    if (plain.result.outcome != parsed.result.outcome) {
        print_error("%s: %s\n", body, parsed.result.reason);
    }
    assert_int_equal(plain.result.outcome, parsed.result.outcome);
    assert_int_equal(plain.result.cause, parsed.result.cause);
    assert_int_equal(plain.result.has_errcode, parsed.result.has_errcode);
    assert_int_equal(plain.result.errcode, parsed.result.errcode);
    assert_string_equal(plain.result.errmsg, parsed.result.errmsg);
    assert_string_equal(plain.result.rid, parsed.result.rid);
    bool both = plain.fields && parsed.fields;
    assert_true(both ? same_members(plain.fields, parsed.fields) : !plain.fields && !parsed.fields);
    nx_json_free(plain.fields);
    nx_json_free(parsed.fields);
}

static void test_a_plain_success_is_read_like_any_other(void **state)
{
    (void)state;
    static const char begin[] = "{\"errcode\":0,\"errmsg\":\"ok\"";
    static const char *const ends[] = {
        ",\"code\":\"682012661927\",\"openid\":\"o-1\"}",
        ",\"openid\":\"o-1\",\"code\":\"682012661927\"}",
        ",\"code\":\"682012661927\"}",
        ",\"openid\":\"o-1\"}",
        "}",
        "",
        ",}",
        ",\"code\":\"1\",\"openid\":\"o-1\"",
        ",\"code\":\"1\",\"openid\":\"o-1\"}}",
        ",\"code\":\"1\",\"openid\":\"o-1\"} ",
        ",\"code\":\"1\",\"openid\":\"o-1\",}",
        ",\"code\":\"1\" ,\"openid\":\"o-1\"}",
        ",\"code\":\"\",\"openid\":\"o-1\"}",
        ",\"code\":\"1\",\"openid\":\"\"}",
        ",\"code\":1,\"openid\":\"o-1\"}",
        ",\"code\":\"1\",\"openid\":null}",
        ",\"code\":\"1\",\"code\":\"2\",\"openid\":\"o-1\"}",
        ",\"code\":\"1\",\"code\":\"1\",\"openid\":\"o-1\"}",
        ",\"code\":\"1\",\"openid\":\"o-1\",\"more\":\"x\"}",
        ",\"code\":\"1\",\"openid\":\"o-1\",\"errcode\":0}",
        ",\"code\":\"1\",\"openid\":\"o-1\",\"errcode\":\"0\"}",
        ",\"code\":\"1\",\"errmsg\":\"no\"}",
        ",\"Code\":\"1\",\"openid\":\"o-1\"}",
        ",\"cod\":\"1\",\"openid\":\"o-1\"}",
        ",\"codes\":\"1\",\"openid\":\"o-1\"}",
        ",\"\":\"1\",\"code\":\"o-1\"}",
        ",\"code\":\"a\\u0062\",\"openid\":\"o-1\"}",
        ",\"code\":\"a\\\"b\",\"openid\":\"o-1\"}",
        ",\"code\":\"a\tb\",\"openid\":\"o-1\"}",
        ",\"code\":\"a\x7F\",\"openid\":\"o-1\"}",
        ",\"code\":\"张\",\"openid\":\"o-1\"}",
        ",\"code\":\"1\",\"openid\":\"" TOKEN "\"}",
        ",\"code\":\"" TOKEN "\",\"openid\":\"another secret\"}",
        ",\"code\":\"another secret 1\",\"openid\":\"x" TOKEN "x\"}",
    };
    for (size_t i = 0; i < COUNT(ends); i++) {
        char body[512];
        snprintf(body, sizeof body, "%s%s", begin, ends[i]);
        expect_the_same_with_a_blank(body);
    }
    static const char *const others[] = {
        "{\"errmsg\":\"ok\",\"errcode\":0,\"code\":\"1\"}",
        "{\"errcode\":00,\"errmsg\":\"ok\",\"code\":\"1\"}",
        "{\"errcode\":0.0,\"errmsg\":\"ok\",\"code\":\"1\"}",
        "{\"errcode\":0,\"errmsg\":\"\",\"code\":\"1\"}",
        "{\"errcode\":0,\"errmsg\":\"a long message\",\"code\":\"1\"}",
        "{\"errcode\":0,\"errmsg\":\"ok rid: 61725984-6126f6f9-040f19c4\",\"code\":\"1\"}",
        "{\"errcode\":40001,\"errmsg\":\"ok\",\"code\":\"1\"}",
    };
    for (size_t i = 0; i < COUNT(others); i++) {
        expect_the_same_with_a_blank(others[i]);
    }
}

static void test_unknown_fields_are_kept(void **state)
{
    (void)state;
    reading reading = read_text("{\"errcode\":0,\"errmsg\":\"ok\",\"code\":\"c\",\"openid\":\"o\","
                                "\"unionid\":\"u\",\"more\":{\"a\":[1,null]},\"Code\":\"C\"}");
    assert_int_equal(reading.result.outcome, NONTAX_INSERTED);
    assert_string_equal(field(&reading, "unionid"), "u");
    assert_string_equal(field(&reading, "Code"), "C");
    char *fields = cJSON_PrintUnformatted(reading.fields);
    assert_string_equal(fields, "{\"code\":\"c\",\"openid\":\"o\",\"unionid\":\"u\","
                                "\"more\":{\"a\":[1,null]},\"Code\":\"C\"}");
    cJSON_free(fields);
    cJSON_Delete(reading.fields);
}

static void test_success_without_its_fields(void **state)
{
    (void)state;
    expect_doubt("{\"errcode\":0,\"errmsg\":\"ok\"}", "no code");
    expect_doubt("{\"errcode\":0,\"openid\":\"o\"}", "no code");
    expect_doubt("{\"errcode\":0,\"Code\":\"c\",\"openid\":\"o\"}", "no code");
    expect_doubt("{\"errcode\":0,\"code\":\"\",\"openid\":\"o\"}", "unusable code");
    expect_doubt("{\"errcode\":0,\"code\":null,\"openid\":\"o\"}", "unusable code");
    expect_doubt("{\"errcode\":0,\"code\":[\"c\"],\"openid\":\"o\"}", "unusable code");
    expect_doubt("{\"errcode\":0,\"code\":\"a\xFF\",\"openid\":\"o\"}", "unusable code");
    expect_doubt("{\"errcode\":0,\"code\":\"c\",\"openid\":\"o\",\"code\":\"d\"}",
                 "more than one code");
    expect_doubt("{\"errcode\":0,\"code\":\"c\",\"code\":\"d\",\"code\":\"c\"}",
                 "more than one code");
    expect_doubt("{\"errcode\":0,\"code\":1,\"code\":1.0}", "more than one code");
}

/* The code is told only once: with it, whatever else is missing or odd, the bill is inserted. */
static void test_a_code_is_enough(void **state)
{
    (void)state;
    expect_inserted("{\"errcode\":0,\"code\":\"c\"}");
    expect_inserted("{\"errcode\":0,\"code\":\"c\",\"openid\":null}");
    expect_inserted("{\"errcode\":0,\"code\":\"c\",\"openid\":true}");
    expect_inserted("{\"errcode\":0,\"code\":\"c\",\"openid\":{},\"errmsg\":[]}");
    expect_inserted("{\"errcode\":0,\"code\":\"c\",\"openid\":\"a\",\"openid\":\"b\"}");
    expect_inserted("{\"errcode\":0,\"code\":\"c\",\"code\":\"c\"}");
}

/* A number where text is documented is the text that was written, to the last digit. */
static void test_numbers_are_read_as_they_are_written(void **state)
{
    (void)state;
    static const char *const literals[] = {"682012661927",
                                           "0",
                                           "-0",
                                           "-7",
                                           "007",
                                           "9007199254740993",
                                           "123456789012345678901234567890",
                                           "1.50",
                                           "1e3",
                                           "1E+03",
                                           "100000000000000",
                                           "1000000000000000"};
    static const char *const around[] = {
        "{\"errcode\":0,\"code\":%s}",
        "{\"errcode\":0,\"code\":%s,\"openid\":2}",
        " { \"code\" : %s , \"errcode\" : 0 } ",
        "{\"1\":\"2\\\"3\",\"a\":[4,-5e1,{\"b\":[6]}],\"\\\\\":{},\"errcode\":0,\"code\":%s}",
    };
    for (size_t i = 0; i < COUNT(literals) * COUNT(around); i++) {
        char body[256];
        const char *literal = literals[i / COUNT(around)];
        int size = snprintf(body, sizeof body, around[i % COUNT(around)], literal);
        assert_between(size, 1, sizeof body - 1);
        reading reading = read_text(body);
        assert_int_equal(reading.result.outcome, NONTAX_INSERTED);
        assert_string_equal(field(&reading, "code"), literal);
        cJSON_Delete(reading.fields);
    }
}

static void test_a_card_code_is_not_masked(void **state)
{
    (void)state;
    static const char *const tokens[] = {"682012661927", "68201266", "68201266192712"};
    for (size_t i = 0; i < COUNT(tokens); i++) {
        reading reading = read_bytes(SUCCESS, strlen(SUCCESS), 200, tokens[i]);
        assert_string_equal(field(&reading, "code"), "682012661927");
        cJSON_Delete(reading.fields);
    }
    reading reading = read_text("{\"errcode\":0,\"code\":\"1" TOKEN "\"}");
    assert_string_equal(field(&reading, "code"), "1***");
    cJSON_Delete(reading.fields);
}

/* What cannot be used is still there to be looked at. */
static void test_doubtful_fields_are_kept(void **state)
{
    (void)state;
    reading reading = read_text("{\"errcode\":0,\"openid\":\"o-1\"}");
    assert_int_equal(reading.result.outcome, NONTAX_IN_DOUBT);
    assert_true(reading.result.has_errcode);
    assert_string_equal(field(&reading, "openid"), "o-1");
    cJSON_Delete(reading.fields);
}

/* ---- errcode ----------------------------------------------------------------------------- */

static void test_rejected(void **state)
{
    (void)state;
    reading reading = read_text("{\"errcode\":72038,\"errmsg\":\"order never auth\"}");
    assert_int_equal(reading.result.outcome, NONTAX_REJECTED);
    assert_int_equal(reading.result.errcode, 72038);
    assert_string_equal(reading.result.errmsg, "order never auth");
    assert_null(reading.fields ? reading.fields->child : NULL);
    cJSON_Delete(reading.fields);

    expect_rejected("{\"errcode\":\"40001\"}", 40001);
    expect_rejected("{\"errmsg\":1,\"errcode\":123456}", 123456);
    reading = read_text("{\"errmsg\":1.50,\"errcode\":123456}");
    assert_string_equal(reading.result.errmsg, "1.50");
    cJSON_Delete(reading.fields);
    expect_rejected("{\"errcode\":-2}", -2);
    expect_rejected("{\"errcode\":\"-2\"}", -2);
    expect_rejected("{\"errcode\":2147483647}", 2147483647);
    expect_rejected("{\"errcode\":4e4}", 40000);
    /* An errcode decides, even if the fields of a success are there. */
    expect_rejected("{\"errcode\":72018,\"code\":\"c\",\"openid\":\"o\"}", 72018);
}

static void test_busy_is_in_doubt(void **state)
{
    (void)state;
    static const char *const bodies[] = {"{\"errcode\":-1,\"errmsg\":\"system error\"}",
                                         "{\"errcode\":\"-1\",\"errmsg\":\"system error\"}"};
    for (size_t i = 0; i < COUNT(bodies); i++) {
        reading reading = read_text(bodies[i]);
        assert_int_equal(reading.result.outcome, NONTAX_IN_DOUBT);
        assert_int_equal(reading.result.cause, NONTAX_CAUSE_NONE);
        assert_true(reading.result.has_errcode);
        assert_int_equal(reading.result.errcode, -1);
        assert_string_equal(reading.result.errmsg, "system error");
        cJSON_Delete(reading.fields);
    }
}

static void test_unusable_errcode(void **state)
{
    (void)state;
    static const char *const values[] = {"40001.5",    "1e300",  "2147483648", "-2147483649",
                                         "null",       "true",   "[]",         "{}",
                                         "\"\"",       "\"-\"",  "\"0x10\"",   "\" 0\"",
                                         "\"40001 \"", "\"ok\"", "\"1e4\"",    "\"4294967296\"",
                                         "\"--1\"",    "\"+1\"", "\"4000 1\"", "1e-300"};
    for (size_t i = 0; i < COUNT(values); i++) {
        char body[128];
        snprintf(body, sizeof body, "{\"errcode\":%s,\"code\":\"c\",\"openid\":\"o\"}", values[i]);
        reading reading = read_text(body);
        if (reading.result.has_errcode) {
            fail_msg("%s is taken for %d", values[i], reading.result.errcode);
        }
        cJSON_Delete(reading.fields);
        expect_doubt(body, "unusable errcode");
    }
}

static void test_no_errcode(void **state)
{
    (void)state;
    expect_doubt("{}", "has no errcode");
    expect_doubt("{\"errmsg\":\"ok\",\"code\":\"c\",\"openid\":\"o\"}", "has no errcode");
    expect_doubt("{\"ErrCode\":40001}", "has no errcode");
    expect_doubt("{\"error\":{\"errcode\":40001}}", "has no errcode");
    expect_doubt_in("{\"message\":\"bad gateway\"}", 25, 502, "HTTP status 502");
}

static void test_errcode_twice(void **state)
{
    (void)state;
    expect_doubt("{\"errcode\":40001,\"errcode\":0,\"code\":\"c\",\"openid\":\"o\"}",
                 "more than one errcode");
    expect_doubt("{\"errcode\":0,\"errcode\":0,\"code\":\"c\",\"openid\":\"o\"}",
                 "more than one errcode");
    expect_doubt("{\"errcode\":40001,\"errcode\":40001}", "more than one errcode");
}

/* ---- HTTP status ------------------------------------------------------------------------- */

static void test_http_status(void **state)
{
    (void)state;
    static const long others[] = {100, 199, 400, 401, 403, 404, 429, 500, 502, 503, 504};
    for (size_t i = 0; i < COUNT(others); i++) {
        expect_doubt_in(SUCCESS, strlen(SUCCESS), others[i], "says success");
        reading reading = read_bytes("{\"errcode\":40001}", 17, others[i], TOKEN);
        assert_int_equal(reading.result.outcome, NONTAX_REJECTED);
        assert_int_equal(reading.result.http_status, others[i]);
        cJSON_Delete(reading.fields);
    }
    for (long status = 201; status < 300; status += 49) {
        reading reading = read_bytes(SUCCESS, strlen(SUCCESS), status, TOKEN);
        assert_int_equal(reading.result.outcome, NONTAX_INSERTED);
        cJSON_Delete(reading.fields);
    }
}

static void test_redirects(void **state)
{
    (void)state;
    static const long statuses[] = {300, 301, 302, 303, 304, 307, 308, 399};
    for (size_t i = 0; i < COUNT(statuses); i++) {
        expect_doubt_in(SUCCESS, strlen(SUCCESS), statuses[i], "redirects");
        expect_doubt_in("", 0, statuses[i], "redirects");
        expect_doubt_in("{\"errcode\":40001}", 17, statuses[i], "redirects");
    }
}

/* ---- other bytes ------------------------------------------------------------------------- */

static void test_no_json(void **state)
{
    (void)state;
    expect_doubt("", "empty");
    expect_doubt_in("", 0, 204, "HTTP status 204");
    static const char *const bodies[] = {
        " ",
        "ok",
        "<html><body>502 Bad Gateway</body></html>",
        "\"{\\\"errcode\\\":0}\"",
        "[" SUCCESS "]",
        "0",
        "null",
        "true",
        "{",
        "{\"errcode\":0",
        "{\"errcode\":0,}",
        "{'errcode':0}",
        "{\"errcode\":00x}",
        "{\"errcode\":0,\"code\":\"c\",\"openid\":\"o",
        SUCCESS SUCCESS,
        SUCCESS "x",
        SUCCESS ",",
        SUCCESS "\n<!-- served by a proxy -->",
        "callback(" SUCCESS ")",
        "\xFF\xFE{\"errcode\":0}",
        "{\"errcode\":0,\"code\":\"\\ud800\",\"openid\":\"o\"}",
        "{\"errcode\":0,\"code\":\"\\x41\",\"openid\":\"o\"}",
    };
    for (size_t i = 0; i < COUNT(bodies); i++) {
        expect_doubt(bodies[i], "not a JSON object");
    }
}

/* Nested so deep, the whole of it counted. */
static char *deep_reply(int depth)
{
    char *body = calloc(1, 2 * (size_t)depth + 64);
    assert_non_null(body);
    size_t size = (size_t)sprintf(body, "{\"errcode\":40001,\"deep\":"), inner = (size_t)depth - 1;
    memset(body + size, '[', inner);
    memset(body + size + inner, ']', inner);
    strcpy(body + size + 2 * inner, "}");
    return body;
}

static void test_deep_nesting(void **state)
{
    (void)state;
    static const int depths[] = {64, 65, 990, 2000};
    for (size_t i = 0; i < COUNT(depths); i++) {
        char *body = deep_reply(depths[i]);
        if (depths[i] <= 64) {
            expect_rejected(body, 40001);
        } else {
            expect_doubt(body, "nested deeper than 64");
        }
        free(body);
    }
    /* Brackets in a text, and one after the other, are no depth. */
    char body[1024] = "{\"errcode\":40001,\"a\":\"\\\"";
    for (int i = 0; i < 100; i++) {
        strcat(body, "[{");
    }
    strcat(body, "\",\"b\":[");
    for (int i = 0; i < 100; i++) {
        strcat(body, "[],");
    }
    strcat(body, "{}]}");
    expect_rejected(body, 40001);
}

static void *read_deep_replies(void *unused)
{
    static const int depths[] = {64, 990};
    for (size_t i = 0; i < COUNT(depths); i++) {
        char *body = deep_reply(depths[i]);
        reading reading = read_text(body);
        nx_json_free(reading.fields);
        free(body);
    }
    return unused;
}

/* With its sanitizers a program needs a larger one. */
#if defined(__SANITIZE_ADDRESS__)
enum { SMALL_STACK = 512 * 1024 };
#else
enum { SMALL_STACK = 64 * 1024 };
#endif

static void test_deep_nesting_on_a_small_stack(void **state)
{
    (void)state;
    pthread_attr_t attributes;
    pthread_t thread;
    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setstacksize(&attributes, SMALL_STACK), 0);
    assert_int_equal(pthread_create(&thread, &attributes, read_deep_replies, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(pthread_attr_destroy(&attributes), 0);
}

static void test_every_cut_is_in_doubt(void **state)
{
    (void)state;
    for (size_t size = 1; size < strlen(SUCCESS); size++) {
        expect_doubt_in(SUCCESS, size, 200, "");
    }
}

static void test_bytes_that_are_not_utf8(void **state)
{
    (void)state;
    reading reading = read_text("{\"errcode\":40001,\"errmsg\":\"a\xFF\xE5\xBCz\"}");
    assert_int_equal(reading.result.outcome, NONTAX_REJECTED);
    assert_string_equal(reading.result.errmsg, "a???z");
    cJSON_Delete(reading.fields);
    expect_inserted("{\"errcode\":0,\"errmsg\":\"\xFF\",\"code\":\"c\",\"openid\":\"o\"}");
}

static void test_control_characters(void **state)
{
    (void)state;
    reading reading = read_text("{\"errcode\":40001,\"errmsg\":\"a\nb\x1B[31m\\u001b\\u0085\"}");
    assert_int_equal(reading.result.outcome, NONTAX_REJECTED);
    assert_string_equal(reading.result.errmsg, "a?b?[31m??");
    cJSON_Delete(reading.fields);
}

static void test_escaped_nul(void **state)
{
    (void)state;
    expect_doubt("{\"errcode\":0,\"code\":\"c\\u0000d\",\"openid\":\"o\"}", "NUL");
    expect_doubt("{\"errcode\":0,\"code\\u0000x\":\"c\",\"openid\":\"o\"}", "NUL");
    expect_doubt("{\"errcode\\u0000\":0,\"code\":\"c\",\"openid\":\"o\"}", "NUL");
    expect_doubt("{\"errcode\":\"0\\u00001\",\"code\":\"c\",\"openid\":\"o\"}", "NUL");
}

/* cJSON ends a string at a NUL byte: what it would show is not what the server sent. */
static void test_raw_nul(void **state)
{
    (void)state;
    static const char in_code[] = "{\"errcode\":0,\"code\":\"c\0d\",\"openid\":\"o\"}";
    static const char in_name[] = "{\"errcode\":0,\"code\0x\":\"c\",\"openid\":\"o\"}";
    static const char before_escape[] =
        "{\"errcode\":0,\"a\":\"\0\",\"code\":\"c\\u0000\",\"openid\":\"o\"}";
    static const char before_more[] = SUCCESS "\0{}";
    expect_doubt_in(in_code, sizeof in_code - 1, 200, "");
    expect_doubt_in(in_name, sizeof in_name - 1, 200, "");
    expect_doubt_in(before_escape, sizeof before_escape - 1, 200, "");
    expect_doubt_in(before_more, sizeof before_more - 1, 200, "");
}

/* What is not WeChat's errcode must not bring a bill to be sent again. */
static void test_nul_in_a_refusal(void **state)
{
    (void)state;
    static const char raw_name[] = "{\"errcode\0x\":40001}";
    static const char raw_value[] = "{\"errcode\":\"40001\0002\"}";
    expect_doubt_in(raw_name, sizeof raw_name - 1, 200, "");
    expect_doubt_in(raw_value, sizeof raw_value - 1, 200, "");
    expect_doubt("{\"errcode\\u0000x\":40001}", "");
    expect_doubt("{\"errcode\":\"40001\\u00002\"}", "");
}

/* ---- errmsg and rid ---------------------------------------------------------------------- */

static void expect_rid(const char *errmsg, const char *rid)
{
    char body[1024];
    snprintf(body, sizeof body, "{\"errcode\":40001,\"errmsg\":\"%s\"}", errmsg);
    reading reading = read_text(body);
    assert_string_equal(reading.result.rid, rid);
    assert_string_equal(reading.result.errmsg, errmsg);
    cJSON_Delete(reading.fields);
}

static void test_rid(void **state)
{
    (void)state;
    static const char rid[] = "61725984-6126f6f9-040f19c4";
    expect_rid("invalid credential rid: 61725984-6126f6f9-040f19c4", rid);
    expect_rid("invalid credential, rid: 61725984-6126f6f9-040f19c4", rid);
    expect_rid("invalid credential hint: [MO0693er74]", "");
    expect_rid("invalid credential hint: [x] rid: 61725984-6126f6f9-040f19c4", rid);
    expect_rid("invalid credential hints: [ req_id: xxx ]", "");
    expect_rid("rid:61725984-6126f6f9-040f19c4", rid);
    expect_rid("rid: 6172598A-6126F6F9-040F19C4 and more", "6172598A-6126F6F9-040F19C4");
    /* The last one is WeChat's own; what comes before may be our own text, repeated. */
    expect_rid("bad title rid: 00000000-00000000-00000000 rid: 61725984-6126f6f9-040f19c4", rid);
    expect_rid("rid: 61725984-6126f6f9-040f19c4, see rid: x", rid);
}

static void test_no_rid(void **state)
{
    (void)state;
    expect_rid("", "");
    expect_rid("rid:", "");
    expect_rid("rid: ", "");
    expect_rid("rid: 61725984", "");
    expect_rid("rid: 61725984-6126f6f9", "");
    expect_rid("rid: 61725984-6126f6f9-", "");
    expect_rid("rid: 61725984-6126f6f9-040f19c", "");
    expect_rid("rid: 61725984-6126f6f9-040f19c45", "");
    expect_rid("rid: 6172598-46126f6f9-040f19c4", "");
    expect_rid("rid: g1725984-6126f6f9-040f19c4", "");
    expect_rid("61725984-6126f6f9-040f19c4", "");
}

static void test_long_errmsg(void **state)
{
    (void)state;
    char body[8192], long_text[3 * 700 + 1];
    for (size_t i = 0; i < 700; i++) {
        memcpy(long_text + 3 * i, "票", 4);
    }
    for (int lead = 0; lead < 3; lead++) {
        snprintf(body, sizeof body, "{\"errcode\":40001,\"errmsg\":\"%.*s%s\"}", lead, "ab",
                 long_text);
        reading reading = read_text(body);
        size_t size = strlen(reading.result.errmsg);
        assert_between(size, sizeof reading.result.errmsg - 4, sizeof reading.result.errmsg - 1);
        assert_true(nx_utf8_valid(reading.result.errmsg, size));
        assert_null(strchr(reading.result.errmsg, '?'));
        cJSON_Delete(reading.fields);
    }
}

/* ---- the token --------------------------------------------------------------------------- */

static void test_token_is_masked(void **state)
{
    (void)state;
    reading reading = read_text("{\"errcode\":40001,\"errmsg\":\"bad token " TOKEN " rid: "
                                "61725984-6126f6f9-040f19c4\",\"echo\":\"?access_token=" TOKEN "\","
                                "\"" TOKEN "\":{\"a" TOKEN "\":[\"" TOKEN TOKEN "\"]}}");
    assert_string_equal(reading.result.errmsg, "bad token *** rid: 61725984-6126f6f9-040f19c4");
    assert_string_equal(reading.result.rid, "61725984-6126f6f9-040f19c4");
    char *fields = cJSON_PrintUnformatted(reading.fields);
    assert_string_equal(fields, "{\"echo\":\"?access_token=***\",\"***\":{\"a***\":[\"******\"]}}");
    cJSON_free(fields);
    cJSON_Delete(reading.fields);
}

static void test_escaped_token_is_masked(void **state)
{
    (void)state;
    /* TOKEN with its first letter and its slash escaped, as JSON allows. */
    reading reading = read_text("{\"errcode\":40001,\"errmsg\":\"bad "
                                "\\u00389_Abc-def+ghi\\/jkl=mno\"}");
    assert_string_equal(reading.result.errmsg, "bad ***");
    cJSON_Delete(reading.fields);
}

/* Masked first and cut afterwards: no half of a token is left at the end. */
static void test_token_at_the_cut(void **state)
{
    (void)state;
    char body[2048], text[1200];
    for (size_t lead = 990; lead < 1024; lead++) {
        memset(text, 'x', lead);
        text[lead] = '\0';
        snprintf(body, sizeof body, "{\"errcode\":40001,\"errmsg\":\"%s" TOKEN "\"}", text);
        reading reading = read_text(body);
        assert_null(strstr(reading.result.errmsg, "89_"));
        cJSON_Delete(reading.fields);
    }
}

static void test_token_in_a_broken_reply(void **state)
{
    (void)state;
    static const char *const bodies[] = {"<html>" TOKEN "</html>", "{\"errmsg\":\"" TOKEN "\"}",
                                         "{\"errcode\":\"" TOKEN "\"}",
                                         "{\"errcode\":0,\"code\":[\"" TOKEN "\"]}"};
    for (size_t i = 0; i < COUNT(bodies); i++) {
        reading reading = read_text(bodies[i]);
        char *fields = cJSON_PrintUnformatted(reading.fields);
        assert_null(strstr(reading.result.reason, TOKEN));
        assert_null(strstr(reading.result.errmsg, TOKEN));
        assert_null(fields ? strstr(fields, TOKEN) : NULL);
        cJSON_free(fields);
        cJSON_Delete(reading.fields);
    }
}

static void test_no_token(void **state)
{
    (void)state;
    reading reading = read_bytes("{\"errcode\":1,\"errmsg\":\"m\"}", 26, 200, NULL);
    assert_string_equal(reading.result.errmsg, "m");
    cJSON_Delete(reading.fields);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_success),
        cmocka_unit_test(test_success_in_other_words),
        cmocka_unit_test(test_a_plain_success_is_read_like_any_other),
        cmocka_unit_test(test_unknown_fields_are_kept),
        cmocka_unit_test(test_success_without_its_fields),
        cmocka_unit_test(test_a_code_is_enough),
        cmocka_unit_test(test_numbers_are_read_as_they_are_written),
        cmocka_unit_test(test_a_card_code_is_not_masked),
        cmocka_unit_test(test_doubtful_fields_are_kept),
        cmocka_unit_test(test_rejected),
        cmocka_unit_test(test_busy_is_in_doubt),
        cmocka_unit_test(test_unusable_errcode),
        cmocka_unit_test(test_no_errcode),
        cmocka_unit_test(test_errcode_twice),
        cmocka_unit_test(test_http_status),
        cmocka_unit_test(test_redirects),
        cmocka_unit_test(test_no_json),
        cmocka_unit_test(test_deep_nesting),
        cmocka_unit_test(test_deep_nesting_on_a_small_stack),
        cmocka_unit_test(test_every_cut_is_in_doubt),
        cmocka_unit_test(test_bytes_that_are_not_utf8),
        cmocka_unit_test(test_control_characters),
        cmocka_unit_test(test_escaped_nul),
        cmocka_unit_test(test_raw_nul),
        cmocka_unit_test(test_nul_in_a_refusal),
        cmocka_unit_test(test_rid),
        cmocka_unit_test(test_no_rid),
        cmocka_unit_test(test_long_errmsg),
        cmocka_unit_test(test_token_is_masked),
        cmocka_unit_test(test_escaped_token_is_masked),
        cmocka_unit_test(test_token_at_the_cut),
        cmocka_unit_test(test_token_in_a_broken_reply),
        cmocka_unit_test(test_no_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
