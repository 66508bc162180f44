/* http.c: one transfer: libcurl options, what was sent, what came back. */
#include "http.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine.h"
#include "start.h"
#include "text.h"

enum {
    MAX_REPLY = 1024 * 1024, /* WeChat's replies have a few hundred bytes */
    KEEP_BUFFER = 16 * 1024  /* of a reply, for the next one */
};

/* ---- callbacks --------------------------------------------------------------------------- */

/* The body goes out through here, and there is no seek callback beside it. So libcurl cannot send
 * it a second time by itself when a kept-alive connection dies before the reply (which it does,
 * silently, with CURLOPT_POSTFIELDS), and we know whether any of it left. */
static size_t send_body(char *target, size_t size, size_t count, void *context)
{
    nx_transfer *transfer = context;
    ptrdiff_t now = nx_body_read(transfer->body, transfer->body_sent, target, size * count);
    if (now < 0) {
        transfer->file_failed = true;
        return CURL_READFUNC_ABORT;
    }
    transfer->body_sent += (size_t)now;
    return (size_t)now;
}

bool nx_transfer_was_sent(const nx_transfer *transfer)
{
    return transfer->body_sent > 0 || transfer->begun;
}

bool nx_transfer_went_out(const nx_transfer *transfer)
{
    curl_off_t size = 0;
    CURLcode code = curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_UPLOAD_T, &size);
    return !transfer->body || (code == CURLE_OK && size >= (curl_off_t)transfer->body->size);
}

static bool has_tls(const char *url)
{
    return strncasecmp(url, "https:", strlen("https:")) == 0;
}

long nx_transfer_status(const nx_transfer *transfer)
{
    long status = 0;
    CURLcode code = curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    return code == CURLE_OK ? status : 0;
}

/* Whether a proxy may be spoken to over TLS. Then there are two layers of it, and the outer one
 * cannot be asked what it holds back. The environment is what libcurl looks at, too. */
bool nx_transfer_may_have_tls_proxy(const nontax_client *client)
{
    static const char *const variables[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};
    if (client->loopback || client->proxy) {
        return !client->loopback && has_tls(client->proxy);
    }
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        const char *proxy = getenv(variables[i]);
        if (proxy && has_tls(proxy)) {
            return true;
        }
    }
    return false;
}

/* Whether nothing is left of the last answer, neither in the socket nor in the TLS library: it
 * would be taken for the next one. */
static bool is_empty(const nx_transfer *transfer, const nx_connection *connection)
{
    return connection->answered && !connection->once && nx_connection_is_quiet(connection) &&
           (!transfer->tls || nx_tls_is_empty(&transfer->client->tls, transfer->easy));
}

/* Before the first request bytes may be waiting: session tickets of TLS. */
static bool enter_connection(nx_transfer *transfer, nx_connection *connection)
{
    if (!connection || (connection->used && !is_empty(transfer, connection))) {
        return false;
    }
    if (!connection->used) {
        connection->used = true;
        connection->once = nx_transfer_may_have_tls_proxy(transfer->client);
    }
    connection->answered = false;
    transfer->socket = connection->socket;
    return true;
}

/* Called when a connection is there and a request is about to begin on it: the second guard
 * against a request that begins again after its body went out. */
static int before_request(void *context, char *remote, char *local, int remote_port, int local_port)
{
    nx_transfer *transfer = context;
    (void)local;
    if (nx_transfer_was_sent(transfer) && !transfer->may_begin_again) {
        return CURL_PREREQFUNC_ABORT;
    }
    nx_connection *connection =
        nx_connection_find(transfer->connections, transfer, remote, remote_port, local_port);
    transfer->refused = !enter_connection(transfer, connection);
    if (transfer->refused) {
        return CURL_PREREQFUNC_ABORT;
    }
    transfer->begun = !transfer->body;
    return CURL_PREREQFUNC_OK;
}

/* Programs that this process starts are not to inherit its connections. */
static curl_socket_t make_socket(const struct curl_sockaddr *address)
{
#ifdef SOCK_CLOEXEC
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
#else
    int descriptor = socket(address->family, address->socktype, address->protocol);
    if (descriptor >= 0 && fcntl(descriptor, F_SETFD, FD_CLOEXEC) < 0) {
        (void)close(descriptor);
        return CURL_SOCKET_BAD;
    }
    return descriptor;
#endif
}

static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
    nx_transfer *transfer = context;
    curl_socket_t made = make_socket(address);
    (void)purpose;
    if (made == CURL_SOCKET_BAD) {
        transfer->open_error = errno;
    }
    if (made != CURL_SOCKET_BAD &&
        nx_connection_opened(transfer->connections, made, transfer) != NONTAX_OK) {
        transfer->no_memory = true;
        (void)close(made);
        return CURL_SOCKET_BAD;
    }
    return made;
}

/* libcurl closes a connection. */
static int close_socket(void *context, curl_socket_t socket)
{
    nx_connections *connections = context;
    nx_engine_forget(connections->engine, socket);
    nx_connection_closed(connections, socket);
    return close(socket);
}

