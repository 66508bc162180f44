/* test_request.c: what a payload must be, what is said if it is not, and how it is printed. */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "problems.h"
#include "request.h"

/* A field of the bill in each shape. */
#define IN_SAMPLE "card_ext.user_card.invoice_user_data."
#define IN_TABLE "card_ext.user_card."

static const nontax_interface *insertbill(void)
{
    const nontax_interface *interface = nontax_interface_find("insertbill");
    assert_non_null(interface);
    return interface;
}

static void expect_body_with(cJSON *payload, nontax_extra extra, const char *expected)
{
    nontax_problems problems = {0};
    nx_buffer body = {0}, secret = {0};
    nontax_status status = nx_request_build(insertbill(), nontax_payload_from_json(payload), extra,
                                            &problems, &body, &secret);
    for (size_t i = 0; i < problems.count; i++) {
        print_error("%s: %s\n", problems.list[i].path, problems.list[i].message);
    }
    assert_int_equal(status, NONTAX_OK);
    assert_int_equal(problems.count, 0);
    assert_string_equal(body.data, expected);
    assert_int_equal(body.size, strlen(expected));
    assert_null(secret.data);
    nx_buffer_free(&body);
    nontax_problems_free(&problems);
}

static void expect_body(cJSON *payload, const char *expected)
{
    expect_body_with(payload, NONTAX_EXTRA_REFUSE, expected);
}

/* `expected`: "path: message\n" for every problem. */
static void expect_problems_with(cJSON *payload, nontax_extra extra, const char *expected)
{
    nontax_problems problems = {0};
    nx_buffer body = {0}, secret = {0};
    char found[16384];
    size_t size = 0;
    nontax_status status = nx_request_build(insertbill(), nontax_payload_from_json(payload), extra,
                                            &problems, &body, &secret);
    found[0] = '\0';
    for (size_t i = 0; i < problems.count; i++) {
        size += (size_t)snprintf(found + size, sizeof found - size, "%s: %s\n",
                                 problems.list[i].path, problems.list[i].message);
        assert_true(size < sizeof found);
    }
    nontax_problems_free(&problems);
    nx_buffer_free(&body);
    assert_string_equal(found, expected);
    assert_int_equal(status, NONTAX_BAD_PAYLOAD);
    assert_null(body.data);
}

static void expect_problems(cJSON *payload, const char *expected)
{
    expect_problems_with(payload, NONTAX_EXTRA_REFUSE, expected);
}

/* The sample with one field of the bill changed. */
static cJSON *with(const char *name, cJSON *item)
{
    char path[128];
    cJSON *bill = sample_bill();
    snprintf(path, sizeof path, IN_SAMPLE "%s", name);
    put(bill, path, item);
    return bill;
}

/* The sample's body with one piece of its text replaced. */
static const char *sample_but(const char *old, const char *new)
{
    static char body[4096];
    const char *found = strstr(sample_body, old);
    assert_non_null(found);
    snprintf(body, sizeof body, "%.*s%s%s", (int)(found - sample_body), sample_body, new,
             found + strlen(old));
    return body;
}

static void expect_field(const char *name, cJSON *item, const char *old, const char *new)
{
    expect_body(with(name, item), sample_but(old, new));
}

static void expect_field_problem(const char *name, cJSON *item, const char *message)
{
    char expected[512];
    snprintf(expected, sizeof expected, IN_SAMPLE "%s: %s\n", name, message);
    expect_problems(with(name, item), expected);
}

/* ---- the three shapes -------------------------------------------------------------------- */

static void test_sample_shape(void **state)
{
    (void)state;
    expect_body(sample_bill(), sample_body);
}

static void test_table_shape(void **state)
{
    (void)state;
    expect_body(table_bill(), table_body);
}

static void test_flat_shape(void **state)
{
    (void)state;
    expect_body(flat_bill(), sample_body);
}

static void test_key_order(void **state)
{
    (void)state;
    /* Nested shapes go out in the caller's order, */
    cJSON *bill = json("{'card_ext':{'user_card':{'invoice_user_data':{'title':'t','fee':1,"
                       "'s_pdf_media_id':'m','billing_code':'c','billing_no':'n',"
                       "'billing_time':1511169724}}},'appid':'a','order_id':'o','card_id':'i'}");
    char *given = cJSON_PrintUnformatted(bill);
    expect_body(bill, given);
    cJSON_free(given);
    /* a flat row in the order of the interface's page. */
    expect_body(json("{'title':'t','s_pdf_media_id':'m','fee':1,'card_id':'i','billing_code':'c',"
                     "'appid':'a','billing_no':'n','billing_time':1511169724,'order_id':'o'}"),
                "{\"order_id\":\"o\",\"card_id\":\"i\",\"appid\":\"a\",\"card_ext\":{\"user_card\":"
                "{\"invoice_user_data\":{\"fee\":1,\"title\":\"t\",\"billing_time\":1511169724,"
                "\"billing_no\":\"n\",\"billing_code\":\"c\",\"s_pdf_media_id\":\"m\"}}}}");
}

static void test_flat_needs_one_leaf(void **state)
{
    (void)state;
    cJSON *flat = json("{'fee':1}");
    expect_problems(flat, "order_id: is missing\n"
                          "card_id: is missing\n"
                          "appid: is missing\n"
                          "title: is missing\n"
                          "billing_time: is missing\n"
                          "billing_no: is missing\n"
                          "billing_code: is missing\n"
                          "s_pdf_media_id: is missing\n");
    expect_problems(json("{}"), "order_id: is missing\n"
                                "card_id: is missing\n"
                                "appid: is missing\n"
                                "card_ext: is missing\n");
}

static void test_interfaces(void **state)
{
    (void)state;
    assert_null(nontax_interface_find("insertbills"));
    assert_null(nontax_interface_find(""));
    assert_ptr_equal(nontax_interface_find("insertbill"), insertbill());
}

/* ---- text -------------------------------------------------------------------------------- */

static void test_text_is_raw_utf8(void **state)
{
    (void)state;
    expect_field("title", cJSON_CreateString("王小明 \xF0\x9F\x98\x80 é / DEL\x7F."), "张三",
                 "王小明 \xF0\x9F\x98\x80 é / DEL\x7F.");
}

