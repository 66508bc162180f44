/* test_request.c: the shapes of a payload, its fields, and how it is printed. */
#include "payloads.h"

#include <stdio.h>
#include <string.h>

#include "request.h"

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
        cmocka_unit_test(test_references_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
