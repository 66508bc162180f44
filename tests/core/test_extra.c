/* test_extra.c: fields that an interface does not have, values that could not be converted, and
 * what is said of all problems. */
#include "payloads.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "problems.h"
#include "request.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
