/* connections.c: what a lane knows of its connections; see connections.h. */
#include "connections.h"

#include <errno.h>
#include <sys/socket.h>

#include "memory.h"

enum { SPARE = 4 }; /* idle ones beside those in use */

static const nx_connection none = {0, CURL_SOCKET_BAD, NX_UNKNOWN_YET, 0, NULL};

nontax_status nx_connections_new(nx_connections *connections, int parallel)
{
    connections->count = parallel + SPARE;
    connections->list = nx_calloc((size_t)connections->count, sizeof *connections->list);
    if (!connections->list) {
        return NONTAX_NO_MEMORY;
    }
    for (int i = 0; i < connections->count; i++) {
        connections->list[i] = none;
    }
    return NONTAX_OK;
}

void nx_connections_free(nx_connections *connections)
{
    nx_free(connections->list);
    *connections = (nx_connections){0};
}

static nx_connection *find(nx_connections *connections, long name)
{
    for (int i = 0; i < connections->count; i++) {
        if (connections->list[i].name == name) {
            return &connections->list[i];
        }
    }
    return NULL;
}

/* A place for a new connection: an empty one, or that of an idle connection that is likely to be
 * closed soon; NULL: all are in use. */
static nx_connection *place(nx_connections *connections)
{
    nx_connection *found = find(connections, 0);
    for (int i = 0; i < connections->count && !found; i++) {
        nx_connection *connection = &connections->list[connections->next];
        connections->next = (connections->next + 1) % connections->count;
        found = connection->users == 0 ? connection : NULL;
    }
    return found;
}

/* Whether the idle connection has ended, or bytes are waiting that nobody asked for: with HTTP/2
 * that is no sign of anything, since every frame there names the request that it is for. */
static bool is_spoilt(const nx_connection *connection)
{
    char byte;
    if (connection->socket == CURL_SOCKET_BAD) {
        return false;
    }
    ssize_t got = recv(connection->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0) {
        return errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR;
    }
    return got == 0 || connection->protocol != NX_MULTIPLEXED;
}

nx_admission nx_connection_enter(nx_connections *connections, long name, void *user)
{
    nx_connection *connection = find(connections, name);
    if (!connection) {
        /* A new one. Bytes may be waiting there: session tickets of TLS. */
        connection = place(connections);
        if (!connection) {
            return NX_TAKEN;
        }
        *connection = none;
        connection->name = name;
    } else if (connection->users > 0 && connection->protocol != NX_MULTIPLEXED) {
        return connection->protocol == NX_ONE_AT_A_TIME ? NX_TAKEN : NX_NOT_YET;
    } else if (connection->users == 0 && is_spoilt(connection)) {
        return NX_SPOILT;
    }
    connection->users++;
    connection->user = user;
    return NX_MAY_BEGIN;
}

void *nx_connection_only_user(nx_connections *connections, long name)
{
    const nx_connection *connection = find(connections, name);
    bool alone = connection && connection->users == 1 && connection->protocol != NX_MULTIPLEXED;
    return alone ? connection->user : NULL;
}

void nx_connection_leave(nx_connections *connections, long name, curl_socket_t socket,
                         nx_protocol protocol)
{
    nx_connection *connection = find(connections, name);
    connections->left = true;
    if (!connection) {
        return; /* it was closed meanwhile */
    }
    connection->users--;
    if (protocol != NX_UNKNOWN_YET && socket != CURL_SOCKET_BAD) {
        connection->protocol = protocol;
        connection->socket = socket;
    } else if (connection->users == 0 && connection->socket == CURL_SOCKET_BAD) {
        *connection = none;
    }
}

void nx_connection_closed(nx_connections *connections, curl_socket_t socket)
{
    for (int i = 0; i < connections->count; i++) {
        if (connections->list[i].socket == socket) {
            connections->list[i] = none;
        }
    }
}
