/* connections.h: what a lane knows of its connections, so that no request begins on one where its
 * answer could be mistaken.
 *
 * libcurl (seen with 7.88) takes bytes that nobody asked for as the next answer; and where a server
 * speaks HTTP/2 on one connection and HTTP/1.1 on another, it lets several requests begin on one
 * that carries a single one at a time. Either gives a bill another bill's answer. And from 8.22 on
 * it looks only once a second whether a connection has ended: a bill that went out on one that had
 * would be in doubt for nothing. */
#ifndef NONTAX_CONNECTIONS_H
#define NONTAX_CONNECTIONS_H

#include <curl/curl.h>

#include "nontax.h"

typedef enum nx_protocol {
    NX_UNKNOWN_YET, /* no answer has come on it */
    NX_ONE_AT_A_TIME,
    NX_MULTIPLEXED
} nx_protocol;

typedef struct nx_connection {
    long name;            /* made of its addresses, which libcurl tells before a request; 0: none */
    curl_socket_t socket; /* known when an answer has come */
    nx_protocol protocol;
    int users;  /* requests on it, */
    void *user; /* and the one that came last */
} nx_connection;

typedef struct nx_connections {
    nx_connection *list;
    int count;
    int next;  /* the place to be looked at first for a new one */
    bool left; /* a request has left one since somebody last looked */
} nx_connections;

nontax_status nx_connections_new(nx_connections *connections, int parallel);
void nx_connections_free(nx_connections *connections);

typedef enum nx_admission {
    NX_MAY_BEGIN,
    NX_SPOILT, /* bytes are waiting on it */
    NX_TAKEN,  /* another request is on it, and it carries one at a time */
    NX_NOT_YET /* another request is on it, and nobody knows yet how many it carries */
} nx_admission;

/* A request is about to begin on the connection. NX_MAY_BEGIN: it counts as one of its users. */
nx_admission nx_connection_enter(nx_connections *connections, long name, void *user);

/* Who alone is on a connection that is not known to carry more; NULL: nobody, or more. */
void *nx_connection_only_user(nx_connections *connections, long name);

/* The request has ended there; what was learned of the connection by then. */
void nx_connection_leave(nx_connections *connections, long name, curl_socket_t socket,
                         nx_protocol protocol);

/* The connection is about to be closed: its name and its socket can become another's. */
void nx_connection_closed(nx_connections *connections, curl_socket_t socket);

#endif
