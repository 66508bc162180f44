/* http.h: one transfer with libcurl: what is sent, how much of it went out, what came back. */
#ifndef NONTAX_HTTP_H
#define NONTAX_HTTP_H

#include <curl/curl.h>

#include "client.h"
#include "interfaces.h"
#include "memory.h"

typedef struct nx_transfer {
    CURL *easy;
    char error[CURL_ERROR_SIZE];
    nx_buffer url;
    const char *body;
    size_t body_size;
    size_t body_sent; /* bytes that were handed to the connection */
    nx_buffer reply;
    bool reply_too_large;
    bool no_memory;
    struct nx_transfer *next; /* in a lane's list of idle ones */
} nx_transfer;

/* Every option that is the same for all calls is set here, once. */
nontax_status nx_transfer_new(nontax_client *client, bool http2, nx_transfer **transfer,
                              nontax_text *why);
void nx_transfer_free(nx_transfer *transfer);

/* Makes it ready to be added to a multi handle. Body and token must outlive it. */
nontax_status nx_transfer_prepare(nx_transfer *transfer, const nontax_client *client,
                                  const nontax_interface *interface, const char *token,
                                  const char *body, void *owner, int64_t timeout_ms);

/* Says what became of a transfer that libcurl has ended with `code`, and forgets the token. */
void nx_transfer_finish(nx_transfer *transfer, CURLcode code, const nontax_interface *interface,
                        const char *token, nontax_result *result, cJSON **fields);

/* Says what is known of a transfer that was taken off the multi handle before its end. */
void nx_transfer_cancel(nx_transfer *transfer, nontax_result *result);

/* "CURLOPT_X could not be set: …" */
nontax_status nx_refuse_option(nontax_text *why, const char *option, CURLcode code);

#endif
