/* connections.c: the sockets of a lane; see connections.h. */
#include "connections.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "memory.h"

void nx_connections_free(nx_connections *connections)
{
    nx_free(connections->list);
    *connections = (nx_connections){0};
}

static nontax_status make_place(nx_connections *connections)
{
    if (connections->count < connections->places) {
        return NONTAX_OK;
    }
    int places = connections->places ? 2 * connections->places : 4;
    nx_connection *list = nx_realloc(connections->list, (size_t)places * sizeof *connections->list);
    if (!list) {
        return NONTAX_NO_MEMORY;
    }
    connections->list = list;
    connections->places = places;
    return NONTAX_OK;
}

/* Where the socket is in the list, or belongs. In order, as each bill of a run with a thousand
 * connections looks its own up several times. */
static int place_of(const nx_connections *connections, curl_socket_t socket)
{
    int low = 0, high = connections->count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (connections->list[middle].socket < socket) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

nx_connection *nx_connection_of(nx_connections *connections, curl_socket_t socket)
{
    int place = place_of(connections, socket);
    bool there = place < connections->count && connections->list[place].socket == socket;
    return there ? &connections->list[place] : NULL;
}

nontax_status nx_connection_opened(nx_connections *connections, curl_socket_t socket,
                                   const void *opener)
{
    nontax_status status = make_place(connections);
    if (status == NONTAX_OK) {
        int place = place_of(connections, socket);
        nx_connection *at = connections->list + place;
        memmove(at + 1, at, (size_t)(connections->count - place) * sizeof *at);
        *at = (nx_connection){.socket = socket, .opener = opener};
        connections->count++;
    }
    return status;
}

void nx_connection_closed(nx_connections *connections, curl_socket_t socket)
{
    nx_connection *at = nx_connection_of(connections, socket);
    if (at) {
        connections->count--;
        memmove(at, at + 1, (size_t)(connections->list + connections->count - at) * sizeof *at);
    }
}

static nx_connection *find_named(nx_connections *connections, const char *remote, int remote_port,
                                 int local_port)
{
    for (int i = 0; i < connections->count; i++) {
        nx_connection *connection = &connections->list[i];
        /* Connections to two hosts can have one local port. */
        if (connection->named && connection->local_port == local_port &&
            connection->remote_port == remote_port && strcmp(connection->remote, remote) == 0) {
            return connection;
        }
    }
    return NULL;
}

static int local_port_of(curl_socket_t socket)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    if (getsockname(socket, (struct sockaddr *)&address, &size) != 0) {
        return -1;
    }
    return address.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&address)->sin6_port)
                                         : ntohs(((struct sockaddr_in *)&address)->sin_port);
}

/* The one that was opened for this transfer: where it has tried several addresses, the port tells
 * which of them answered. */
static nx_connection *find_new(nx_connections *connections, const void *opener, int local_port)
{
    for (int i = 0; i < connections->count; i++) {
        nx_connection *connection = &connections->list[i];
        if (!connection->named && connection->opener == opener &&
            local_port_of(connection->socket) == local_port) {
            return connection;
        }
    }
    return NULL;
}

nx_connection *nx_connection_find(nx_connections *connections, const void *opener,
                                  const char *remote, int remote_port, int local_port)
{
    nx_connection *connection = find_named(connections, remote, remote_port, local_port);
    if (!connection) {
        connection = find_new(connections, opener, local_port);
    }
    if (connection && !connection->named) {
        connection->named = true;
        connection->local_port = local_port;
        connection->remote_port = remote_port;
        snprintf(connection->remote, sizeof connection->remote, "%s", remote);
    }
    return connection;
}

void nx_connection_answered(nx_connections *connections, curl_socket_t socket)
{
    nx_connection *connection = nx_connection_of(connections, socket);
    if (connection) {
        connection->answered = true;
    }
}

bool nx_connection_is_quiet(const nx_connection *connection)
{
    char byte;
    ssize_t got = recv(connection->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}
