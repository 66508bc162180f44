/* client.h: what the parts of the core share of a client. */
#ifndef NONTAX_CLIENT_H
#define NONTAX_CLIENT_H

#include <curl/curl.h>
#include <pthread.h>

#include "nontax.h"

struct nontax_client {
    /* Settings: never changed after nontax_client_new(). */
    char *base_url; /* without a slash at its end */
    char *ca_file;
    char *proxy;
    bool loopback; /* base_url is this machine itself */
    int64_t connect_timeout_ms;
    int64_t timeout_ms;
    int retries;
    bool allow_extra;
    struct curl_slist *headers;

    /* DNS and TLS sessions, shared by the lanes; NULL until the first one. */
    CURLSH *share;
    pthread_mutex_t share_locks[CURL_LOCK_DATA_LAST];

    /* The pool; the last lane given back is the first one out, so that warm ones stay warm. */
    pthread_mutex_t lock;
    nontax_lane *idle;
    int idle_count;

    /* All clients of the process, so that a fork finds them. */
    nontax_client *next;
    nontax_client *previous;
};

/* Rises in the child of every fork: what carries an older number belongs to the parent. */
unsigned nx_process_generation(void);

int64_t nx_now_ms(void);

/* To be called before a lane is made: what lanes share does not outlive a fork. */
nontax_status nx_client_prepare_lanes(nontax_client *client);

#endif