static void test_text_escapes_what_json_demands(void **state)
{
    (void)state;
    expect_field("title", cJSON_CreateString("a\"b\\c\nd\te\rf\bg\fh\x01i\x1Fj"), "张三",
                 "a\\\"b\\\\c\\nd\\te\\rf\\bg\\fh\\u0001i\\u001fj");
}

static void test_text_keeps_what_is_inside(void **state)
{
    (void)state;
    expect_field("title", cJSON_CreateString("a  \xE3\x80\x80 b\xE2\x80\x8B\tc"), "张三",
                 "a  \xE3\x80\x80 b\xE2\x80\x8B\\tc");
}

static void test_text_ends_with_nothing_unseen(void **state)
{
    (void)state;
    static const struct {
        const char *text, *name;
    } rows[] = {
        {"\x01", "U+0001"},
        {"\t", "U+0009 (tab)"},
        {"\n", "U+000A (line feed)"},
        {"\r", "U+000D (carriage return)"},
        {" ", "U+0020 (space)"},
        {"\x7F", "U+007F"},
        {"\xC2\x85", "U+0085"},
        {"\xC2\xA0", "U+00A0 (no-break space)"},
        {"\xC2\xAD", "U+00AD (soft hyphen)"},
        {"\xD8\x9C", "U+061C"},
        {"\xE1\x85\x9F", "U+115F"},
        {"\xE1\x9A\x80", "U+1680"},
        {"\xE1\xA0\x8E", "U+180E"},
        {"\xE2\x80\x80", "U+2000"},
        {"\xE2\x80\x8B", "U+200B (zero width space)"},
        {"\xE2\x80\x8C", "U+200C (zero width non-joiner)"},
        {"\xE2\x80\x8D", "U+200D (zero width joiner)"},
        {"\xE2\x80\x8E", "U+200E (left-to-right mark)"},
        {"\xE2\x80\x8F", "U+200F (right-to-left mark)"},
        {"\xE2\x80\xA8", "U+2028"},
        {"\xE2\x80\xAF", "U+202F"},
        {"\xE2\x81\x9F", "U+205F"},
        {"\xE2\x81\xA0", "U+2060 (word joiner)"},
        {"\xE2\x81\xAF", "U+206F"},
        {"\xE2\xA0\x80", "U+2800"},
        {"\xE3\x80\x80", "U+3000 (ideographic space)"},
        {"\xE3\x85\xA4", "U+3164"},
        {"\xEF\xBB\xBF", "U+FEFF (byte order mark)"},
        {"\xEF\xBE\xA0", "U+FFA0"},
        {"\xEF\xBF\xB9", "U+FFF9"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[32], message[96], expected[512];
        snprintf(text, sizeof text, "%sx", rows[i].text);
        snprintf(message, sizeof message, "begins with %s", rows[i].name);
        expect_field_problem("title", cJSON_CreateString(text), message);
        snprintf(text, sizeof text, "票%s", rows[i].text);
        snprintf(message, sizeof message, "ends with %s", rows[i].name);
        expect_field_problem("billing_no", cJSON_CreateString(text), message);
        expect_field_problem("billing_time", cJSON_CreateString(text), message);
        expect_field_problem("title", cJSON_CreateString(rows[i].text), "is blank");
        snprintf(text, sizeof text, "%sx%s", rows[i].text, rows[i].text);
        snprintf(expected, sizeof expected,
                 IN_SAMPLE "title: begins with %s\n" IN_SAMPLE "title: ends with %s\n",
                 rows[i].name, rows[i].name);
        expect_problems(with("title", cJSON_CreateString(text)), expected);
    }
}

static void test_text_may_end_with_anything_else(void **state)
{
    (void)state;
    static const char *const texts[] = {"!",
                                        "~",
                                        "\xC2\xA1",
                                        "\xC3\xA9",
                                        "\xE2\x80\xA7",
                                        "\xE2\x80\xB0",
                                        "\xE3\x80\x81",
                                        "票",
                                        "\xEF\xBC\x81",
                                        "\xF0\x9F\x98\x80",
                                        "\xEF\xBF\xBD",
                                        "\xE2\x9C\x94\xEF\xB8\x8F"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        expect_field("title", cJSON_CreateString(texts[i]), "张三", texts[i]);
    }
}

static void test_text_problems(void **state)
{
    (void)state;
    expect_field_problem("title", cJSON_CreateString(""), "is empty");
    expect_field_problem("title", cJSON_CreateString(" \t\r\n"), "is blank");
    expect_field_problem("title", cJSON_CreateString("\xE3\x80\x80 \xC2\xA0"), "is blank");
    expect_field_problem("title", cJSON_CreateString("\xE5\xBC"), "is not valid UTF-8");
    expect_field_problem("title", cJSON_CreateString("\xED\xA0\x80"), "is not valid UTF-8");
    expect_field_problem("title", cJSON_CreateNull(), "must be a string, not null");
    expect_field_problem("title", cJSON_CreateTrue(), "must be a string, not a boolean");
    expect_field_problem("title", cJSON_CreateFalse(), "must be a string, not a boolean");
    expect_field_problem("title", cJSON_CreateArray(), "must be a string, not a list");
    expect_field_problem("title", cJSON_CreateObject(), "must be a string, not an object");
    expect_field_problem("title", cJSON_CreateRaw("\"a\""), "must be a string, not raw JSON");
    expect_field_problem("title", nontax_json_time(1511169724), "must be a string, not a time");
    expect_field_problem(
        "billing_no", cJSON_CreateNumber(10203),
        "must be a string, not a number (as a number it would lose leading zeros)");
    expect_field_problem(
        "billing_no", nontax_json_number("10203"),
        "must be a string, not a number (as a number it would lose leading zeros)");
}

static void test_every_text_field_is_checked(void **state)
{
    (void)state;
    static const char *const paths[] = {"order_id",
                                        "card_id",
                                        "appid",
                                        IN_SAMPLE "title",
                                        IN_SAMPLE "billing_no",
                                        IN_SAMPLE "billing_code",
                                        IN_SAMPLE "s_pdf_media_id"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        char expected[256];
        cJSON *bill = sample_bill();
        put(bill, paths[i], cJSON_CreateString(""));
        snprintf(expected, sizeof expected, "%s: is empty\n", paths[i]);
        expect_problems(bill, expected);
    }
}

/* ---- fee --------------------------------------------------------------------------------- */

static void expect_fee(cJSON *item, const char *printed)
{
    char new[64];
    snprintf(new, sizeof new, "\"fee\":%s,", printed);
    expect_field("fee", item, "\"fee\":123,", new);
}

static void test_fee(void **state)
{
    (void)state;
    expect_fee(cJSON_CreateNumber(0), "0");
    expect_fee(cJSON_CreateNumber(1), "1");
    expect_fee(cJSON_CreateNumber(2147483648.0), "2147483648");
    expect_fee(cJSON_CreateNumber(999999999999999.0), "999999999999999");
    expect_fee(nontax_json_number("0"), "0");
    expect_fee(nontax_json_number("1000000000000000"), "1000000000000000");
    expect_fee(nontax_json_number("9007199254740993"), "9007199254740993");
    expect_fee(nontax_json_number("9223372036854775807"), "9223372036854775807");
}

static void test_fee_problems(void **state)
{
    (void)state;
    static const char negative[] = "must not be negative: it is an amount in fen";
    static const char fraction[] =
        "must be an integer, the amount in fen: 12.34 yuan is 1234, not 12.34";
    static const char large[] = "is too large for a 64-bit integer";
    static const char no_number[] = "is not a number that JSON can represent";
    static const char nan[] = "is NaN, the value of an empty cell";
    expect_field_problem("fee", cJSON_CreateNumber(-1), negative);
    expect_field_problem("fee", nontax_json_number("-1"), negative);
    expect_field_problem("fee", nontax_json_number("-9223372036854775807"), negative);
    expect_field_problem("fee", cJSON_CreateNumber(12.34), fraction);
    expect_field_problem("fee", cJSON_CreateNumber(-0.5), fraction);
    expect_field_problem("fee", nontax_json_number("12.34"), fraction);
    expect_field_problem("fee", nontax_json_number("12.0"), fraction);
    expect_field_problem("fee", nontax_json_number("1e3"), fraction);
    expect_field_problem("fee", nontax_json_number("9223372036854775808"), large);
    expect_field_problem("fee", nontax_json_number("99999999999999999999999999"), large);
    /* A double of this size may not be the number that was meant. */
    expect_field_problem("fee", cJSON_CreateNumber(1e15), large);
    expect_field_problem("fee", cJSON_CreateNumber(-1e15), large);
    expect_field_problem("fee", cJSON_CreateNumber(1e300), large);
    expect_field_problem("fee", cJSON_CreateNumber((double)NAN), nan);
    expect_field_problem("fee", cJSON_CreateNumber((double)INFINITY), no_number);
    expect_field_problem("fee", cJSON_CreateNumber((double)-INFINITY), no_number);
}

static void test_fee_of_another_kind(void **state)
{
    (void)state;
    static const char kind[] = "must be an integer, the amount in fen, not ";
    const struct {
        cJSON *item;
        const char *what;
    } rows[] = {
        {cJSON_CreateString("123"), "a string"},
        {cJSON_CreateTrue(), "a boolean"},
        {cJSON_CreateNull(), "null"},
        {cJSON_CreateArray(), "a list"},
        {cJSON_CreateObject(), "an object"},
        {cJSON_CreateRaw("123"), "raw JSON"},
        {nontax_json_time(1511169724), "a time"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char message[128];
        snprintf(message, sizeof message, "%s%s", kind, rows[i].what);
        expect_field_problem("fee", rows[i].item, message);
    }
}

/* What is put between other text by nontax_json_number() must be a number and nothing else. */
static void test_number_literals(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",    "-",    "+1",       "01",   "1.",  ".5",  "1e",
                                        "1e+", "0x10", "1 ",       " 1",   "NaN", "1,2", "--1",
                                        "1}",  "1\n",  "Infinity", "1.e5", "00",  "-01"};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        expect_field_problem("fee", nontax_json_number(wrong[i]),
                             "is not a number that JSON can represent");
        cJSON *bill = sample_bill();
        put(bill, "extra", nontax_json_number(wrong[i]));
        expect_problems_with(bill, NONTAX_EXTRA_SEND,
                             "extra: is not a number that JSON can represent\n");
    }
    static const char *const right[] = {
        "0", "-0.5", "12.50", "1e5", "1E+5", "2.5e-3", "123456789012345678901234567890"};
    for (size_t i = 0; i < COUNT(right); i++) {
        char end[128];
        cJSON *bill = sample_bill();
        put(bill, "extra", nontax_json_number(right[i]));
        snprintf(end, sizeof end, "}}},\"extra\":%s}", right[i]);
        expect_body_with(bill, NONTAX_EXTRA_SEND, sample_but("}}}}", end));
    }
}

