/* connections.h: the sockets of a lane, so that a connection can be looked at before each request.
 *
 * libcurl (seen with 7.88) takes bytes that nobody asked for as the next answer: a bill would get
 * another bill's. And from 8.22 on it looks only once a second whether a connection has ended: a
 * bill that went out on one that had would be in doubt for nothing. */
#ifndef NONTAX_CONNECTIONS_H
#define NONTAX_CONNECTIONS_H

#include <curl/curl.h>

#include "nontax.h"

enum { NX_ADDRESS_SIZE = 46 }; /* INET6_ADDRSTRLEN */

/* A socket that libcurl has opened. */
typedef struct nx_connection {
    curl_socket_t socket;
    const void *opener; /* the transfer it was opened for */
    bool named;         /* libcurl has asked whether a request may begin on it, and has given: */
    int local_port;
    int remote_port;
    char remote[NX_ADDRESS_SIZE];
    /* For whoever begins requests on it: */
    bool used;     /* one has begun, */
    bool answered; /* and the last one has a whole answer */
    bool once;     /* no further one may begin */
    /* For the engine, each 0 or some of CURL_POLL_INOUT: */
    int wanted;  /* what libcurl waits for on it, */
    int watched; /* and what is watched for */
} nx_connection;

typedef struct nx_connections {
    nx_connection *list; /* by their sockets */
    int count;
    int places;
    struct nx_engine *engine; /* watches the sockets; NULL: nobody does */
} nx_connections;

void nx_connections_free(nx_connections *connections);

/* libcurl opens and closes a socket. */
nontax_status nx_connection_opened(nx_connections *connections, curl_socket_t socket,
                                   const void *opener);
void nx_connection_closed(nx_connections *connections, curl_socket_t socket);

/* NULL: it was not opened for a connection. */
nx_connection *nx_connection_of(nx_connections *connections, curl_socket_t socket);

/* The connection with these addresses, on which a request of the transfer `opener` is to begin.
 * libcurl gives them before a request, but not the socket. NULL: it is not known. */
nx_connection *nx_connection_find(nx_connections *connections, const void *opener,
                                  const char *remote, int remote_port, int local_port);

/* A whole answer has come on it. */
void nx_connection_answered(nx_connections *connections, curl_socket_t socket);

/* Whether it is open, and no byte waits in its socket. */
bool nx_connection_is_quiet(const nx_connection *connection);

#endif
