/* http.h: one transfer with libcurl: what is sent, how much of it went out, what came back. */
#ifndef NONTAX_HTTP_H
#define NONTAX_HTTP_H

#include <curl/curl.h>

#include "body.h"
#include "client.h"
#include "connections.h"
#include "text.h"

/* A connection idle for longer may be dead without our knowing, and a bill sent on it would end in
 * doubt: a new one costs less. */
enum { NX_IDLE_SECONDS = 30 };

/* What is to be sent, and where to. */
typedef struct nx_request {
    const nontax_interface *interface;
    const char *base_url;
    const char *token; /* NULL: none */
    const nx_body *body;
    bool fresh; /* on a new connection */
    void *owner;
} nx_request;

typedef struct nx_transfer {
    CURL *easy;
    const nontax_client *client;
    nx_connections *connections;
    curl_socket_t socket; /* of the connection that it has begun on */
    char error[CURL_ERROR_SIZE];
    nx_buffer url;
    nx_form form;         /* what libcurl is set to */
    const nx_body *body;  /* NULL: a GET, which */
    bool begun;           /* was begun, */
    bool may_begin_again; /* which does no harm */
    size_t body_sent;     /* bytes that were handed to libcurl */
    bool file_failed;
    nx_buffer reply;
    bool tls;       /* its connection has TLS */
    bool fresh;     /* it was prepared for a new connection */
    bool refused;   /* by this file: the connection was not reusable */
    int open_error; /* the errno with which no socket could be made; 0: none */
    bool no_descriptor;
    bool reply_too_large;
    bool no_memory;
    struct nx_transfer *next; /* in a lane's list of idle ones */
} nx_transfer;

/* Every option that is the same for all calls is set here, once. */
nontax_status nx_transfer_new(nontax_client *client, nx_connections *connections,
                              nx_transfer **transfer, nontax_text *why);
void nx_transfer_free(nx_transfer *transfer);

/* Makes it ready to be added to a multi handle. All that the request points to must outlive it. */
nontax_status nx_transfer_prepare(nx_transfer *transfer, const nx_request *request);

/* Whether any of it may have gone out. */
bool nx_transfer_was_sent(const nx_transfer *transfer);

/* Whether the whole body has gone out: newer libcurls take it into a buffer of their own first. */
bool nx_transfer_went_out(const nx_transfer *transfer);

/* The HTTP status of the reply; 0: none has come. */
long nx_transfer_status(const nx_transfer *transfer);

/* Whether the connection may go to a proxy over TLS, with a second layer of it inside. */
bool nx_transfer_may_have_tls_proxy(const nontax_client *client);

/* At its end: forgets the token and the reply. */
void nx_transfer_forget(nx_transfer *transfer);

#endif
