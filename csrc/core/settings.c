/* settings.c: a client's settings, checked and copied; see settings.h. */
#include "settings.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"
#include "text.h"

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
    return nx_text_refuse(why, name, "is not a URL: %s", curl_url_strerror(code));
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
        status = nx_text_refuse(why, name, "must have neither a user, a query nor a fragment");
    } else if (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0) {
        status = nx_text_refuse(why, name, "must begin with https://");
    } else if (strcmp(scheme, "http") == 0 && !is_loopback(host)) {
        status = nx_text_refuse(why, name,
                                "must begin with https://: http:// would expose the access token "
                                "on the network and is allowed only to this machine");
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
            status = nx_text_refuse(why, "proxy", "must be the URL of an HTTP or SOCKS proxy");
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
        return nx_text_refuse(why, name, "must be on this machine if base_url is, and only then");
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

static bool is_within(int64_t ms, int64_t longest)
{
    return ms >= 1 && ms <= longest;
}

static nontax_status copy_settings(nontax_client *client, const nontax_settings *settings,
                                   nontax_text *why)
{
    static const int64_t day_ms = 24 * 3600 * INT64_C(1000);
    if (!is_within(settings->connect_timeout_ms, day_ms)) {
        return nx_text_refuse(why, "connect_timeout", "must be more than 0 and at most a day");
    }
    if (!is_within(settings->timeout_ms, day_ms)) {
        return nx_text_refuse(why, "timeout", "must be more than 0 and at most a day");
    }
    if (settings->retries < 0 || settings->retries > 100) {
        return nx_text_refuse(why, "retries", "must be between 0 and 100");
    }
    if (settings->ca_file && !is_readable_file(settings->ca_file)) {
        return nx_text_refuse(why, "ca_file", "cannot be read: %s", settings->ca_file);
    }
    if (!settings->base_url) {
        return nx_text_refuse(why, "base_url", "is missing");
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

/* ---- all of them ------------------------------------------------------------------------- */

nontax_status nx_settings_copy(nontax_client *client, const nontax_settings *settings,
                               nontax_text *why)
{
    nontax_status status = copy_settings(client, settings, why);
    return status == NONTAX_OK ? make_headers(client, why) : status;
}

void nx_settings_free(nontax_client *client)
{
    for (int form = NX_JSON; form <= NX_FILE; form++) {
        curl_slist_free_all(client->headers[form]);
    }
    for (int i = 0; i < client->base_url_count; i++) {
        nx_free(client->base_urls[i]);
    }
    nx_free(client->base_urls);
    nx_free(client->ca_file);
    nx_free(client->system_ca_file);
    nx_free(client->proxy);
}
