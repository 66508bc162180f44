/* test_connections.c: on which connections a request may begin. */
#include "support.h"

#include <sys/socket.h>
#include <unistd.h>

#include "connections.h"

static nx_connections make(int parallel)
{
    nx_connections connections = {0};
    assert_int_equal(nx_connections_new(&connections, parallel), NONTAX_OK);
    return connections;
}

static void enter(nx_connections *connections, long port, nx_admission expected)
{
    assert_int_equal(nx_connection_enter(connections, port, &connections->count), expected);
}

static void test_one_at_a_time(void **state)
{
    (void)state;
    nx_connections connections = make(2);
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_null(nx_connection_only_user(&connections, 1001));
    enter(&connections, 1001, NX_MAY_BEGIN);
    assert_ptr_equal(nx_connection_only_user(&connections, 1001), &connections.count);
    enter(&connections, 1001, NX_NOT_YET);
    enter(&connections, 1002, NX_MAY_BEGIN);
    nx_connection_leave(&connections, 1001, pair[0], NX_ONE_AT_A_TIME);
    enter(&connections, 1001, NX_MAY_BEGIN);
    enter(&connections, 1001, NX_TAKEN);
    nx_connection_leave(&connections, 1001, pair[0], NX_ONE_AT_A_TIME);
    assert_int_equal(write(pair[1], "x", 1), 1);
    enter(&connections, 1001, NX_SPOILT);
    close(pair[0]);
    close(pair[1]);
    nx_connections_free(&connections);
}

static void test_many_at_once(void **state)
{
    (void)state;
    nx_connections connections = make(1);
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    enter(&connections, 1001, NX_MAY_BEGIN);
    nx_connection_leave(&connections, 1001, pair[0], NX_MULTIPLEXED);
    assert_int_equal(write(pair[1], "x", 1), 1); /* frames may always be waiting */
    for (int i = 0; i < 200; i++) {
        enter(&connections, 1001, NX_MAY_BEGIN);
        assert_null(nx_connection_only_user(&connections, 1001));
    }
    for (int i = 0; i < 200; i++) {
        nx_connection_leave(&connections, 1001, pair[0], NX_MULTIPLEXED);
    }
    char byte;
    assert_int_equal(read(pair[0], &byte, 1), 1);
    assert_int_equal(shutdown(pair[1], SHUT_RDWR), 0);
    enter(&connections, 1001, NX_SPOILT);
    close(pair[0]);
    close(pair[1]);
    nx_connections_free(&connections);
}

/* A request that got no answer teaches nothing. */
static void test_nothing_was_learned(void **state)
{
    (void)state;
    nx_connections connections = make(1);
    enter(&connections, 1001, NX_MAY_BEGIN);
    nx_connection_leave(&connections, 1001, CURL_SOCKET_BAD, NX_UNKNOWN_YET);
    enter(&connections, 1001, NX_MAY_BEGIN);
    enter(&connections, 1001, NX_NOT_YET);
    nx_connection_leave(&connections, 1001, 77, NX_UNKNOWN_YET);
    enter(&connections, 1001, NX_MAY_BEGIN);
    nx_connection_leave(&connections, 9999, 78, NX_MULTIPLEXED); /* unknown: nothing to leave */
    nx_connections_free(&connections);
}

/* What was known of a closed connection is not believed of another with its port or socket. */
static void test_closed(void **state)
{
    (void)state;
    nx_connections connections = make(1);
    enter(&connections, 1001, NX_MAY_BEGIN);
    nx_connection_leave(&connections, 1001, 55, NX_MULTIPLEXED);
    nx_connection_closed(&connections, 55);
    enter(&connections, 1001, NX_MAY_BEGIN);
    enter(&connections, 1001, NX_NOT_YET);
    nx_connection_closed(&connections, 55); /* not this one's */
    enter(&connections, 1001, NX_NOT_YET);
    nx_connections_free(&connections);
}

/* More idle connections than there are places: the oldest are forgotten, never one in use. */
static void test_more_than_places(void **state)
{
    (void)state;
    nx_connections connections = make(2);
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    enter(&connections, 1, NX_MAY_BEGIN);
    for (long port = 1000; port < 1100; port++) {
        enter(&connections, port, NX_MAY_BEGIN);
        nx_connection_leave(&connections, port, pair[0], NX_MULTIPLEXED);
    }
    enter(&connections, 1, NX_NOT_YET);
    enter(&connections, 1099, NX_MAY_BEGIN);
    enter(&connections, 1099, NX_MAY_BEGIN);
    for (long port = 2000; port < 2000 + connections.count - 2; port++) {
        enter(&connections, port, NX_MAY_BEGIN);
    }
    enter(&connections, 3000, NX_TAKEN); /* none is free */
    close(pair[0]);
    close(pair[1]);
    nx_connections_free(&connections);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_at_a_time),       cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_nothing_was_learned), cmocka_unit_test(test_closed),
        cmocka_unit_test(test_more_than_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