/* ---- billing_time ------------------------------------------------------------------------ */

static void expect_time(cJSON *item, const char *printed)
{
    char new[64];
    snprintf(new, sizeof new, "\"billing_time\":%s,", printed);
    expect_field("billing_time", item, "\"billing_time\":1511169724,", new);
}

static void test_time(void **state)
{
    (void)state;
    expect_time(cJSON_CreateNumber(1000000000), "1000000000");
    expect_time(cJSON_CreateNumber(9999999999.0), "9999999999");
    expect_time(nontax_json_number("1511169724"), "1511169724");
    expect_time(nontax_json_time(1511169725), "1511169725");
    expect_time(nontax_json_time(4102444800), "4102444800"); /* beyond 2038 */
    expect_time(cJSON_CreateString("1511169724"), "\"1511169724\"");
    expect_time(cJSON_CreateString("9999999999"), "\"9999999999\"");
}

static void test_time_problems(void **state)
{
    (void)state;
    static const char number[] = "must be Unix seconds of 10 digits, such as 1511169724";
    static const char milliseconds[] =
        "must be Unix seconds of 10 digits; this looks like milliseconds";
    expect_field_problem("billing_time", cJSON_CreateNumber(0), number);
    expect_field_problem("billing_time", cJSON_CreateNumber(-1511169724), number);
    expect_field_problem("billing_time", cJSON_CreateNumber(999999999), number);
    expect_field_problem("billing_time", cJSON_CreateNumber(10000000000.0), number);
    expect_field_problem("billing_time", cJSON_CreateNumber(20171120172204.0), number);
    expect_field_problem("billing_time", cJSON_CreateNumber(1511169724.5), number);
    expect_field_problem("billing_time", cJSON_CreateNumber((double)NAN),
                         "is NaN, the value of an empty cell");
    expect_field_problem("billing_time", nontax_json_number("1511169724.0"), number);
    expect_field_problem("billing_time", nontax_json_time(-1), number);
    expect_field_problem("billing_time", nontax_json_time(999999999), number);
    expect_field_problem("billing_time", nontax_json_time(INT64_MAX), number);
    expect_field_problem("billing_time", nontax_json_time(INT64_MIN), number);
    expect_field_problem("billing_time", cJSON_CreateNumber(1000000000000.0), milliseconds);
    expect_field_problem("billing_time", cJSON_CreateNumber(1511169724000.0), milliseconds);
    expect_field_problem("billing_time", cJSON_CreateNumber(9999999999999.0), milliseconds);
    expect_field_problem("billing_time", nontax_json_time(1511169724123), milliseconds);
    static const struct {
        const char *text, *message;
    } texts[] = {
        {"", "is empty"},
        {" ", "is blank"},
        {"151116972", number},
        {"15111697240", number},
        {"0511169724", number},
        {"-511169724", number},
        {"1511169724 ", "ends with U+0020 (space)"},
        {"1511169.24", number},
        {"2017-11-20", number},
        {"151116972４", number},
        {"1511169724000", milliseconds},
        {"20171120172204", number},
        {"99999999999999999999", number},
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        expect_field_problem("billing_time", cJSON_CreateString(texts[i].text), texts[i].message);
    }
}

