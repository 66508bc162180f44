/* client.c: starting the library, settings, the pool of lanes, one blocking call. */
#include "client.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "call.h"
#include "descriptors.h"
#include "gate.h"
#include "pool.h"
#include "text.h"

#ifndef NONTAX_VERSION
#error "NONTAX_VERSION must be defined by the build, as the version in pyproject.toml"
#endif

enum {
    OLDEST_LIBCURL = 0x075500, /* 7.85.0: CURLOPT_PROTOCOLS_STR, thread-safe global init */
    SLICE_MS = 100,            /* between two questions whether the caller wants to stop */
    PREFER_MS = 30 * 1000      /* how long a base_url that did not answer is passed over */
};

int64_t nx_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

const char *nontax_version(void)
{
    return NONTAX_VERSION;
}

/* ---- forks ------------------------------------------------------------------------------- */

/* A fork copies the clients, but their connections stay the parent's: one process's bytes in the
 * other's TLS stream would destroy both. So the child forgets all lanes, unread and unfreed. Every
 * client's lock is held during the fork, so that no pool is copied half-changed, and no thread is
 * inside libcurl. */
static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static nontax_client *registry;
static atomic_uint generation;

unsigned nx_process_generation(void)
{
    return atomic_load_explicit(&generation, memory_order_relaxed);
}

static void before_fork(void)
{
    nx_gate_close();
    pthread_mutex_lock(&registry_lock);
    for (nontax_client *client = registry; client; client = client->next) {
        pthread_mutex_lock(&client->lock);
    }
}

static void after_fork_in_parent(void)
{
    for (nontax_client *client = registry; client; client = client->next) {
        pthread_mutex_unlock(&client->lock);
    }
    pthread_mutex_unlock(&registry_lock);
    nx_gate_open();
}

static void after_fork_in_child(void)
{
    atomic_fetch_add(&generation, 1);
    for (nontax_client *client = registry; client; client = client->next) {
        client->idle = NULL;
        client->idle_connections = 0;
        client->share = NULL;
        nx_notes_drop(&client->notes);
        pthread_mutex_unlock(&client->lock);
    }
    pthread_mutex_unlock(&registry_lock);
    nx_gate_open_in_child();
}

/* ---- the library ------------------------------------------------------------------------- */

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
        nx_text_format(&start_why, "libcurl does not start: %s", curl_easy_strerror(code));
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
        nx_text_format(&start_why, "libcurl %s was built without a resolver that can wait",
                       curl->version);
    } else if (!nx_gate_close_at_exit() ||
               pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) != 0) {
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

/* ---- settings ---------------------------------------------------------------------------- */

static bool is_loopback(const char *host)
{
    struct in_addr address;
    return strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
           (inet_pton(AF_INET, host, &address) == 1 && ntohl(address.s_addr) >> 24 == 127);
}

/* Scheme and host, to be freed with curl_free() in any case. */
static CURLUcode split_url(const char *text, unsigned flags, char **scheme, char **host)
{
    CURLU *url = curl_url();
    CURLUcode code = url ? CURLUE_OK : CURLUE_OUT_OF_MEMORY;
    *scheme = *host = NULL;
    if (code == CURLUE_OK) {
        code = curl_url_set(url, CURLUPART_URL, text, flags);
    }
    if (code == CURLUE_OK) {
        code = curl_url_get(url, CURLUPART_SCHEME, scheme, 0);
    }
    if (code == CURLUE_OK) {
        code = curl_url_get(url, CURLUPART_HOST, host, 0);
    }
    curl_url_cleanup(url);
    return code;
}

static nontax_status refuse_url(nontax_text *why, const char *name, CURLUcode code)
{
    if (code == CURLUE_OUT_OF_MEMORY) {
        return NONTAX_NO_MEMORY;
    }
    nx_text_format(why, "%s is not a URL: %s", name, curl_url_strerror(code));
    return NONTAX_BAD_SETTING;
}

static nontax_status check_base_url(const char *text, const char *name, bool *loopback,
                                    nontax_text *why)
{
    char *scheme, *host;
    nontax_status status = NONTAX_BAD_SETTING;
    CURLUcode code = split_url(text, 0, &scheme, &host);
    if (code != CURLUE_OK) {
        status = refuse_url(why, name, code);
    } else if (strpbrk(text, "@?#")) { /* also where the part behind it is empty */
        nx_text_format(why, "%s must have neither a user, a query nor a fragment", name);
    } else if (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0) {
        nx_text_format(why, "%s must begin with https://", name);
    } else if (strcmp(scheme, "http") == 0 && !is_loopback(host)) {
        nx_text_format(why,
                       "%s must begin with https://: http:// would show the access token to the "
                       "network, and is allowed to this machine itself only",
                       name);
    } else {
        *loopback = is_loopback(host);
        status = NONTAX_OK;
    }
    curl_free(scheme);
    curl_free(host);
    return status;
}

static nontax_status check_proxy(const char *text, nontax_text *why)
{
    static const char *const schemes[] = {"http",    "https",  "socks4",
                                          "socks4a", "socks5", "socks5h"};
    char *scheme, *host;
    nontax_status status = NONTAX_BAD_SETTING;
    CURLUcode code = split_url(text, CURLU_NON_SUPPORT_SCHEME | CURLU_GUESS_SCHEME, &scheme, &host);
    if (code != CURLUE_OK) {
        status = refuse_url(why, "proxy", code);
    } else {
        for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
            status = strcmp(scheme, schemes[i]) == 0 ? NONTAX_OK : status;
        }
        if (status != NONTAX_OK) {
            nx_text_format(why, "proxy must be the URL of an HTTP or SOCKS proxy");
        }
    }
    curl_free(scheme);
    curl_free(host);
    return status;
}

