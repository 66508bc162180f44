/* test_retry.c: what may be repeated by itself, and when. */
#include "support.h"

#include "retry.h"

enum { CAUSES = NONTAX_CAUSE_LATER + 1, UNKNOWN_CODE = 123456 };

static nontax_result result_of(nontax_outcome outcome, nontax_cause cause, int errcode)
{
    return (nontax_result){
        .outcome = outcome, .cause = cause, .has_errcode = errcode != 0, .errcode = errcode};
}

static nx_again decide(nontax_outcome outcome, nontax_cause cause, int errcode, nx_history history)
{
    nontax_result result = result_of(outcome, cause, errcode);
    return nx_retry_decide(&result, &history);
}

/* A bill that WeChat may have: nothing whatever makes it go out again. */
static void test_never_when_it_may_have_arrived(void **state)
{
    (void)state;
    static const int codes[] = {0, -1, 40001, 42001, 45011, 72036, 72054, UNKNOWN_CODE};
    for (int cause = 0; cause < CAUSES; cause++) {
        for (size_t i = 0; i < COUNT(codes); i++) {
            for (int bulk = 0; bulk < 2; bulk++) {
                nx_history history = {.retries = 100, .bulk = bulk};
                assert_int_equal(decide(NONTAX_IN_DOUBT, (nontax_cause)cause, codes[i], history),
                                 NX_AGAIN_NEVER);
                assert_int_equal(decide(NONTAX_INSERTED, (nontax_cause)cause, codes[i], history),
                                 NX_AGAIN_NEVER);
            }
        }
    }
}

/* Whoever only asked may ask again, unless it was the caller who ended it, or there is no memory.
 */
static void test_reading_when_no_answer_came(void **state)
{
    (void)state;
    static const int codes[] = {0, -1, 40001, 45011, UNKNOWN_CODE};
    for (int cause = 0; cause < CAUSES; cause++) {
        for (size_t i = 0; i < COUNT(codes); i++) {
            for (int repeats = 0; repeats < 4; repeats++) {
                nx_history history = {.retries = 2, .repeats = repeats, .read_only = true};
                bool again =
                    repeats < 2 && cause != NONTAX_CAUSE_CANCELLED && cause != NONTAX_CAUSE_MEMORY;
                assert_int_equal(decide(NONTAX_IN_DOUBT, (nontax_cause)cause, codes[i], history),
                                 again ? NX_AGAIN_SAME : NX_AGAIN_NEVER);
                assert_int_equal(decide(NONTAX_INSERTED, (nontax_cause)cause, codes[i], history),
                                 NX_AGAIN_NEVER);
            }
        }
    }
}

static void test_not_sent(void **state)
{
    (void)state;
    for (int cause = 0; cause < CAUSES; cause++) {
        for (int repeats = 0; repeats < 5; repeats++) {
            for (int flags = 0; flags < 8; flags++) {
                nx_history history = {.retries = 3,
                                      .repeats = repeats,
                                      .token_renewed = flags & 1,
                                      .bulk = flags & 2,
                                      .read_only = flags & 4};
                bool again = cause == NONTAX_CAUSE_CONNECTION && repeats < 3;
                assert_int_equal(decide(NONTAX_NOT_SENT, (nontax_cause)cause, 0, history),
                                 again ? NX_AGAIN_SAME : NX_AGAIN_NEVER);
            }
        }
    }
    assert_int_equal(decide(NONTAX_NOT_SENT, NONTAX_CAUSE_CONNECTION, 0, (nx_history){0}),
                     NX_AGAIN_NEVER);
}

static nx_again expected_after(int code, nx_history history)
{
    switch (code) {
    case 40001:
    case 40014:
    case 42001:
        return history.token_renewed ? NX_AGAIN_NEVER : NX_AGAIN_NEW_TOKEN;
    case 72036:
    case 72054:
        return history.repeats < history.retries ? NX_AGAIN_SAME : NX_AGAIN_NEVER;
    case 45011:
        return history.bulk ? NX_AGAIN_NEXT_MINUTE : NX_AGAIN_NEVER;
    default:
        return NX_AGAIN_NEVER;
    }
}

static void expect_rejected(int code)
{
    for (int repeats = 0; repeats < 4; repeats++) {
        for (int flags = 0; flags < 8; flags++) {
            nx_history history = {.retries = 2,
                                  .repeats = repeats,
                                  .token_renewed = flags & 1,
                                  .bulk = flags & 2,
                                  .read_only = flags & 4};
            nx_again found = decide(NONTAX_REJECTED, NONTAX_CAUSE_NONE, code, history);
            if (found != expected_after(code, history)) {
                fail_msg("%d after %d repeats, flags %d: %d", code, repeats, flags, found);
            }
        }
    }
}

