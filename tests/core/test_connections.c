/* test_connections.c: the sockets of a lane. */
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

static nx_connection *find(nx_connections *connections, const pair *pair, const void *by)
{
    return nx_connection_find(connections, by, "127.0.0.1", pair->remote_port, pair->local_port);
}

static void test_bytes_that_wait(void **state)
{
    (void)state;
    nx_connections connections = {0};
    pair pair = connect_pair();
    char byte;
    opened(&connections, &pair, &opener);
    nx_connection *found = find(&connections, &pair, &opener);
    assert_non_null(found);
    assert_true(nx_connection_is_quiet(found));
    assert_int_equal(write(pair.theirs, "x", 1), 1);
    assert_false(nx_connection_is_quiet(found));
    assert_int_equal(read(pair.ours, &byte, 1), 1);
    assert_true(nx_connection_is_quiet(found));
    assert_int_equal(shutdown(pair.theirs, SHUT_WR), 0);
    assert_false(nx_connection_is_quiet(found));
    close_pair(&pair);
    nx_connections_free(&connections);
}

/* Whoever looks for it later, it is the same one, and what was noted of it is kept. */
static void test_found_again(void **state)
{
    (void)state;
    nx_connections connections = {0};
    pair pair = connect_pair();
    opened(&connections, &pair, &opener);
    nx_connection *found = find(&connections, &pair, &opener);
    assert_non_null(found);
    assert_false(found->used || found->once);
    found->used = found->once = true;
    assert_ptr_equal(find(&connections, &pair, &opener), found);
    assert_ptr_equal(find(&connections, &pair, &other_opener), found);
    assert_true(found->used && found->once);
    close_pair(&pair);
    nx_connections_free(&connections);
}

static void test_unknown(void **state)
{
    (void)state;
    nx_connections connections = {0};
    pair pair = connect_pair();
    assert_null(find(&connections, &pair, &opener));
    opened(&connections, &pair, &opener);
    assert_null(find(&connections, &pair, &other_opener));
    pair.local_port++;
    assert_null(find(&connections, &pair, &opener));
    pair.local_port--;
    assert_non_null(find(&connections, &pair, &opener));
    pair.remote_port++;
    assert_null(find(&connections, &pair, &opener));
    pair.remote_port--;
    assert_null(
        nx_connection_find(&connections, &opener, "127.0.0.2", pair.remote_port, pair.local_port));
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
    nx_connection *found = find(&connections, &second, &opener);
    assert_int_equal(found->socket, second.ours);
    assert_int_equal(find(&connections, &first, &opener)->socket, first.ours);
    assert_ptr_equal(find(&connections, &second, &other_opener), found);
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
        find(&connections, &pairs[i], &opener)->used = true;
    }
    for (int i = 0; i < 20; i += 2) {
        nx_connection_closed(&connections, pairs[i].ours);
        nx_connection_closed(&connections, pairs[i].ours); /* not known any more */
    }
    assert_int_equal(connections.count, 10);
    for (int i = 0; i < 20; i++) {
        nx_connection *found = find(&connections, &pairs[i], &opener);
        assert_int_equal(found ? found->socket : -1, i % 2 ? pairs[i].ours : -1);
        assert_ptr_equal(nx_connection_of(&connections, pairs[i].ours), found);
    }
    opened(&connections, &pairs[0], &other_opener);
    assert_false(find(&connections, &pairs[0], &other_opener)->used);
    for (int i = 0; i < 20; i++) {
        close_pair(&pairs[i]);
    }
    nx_connections_free(&connections);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_that_wait), cmocka_unit_test(test_found_again),
        cmocka_unit_test(test_unknown),         cmocka_unit_test(test_opened_for_one_transfer),
        cmocka_unit_test(test_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