static bool is_readable_file(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && S_ISREG(about.st_mode) && access(path, R_OK) == 0;
}

static bool copy_text(char **target, const char *text)
{
    *target = text ? nx_strdup(text) : NULL;
    return *target || !text;
}

static nontax_status add_base_url(nontax_client *client, const char *url, nontax_text *why)
{
    const char *name = client->base_url_count ? "fallback_base_urls" : "base_url";
    bool loopback = false;
    nontax_status status = check_base_url(url, name, &loopback, why);
    if (status != NONTAX_OK) {
        return status;
    }
    if (client->base_url_count && loopback != client->loopback) {
        /* It decides about the proxy, which is set once for all. */
        nx_text_format(why, "fallback_base_urls must all be this machine itself, or none of them, "
                            "like base_url");
        return NONTAX_BAD_SETTING;
    }
    client->loopback = loopback;
    char *copy = nx_strdup(url);
    if (!copy) {
        return NONTAX_NO_MEMORY;
    }
    for (size_t end = strlen(copy); end > 0 && copy[end - 1] == '/';) {
        copy[--end] = '\0';
    }
    client->base_urls[client->base_url_count++] = copy;
    return NONTAX_OK;
}

static nontax_status copy_base_urls(nontax_client *client, const nontax_settings *settings,
                                    nontax_text *why)
{
    int count = 1;
    for (const char *const *url = settings->fallback_base_urls; url && *url; url++) {
        count++;
    }
    client->base_urls = nx_calloc((size_t)count, sizeof *client->base_urls);
    nontax_status status = client->base_urls ? NONTAX_OK : NONTAX_NO_MEMORY;
    if (status == NONTAX_OK) {
        status = add_base_url(client, settings->base_url, why);
    }
    for (int i = 0; i < count - 1 && status == NONTAX_OK; i++) {
        status = add_base_url(client, settings->fallback_base_urls[i], why);
    }
    return status;
}

static nontax_status copy_settings(nontax_client *client, const nontax_settings *settings,
                                   nontax_text *why)
{
    static const int64_t day_ms = 24 * 3600 * INT64_C(1000);
    if (settings->connect_timeout_ms < 1 || settings->connect_timeout_ms > day_ms ||
        settings->timeout_ms < 1 || settings->timeout_ms > day_ms) {
        nx_text_format(why, "connect_timeout and timeout must be more than 0 and at most a day");
        return NONTAX_BAD_SETTING;
    }
    if (settings->retries < 0 || settings->retries > 100) {
        nx_text_format(why, "retries must be between 0 and 100");
        return NONTAX_BAD_SETTING;
    }
    if (settings->ca_file && !is_readable_file(settings->ca_file)) {
        nx_text_format(why, "ca_file cannot be read: %s", settings->ca_file);
        return NONTAX_BAD_SETTING;
    }
    if (!settings->base_url) {
        nx_text_format(why, "base_url is missing");
        return NONTAX_BAD_SETTING;
    }
    client->connect_timeout_ms = settings->connect_timeout_ms;
    client->timeout_ms = settings->timeout_ms;
    client->retries = settings->retries;
    client->extra = settings->extra;
    if (!copy_text(&client->ca_file, settings->ca_file) ||
        !copy_text(&client->system_ca_file, settings->system_ca_file) ||
        !copy_text(&client->proxy, settings->proxy)) {
        return NONTAX_NO_MEMORY;
    }
    nontax_status status = copy_base_urls(client, settings, why);
    if (status == NONTAX_OK && client->proxy && *client->proxy) {
        status = check_proxy(client->proxy, why);
    }
    return status;
}

/* ---- where to first ---------------------------------------------------------------------- */

