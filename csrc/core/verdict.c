/* verdict.c: what became of one attempt; see verdict.h. */
#include "verdict.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "descriptors.h"
#include "json.h"
#include "kept.h"
#include "reply.h"
#include "start.h"
#include "text.h"

static bool is_tls_failure(CURLcode code)
{
    switch (code) {
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED:
    case CURLE_SSL_SHUTDOWN_FAILED:
    case CURLE_USE_SSL_FAILED:
        return true;
    default:
        return false;
    }
}

static bool has_word(const char *text, const char *const *words)
{
    while (*words && !strstr(text, *words)) {
        words++;
    }
    return *words;
}

/* Whether a handshake failed because the other side went away: it restarts, a line broke, or a
 * tunnel did. The TLS libraries say so in words only. Some of them say no more than that there was
 * no error of TLS's, which libcurl with OpenSSL, behind a proxy on https, says of a refused
 * certificate, too (seen with 7.88; not any more with 8.23). */
static bool was_left_alone(const nx_transfer *transfer, CURLcode code)
{
    static const char *const sure[] = {
        "reset", "eof", "EOF", "Broken pipe", "non-properly terminated", NULL};
    static const char *const unsure[] = {"SYSCALL", "error:00000000:", NULL};
    if (code != CURLE_SSL_CONNECT_ERROR) {
        return false;
    }
    bool exact =
        nx_libcurl_version >= 0x081700 || !nx_transfer_may_have_tls_proxy(transfer->client);
    return has_word(transfer->error, sure) || (exact && has_word(transfer->error, unsure));
}

/* Nothing was sent. Whether that is for want of file descriptors, which libcurl has other names
 * for: that of the file of certificates, or of a name that cannot be resolved. */
static bool is_short_of_descriptors(const nx_transfer *transfer, CURLcode code)
{
    /* What was opened for this attempt is closed by now. */
    enum { FOR_A_CONNECTION = 2, FOR_A_NAME = 4 };
    if (transfer->open_error) {
        return nx_is_short_of_descriptors(transfer->open_error);
    }
    switch (code) {
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_OUT_OF_MEMORY:
        return nx_descriptors_are_short(FOR_A_CONNECTION);
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return nx_descriptors_are_short(FOR_A_NAME);
    default:
        return false;
    }
}

/* libcurl (seen with 7.88) calls it "out of memory", too, if one line of a reply's head has more
 * than 100 KB. */
static bool has_endless_line(const nx_transfer *transfer, CURLcode code)
{
    enum { A_LINE = 512 * 1024, TOO_LARGE = 100 /* CURLE_TOO_LARGE, since 8.6 */ };
    if (transfer->no_memory || (code != CURLE_OUT_OF_MEMORY && (int)code != TOO_LARGE)) {
        return false;
    }
    void *there_is_memory = nx_malloc(A_LINE);
    nx_free(there_is_memory);
    return there_is_memory && nx_transfer_was_sent(transfer);
}

/* libcurl counts the milliseconds until it failed, and one cause would have many reasons. */
static void drop_times(char *text)
{
    static const char after[] = " after ", digits[] = "0123456789";
    static const char *const units[] = {" ms", " milliseconds"};
    for (char *at = text; (at = strstr(at, after)); at++) {
        size_t count = strspn(at + strlen(after), digits);
        char *unit = at + strlen(after) + count;
        for (size_t i = 0; count && i < sizeof units / sizeof *units; i++) {
            char *end = unit + strlen(units[i]);
            if (strncmp(unit, units[i], strlen(units[i])) == 0 && (!*end || strchr(" :,", *end))) {
                memmove(at, end, strlen(end) + 1);
                break;
            }
        }
    }
}

static void write_reason(nontax_result *result, const char *what, const char *detail)
{
    nontax_text text;
    nx_text_format(&text, "%s%s%s", what, *what && *detail ? ": " : "", detail);
    memcpy(result->reason, text.text, sizeof result->reason);
}