/* Only a reply whose length was announced. Bytes behind the last one make libcurl close the
 * connection then, but behind the last chunk of a reply in chunks it drops them (seen with 7.88):
 * what follows those would be taken for the next answer. */
static bool is_whole(const nx_transfer *transfer)
{
    curl_off_t length = -1;
    CURLcode code = curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    return code == CURLE_OK && (curl_off_t)transfer->reply.size == length;
}

static size_t receive_reply(char *data, size_t size, size_t count, void *context)
{
    nx_transfer *transfer = context;
    if (transfer->reply.size + size * count > MAX_REPLY) {
        transfer->reply_too_large = true;
        return CURL_WRITEFUNC_ERROR;
    }
    if (nx_buffer_append(&transfer->reply, data, size * count) != NONTAX_OK) {
        transfer->no_memory = true;
        return CURL_WRITEFUNC_ERROR;
    }
    if (is_whole(transfer)) {
        nx_connection_answered(transfer->connections, transfer->socket);
    }
    return size * count;
}

/* ---- options ----------------------------------------------------------------------------- */

static nontax_status refuse_option(nontax_text *why, const char *option, CURLcode code)
{
    unsigned version = nx_libcurl_version;
    nx_text_format(why, "libcurl %u.%u.%u refuses %s: %s", version >> 16, version >> 8 & 0xff,
                   version & 0xff, option, curl_easy_strerror(code));
    return code == CURLE_OUT_OF_MEMORY ? NONTAX_NO_MEMORY : NONTAX_BAD_SETTING;
}

#define SET(option, value)                                                                         \
    do {                                                                                           \
        CURLcode set_code = curl_easy_setopt(transfer->easy, option, value);                       \
        if (set_code != CURLE_OK) {                                                                \
            return refuse_option(why, #option, set_code);                                          \
        }                                                                                          \
    } while (0)

static nontax_status set_options(nx_transfer *transfer, const nontax_client *client,
                                 nontax_text *why)
{
    SET(CURLOPT_ERRORBUFFER, transfer->error);
    SET(CURLOPT_NOSIGNAL, 1L); /* signals belong to the program, and it has threads */
    SET(CURLOPT_SHARE, client->share);

    /* Where to, and nowhere else. */
    SET(CURLOPT_PROTOCOLS_STR, client->loopback ? "http,https" : "https");
    SET(CURLOPT_REDIR_PROTOCOLS_STR, "https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    if (client->loopback) {
        SET(CURLOPT_PROXY, "");
    } else if (client->proxy) {
        SET(CURLOPT_PROXY, client->proxy);
        SET(CURLOPT_NOPROXY, ""); /* the caller named a proxy: the environment has no say */
    }

    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_PROXY_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_PROXY_SSL_VERIFYHOST, 2L);
    /* Without CAPATH's NULL the system's directory would be trusted beside the file. */
    if (client->system_ca_file) {
        SET(CURLOPT_CAINFO, client->system_ca_file);
        SET(CURLOPT_CAPATH, NULL);
        SET(CURLOPT_PROXY_CAINFO, client->system_ca_file);
        SET(CURLOPT_PROXY_CAPATH, NULL);
    }
    if (client->ca_file) {
        SET(CURLOPT_CAINFO, client->ca_file);
        SET(CURLOPT_CAPATH, NULL);
    }
    /* When it has no memory to remember a TLS session, an older libcurl frees its name twice (seen
     * with 7.88; 8.12 has another cache). 7.87 crashes if it shall not remember any. */
    bool remembers = nx_libcurl_version >= 0x080c00 || nx_libcurl_version >> 8 == 0x0757;
    SET(CURLOPT_SSL_SESSIONID_CACHE, remembers ? 1L : 0L);

    /* One bill at a time on a connection: what ends a connection leaves at most one in doubt. */
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)client->connect_timeout_ms);
    SET(CURLOPT_MAXAGE_CONN, (long)NX_IDLE_SECONDS);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);

    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_HTTPHEADER, client->headers[NX_JSON]);
    char agent[64];
    snprintf(agent, sizeof agent, "nontax/%s", nontax_version());
    SET(CURLOPT_USERAGENT, agent);
    SET(CURLOPT_READFUNCTION, send_body);
    SET(CURLOPT_READDATA, transfer);
    SET(CURLOPT_PREREQFUNCTION, before_request);
    SET(CURLOPT_PREREQDATA, transfer);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_OPENSOCKETDATA, transfer);
    SET(CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    SET(CURLOPT_CLOSESOCKETDATA, transfer->connections);
    SET(CURLOPT_WRITEFUNCTION, receive_reply);
    SET(CURLOPT_WRITEDATA, transfer);
    /* The least that libcurl takes: each transfer has one, and a bill is one or two KB. It makes
     * and frees both each time, which with 16 KB for a reply of some hundred bytes costs a
     * fortieth. */
    SET(CURLOPT_UPLOAD_BUFFERSIZE, 16L * 1024);
    SET(CURLOPT_BUFFERSIZE, 4L * 1024);
#if LIBCURL_VERSION_NUM >= 0x075700
    /* A name look-up that hangs must not hold up whoever ends the call. */
    CURLcode code = curl_easy_setopt(transfer->easy, CURLOPT_QUICK_EXIT, 1L);
    if (code != CURLE_OK && code != CURLE_UNKNOWN_OPTION) {
        return refuse_option(why, "CURLOPT_QUICK_EXIT", code);
    }
#endif
    return NONTAX_OK;
}