static void test_time_to_the_hour(void **state)
{
    (void)state;
    static const char hour[] = "must be Unix seconds; this looks like year, month, day and hour";
    static const char *const hours[] = {"2033111506", "2036010100", "2099123124"};
    static const char *const seconds[] = {"2033131506", "2033001506", "2033113206",
                                          "2033110006", "2033111525", "2100010100"};
    for (size_t i = 0; i < COUNT(hours); i++) {
        expect_field_problem("billing_time", cJSON_CreateString(hours[i]), hour);
        expect_field_problem("billing_time", nontax_json_number(hours[i]), hour);
        expect_field_problem("billing_time", cJSON_CreateNumber(strtod(hours[i], NULL)), hour);
    }
    for (size_t i = 0; i < COUNT(seconds); i++) {
        expect_time(nontax_json_number(seconds[i]), seconds[i]);
    }
}

static void test_time_of_another_kind(void **state)
{
    (void)state;
    static const char kind[] = "must be Unix seconds as an integer or a string of 10 digits, not ";
    const struct {
        cJSON *item;
        const char *what;
    } rows[] = {
        {cJSON_CreateFalse(), "a boolean"},
        {cJSON_CreateNull(), "null"},
        {cJSON_CreateArray(), "a list"},
        {cJSON_CreateObject(), "an object"},
        {cJSON_CreateRaw("1511169724"), "raw JSON"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char message[128];
        snprintf(message, sizeof message, "%s%s", kind, rows[i].what);
        expect_field_problem("billing_time", rows[i].item, message);
    }
}

/* ---- fields ------------------------------------------------------------------------------ */

static void test_missing(void **state)
{
    (void)state;
    static const char *const paths[] = {"order_id",
                                        "card_id",
                                        "appid",
                                        "card_ext",
                                        "card_ext.user_card",
                                        "card_ext.user_card.invoice_user_data",
                                        IN_SAMPLE "fee",
                                        IN_SAMPLE "title",
                                        IN_SAMPLE "billing_time",
                                        IN_SAMPLE "billing_no",
                                        IN_SAMPLE "billing_code",
                                        IN_SAMPLE "s_pdf_media_id"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        char expected[256];
        cJSON *bill = sample_bill();
        put(bill, paths[i], NULL);
        snprintf(expected, sizeof expected, "%s: is missing\n", paths[i]);
        expect_problems(bill, expected);
    }
    cJSON *table = table_bill();
    put(table, IN_TABLE "title", NULL);
    put(table, IN_TABLE "fee", NULL);
    expect_problems(table, IN_TABLE "fee: is missing\n" IN_TABLE "title: is missing\n");
}

static void test_unknown(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        const char *message;
    } rows[] = {
        {"colour", "is not a field of this interface"},
        {IN_SAMPLE "remarks", "is not a field of this interface"},
        {"card_ext.nonce_str", "is not a field of this interface"},
        {"card_ext.user_card.invoice_userdata",
         "is not a field of this interface; did you mean invoice_user_data?"},
        {"orderId", "is not a field of this interface; did you mean order_id?"},
        {"ORDER-ID", "is not a field of this interface; did you mean order_id?"},
        {"order_id ",
         "is not a field of this interface: it has U+0020 (space) in its name; did you "
         "mean order_id?"},
        {"\xEF\xBB\xBForder_id",
         "is not a field of this interface: it has U+FEFF (byte order mark) "
         "in its name; did you mean order_id?"},
        {IN_SAMPLE "fe\xE2\x80\x8B"
                   "e",
         "is not a field of this interface: it has U+200B (zero width "
         "space) in its name; did you mean fee?"},
        {IN_SAMPLE "Fee", "is not a field of this interface; did you mean fee?"},
        {IN_SAMPLE "sPdfMediaId", "is not a field of this interface; did you mean s_pdf_media_id?"},
        {IN_SAMPLE "orderId", "is not a field of this interface; did you mean order_id?"},
        {IN_SAMPLE "fees", "is not a field of this interface"},
        {IN_SAMPLE "fe", "is not a field of this interface"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char expected[256];
        cJSON *bill = sample_bill();
        put(bill, rows[i].path, cJSON_CreateString("x"));
        snprintf(expected, sizeof expected, "%s: %s\n", rows[i].path, rows[i].message);
        expect_problems(bill, expected);
    }
    cJSON *flat = flat_bill();
    put(flat, "Billing Time", cJSON_CreateString("x"));
    expect_problems(flat,
                    "Billing Time: is not a field of this interface; did you mean billing_time?\n");
}

static void test_names_are_shown_safely(void **state)
{
    (void)state;
    cJSON *bill = sample_bill();
    put(bill, "card_ext.a\nb", cJSON_CreateTrue());
    cJSON_AddItemToObject(bill, "", cJSON_CreateTrue());
    cJSON_AddItemToObject(bill, "\xFF", cJSON_CreateTrue());
    expect_problems(bill, "card_ext.a?b: is not a field of this interface\n"
                          "\"\": is not a field of this interface\n"
                          "?: is not a field of this interface\n");

    char name[400], expected[512];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    bill = sample_bill();
    put(bill, name, cJSON_CreateTrue());
    snprintf(expected, sizeof expected, "%.95s: is not a field of this interface\n", name);
    expect_problems(bill, expected);
}

/* A member that was added to an object as if to a list. */
static void test_member_without_a_name(void **state)
{
    (void)state;
    cJSON *bill = sample_bill();
    cJSON_AddItemToArray(bill, cJSON_CreateTrue());
    expect_problems(bill, "\"\": is not a field of this interface\n");
}

static void test_wrong_place(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        const char *right;
    } rows[] = {
        {IN_SAMPLE "order_id", "order_id"},
        {IN_SAMPLE "invoice_user_data", "card_ext.user_card.invoice_user_data"},
        {"card_ext.appid", "appid"},
        {"card_ext.fee", IN_SAMPLE "fee"},
        {"card_ext.invoice_user_data", "card_ext.user_card.invoice_user_data"},
        {"title", IN_SAMPLE "title"},
        {"user_card", "card_ext.user_card"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (int extra = 0; extra < 2; extra++) {
            char expected[256];
            cJSON *bill = sample_bill();
            put(bill, rows[i].path, cJSON_CreateNumber(1));
            snprintf(expected, sizeof expected, "%s: is in the wrong place: it belongs at %s\n",
                     rows[i].path, rows[i].right);
            expect_problems_with(bill, extra, expected);
        }
    }
    cJSON *flat = flat_bill();
    put(flat, "user_card", cJSON_CreateObject());
    expect_problems(flat, "user_card: is in the wrong place: it belongs at card_ext.user_card\n");
}

static void test_both_nestings_at_once(void **state)
{
    (void)state;
    cJSON *bill = sample_bill();
    put(bill, IN_TABLE "fee", cJSON_CreateNumber(123));
    expect_problems(bill, IN_TABLE "fee: is in the wrong place: it belongs at " IN_SAMPLE "fee\n");
    bill = table_bill();
    put(bill, "card_ext.user_card.invoice_user_data", json("{'fee':123}"));
    expect_problems(
        bill, IN_TABLE
        "fee: is in the wrong place: it belongs at " IN_SAMPLE "fee\n" IN_TABLE
        "title: is in the wrong place: it belongs at " IN_SAMPLE "title\n" IN_TABLE
        "billing_time: is in the wrong place: it belongs at " IN_SAMPLE "billing_time\n" IN_TABLE
        "billing_no: is in the wrong place: it belongs at " IN_SAMPLE "billing_no\n" IN_TABLE
        "billing_code: is in the wrong place: it belongs at " IN_SAMPLE "billing_code\n" IN_TABLE
        "s_pdf_media_id: is in the wrong place: it belongs at " IN_SAMPLE
        "s_pdf_media_id\n" IN_SAMPLE "title: is missing\n" IN_SAMPLE
        "billing_time: is missing\n" IN_SAMPLE "billing_no: is missing\n" IN_SAMPLE
        "billing_code: is missing\n" IN_SAMPLE "s_pdf_media_id: is missing\n");
    /* Nested and flat at once: the object decides. */
    bill = sample_bill();
    put(bill, "fee", cJSON_CreateNumber(123));
    expect_problems(bill, "fee: is in the wrong place: it belongs at " IN_SAMPLE "fee\n");
}

static void test_given_twice(void **state)
{
    (void)state;
    cJSON *bill = sample_bill();
    cJSON_AddItemToObject(bill, "order_id", cJSON_CreateString("order-1"));
    expect_problems(bill, "order_id: is given twice\n");

    bill = sample_bill();
    cJSON_AddItemToObject(bill, "card_ext", json("{'user_card':1}"));
    expect_problems(bill, "card_ext: is given twice\n");

    bill = table_bill();
    cJSON *card = cJSON_GetObjectItem(cJSON_GetObjectItem(bill, "card_ext"), "user_card");
    cJSON_AddItemToObject(card, "fee", cJSON_CreateNumber(124));
    expect_problems(bill, IN_TABLE "fee: is given twice\n");

    bill = flat_bill();
    cJSON_AddItemToObject(bill, "fee", cJSON_CreateNumber(124));
    cJSON_AddItemToObject(bill, "fee", cJSON_CreateNumber(125));
    expect_problems(bill, "fee: is given twice\nfee: is given twice\n");
}

static void test_objects_of_another_kind(void **state)
{
    (void)state;
    static const char *const paths[] = {"card_ext", "card_ext.user_card",
                                        "card_ext.user_card.invoice_user_data"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        const struct {
            cJSON *item;
            const char *what;
        } rows[] = {
            {cJSON_CreateString("{}"), "a string"},
            {cJSON_CreateNumber(1), "a number"},
            {nontax_json_number("1"), "a number"},
            {cJSON_CreateNull(), "null"},
            {json("[{}]"), "a list"},
            {cJSON_CreateRaw("{}"), "raw JSON"},
        };
        for (size_t j = 0; j < COUNT(rows); j++) {
            char expected[256];
            cJSON *bill = sample_bill();
            put(bill, paths[i], rows[j].item);
            snprintf(expected, sizeof expected, "%s: must be an object, not %s\n", paths[i],
                     rows[j].what);
            expect_problems(bill, expected);
        }
    }
}

static void test_payload_of_another_kind(void **state)
{
    (void)state;
    expect_problems(cJSON_CreateString("x"), ": must be an object with fields, not a string\n");
    expect_problems(cJSON_CreateNumber(1), ": must be an object with fields, not a number\n");
    expect_problems(json("[{}]"), ": must be an object with fields, not a list\n");
    expect_problems(cJSON_CreateNull(), ": must be an object with fields, not null\n");
    expect_problems(cJSON_CreateRaw("{}"), ": must be an object with fields, not raw JSON\n");
}

static void test_no_payload(void **state)
{
    (void)state;
    nontax_problems problems = {0};
    nx_buffer body = {0}, secret = {0};
    assert_int_equal(
        nx_request_build(insertbill(), NULL, NONTAX_EXTRA_REFUSE, &problems, &body, &secret),
        NONTAX_NO_MEMORY);
    assert_null(body.data);
    assert_int_equal(problems.count, 0);
}

static void test_all_problems_at_once(void **state)
{
    (void)state;
    expect_problems(
        json("{'order_id':'','card_id':7,'colour':1,'card_ext':{'user_card':"
             "{'fee':-1,'title':' ','billing_time':1,'Billing_no':'n'}}}"),
        "order_id: is empty\n"
        "card_id: must be a string, not a number (as a number it would lose leading "
        "zeros)\n"
        "colour: is not a field of this interface\n" IN_TABLE
        "fee: must not be negative: it is an amount in fen\n" IN_TABLE "title: is blank\n" IN_TABLE
        "billing_time: must be Unix seconds of 10 digits, such as "
        "1511169724\n" IN_TABLE "Billing_no: is not a field of this interface; did you mean "
        "billing_no?\n" IN_TABLE "billing_no: is missing\n" IN_TABLE
        "billing_code: is missing\n" IN_TABLE "s_pdf_media_id: is missing\n"
        "appid: is missing\n");
}

/* ---- extra fields ------------------------------------------------------------------------ */

static void test_extra_is_sent_as_it_is(void **state)
{
    (void)state;
    cJSON *bill = sample_bill();
    put(bill, "a", json("{'b':[1,2.5,'张',true,false,null,{'c':{}}],'order_id':'x'}"));
    expect_body_with(bill, NONTAX_EXTRA_SEND,
                     sample_but("}}}}", "}}},\"a\":{\"b\":[1,2.5,\"张\",true,false,null,"
                                        "{\"c\":{}}],\"order_id\":\"x\"}}"));
    bill = table_bill();
    put(bill, IN_TABLE "nonce_str", cJSON_CreateString("n"));
    char expected[1024];
    snprintf(expected, sizeof expected, "%.*s,\"nonce_str\":\"n\"}}}", (int)strlen(table_body) - 3,
             table_body);
    expect_body_with(bill, NONTAX_EXTRA_SEND, expected);
}

static void test_extra_of_a_flat_row_stays_on_top(void **state)
{
    (void)state;
    cJSON *bill = json("{'x':1}");
    cJSON *flat = flat_bill();
    while (flat->child) {
        cJSON *item = cJSON_DetachItemViaPointer(flat, flat->child);
        cJSON_AddItemToObject(bill, item->string, item);
    }
    cJSON_Delete(flat);
    put(bill, "y", json("['z']"));
    expect_body_with(bill, NONTAX_EXTRA_SEND, sample_but("}}}}", "}}},\"x\":1,\"y\":[\"z\"]}"));
}

static void test_extra_does_not_excuse_mistakes(void **state)
{
    (void)state;
    cJSON *bill = sample_bill();
    put(bill, "order_id", NULL);
    put(bill, "order", cJSON_CreateString("x"));
    put(bill, "card_id", cJSON_CreateString(""));
    expect_problems_with(bill, NONTAX_EXTRA_SEND, "card_id: is empty\norder_id: is missing\n");
}

static void test_extra_problems(void **state)
{
    (void)state;
    cJSON *bill = sample_bill();
    cJSON *list = cJSON_CreateArray();
    cJSON_AddItemToArray(list, cJSON_CreateNumber((double)NAN));
    cJSON_AddItemToArray(list, cJSON_CreateString("\xC3"));
    cJSON_AddItemToArray(list, cJSON_CreateRaw("1,\"fee\":0"));
    cJSON_AddItemToArray(list, cJSON_CreateNumber((double)INFINITY));
    put(bill, "x", cJSON_CreateObject());
    put(bill, "x.list", list);
    cJSON_AddItemToObject(cJSON_GetObjectItem(bill, "x"), "\xC3", cJSON_CreateTrue());
    cJSON_AddItemToObject(bill, "\xC3", cJSON_CreateTrue());
    expect_problems_with(bill, NONTAX_EXTRA_SEND,
                         "x.list.0: is NaN, the value of an empty cell\n"
                         "x.list.1: is not valid UTF-8\n"
                         "x.list.2: is not a number that JSON can represent\n"
                         "x.list.3: is not a number that JSON can represent\n"
                         "x.?: has a name that is not valid UTF-8\n"
                         "?: has a name that is not valid UTF-8\n");
}

static cJSON *nested_lists(int depth)
{
    cJSON *tree = cJSON_CreateArray();
    for (int i = 1; i < depth; i++) {
        cJSON *outer = cJSON_CreateArray();
        cJSON_AddItemToArray(outer, tree);
        tree = outer;
    }
    return tree;
}

static void test_extra_depth(void **state)
{
    (void)state;
    char end[256] = "}}},\"x\":", path[512] = "x";
    cJSON *bill = sample_bill();
    put(bill, "x", nested_lists(64));
    size_t size = strlen(end);
    memset(end + size, '[', 64);
    memset(end + size + 64, ']', 64);
    strcpy(end + size + 128, "}");
    expect_body_with(bill, NONTAX_EXTRA_SEND, sample_but("}}}}", end));

    bill = sample_bill();
    put(bill, "x", nested_lists(900));
    for (int i = 0; i < 64; i++) {
        strcat(path, ".0");
    }
    strcat(path, ": is nested too deeply\n");
    expect_problems_with(bill, NONTAX_EXTRA_SEND, path);
}

/* A field that we do not know may be a time. */
static void test_extra_time(void **state)
{
    (void)state;
    cJSON *bill = sample_bill();
    put(bill, "x", nontax_json_time(-1));
    expect_body_with(bill, NONTAX_EXTRA_SEND, sample_but("}}}}", "}}},\"x\":-1}"));
}

static void test_extra_is_ignored(void **state)
{
    (void)state;
    static const char *const paths[] = {"a", "card_ext.b", "card_ext.user_card.c", IN_SAMPLE "d"};
    cJSON *sample = sample_bill(), *table = table_bill(), *flat = flat_bill();
    for (size_t i = 0; i < COUNT(paths); i++) {
        put(sample, paths[i], json("{'x':[1]}"));
    }
    expect_body_with(sample, NONTAX_EXTRA_IGNORE, sample_body);
    put(table, "a", cJSON_CreateNumber((double)NAN));
    put(table, IN_TABLE "b", cJSON_CreateString("\xFF"));
    put(table, IN_TABLE "Title", cJSON_CreateNull()); /* beside the title itself */
    expect_body_with(table, NONTAX_EXTRA_IGNORE, table_body);
    put(flat, "b", nontax_json_foreign("a Decimal"));
    put(flat, "c", nontax_json_problem(NONTAX_PROBLEM_EMPTY_CELL, "NaT"));
    put(flat, "Fee", cJSON_CreateTrue());
    expect_body_with(flat, NONTAX_EXTRA_IGNORE, sample_body);
}

static void test_what_is_ignored_excuses_no_mistakes(void **state)
{
    (void)state;
    static const nontax_extra modes[] = {NONTAX_EXTRA_IGNORE, NONTAX_EXTRA_SEND};
    for (size_t i = 0; i < COUNT(modes); i++) {
        cJSON *bill = flat_bill();
        put(bill, "order_id", NULL);
        put(bill, "\xEF\xBB\xBForder_id", cJSON_CreateString("x"));
        put(bill, "user_card", cJSON_CreateString("x"));
        expect_problems_with(
            bill, modes[i],
            "\xEF\xBB\xBForder_id: is not a field of this interface: it has U+FEFF "
            "(byte order mark) in its name; did you mean order_id?\n"
            "user_card: is in the wrong place: it belongs at "
            "card_ext.user_card\n"
            "order_id: is missing\n");
    }
}

/* ---- what the converter could not convert ------------------------------------------------ */

static void test_a_problem_is_reported_where_it_stands(void **state)
{
    (void)state;
    static const char *const paths[] = {"order_id", "card_ext", "card_ext.user_card",
                                        IN_SAMPLE "fee", IN_SAMPLE "billing_time"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        char expected[256];
        cJSON *bill = sample_bill();
        put(bill, paths[i], nontax_json_problem(NONTAX_PROBLEM_EMPTY_CELL, "NaT"));
        snprintf(expected, sizeof expected, "%s: is NaT, the value of an empty cell\n", paths[i]);
        expect_problems(bill, expected);
    }
    expect_problems(nontax_json_problem(NONTAX_PROBLEM_TOO_MANY, NULL), ": has too many values\n");
    cJSON *bill = sample_bill();
    cJSON_AddItemToObject(bill, "", nontax_json_problem(NONTAX_PROBLEM_NAME_NOT_TEXT, "None"));
    expect_problems(bill, "\"\": has a name that is not a string but None\n");
}

static void test_a_problem_in_an_extra_field(void **state)
{
    (void)state;
    cJSON *bill = sample_bill();
    put(bill, "x", cJSON_CreateArray());
    cJSON_AddItemToArray(cJSON_GetObjectItem(bill, "x"),
                         nontax_json_problem(NONTAX_PROBLEM_TIME_NAIVE, NULL));
    put(bill, "y", nontax_json_problem(NONTAX_PROBLEM_UNREADABLE, "KeyError"));
    put(bill, "z", nontax_json_foreign("a Decimal"));
    expect_problems_with(
        bill, NONTAX_EXTRA_SEND,
        "x.0: has no time zone, so its moment is ambiguous: add one, such as +08:00\n"
        "y: cannot be read: it raised KeyError\n"
        "z: is a Decimal, which JSON cannot represent\n");
}

static void test_a_foreign_value_is_told_what_is_wanted(void **state)
{
    (void)state;
    expect_field_problem("fee", nontax_json_foreign("a Decimal"),
                         "must be an integer, the amount in fen, not a Decimal");
    expect_field_problem("title", nontax_json_foreign("a date"), "must be a string, not a date");
    expect_field_problem("billing_time", nontax_json_foreign("a date"),
                         "must be Unix seconds as an integer or a string of 10 digits, not a date");
    cJSON *bill = sample_bill();
    put(bill, "card_ext", nontax_json_foreign("a set"));
    expect_problems(bill, "card_ext: must be an object, not a set\n");
    expect_problems(nontax_json_foreign("a set"), ": must be an object with fields, not a set\n");
}

static void test_check_without_a_client(void **state)
{
    (void)state;
    nontax_problems problems = {0};
    assert_int_equal(nontax_payload_check(insertbill(), nontax_payload_from_json(flat_bill()),
                                          NONTAX_EXTRA_REFUSE, &problems),
                     NONTAX_OK);
    assert_int_equal(problems.count, 0);
    assert_int_equal(nontax_payload_check(insertbill(), NULL, NONTAX_EXTRA_REFUSE, &problems),
                     NONTAX_NO_MEMORY);
    cJSON *bill = with("fee", cJSON_CreateString("1"));
    put(bill, "order_id\n", cJSON_CreateTrue());
    assert_int_equal(nontax_payload_check(insertbill(), nontax_payload_from_json(bill),
                                          NONTAX_EXTRA_REFUSE, &problems),
                     NONTAX_BAD_PAYLOAD);
    assert_int_equal(problems.count, 2);
    const nontax_problem *fee = &problems.list[0], *name = &problems.list[1];
    assert_int_equal(fee->id, NONTAX_PROBLEM_NOT_FEN);
    assert_string_equal(fee->values[0].name, "kind");
    assert_string_equal(fee->values[0].text, "a string");
    assert_string_equal(fee->values[1].name, "");
    assert_null(fee->values[1].text);
    assert_string_equal(nontax_problem_id_name(name->id), "name_character");
    assert_string_equal(name->values[0].name, "character");
    assert_string_equal(name->values[0].text, "U+000A (line feed)");
    assert_string_equal(name->values[1].name, "name");
    assert_string_equal(name->values[1].text, "order_id");
    nontax_problems_free(&problems);
}

/* ---- problems ---------------------------------------------------------------------------- */

static void test_problems_have_an_end(void **state)
{
    (void)state;
    for (int count = 98; count <= 150; count += count < 102 ? 1 : 48) {
        nontax_problems problems = {0};
        nx_buffer body = {0}, secret = {0};
        cJSON *bill = sample_bill();
        for (int i = 0; i < count; i++) {
            char name[16];
            snprintf(name, sizeof name, "x%d", i);
            put(bill, name, cJSON_CreateTrue());
        }
        assert_int_equal(nx_request_build(insertbill(), nontax_payload_from_json(bill),
                                          NONTAX_EXTRA_REFUSE, &problems, &body, &secret),
                         NONTAX_BAD_PAYLOAD);
        assert_int_equal(problems.count, count < 100 ? count : 100);
        const nontax_problem *last = &problems.list[problems.count - 1];
        if (count < 100) {
            assert_string_equal(last->message, "is not a field of this interface");
        } else {
            assert_string_equal(last->path, "");
            assert_string_equal(last->message, "there are more problems than are listed here");
            assert_string_equal(problems.list[98].path, "x98");
        }
        nontax_problems_free(&problems);
        assert_int_equal(problems.count, 0);
    }
}

/* Ids are for programs: each has its own, and a message whose values have names that fit. */
static void test_problem_ids(void **state)
{
    (void)state;
    for (int id = 0; id < NONTAX_PROBLEM_COUNT; id++) {
        const char *name = nontax_problem_id_name((nontax_problem_id)id);
        const char *message = nontax_problem_message((nontax_problem_id)id);
        assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(name));
        assert_true(*name && *message);
        for (int other = 0; other < id; other++) {
            assert_string_not_equal(name, nontax_problem_id_name((nontax_problem_id)other));
        }
        int values = 0;
        for (const char *brace = message; (brace = strchr(brace, '{')); values++) {
            size_t size = strspn(++brace, "abcdefghijklmnopqrstuvwxyz");
            assert_int_equal(brace[size], '}');
            assert_true(size >= 1 && size <= 15);
        }
        assert_true(values <= NONTAX_PROBLEM_VALUES);
    }
}

