/* tls.c: what the TLS library holds back of a connection; see tls.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* dladdr() in glibc */
#endif
#include "tls.h"

#ifdef NONTAX_OWN_TLS

#include <openssl/ssl.h>

static int has_pending(const void *session)
{
    return SSL_has_pending(session);
}

void nx_tls_find(nx_tls *tls)
{
    *tls = (nx_tls){.openssl_has_pending = has_pending};
}

#else

#include <dlfcn.h>

/* Another copy of the TLS library may be in the process, an older one or with other structures. So
 * each function is looked up through libcurl's own handle: in what libcurl itself was linked with.
 * A function's address may lie in our own file (a jump into libcurl), that of a text of libcurl's
 * never does. */
void nx_tls_find(nx_tls *tls)
{
    Dl_info libcurl;
    *tls = (nx_tls){0};
    if (!dladdr(curl_easy_strerror(CURLE_OK), &libcurl)) {
        return;
    }
    void *handle = dlopen(libcurl.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    if (!handle) {
        return;
    }
    *(void **)&tls->openssl_has_pending = dlsym(handle, "SSL_has_pending");
    *(void **)&tls->gnutls_check_pending = dlsym(handle, "gnutls_record_check_pending");
    (void)dlclose(handle); /* only gives up this use of it */
}

#endif

bool nx_tls_is_empty(const nx_tls *tls, CURL *easy)
{
    struct curl_tlssessioninfo *session = NULL;
    if (curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &session) != CURLE_OK || !session ||
        !session->internals) {
        return false;
    }
    switch (session->backend) {
    case CURLSSLBACKEND_OPENSSL:
        return tls->openssl_has_pending && tls->openssl_has_pending(session->internals) == 0;
    case CURLSSLBACKEND_GNUTLS:
        return tls->gnutls_check_pending && tls->gnutls_check_pending(session->internals) == 0;
    default:
        return false;
    }
}
