/* connections.h: the sockets of a lane, so that no request begins on a connection where its answer
 * could be mistaken.
 *
 * libcurl (seen with 7.88) takes bytes that nobody asked for as the next answer: a bill would get
 * another bill's. And from 8.22 on it looks only once a second whether a connection has ended: a
 * bill that went out on one that had would be in doubt for nothing. */
#ifndef NONTAX_CONNECTIONS_H
#define NONTAX_CONNECTIONS_H

#include <curl/curl.h>

#include "nontax.h"

enum { NX_ADDRESS_SIZE = 46 }; /* INET6_ADDRSTRLEN */

/* A socket that libcurl has opened. Before a request libcurl tells the addresses, but not the
 * socket. */
typedef struct nx_connection {
    curl_socket_t socket;
    const void *opener; /* the transfer it was opened for */
    bool used;          /* a request has begun on it; only then are these known: */
    int local_port;
    int remote_port;
    char remote[NX_ADDRESS_SIZE];
} nx_connection;

typedef struct nx_connections {
    nx_connection *list; /* in no order */
    int count;
    int places;
} nx_connections;

void nx_connections_free(nx_connections *connections);

/* libcurl opens and closes a socket. */
nontax_status nx_connection_opened(nx_connections *connections, curl_socket_t socket,
                                   const void *opener);
void nx_connection_closed(nx_connections *connections, curl_socket_t socket);

typedef enum nx_admission {
    NX_FIRST,   /* it is the first request on its connection, which is used from now on */
    NX_NEXT,    /* the connection was used before, and nothing waits in its socket */
    NX_SPOILED, /* it has ended, or bytes are waiting that nobody asked for */
    NX_UNKNOWN  /* nothing is known of it */
} nx_admission;

/* A request of the transfer `opener` is about to begin on the connection with these addresses. */
nx_admission nx_connection_enter(nx_connections *connections, const void *opener,
                                 const char *remote, int remote_port, int local_port);

#endif