static void test_long_values_are_cut(void **state)
{
    (void)state;
    char kind[1024];
    nontax_problems problems = {0};
    memset(kind, 'x', sizeof kind - 1);
    kind[sizeof kind - 1] = '\0';
    assert_int_equal(nontax_payload_check(insertbill(),
                                          nontax_payload_from_json(nontax_json_foreign(kind)),
                                          NONTAX_EXTRA_REFUSE, &problems),
                     NONTAX_BAD_PAYLOAD);
    assert_int_equal(strlen(problems.list[0].values[0].text), 255);
    assert_true(strlen(problems.list[0].message) > 255);
    nontax_problems_free(&problems);
}

/* ---- the caller's memory ----------------------------------------------------------------- */

static void test_references_are_left_alone(void **state)
{
    (void)state;
    char title[] = "a name that is somebody else's";
    cJSON *shared = json("{'b':'kept'}");
    cJSON *bill = with("title", cJSON_CreateStringReference(title));
    put(bill, "x", cJSON_CreateObjectReference(shared->child));
    expect_body_with(bill, NONTAX_EXTRA_SEND,
                     "{\"order_id\":\"order-1\",\"card_id\":\"pjZ8Yt9WoOePThU0NfUKz5-tBEWU\","
                     "\"appid\":\"wx1234567890abcdef\",\"card_ext\":{\"user_card\":"
                     "{\"invoice_user_data\":{\"fee\":123,\"title\":\"a name that is somebody "
                     "else's\",\"billing_time\":1511169724,\"billing_no\":\"00010203\","
                     "\"billing_code\":\"0004050607\",\"s_pdf_media_id\":\"75195574948725301\"}}},"
                     "\"x\":{\"b\":\"kept\"}}");
    assert_string_equal(title, "a name that is somebody else's");
    assert_string_equal(shared->child->valuestring, "kept");
    cJSON_Delete(shared);

    cJSON *flat = flat_bill();
    put(flat, "title", cJSON_CreateStringReference(title));
    expect_body(flat, sample_but("张三", title));
    assert_string_equal(title, "a name that is somebody else's");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sample_shape),
        cmocka_unit_test(test_table_shape),
        cmocka_unit_test(test_flat_shape),
        cmocka_unit_test(test_key_order),
        cmocka_unit_test(test_flat_needs_one_leaf),
        cmocka_unit_test(test_interfaces),
        cmocka_unit_test(test_text_is_raw_utf8),
        cmocka_unit_test(test_text_escapes_what_json_demands),
        cmocka_unit_test(test_text_keeps_what_is_inside),
        cmocka_unit_test(test_text_ends_with_nothing_unseen),
        cmocka_unit_test(test_text_may_end_with_anything_else),
        cmocka_unit_test(test_text_problems),
        cmocka_unit_test(test_every_text_field_is_checked),
        cmocka_unit_test(test_fee),
        cmocka_unit_test(test_fee_problems),
        cmocka_unit_test(test_fee_of_another_kind),
        cmocka_unit_test(test_number_literals),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_time_problems),
        cmocka_unit_test(test_time_to_the_hour),
        cmocka_unit_test(test_time_of_another_kind),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_names_are_shown_safely),
        cmocka_unit_test(test_member_without_a_name),
        cmocka_unit_test(test_wrong_place),
        cmocka_unit_test(test_both_nestings_at_once),
        cmocka_unit_test(test_given_twice),
        cmocka_unit_test(test_objects_of_another_kind),
        cmocka_unit_test(test_payload_of_another_kind),
        cmocka_unit_test(test_no_payload),
        cmocka_unit_test(test_all_problems_at_once),
        cmocka_unit_test(test_extra_is_sent_as_it_is),
        cmocka_unit_test(test_extra_of_a_flat_row_stays_on_top),
        cmocka_unit_test(test_extra_does_not_excuse_mistakes),
        cmocka_unit_test(test_extra_problems),
        cmocka_unit_test(test_extra_depth),
        cmocka_unit_test(test_extra_time),
        cmocka_unit_test(test_extra_is_ignored),
        cmocka_unit_test(test_what_is_ignored_excuses_no_mistakes),
        cmocka_unit_test(test_a_problem_is_reported_where_it_stands),
        cmocka_unit_test(test_a_problem_in_an_extra_field),
        cmocka_unit_test(test_a_foreign_value_is_told_what_is_wanted),
        cmocka_unit_test(test_check_without_a_client),
        cmocka_unit_test(test_problems_have_an_end),
        cmocka_unit_test(test_problem_ids),
        cmocka_unit_test(test_long_values_are_cut),
        cmocka_unit_test(test_references_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