/* libcurl has ended the transfer with an error: was anything sent? */
static void read_failure(nx_transfer *transfer, CURLcode code, const nx_secrets *secrets,
                         nontax_result *result)
{
    nx_text_mask(transfer->error, secrets);
    nx_text_mask_user(transfer->error); /* of a proxy that the environment names */
    drop_times(transfer->error);
    const char *detail = *transfer->error ? transfer->error : curl_easy_strerror(code);
    bool sent = nx_transfer_was_sent(transfer);
    result->outcome = sent ? NONTAX_IN_DOUBT : NONTAX_NOT_SENT;
    result->cause = NONTAX_CAUSE_CONNECTION;
    result->timed_out = code == CURLE_OPERATION_TIMEDOUT;
    if (!sent && is_short_of_descriptors(transfer, code)) {
        transfer->no_descriptor = true;
        write_reason(result, "", nx_no_descriptor);
    } else if (has_endless_line(transfer, code)) {
        result->cause = NONTAX_CAUSE_REPLY;
        write_reason(result, "a header line of the reply is too long", "");
    } else if (transfer->no_memory || code == CURLE_OUT_OF_MEMORY) {
        result->cause = NONTAX_CAUSE_MEMORY;
        write_reason(result, "out of memory", sent ? "the answer was lost" : "");
    } else if (transfer->reply_too_large) {
        result->cause = NONTAX_CAUSE_REPLY;
        write_reason(result, "the reply is larger than 1 MiB", "");
    } else if (transfer->file_failed) {
        result->cause = NONTAX_CAUSE_CANCELLED;
        write_reason(result, "the file could not be read to its end", "");
    } else if (transfer->refused) {
        write_reason(result, "the connection was not reusable", "");
    } else if (!sent) {
        bool tls = is_tls_failure(code) && !was_left_alone(transfer, code);
        result->cause = tls ? NONTAX_CAUSE_TLS : NONTAX_CAUSE_CONNECTION;
        write_reason(result, "", detail);
    } else if (code == CURLE_SEND_FAIL_REWIND || code == CURLE_ABORTED_BY_CALLBACK) {
        write_reason(result, "the connection was closed before a reply arrived", "");
    } else {
        write_reason(result, "no complete reply arrived", detail);
    }
}

/* What has come of a reply, whole or not, where that may say more than the result does. */
static void keep_reply(const nx_transfer *transfer, const nx_account *account)
{
    nontax_result *result = account->result;
    const cJSON *fields = *account->fields;
    bool complete = result->has_errcode && result->errcode != 0 && !(fields && fields->child);
    if (result->outcome == NONTAX_INSERTED || result->outcome == NONTAX_NOT_SENT || complete ||
        account->interface->answers_secret || transfer->reply.size == 0) {
        return;
    }
    nx_reply_keep(transfer->reply.data, transfer->reply.size, &account->secrets, account->reply);
    result->reply = account->reply->data;
}

static void read_reply(nx_transfer *transfer, const nx_account *account)
{
    nontax_result *result = account->result;
    long http_status = nx_transfer_status(transfer);
    const char *body = transfer->reply.data ? transfer->reply.data : "";
    nx_reply_read(account->interface, body, transfer->reply.size, http_status, &account->secrets,
                  result, account->fields);
    bool sent = nx_transfer_was_sent(transfer);
    /* Something on the way has answered to the head alone, or to nothing. */
    if (result->outcome == NONTAX_INSERTED && !nx_transfer_went_out(transfer)) {
        nx_json_free(*account->fields);
        *account->fields = NULL;
        *result = (nontax_result){.outcome = NONTAX_IN_DOUBT,
                                  .cause = NONTAX_CAUSE_REPLY,
                                  .http_status = http_status,
                                  .attempts = result->attempts};
        write_reason(result, "a success reply arrived before the request was sent", "");
    }
    if (!sent && result->cause == NONTAX_CAUSE_REPLY) {
        result->outcome = NONTAX_NOT_SENT;
    }
}

void nx_transfer_finish(nx_transfer *transfer, CURLcode code, const nx_account *account)
{
    *account->fields = NULL;
    account->result->curl_code = (int)code;
    if (code == CURLE_OK) {
        read_reply(transfer, account);
    } else {
        account->result->http_status = nx_transfer_status(transfer);
        read_failure(transfer, code, &account->secrets, account->result);
    }
    keep_reply(transfer, account);
    nx_transfer_forget(transfer);
}

void nx_transfer_abandon(nx_transfer *transfer, bool timed_out, const nx_account *account)
{
    bool sent = nx_transfer_was_sent(transfer);
    nontax_result *result = account->result;
    result->outcome = sent ? NONTAX_IN_DOUBT : NONTAX_NOT_SENT;
    result->timed_out = timed_out;
    result->http_status = nx_transfer_status(transfer);
    if (timed_out) {
        result->cause = NONTAX_CAUSE_CONNECTION;
        result->curl_code = CURLE_OPERATION_TIMEDOUT;
        write_reason(
            result,
            sent ? "timed out before a complete reply arrived" : "timed out while it was sent", "");
    } else {
        result->cause = NONTAX_CAUSE_CANCELLED;
        write_reason(
            result, sent ? "cancelled while waiting for the reply" : "cancelled before it was sent",
            "");
    }
    keep_reply(transfer, account);
    nx_transfer_forget(transfer);
}