static void test_rejected(void **state)
{
    (void)state;
    size_t count = 0;
    const nontax_errcode *table = nontax_errcodes(&count);
    for (size_t i = 0; i < count; i++) {
        expect_rejected(table[i].code);
    }
    expect_rejected(UNKNOWN_CODE);
}

/* Neither a new token nor a new minute costs any of the repeats. */
static void test_without_retries(void **state)
{
    (void)state;
    nx_history history = {.bulk = true};
    assert_int_equal(decide(NONTAX_REJECTED, NONTAX_CAUSE_NONE, 40001, history),
                     NX_AGAIN_NEW_TOKEN);
    assert_int_equal(decide(NONTAX_REJECTED, NONTAX_CAUSE_NONE, 45011, history),
                     NX_AGAIN_NEXT_MINUTE);
    assert_int_equal(decide(NONTAX_REJECTED, NONTAX_CAUSE_NONE, 72036, history), NX_AGAIN_NEVER);
}

static void test_quota_pauses_have_an_end(void **state)
{
    (void)state;
    nx_history history = {.bulk = true};
    while (decide(NONTAX_REJECTED, NONTAX_CAUSE_NONE, 45011, history) == NX_AGAIN_NEXT_MINUTE) {
        history.quota_pauses++;
        assert_between(history.quota_pauses, 1, 60);
    }
    assert_true(history.quota_pauses > 1);
    history.repeats = 0;
    assert_int_equal(decide(NONTAX_REJECTED, NONTAX_CAUSE_NONE, 45011, history), NX_AGAIN_NEVER);
}

static void test_delays(void **state)
{
    (void)state;
    static const int64_t longest[] = {200, 400, 800, 1600, 3200, 6400, 10000, 10000, 10000};
    for (int repeats = 0; repeats < (int)COUNT(longest); repeats++) {
        int64_t most = longest[repeats], least = most / 2;
        assert_int_equal(nx_retry_delay_ms(repeats, 0), most);
        assert_int_equal(nx_retry_delay_ms(repeats, (uint32_t)least), least);
        for (uint32_t random = 1; random != 0; random *= 2) {
            assert_between(nx_retry_delay_ms(repeats, random), least, most);
            assert_between(nx_retry_delay_ms(repeats, ~random), least, most);
        }
    }
    assert_int_equal(nx_retry_delay_ms(100, 0), 10000);
    assert_between(nx_retry_delay_ms(100, UINT32_MAX), 5000, 10000);
}

static bool stops(nontax_outcome outcome, nontax_cause cause, int errcode)
{
    nontax_result result = result_of(outcome, cause, errcode);
    return nontax_result_stops_run(&result);
}

static void test_what_stops_a_run(void **state)
{
    (void)state;
    for (int cause = 0; cause < CAUSES; cause++) {
        bool all = cause == NONTAX_CAUSE_TLS || cause == NONTAX_CAUSE_TOKEN;
        assert_int_equal(stops(NONTAX_NOT_SENT, (nontax_cause)cause, 0), all);
    }
    static const int account[] = {40001, 40014, 40090, 40125, 40164, 40243, 41001, 42001,
                                  43104, 45009, 45035, 45102, 45103, 45104, 45501, 48001,
                                  48004, 48009, 50004, 50007, 61003, 61004, 61007, 72015,
                                  72057, 89501, 89507, 43002, 61024};
    static const int bill[] = {40003, 40013, 40073, 45011, 47001, 72018, 72031, 72036,
                               72038, 72040, 72042, 72054, 72056, 89500, 89508, UNKNOWN_CODE};
    for (size_t i = 0; i < COUNT(account); i++) {
        assert_true(stops(NONTAX_REJECTED, NONTAX_CAUSE_NONE, account[i]));
        /* Only an answer that can be relied upon speaks for the other bills. */
        assert_false(stops(NONTAX_IN_DOUBT, NONTAX_CAUSE_REPLY, account[i]));
    }
    /* A run that never waits has ended the bill in place of it, and goes on. */
    assert_false(stops(NONTAX_REJECTED, NONTAX_CAUSE_LATER, 40001));
    for (size_t i = 0; i < COUNT(bill); i++) {
        assert_false(stops(NONTAX_REJECTED, NONTAX_CAUSE_NONE, bill[i]));
    }
    assert_false(stops(NONTAX_INSERTED, NONTAX_CAUSE_NONE, 0));
    assert_false(stops(NONTAX_IN_DOUBT, NONTAX_CAUSE_NONE, -1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_never_when_it_may_have_arrived),
        cmocka_unit_test(test_reading_when_no_answer_came),
        cmocka_unit_test(test_not_sent),
        cmocka_unit_test(test_rejected),
        cmocka_unit_test(test_without_retries),
        cmocka_unit_test(test_quota_pauses_have_an_end),
        cmocka_unit_test(test_delays),
        cmocka_unit_test(test_what_stops_a_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
