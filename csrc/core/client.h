/* client.h: what the parts of the core share of a client. */
#ifndef NONTAX_CLIENT_H
#define NONTAX_CLIENT_H

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "interfaces.h"
#include "notes.h"
#include "tls.h"

typedef struct nx_lane nx_lane;

struct nontax_client {
    /* Settings: never changed after nontax_client_new(). */
    char **base_urls; /* in the order in which they are tried, without slashes at their ends */
    int base_url_count;
    char *ca_file;
    char *system_ca_file;
    char *proxy;
    bool loopback; /* the base_urls are this machine itself */
    int64_t connect_timeout_ms;
    int64_t timeout_ms;
    int retries;
    nontax_extra extra;
    nx_tls tls;
    struct curl_slist *headers[NX_FILE + 1]; /* for each form of request */
    char boundary[40];                       /* of multipart frames */

    /* The base_url that answered when those before it could not be reached, and until when it is
     * the first one to be tried. */
    atomic_int preferred;
    atomic_llong preferred_until;

    /* DNS and TLS sessions (if libcurl remembers any) of all lanes; NULL until the first one. */
    CURLSH *share;
    pthread_mutex_t share_locks[CURL_LOCK_DATA_LAST];

    /* The pool; the last lane given back is the first one out, so that warm ones stay warm. */
    pthread_mutex_t lock;
    nx_lane *idle;
    int idle_connections;
    int64_t looked_at; /* when it was last looked whether there are too old ones */

    /* Frees the idle lanes with their file descriptors; whether there were any. A lane that is
     * short of descriptors calls the pool, which lies above it, by this. */
    bool (*free_idle)(nontax_client *client);

    nx_notes notes;

    /* All clients of the process, so that a fork finds them. */
    nontax_client *next;
    nontax_client *previous;
};

#endif
