/* test_pace.c: the rate and the minute's quota, without a lane and without a clock. */
#include "support.h"

#include "pace.h"

enum { NOW = 1000000, MINUTE = 60000 };

static void expect_turn(nx_pace *pace, int64_t now, nx_turn expected)
{
    int64_t due;
    assert_int_equal(nx_pace_take_turn(pace, now, &due), expected);
}

static void expect_later(nx_pace *pace, int64_t now, int64_t expected)
{
    int64_t due = 0;
    assert_int_equal(nx_pace_take_turn(pace, now, &due), NX_TURN_LATER);
    assert_int_equal(due, expected);
}

static void test_without_a_rate_all_begin_at_once(void **state)
{
    (void)state;
    nx_pace pace = {0};
    for (int i = 0; i < 100; i++) {
        assert_true(nx_pace_next_turn(&pace, 3) <= NOW);
        expect_turn(&pace, NOW, NX_TURN_NOW);
    }
}

static void test_one_call_an_interval(void **state)
{
    (void)state;
    nx_pace pace = {0};
    nx_pace_set_interval(&pace, 250);
    expect_turn(&pace, NOW, NX_TURN_NOW);
    assert_true(nx_pace_next_turn(&pace, 0) == NOW + 250);
    assert_true(nx_pace_next_turn(&pace, 2) == NOW + 750); /* after two that wait */
    expect_later(&pace, NOW + 249, NOW + 250);
    expect_later(&pace, NOW + 249, NOW + 250); /* who was told to wait has taken nothing */
    expect_turn(&pace, NOW + 250, NX_TURN_NOW);
    expect_later(&pace, NOW + 250, NOW + 500);
}

/* A rate of 3,000 a second: parts of a millisecond are not lost. */
static void test_fractions_add_up(void **state)
{
    (void)state;
    nx_pace pace = {0};
    nx_pace_set_interval(&pace, 1000.0 / 3000);
    int begun = 0;
    for (int64_t now = NOW; now < NOW + 1000; now++) {
        int64_t due;
        while (nx_pace_take_turn(&pace, now, &due) == NX_TURN_NOW) {
            begun++;
        }
    }
    assert_between(begun, 2990, 3003);
}

static void test_unused_time_makes_up_for_no_burst(void **state)
{
    (void)state;
    nx_pace pace = {0};
    nx_pace_set_interval(&pace, 100);
    expect_turn(&pace, NOW, NX_TURN_NOW);
    expect_turn(&pace, NOW + MINUTE, NX_TURN_NOW);
    expect_later(&pace, NOW + MINUTE, NOW + MINUTE + 100);
}

static void test_an_endless_interval(void **state)
{
    (void)state;
    nx_pace pace = {0};
    nx_pace_set_interval(&pace, 1.0 / 0.0);
    expect_turn(&pace, NOW, NX_TURN_NOW);
    int64_t due = 0;
    assert_int_equal(nx_pace_take_turn(&pace, NOW + MINUTE, &due), NX_TURN_LATER);
    assert_true(due > NOW + 365LL * 24 * 60 * MINUTE);
}

static void test_hold(void **state)
{
    (void)state;
    nx_pace pace = {0};
    nx_pace_hold(&pace, NOW, 1000);
    nx_pace_hold(&pace, NOW, 10); /* the longer one counts */
    expect_later(&pace, NOW, NOW + 1000);
    expect_turn(&pace, NOW + 1000, NX_TURN_NOW);
}

static void test_the_quota_is_waited_for(void **state)
{
    (void)state;
    nx_pace pace = {0};
    nx_pace_set_interval(&pace, 100);
    expect_turn(&pace, NOW, NX_TURN_NOW);
    assert_int_equal(nx_pace_quota_used_up(&pace, NOW, 20000, 7), 20007);
    /* All calls under way are refused; only the first one says something new. */
    assert_int_equal(nx_pace_quota_used_up(&pace, NOW + 50, 19950, 9), 0);
    expect_later(&pace, NOW + 500, NOW + 20007);
    assert_true(nx_pace_next_turn(&pace, 5) == NOW + 20007);
    expect_turn(&pace, NOW + 20007, NX_TURN_NOW);
    assert_int_equal(nx_pace_quota_used_up(&pace, NOW + 20007, MINUTE, 1000000), MINUTE);
}

static void test_a_pause_of_the_callers(void **state)
{
    (void)state;
    nx_pace pace = {.quota_pause_ms = 500};
    assert_int_equal(nx_pace_quota_used_up(&pace, NOW, 20000, 0), 500);
    expect_later(&pace, NOW, NOW + 500);
}

static void test_the_quota_is_not_waited_for(void **state)
{
    (void)state;
    nx_pace pace = {.never_waits = true};
    nx_pace_set_interval(&pace, 100);
    expect_turn(&pace, NOW, NX_TURN_NOW);
    (void)nx_pace_quota_used_up(&pace, NOW, 20000, 0);
    expect_turn(&pace, NOW + 50, NX_TURN_NEVER); /* also one whose turn has not come */
    expect_turn(&pace, NOW + 19999, NX_TURN_NEVER);
    assert_true(nx_pace_next_turn(&pace, 0) == NOW + 100); /* so that it is asked, and ends */
    expect_turn(&pace, NOW + 20000, NX_TURN_NOW);
    expect_later(&pace, NOW + 20000, NOW + 20100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_a_rate_all_begin_at_once),
        cmocka_unit_test(test_one_call_an_interval),
        cmocka_unit_test(test_fractions_add_up),
        cmocka_unit_test(test_unused_time_makes_up_for_no_burst),
        cmocka_unit_test(test_an_endless_interval),
        cmocka_unit_test(test_hold),
        cmocka_unit_test(test_the_quota_is_waited_for),
        cmocka_unit_test(test_a_pause_of_the_callers),
        cmocka_unit_test(test_the_quota_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
