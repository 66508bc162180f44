/* test_twins.c: which of the last 100,000 calls of a run had the same keys, in bounded memory. */
#include "support.h"

#include <string.h>

#include "memory.h"
#include "sweep.h"
#include "twins.h"

enum { KEPT = 100000 };

static nx_keys keys_of(cJSON *payload, const char *interface)
{
    nontax_payload *values = nontax_payload_from_json(payload);
    nx_keys keys = nx_keys_of(nontax_interface_find(interface), values);
    nontax_payload_free(values);
    return keys;
}

static cJSON *changed(const char *path, const char *text)
{
    cJSON *bill = sample_bill();
    put(bill, path, cJSON_CreateString(text));
    return bill;
}

static void test_keys_are_the_same_in_every_shape(void **state)
{
    (void)state;
    nx_keys sample = keys_of(sample_bill(), "insertbill");
    nx_keys table = keys_of(table_bill(), "insertbill"), flat = keys_of(flat_bill(), "insertbill");
    assert_true(sample.order && sample.number);
    assert_memory_equal(&sample, &table, sizeof sample);
    assert_memory_equal(&sample, &flat, sizeof sample);
}

static void test_keys_are_of_the_order_and_the_number_alone(void **state)
{
    (void)state;
#define DATA "card_ext.user_card.invoice_user_data."
    nx_keys sample = keys_of(sample_bill(), "insertbill");
    nx_keys title = keys_of(changed(DATA "title", "another"), "insertbill");
    assert_memory_equal(&sample, &title, sizeof sample);
    nx_keys order = keys_of(changed("order_id", "another"), "insertbill");
    assert_true(order.order != sample.order && order.number == sample.number);
    nx_keys number = keys_of(changed(DATA "billing_no", "another"), "insertbill");
    assert_true(number.order == sample.order && number.number != sample.number);
    /* The two parts of the number are not the same when they are swapped. */
    cJSON *bill = changed(DATA "billing_no", "1");
    put(bill, DATA "billing_code", cJSON_CreateString("2"));
    cJSON *swapped = changed(DATA "billing_no", "2");
    put(swapped, DATA "billing_code", cJSON_CreateString("1"));
    assert_true(keys_of(bill, "insertbill").number != keys_of(swapped, "insertbill").number);
}

static void test_what_has_no_keys(void **state)
{
    (void)state;
    static const nx_keys none = {0, 0};
    nx_keys found[] = {
        keys_of(json("{}"), "insertbill"),
        keys_of(json("[1, {'order_id': 'x'}]"), "insertbill"),
        keys_of(json("{'order_id': 5, 'billing_no': null}"), "insertbill"),
        keys_of(json("{'card_id': 'x'}"), "updatestatus"),
        nx_keys_of(nontax_interface_find("insertbill"), NULL),
    };
    for (size_t i = 0; i < COUNT(found); i++) {
        assert_memory_equal(&found[i], &none, sizeof none);
    }
}

static void test_what_is_nested_for_ever_is_not_followed(void **state)
{
    (void)state;
    cJSON *bill = json("{'order_id': 'x'}");
    for (int i = 0; i < 100; i++) {
        cJSON *around = cJSON_CreateObject();
        assert_true(cJSON_AddItemToObject(around, "card_ext", bill));
        bill = around;
    }
    assert_int_equal(keys_of(bill, "insertbill").order, 0);
}

static nx_keys numbered(uint64_t order, uint64_t number)
{
    return (nx_keys){order ? order * UINT64_C(0x9E3779B97F4A7C15) : 0,
                     number ? number * UINT64_C(0xC2B2AE3D27D4EB4F) : 0};
}

static void expect_twin(const nx_twins *twins, nx_keys keys, uint32_t place, nontax_twin expected,
                        uint32_t expected_place)
{
    uint32_t found = UINT32_MAX;
    assert_int_equal(nx_twins_find(twins, &keys, place, &found), expected);
    assert_int_equal(found, expected == NONTAX_TWIN_NONE ? UINT32_MAX : expected_place);
}

