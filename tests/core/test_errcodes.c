/* test_errcodes.c: the table of WeChat's error codes and the look-up in it. */
#include "support.h"

#include <limits.h>
#include <string.h>

static const struct {
    int code;
    const char *name;
    nontax_category category;
    nontax_retry retry;
    const char *advice;
} rows[] = {
#define ERRCODE(code, name, category, retry, reaction, stops, advice)                              \
    {code, #name, NONTAX_CATEGORY_##category, NONTAX_RETRY_##retry, advice},
#include "errcodes.def"
#undef ERRCODE
};

static void test_table_is_complete(void **state)
{
    (void)state;
    size_t count = 0;
    const nontax_errcode *table = nontax_errcodes(&count);
    assert_int_equal(count, COUNT(rows));
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(table[i].code, rows[i].code);
        assert_string_equal(table[i].name, rows[i].name);
        assert_int_equal(table[i].category, rows[i].category);
        assert_int_equal(table[i].retry, rows[i].retry);
        if (rows[i].advice) {
            assert_string_equal(table[i].advice, rows[i].advice);
        }
    }
}

static void test_every_code_is_found(void **state)
{
    (void)state;
    size_t count = 0;
    const nontax_errcode *table = nontax_errcodes(&count);
    for (size_t i = 0; i < count; i++) {
        if (nontax_errcode_find(table[i].code) != &table[i]) {
            fail_msg("%d is not found", table[i].code);
        }
        if (i > 0 && table[i].code <= table[i - 1].code) {
            fail_msg("%d is not in rising order", table[i].code);
        }
    }
}

static void test_every_row_is_well_formed(void **state)
{
    (void)state;
    size_t count = 0;
    const nontax_errcode *table = nontax_errcodes(&count);
    for (size_t i = 0; i < count; i++) {
        const char *name = table[i].name, *advice = table[i].advice;
        if (strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != strlen(name) || !*name) {
            fail_msg("%d has the name %s", table[i].code, name);
        }
        if (!*advice || advice[strlen(advice) - 1] != '.') {
            fail_msg("the advice for %d is not a sentence", table[i].code);
        }
        if (table[i].category == NONTAX_CATEGORY_UNKNOWN) {
            fail_msg("%d has no category", table[i].code);
        }
        for (size_t j = 0; j < i; j++) {
            if (strcmp(name, table[j].name) == 0) {
                fail_msg("%d and %d have one name", table[i].code, table[j].code);
            }
        }
    }
}

static void test_codes_that_decide_something(void **state)
{
    (void)state;
    assert_int_equal(nontax_errcode_find(0)->category, NONTAX_CATEGORY_SUCCESS);
    assert_int_equal(nontax_errcode_find(-1)->category, NONTAX_CATEGORY_BUSY);
    assert_int_equal(nontax_errcode_find(-1)->retry, NONTAX_RETRY_NO);
    assert_int_equal(nontax_errcode_find(72018)->category, NONTAX_CATEGORY_DUPLICATE);
    assert_int_equal(nontax_errcode_find(72042)->category, NONTAX_CATEGORY_DUPLICATE);
    assert_int_equal(nontax_errcode_find(72056)->category, NONTAX_CATEGORY_DUPLICATE);
    assert_int_equal(nontax_errcode_find(72038)->category, NONTAX_CATEGORY_NOT_AUTHORIZED);
    assert_int_equal(nontax_errcode_find(40164)->category, NONTAX_CATEGORY_ACCOUNT);
    assert_int_equal(nontax_errcode_find(45009)->category, NONTAX_CATEGORY_QUOTA);

    size_t count = 0;
    const nontax_errcode *table = nontax_errcodes(&count);
    for (size_t i = 0; i < count; i++) {
        int code = table[i].code;
        bool token = code == 40001 || code == 40014 || code == 42001;
        assert_int_equal(table[i].retry == NONTAX_RETRY_AFTER_TOKEN_REFRESH, token);
    }
}

static void test_unknown_codes(void **state)
{
    (void)state;
    size_t count = 0;
    const nontax_errcode *table = nontax_errcodes(&count);
    int asked[2 * COUNT(rows) + 4] = {INT_MIN, INT_MAX, -2, 1};
    size_t asked_count = 4;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && table[i - 1].code != table[i].code - 1) {
            asked[asked_count++] = table[i].code - 1;
        }
        if (i + 1 < count && table[i + 1].code != table[i].code + 1) {
            asked[asked_count++] = table[i].code + 1;
        }
    }
    for (size_t i = 0; i < asked_count; i++) {
        const nontax_errcode *found = nontax_errcode_find(asked[i]);
        assert_non_null(found);
        if (found->category != NONTAX_CATEGORY_UNKNOWN || found->code == asked[i]) {
            fail_msg("%d is known as %s", asked[i], found->name);
        }
        assert_int_equal(found->retry, NONTAX_RETRY_NO);
        assert_string_equal(found->name, "UNKNOWN");
        assert_true(strlen(found->advice) > 0);
    }
}

static void test_names(void **state)
{
    (void)state;
    static const char *const categories[] = {
        [NONTAX_CATEGORY_SUCCESS] = "success",
        [NONTAX_CATEGORY_ACCESS_TOKEN] = "access_token",
        [NONTAX_CATEGORY_ACCOUNT] = "account",
        [NONTAX_CATEGORY_QUOTA] = "quota",
        [NONTAX_CATEGORY_PARAMETER] = "parameter",
        [NONTAX_CATEGORY_NOT_AUTHORIZED] = "not_authorized",
        [NONTAX_CATEGORY_DUPLICATE] = "duplicate",
        [NONTAX_CATEGORY_STATE] = "state",
        [NONTAX_CATEGORY_BUSY] = "busy",
        [NONTAX_CATEGORY_UNKNOWN] = "unknown",
    };
    static const char *const retries[] = {
        [NONTAX_RETRY_NO] = "no",
        [NONTAX_RETRY_YES] = "yes",
        [NONTAX_RETRY_LATER] = "later",
        [NONTAX_RETRY_AFTER_TOKEN_REFRESH] = "after_token_refresh",
    };
    static const char *const outcomes[] = {
        [NONTAX_INSERTED] = "inserted",
        [NONTAX_REJECTED] = "rejected",
        [NONTAX_NOT_SENT] = "not_sent",
        [NONTAX_IN_DOUBT] = "in_doubt",
    };
    for (size_t i = 0; i < COUNT(categories); i++) {
        assert_string_equal(nontax_category_name((nontax_category)i), categories[i]);
    }
    for (size_t i = 0; i < COUNT(retries); i++) {
        assert_string_equal(nontax_retry_name((nontax_retry)i), retries[i]);
    }
    for (size_t i = 0; i < COUNT(outcomes); i++) {
        assert_string_equal(nontax_outcome_name((nontax_outcome)i), outcomes[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_is_complete),
        cmocka_unit_test(test_every_code_is_found),
        cmocka_unit_test(test_every_row_is_well_formed),
        cmocka_unit_test(test_codes_that_decide_something),
        cmocka_unit_test(test_unknown_codes),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
