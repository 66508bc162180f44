/* test_leaves.c: what the value of each kind of field must be. */
#include "payloads.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