static void add(nx_twins *twins, nx_keys keys, uint32_t place)
{
    nx_twins_add(twins, &keys, place);
}

static void test_both_find_each_other(void **state)
{
    (void)state;
    nx_twins twins = {0};
    expect_twin(&twins, numbered(1, 1), 0, NONTAX_TWIN_NONE, 0);
    add(&twins, numbered(1, 1), 0);
    expect_twin(&twins, numbered(1, 1), 0, NONTAX_TWIN_NONE, 0);
    add(&twins, numbered(1, 2), 1);
    add(&twins, numbered(2, 2), 2);
    add(&twins, numbered(0, 0), 3);
    add(&twins, numbered(0, 0), 4);
    expect_twin(&twins, numbered(1, 1), 0, NONTAX_TWIN_ORDER, 1);
    expect_twin(&twins, numbered(1, 2), 1, NONTAX_TWIN_ORDER, 0);
    expect_twin(&twins, numbered(2, 2), 2, NONTAX_TWIN_NUMBER, 1);
    expect_twin(&twins, numbered(0, 0), 4, NONTAX_TWIN_NONE, 0);
    add(&twins, numbered(1, 9), 5);
    expect_twin(&twins, numbered(1, 9), 5, NONTAX_TWIN_ORDER, 0);
    expect_twin(&twins, numbered(1, 1), 0, NONTAX_TWIN_ORDER, 5);
    nx_twins_free(&twins);
}

static void test_the_last_ones_are_known_and_memory_is_bounded(void **state)
{
    (void)state;
    nx_twins twins = {0};
    for (uint32_t place = 0; place < 5 * KEPT; place++) {
        add(&twins, numbered(place + 1, place + 1), place);
        if (place >= KEPT && place % 9973 == 0) {
            expect_twin(&twins, numbered(place - KEPT + 1, 0), UINT32_MAX, NONTAX_TWIN_ORDER,
                        place - KEPT);
        }
        assert_true(twins.newer.capacity <= 1 << 18 && twins.older.capacity <= 1 << 18);
    }
    expect_twin(&twins, numbered(1, 1), UINT32_MAX, NONTAX_TWIN_NONE, 0);
    /* One that is in both generations is still known by its first place. */
    uint32_t place = 5 * KEPT;
    add(&twins, numbered(place - KEPT + 1, 0), place);
    expect_twin(&twins, numbered(place - KEPT + 1, 0), place, NONTAX_TWIN_ORDER, place - KEPT);
    nx_twins_free(&twins);
    assert_int_equal(twins.newer.capacity + twins.older.capacity, 0);
}

/* Nobody is told of a twin then, and nothing else happens. */
static bool add_some(long number, bool and_all_after)
{
    nx_twins twins = {0};
    if (number) {
        fail_at(number, and_all_after);
    }
    for (uint32_t place = 0; place < 500; place++) {
        add(&twins, numbered(place % 250 + 1, 0), place);
    }
    nx_keys keys = numbered(1, 0);
    uint32_t found = 0;
    nontax_twin twin = nx_twins_find(&twins, &keys, 250, &found);
    bool right = twin == NONTAX_TWIN_NONE || (twin == NONTAX_TWIN_ORDER && found == 0);
    nx_twins_free(&twins);
    return right && (heap_failed() || twin == NONTAX_TWIN_ORDER);
}

static void test_without_memory(void **state)
{
    (void)state;
    assert_true(with_every_failure(add_some));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_are_the_same_in_every_shape),
        cmocka_unit_test(test_keys_are_of_the_order_and_the_number_alone),
        cmocka_unit_test(test_what_has_no_keys),
        cmocka_unit_test(test_what_is_nested_for_ever_is_not_followed),
        cmocka_unit_test(test_both_find_each_other),
        cmocka_unit_test(test_the_last_ones_are_known_and_memory_is_bounded),
        cmocka_unit_test(test_without_memory),
    };
    use_heap();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
