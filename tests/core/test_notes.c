/* test_notes.c: what a client notes for a log. */
#include <unistd.h>

#include "support.h"

#include "client.h"

static void run(nontax_client *client, const char *order_id)
{
    nontax_call *call = call_for(client, order_id);
    nontax_client_run(client, call, NULL);
    nontax_call_free(call);
}

static void expect_note(nontax_client *client, nontax_note_kind kind, int errcode, int repeats)
{
    nontax_note note;
    assert_true(nontax_client_take_note(client, &note));
    assert_string_equal(nontax_note_kind_name(note.kind), nontax_note_kind_name(kind));
    assert_string_equal(nontax_interface_name(note.interface), "insertbill");
    assert_string_equal(note.host, client->base_urls[0]);
    assert_int_equal(note.errcode, errcode);
    assert_int_equal(note.repeats, repeats);
}

static void expect_none(nontax_client *client)
{
    nontax_note note;
    assert_false(nontax_client_take_note(client, &note));
}

static void test_nothing_is_noted_of_a_success(void **state)
{
    (void)state;
    server *server = server_start(NULL, 0);
    nontax_client *client = client_for(server_url(server), 2);
    expect_none(client);
    run(client, "order-1");
    expect_none(client);
    nontax_client_free(client);
    server_stop(server);
}

static void test_repeats_are_noted_in_their_order(void **state)
{
    (void)state;
    const server_step steps[] = {busy, busy};
    server *server = server_start(steps, COUNT(steps));
    nontax_client *client = client_for(server_url(server), 2);
    run(client, "order-1");
    nontax_note note;
    assert_true(nontax_client_take_note(client, &note));
    assert_int_equal(note.kind, NONTAX_NOTE_RETRY);
    assert_int_equal(note.errcode, 72036);
    assert_int_equal(note.repeats, 0);
    assert_between(note.wait_ms, 100, 200);
    assert_string_equal(note.reason, "");
    expect_note(client, NONTAX_NOTE_RETRY, 72036, 1);
    expect_none(client);
    nontax_client_free(client);
    server_stop(server);
}

static void test_a_reason_is_a_constant(void **state)
{
    (void)state;
    int descriptor;
    char *url = refusing_url(&descriptor);
    nontax_client *client = client_for(url, 1);
    run(client, "order-1");
    nontax_note note;
    assert_true(nontax_client_take_note(client, &note));
    assert_int_equal(note.kind, NONTAX_NOTE_RETRY);
    assert_string_equal(note.reason, curl_easy_strerror(CURLE_COULDNT_CONNECT));
    assert_int_equal(note.errcode, 0);
    expect_none(client);
    nontax_client_free(client);
    close(descriptor);
}

static void test_the_oldest_are_dropped(void **state)
{
    (void)state;
    server_step steps[NX_MAX_NOTES + 3];
    for (size_t i = 0; i < COUNT(steps); i++) {
        steps[i] = busy;
    }
    server *server = server_start(steps, COUNT(steps));
    nontax_client *client = client_for(server_url(server), 1);
    nontax_call *call = call_for(client, "order-1");
    for (int i = 0; i < NX_MAX_NOTES + 2; i++) {
        nx_note(call, NONTAX_NOTE_PAUSE, i);
    }
    for (int i = 2; i < NX_MAX_NOTES + 2; i++) {
        nontax_note note;
        assert_true(nontax_client_take_note(client, &note));
        assert_int_equal(note.wait_ms, i);
    }
    expect_none(client);
    nontax_call_free(call);
    nontax_client_free(client);
    server_stop(server);
}

static void test_one_note_for_a_token_that_many_calls_had(void **state)
{
    (void)state;
    nontax_client *client = client_for("http://127.0.0.1:1", 0);
    nontax_call *call = call_for(client, "order-1");
    for (int i = 0; i < 3; i++) {
        nx_note(call, NONTAX_NOTE_TOKEN_REFUSED, 0);
    }
    expect_note(client, NONTAX_NOTE_TOKEN_REFUSED, 0, 0);
    expect_none(client);
    nx_note(call, NONTAX_NOTE_TOKEN_REFUSED, 0);
    expect_note(client, NONTAX_NOTE_TOKEN_REFUSED, 0, 0);
    nontax_call_free(call);
    nontax_client_free(client);
}

static bool has_no_note(void *client)
{
    nontax_note note;
    return !nontax_client_take_note(client, &note);
}

static void test_a_child_has_none_of_its_parent_s(void **state)
{
    (void)state;
    nontax_client *client = client_for("http://127.0.0.1:1", 0);
    nontax_call *call = call_for(client, "order-1");
    nx_note(call, NONTAX_NOTE_PAUSE, 1);
    assert_true(true_in_child(has_no_note, client));
    expect_note(client, NONTAX_NOTE_PAUSE, 0, 0);
    nontax_call_free(call);
    nontax_client_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_noted_of_a_success),
        cmocka_unit_test(test_repeats_are_noted_in_their_order),
        cmocka_unit_test(test_a_reason_is_a_constant),
        cmocka_unit_test(test_the_oldest_are_dropped),
        cmocka_unit_test(test_one_note_for_a_token_that_many_calls_had),
        cmocka_unit_test(test_a_child_has_none_of_its_parent_s),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
