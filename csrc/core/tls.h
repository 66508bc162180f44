/* tls.h: what the TLS library holds back of a connection.
 *
 * libcurl takes no more from the library than the rest of the reply that it reads. What a server
 * has sent behind that in the same TLS record stays decrypted inside the library, where no look at
 * the socket finds it, and would be read as the next bill's answer. */
#ifndef NONTAX_TLS_H
#define NONTAX_TLS_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>

/* How to ask the libraries that libcurl may have been built with; NULL: not to be asked. */
typedef struct nx_tls {
    int (*openssl_has_pending)(const void *session);
    size_t (*gnutls_check_pending)(void *session);
} nx_tls;

void nx_tls_find(nx_tls *tls);

/* Whether the library says that it holds nothing back of the transfer's connection, which has TLS.
 * False as well where it cannot be asked. */
bool nx_tls_is_empty(const nx_tls *tls, CURL *easy);

#endif
