/* start.c: starts libcurl, once per process, and checks that it is fit. */
#include "start.h"

#include <curl/curl.h>
#include <pthread.h>

#include "memory.h"
#include "process.h"
#include "text.h"

#ifndef NONTAX_VERSION
#error "NONTAX_VERSION must be defined by the build, as the version in pyproject.toml"
#endif

enum { OLDEST_LIBCURL = 0x075500 }; /* 7.85.0: CURLOPT_PROTOCOLS_STR, thread-safe global init */

const char *nontax_version(void)
{
    return NONTAX_VERSION;
}

static pthread_once_t start_once = PTHREAD_ONCE_INIT;
unsigned nx_libcurl_version;
static nontax_status start_status = NONTAX_NO_MEMORY;
static nontax_text start_why;

static void start(void)
{
    CURLcode code;
    if (nx_allocator_is_foreign()) {
        cJSON_Hooks hooks = {nontax_memory.malloc_fn, nontax_memory.free_fn};
        cJSON_InitHooks(&hooks);
        code = curl_global_init_mem(CURL_GLOBAL_DEFAULT, nontax_memory.malloc_fn,
                                    nontax_memory.free_fn, nontax_memory.realloc_fn,
                                    nontax_memory.strdup_fn, nontax_memory.calloc_fn);
    } else {
        code = curl_global_init(CURL_GLOBAL_DEFAULT);
    }
    if (code != CURLE_OK) {
        nx_text_format(&start_why, "libcurl cannot be initialised: %s", curl_easy_strerror(code));
        return;
    }
    const curl_version_info_data *curl = curl_version_info(CURLVERSION_NOW);
    nx_libcurl_version = curl->version_num;
    start_status = NONTAX_BAD_SETTING;
    if (curl->version_num < OLDEST_LIBCURL) {
        nx_text_format(&start_why, "libcurl 7.85 or newer is needed, this is %s", curl->version);
    } else if (!(curl->features & CURL_VERSION_SSL)) {
        nx_text_format(&start_why, "libcurl %s was built without TLS", curl->version);
    } else if (!(curl->features & CURL_VERSION_ASYNCHDNS)) {
        /* A blocking name look-up could not be interrupted, and would stop all calls of a lane. */
        nx_text_format(&start_why, "libcurl %s was built without an asynchronous resolver",
                       curl->version);
    } else if (!nx_process_watch()) {
        start_status = NONTAX_NO_MEMORY;
    } else {
        start_status = NONTAX_OK;
    }
}

nontax_status nontax_start(nontax_text *why)
{
    (void)pthread_once(&start_once, start);
    if (start_status != NONTAX_OK && why) {
        *why = start_why;
    }
    return start_status;
}