int nx_client_first_url(const nontax_client *client)
{
    return atomic_load(&client->preferred_until) > nx_now_ms() ? atomic_load(&client->preferred)
                                                               : 0;
}

void nx_client_prefer_url(nontax_client *client, int url)
{
    atomic_store(&client->preferred, url);
    atomic_store(&client->preferred_until, nx_now_ms() + PREFER_MS);
}

/* ---- headers ----------------------------------------------------------------------------- */

static nontax_status add_header(nontax_client *client, nx_form form, const char *header)
{
    struct curl_slist *longer = curl_slist_append(client->headers[form], header);
    if (!longer) {
        return NONTAX_NO_MEMORY;
    }
    client->headers[form] = longer;
    return NONTAX_OK;
}

/* What separates a file from its frame must not occur in the file, and nobody may foresee it. */
static bool make_boundary(nontax_client *client)
{
    unsigned char random[16];
    if (getentropy(random, sizeof random) != 0) {
        return false;
    }
    int used = snprintf(client->boundary, sizeof client->boundary, "nontax-");
    for (size_t i = 0; i < sizeof random; i++) {
        used += snprintf(client->boundary + used, sizeof client->boundary - (size_t)used, "%02x",
                         random[i]);
    }
    return true;
}

static nontax_status make_headers(nontax_client *client, nontax_text *why)
{
    char multipart[96];
    if (!make_boundary(client)) {
        nx_text_format(why, "the system has no random numbers");
        return NONTAX_BAD_SETTING;
    }
    snprintf(multipart, sizeof multipart, "Content-Type: multipart/form-data; boundary=%s",
             client->boundary);
    /* No waiting for a "100 Continue". */
    if (add_header(client, NX_JSON, "Content-Type: application/json") != NONTAX_OK ||
        add_header(client, NX_JSON, "Expect:") != NONTAX_OK ||
        add_header(client, NX_FILE, multipart) != NONTAX_OK ||
        add_header(client, NX_FILE, "Expect:") != NONTAX_OK) {
        return NONTAX_NO_MEMORY;
    }
    return NONTAX_OK;
}

/* ---- sharing ----------------------------------------------------------------------------- */

static void lock_share(CURL *easy, curl_lock_data data, curl_lock_access access, void *context)
{
    nontax_client *client = context;
    (void)easy, (void)access;
    pthread_mutex_lock(&client->share_locks[data]);
}

static void unlock_share(CURL *easy, curl_lock_data data, void *context)
{
    nontax_client *client = context;
    (void)easy;
    pthread_mutex_unlock(&client->share_locks[data]);
}

static nontax_status make_share(nontax_client *client)
{
    CURLSH *share = curl_share_init();
    if (!share) {
        return NONTAX_NO_MEMORY;
    }
    if (curl_share_setopt(share, CURLSHOPT_LOCKFUNC, lock_share) != CURLSHE_OK ||
        curl_share_setopt(share, CURLSHOPT_UNLOCKFUNC, unlock_share) != CURLSHE_OK ||
        curl_share_setopt(share, CURLSHOPT_USERDATA, client) != CURLSHE_OK ||
        curl_share_setopt(share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS) != CURLSHE_OK ||
        curl_share_setopt(share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) != CURLSHE_OK) {
        (void)curl_share_cleanup(share); /* nothing uses it, so it cannot refuse */
        return NONTAX_NO_MEMORY;
    }
    client->share = share;
    return NONTAX_OK;
}

nontax_status nx_client_prepare_lanes(nontax_client *client)
{
    pthread_mutex_lock(&client->lock);
    nontax_status status = client->share ? NONTAX_OK : make_share(client);
    pthread_mutex_unlock(&client->lock);
    return status;
}

/* ---- making and freeing ------------------------------------------------------------------ */

/* Any option that this libcurl refuses shows now, not at the first bill. */
static nontax_status try_options(nontax_client *client, nontax_text *why)
{
    nx_transfer *transfer = NULL;
    nontax_status status = nx_transfer_new(client, NULL, &transfer, why);
    nx_transfer_free(transfer);
    return status;
}

