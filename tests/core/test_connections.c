/* test_connections.c: on which connections a request may begin. */
#include "support.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connections.h"

static const int opener, other_opener; /* only their addresses count */

/* A connection to this machine itself, and its other end. */
typedef struct pair {
    int ours, theirs;
    int local_port, remote_port;
} pair;

static pair connect_pair(void)
{
    pair made;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    made.remote_port = ntohs(address.sin_port);
    made.ours = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(made.ours, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(made.ours, (struct sockaddr *)&address, &size), 0);
    made.local_port = ntohs(address.sin_port);
    made.theirs = accept(listener, NULL, NULL);
    assert_true(made.theirs >= 0);
    close(listener);
    return made;
}

static void close_pair(const pair *pair)
{
    close(pair->ours);
    close(pair->theirs);
}

static void opened(nx_connections *connections, const pair *pair, const void *by)
{
    assert_int_equal(nx_connection_opened(connections, pair->ours, by), NONTAX_OK);
}

static void enter(nx_connections *connections, const pair *pair, const void *by,
                  nx_admission expected)
{
    assert_int_equal(
        nx_connection_enter(connections, by, "127.0.0.1", pair->remote_port, pair->local_port),
        expected);
}

/* Bytes that wait before the first request are the handshake's; before a later one, nobody's. */
static void test_bytes_that_wait(void **state)
{
    (void)state;
    nx_connections connections = {0};
    pair pair = connect_pair();
    char byte;
    opened(&connections, &pair, &opener);
    assert_int_equal(write(pair.theirs, "x", 1), 1);
    enter(&connections, &pair, &opener, NX_FIRST);
    enter(&connections, &pair, &opener, NX_SPOILED);
    assert_int_equal(read(pair.ours, &byte, 1), 1);
    enter(&connections, &pair, &opener, NX_NEXT);
    enter(&connections, &pair, &other_opener, NX_NEXT); /* whoever it was opened for */
    close_pair(&pair);
    nx_connections_free(&connections);
}

static void test_it_has_ended(void **state)
{
    (void)state;
    nx_connections connections = {0};
    pair pair = connect_pair();
    opened(&connections, &pair, &opener);
    enter(&connections, &pair, &opener, NX_FIRST);
    assert_int_equal(shutdown(pair.theirs, SHUT_WR), 0);
    enter(&connections, &pair, &opener, NX_SPOILED);
    close_pair(&pair);
    nx_connections_free(&connections);
}

/* Only whose socket is known may carry a request. */
static void test_unknown(void **state)
{
    (void)state;
    nx_connections connections = {0};
    pair pair = connect_pair();
    enter(&connections, &pair, &opener, NX_UNKNOWN);
    opened(&connections, &pair, &opener);
    enter(&connections, &pair, &other_opener, NX_UNKNOWN);
    pair.local_port++;
    enter(&connections, &pair, &opener, NX_UNKNOWN);
    pair.local_port--;
    enter(&connections, &pair, &opener, NX_FIRST);
    pair.remote_port++;
    enter(&connections, &pair, &opener, NX_UNKNOWN);
    pair.remote_port--;
    assert_int_equal(
        nx_connection_enter(&connections, &opener, "127.0.0.2", pair.remote_port, pair.local_port),
        NX_UNKNOWN);
    enter(&connections, &pair, &opener, NX_NEXT);
    close_pair(&pair);
    nx_connections_free(&connections);
}

/* Two addresses are tried at once: the one that answers is told by its port. */
static void test_opened_for_one_transfer(void **state)
{
    (void)state;
    nx_connections connections = {0};
    pair first = connect_pair(), second = connect_pair();
    opened(&connections, &first, &opener);
    opened(&connections, &second, &opener);
    enter(&connections, &second, &opener, NX_FIRST);
    assert_int_equal(write(first.theirs, "x", 1), 1);
    enter(&connections, &second, &opener, NX_NEXT);
    assert_int_equal(write(second.theirs, "x", 1), 1);
    enter(&connections, &second, &opener, NX_SPOILED);
    close_pair(&first);
    close_pair(&second);
    nx_connections_free(&connections);
}

/* What was known of a closed connection is not believed of another with its port or socket. */
static void test_closed(void **state)
{
    (void)state;
    nx_connections connections = {0};
    pair pairs[20];
    for (int i = 0; i < 20; i++) {
        pairs[i] = connect_pair();
        opened(&connections, &pairs[i], &opener);
        enter(&connections, &pairs[i], &opener, NX_FIRST);
    }
    for (int i = 0; i < 20; i += 2) {
        nx_connection_closed(&connections, pairs[i].ours);
        nx_connection_closed(&connections, pairs[i].ours); /* not known any more */
    }
    assert_int_equal(connections.count, 10);
    for (int i = 0; i < 20; i++) {
        enter(&connections, &pairs[i], &opener, i % 2 ? NX_NEXT : NX_UNKNOWN);
    }
    opened(&connections, &pairs[0], &other_opener);
    enter(&connections, &pairs[0], &other_opener, NX_FIRST);
    for (int i = 0; i < 20; i++) {
        close_pair(&pairs[i]);
    }
    nx_connections_free(&connections);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_that_wait), cmocka_unit_test(test_it_has_ended),
        cmocka_unit_test(test_unknown),         cmocka_unit_test(test_opened_for_one_transfer),
        cmocka_unit_test(test_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