nontax_status nx_transfer_new(nontax_client *client, nx_connections *connections,
                              nx_transfer **result, nontax_text *why)
{
    nontax_status status = NONTAX_NO_MEMORY;
    nx_transfer *transfer = nx_calloc(1, sizeof *transfer);
    *result = NULL;
    if (!transfer) {
        return status;
    }
    transfer->client = client;
    transfer->connections = connections;
    transfer->easy = curl_easy_init();
    if (transfer->easy) {
        status = set_options(transfer, client, why);
    }
    if (status != NONTAX_OK) {
        nx_transfer_free(transfer);
        return status;
    }
    *result = transfer;
    return NONTAX_OK;
}

void nx_transfer_free(nx_transfer *transfer)
{
    if (transfer) {
        curl_easy_cleanup(transfer->easy);
        nx_buffer_free(&transfer->url);
        nx_buffer_free(&transfer->reply);
        nx_free(transfer);
    }
}

/* ---- a transfer's life ------------------------------------------------------------------- */

static nontax_status append(nx_buffer *url, const char *text)
{
    return nx_buffer_append(url, text, strlen(text));
}

static nontax_status build_url(nx_buffer *url, const nx_request *request)
{
    const char *separator = "?";
    nontax_status status = append(url, request->base_url);
    if (status == NONTAX_OK) {
        status = append(url, request->interface->path);
    }
    if (status == NONTAX_OK && request->token) {
        separator = "&";
        status = append(url, "?access_token=");
        if (status == NONTAX_OK) {
            status = nx_append_encoded(url, request->token);
        }
    }
    if (status == NONTAX_OK && request->interface->form == NX_QUERY) {
        status = append(url, separator);
        if (status == NONTAX_OK) {
            status = append(url, request->body->text.data);
        }
    }
    return status;
}

/* The token is wiped here; libcurl's copy of the URL can only be made to be freed. */
static void forget_url(nx_transfer *transfer)
{
    nx_buffer_clear(&transfer->url, KEEP_BUFFER);
    /* Taking a string away needs no memory and cannot fail. */
    (void)curl_easy_setopt(transfer->easy, CURLOPT_URL, NULL);
}

/* There may be a credential in it, and the next call on this transfer may be hours away. */
static void forget_reply(nx_transfer *transfer)
{
    nx_buffer_clear(&transfer->reply, KEEP_BUFFER);
}

void nx_transfer_forget(nx_transfer *transfer)
{
    forget_url(transfer);
    forget_reply(transfer);
}

/* A transfer serves calls of all interfaces in turn. */
static CURLcode set_form(nx_transfer *transfer, nx_form form)
{
    CURLcode code = CURLE_OK;
    if (transfer->form != form) {
        code =
            curl_easy_setopt(transfer->easy, form == NX_QUERY ? CURLOPT_HTTPGET : CURLOPT_POST, 1L);
    }
    if (code == CURLE_OK && transfer->form != form) {
        code =
            curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->client->headers[form]);
    }
    if (code == CURLE_OK) {
        transfer->form = form;
    }
    return code;
}

nontax_status nx_transfer_prepare(nx_transfer *transfer, const nx_request *request)
{
    nx_form form = request->interface->form;
    transfer->body = form == NX_QUERY ? NULL : request->body;
    transfer->begun = false;
    transfer->may_begin_again = !transfer->body && request->interface->read_only;
    transfer->body_sent = 0;
    transfer->file_failed = false;
    transfer->tls = has_tls(request->base_url);
    transfer->fresh = request->fresh;
    transfer->refused = false;
    transfer->open_error = 0;
    transfer->no_descriptor = false;
    transfer->reply_too_large = false;
    transfer->no_memory = false;
    transfer->error[0] = '\0';
    size_t size = transfer->body ? transfer->body->size : 0;
    if (build_url(&transfer->url, request) != NONTAX_OK || set_form(transfer, form) != CURLE_OK ||
        curl_easy_setopt(transfer->easy, CURLOPT_URL, transfer->url.data) != CURLE_OK ||
        curl_easy_setopt(transfer->easy, CURLOPT_PRIVATE, request->owner) != CURLE_OK ||
        curl_easy_setopt(transfer->easy, CURLOPT_FRESH_CONNECT, request->fresh ? 1L : 0L) !=
            CURLE_OK ||
        curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size) !=
            CURLE_OK) {
        forget_url(transfer);
        return NONTAX_NO_MEMORY;
    }
    return NONTAX_OK;
}