nontax_status nontax_client_new(const nontax_settings *settings, nontax_client **result,
                                nontax_text *why)
{
    *result = NULL;
    *why = (nontax_text){"out of memory"};
    nontax_status status = nontax_start(why);
    if (status != NONTAX_OK) {
        return status;
    }
    nontax_client *client = nx_calloc(1, sizeof *client);
    if (!client) {
        return NONTAX_NO_MEMORY;
    }
    (void)pthread_mutex_init(&client->lock, NULL); /* on Linux and macOS it always succeeds */
    for (int i = 0; i < CURL_LOCK_DATA_LAST; i++) {
        (void)pthread_mutex_init(&client->share_locks[i], NULL);
    }
    pthread_mutex_lock(&registry_lock);
    client->next = registry;
    if (registry) {
        registry->previous = client;
    }
    registry = client;
    pthread_mutex_unlock(&registry_lock);

    nx_tls_find(&client->tls);
    nx_gate_enter();
    status = copy_settings(client, settings, why);
    if (status == NONTAX_OK) {
        status = make_headers(client, why);
    }
    if (status == NONTAX_OK) {
        status = nx_client_prepare_lanes(client);
    }
    if (status == NONTAX_OK) {
        status = try_options(client, why);
    }
    nx_gate_leave();
    if (status != NONTAX_OK) {
        nontax_client_free(client);
        return status;
    }
    *result = client;
    return NONTAX_OK;
}

void nontax_client_free(nontax_client *client)
{
    if (!client) {
        return;
    }
    nontax_client_close_idle(client);
    pthread_mutex_lock(&registry_lock);
    if (client->previous) {
        client->previous->next = client->next;
    } else {
        registry = client->next;
    }
    if (client->next) {
        client->next->previous = client->previous;
    }
    pthread_mutex_unlock(&registry_lock);
    nx_gate_enter();
    if (client->share) {
        (void)curl_share_cleanup(client->share); /* no lane is left that could use it */
    }
    for (int form = NX_JSON; form <= NX_FILE; form++) {
        curl_slist_free_all(client->headers[form]);
    }
    nx_gate_leave();
    for (int i = 0; i < CURL_LOCK_DATA_LAST; i++) {
        (void)pthread_mutex_destroy(&client->share_locks[i]);
    }
    (void)pthread_mutex_destroy(&client->lock);
    for (int i = 0; i < client->base_url_count; i++) {
        nx_free(client->base_urls[i]);
    }
    nx_free(client->base_urls);
    nx_free(client->ca_file);
    nx_free(client->system_ca_file);
    nx_free(client->proxy);
    nx_free(client);
}

/* ---- one blocking call ------------------------------------------------------------------- */

static bool is_interrupted(const nontax_hooks *hooks)
{
    return hooks && hooks->interrupted && hooks->interrupted(hooks->context);
}

/* A signal handler or a token source of the caller's can fork. The copy of the call in the child
 * must not go on: its parent does, and the bill would be sent twice. */
static bool was_forked(nontax_call *call)
{
    if (nx_call_is_ours(call)) {
        return false;
    }
    nx_call_finish_unsent(call, NONTAX_CAUSE_CANCELLED,
                          "this process was forked during the call, which its parent goes on with");
    call->result.outcome = NONTAX_IN_DOUBT;
    return true;
}

/* Waits until the call is off the lane: finished, or in need of a token. */
static void wait_for(nontax_lane *lane, nontax_call *call, const nontax_hooks *hooks)
{
    int64_t asked = nx_now_ms();
    while (nontax_lane_take(lane) != call) {
        nontax_step step = nontax_lane_step(lane, SLICE_MS);
        int64_t now = nx_now_ms();
        if (step == NONTAX_STEP_BUSY && now - asked < SLICE_MS) {
            continue;
        }
        asked = now;
        bool interrupted = is_interrupted(hooks);
        if (was_forked(call)) {
            return;
        }
        if (interrupted) {
            nx_lane_drain(lane, call);
            if (nontax_lane_take(lane) != call) {
                nontax_lane_cancel(lane, call);
            } else if (nontax_call_needs_token(call)) {
                call->state = NX_CALL_FINISHED; /* refused, and not to be sent once more */
            }
            return;
        }
    }
}

void nontax_client_run(nontax_client *client, nontax_call *call, const nontax_hooks *hooks)
{
    nontax_lane *lane = NULL;
    while (!nontax_call_finished(call) && !was_forked(call)) {
        if (nontax_call_needs_token(call)) {
            if (!hooks || !hooks->token || !hooks->token(hooks->context, call)) {
                nontax_call_give_up(call);
            }
            continue;
        }
        nontax_status status = lane ? NONTAX_OK : nx_pool_borrow(client, 1, &lane);
        if (status == NONTAX_OK) {
            status = nontax_lane_add(lane, call);
        }
        if (status == NONTAX_OK) {
            wait_for(lane, call, hooks);
        } else if (status == NONTAX_NO_DESCRIPTOR) {
            nx_call_finish_unsent(call, NONTAX_CAUSE_CONNECTION, nx_no_descriptor);
        } else {
            nx_call_finish_unsent(call, NONTAX_CAUSE_MEMORY, "out of memory");
        }
    }
    if (lane) {
        nx_pool_return(client, lane);
    }
}
