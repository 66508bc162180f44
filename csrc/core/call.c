/* call.c: one call: its payload, its token, its result. */
#include "call.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "hosts.h"
#include "json.h"
#include "problems.h"
#include "process.h"
#include "request.h"
#include "verdict.h"

enum { MOMENT_MS = 1000 }; /* so long a refused token may last that is accepted again by itself */

static const char *const outcome_names[] = {"inserted", "rejected", "not_sent", "in_doubt"};

const char *nontax_outcome_name(nontax_outcome outcome)
{
    return outcome_names[outcome];
}

const char *nontax_cause_name(nontax_cause cause)
{
    static const char *const names[] = {"answer", "payload",   "token",  "connection", "tls",
                                        "reply",  "cancelled", "memory", "later"};
    return names[cause];
}

nontax_call *nontax_call_new(nontax_client *client, const nontax_interface *interface)
{
    nontax_call *call = nx_malloc(sizeof *call);
    if (call) {
        memset(call, 0, offsetof(nontax_call, result.rid)); /* what lies behind are texts */
        call->client = client;
        call->interface = interface;
        call->generation = nx_process_generation();
        call->deadline = nx_now_ms() + client->timeout_ms;
        call->wants_turn = true;
        call->url = nx_hosts_first(client);
        nx_call_finish_unsent(call, NONTAX_CAUSE_PAYLOAD, "it has no payload yet");
    }
    return call;
}

void nontax_call_free(nontax_call *call)
{
    if (call) {
        nontax_problems_free(&call->problems);
        nx_body_free(&call->body);
        nx_buffer_free(&call->token);
        nx_buffer_free(&call->first_token);
        nx_buffer_free(&call->secret);
        nx_json_free(call->fields);
        nx_buffer_free(&call->reply);
        nx_free(call);
    }
}

const nontax_problems *nontax_call_problems(const nontax_call *call)
{
    return &call->problems;
}

/* The table in call.h. */
static bool may_follow(nx_call_state from, nx_call_state to)
{
    static const bool allowed[NX_CALL_FINISHED + 1][NX_CALL_FINISHED + 1] = {
        [NX_CALL_FINISHED] = {[NX_CALL_NEEDS_TOKEN] = true, [NX_CALL_READY] = true},
        [NX_CALL_NEEDS_TOKEN] = {[NX_CALL_READY] = true},
        [NX_CALL_READY] = {[NX_CALL_READY] = true,
                           [NX_CALL_RUNNING] = true,
                           [NX_CALL_PAUSING] = true},
        [NX_CALL_RUNNING] = {[NX_CALL_RUNNING] = true,
                             [NX_CALL_PAUSING] = true,
                             [NX_CALL_NEEDS_TOKEN] = true},
        [NX_CALL_PAUSING] = {[NX_CALL_PAUSING] = true, [NX_CALL_RUNNING] = true},
    };
    return to == NX_CALL_FINISHED || allowed[from][to];
}

static void set_state(nontax_call *call, nx_call_state state)
{
    (void)may_follow; /* where asserts are compiled out */
    assert(may_follow(call->state, state));
    call->state = state;
}

bool nx_call_is_ours(const nontax_call *call)
{
    return call->generation == nx_process_generation();
}

/* Its texts are emptied, not overwritten: they are most of it, and this is done for each attempt.
 */
static void clear_result(nontax_call *call)
{
    nontax_result *result = &call->result;
    int attempts = result->attempts;
    nx_json_free(call->fields);
    call->fields = NULL;
    nx_buffer_free(&call->reply);
    memset(result, 0, offsetof(nontax_result, rid));
    result->attempts = attempts;
    result->rid[0] = result->errmsg[0] = result->reason[0] = '\0';
}

void nx_call_finish_unsent(nontax_call *call, nontax_cause cause, const char *reason)
{
    clear_result(call);
    call->result.outcome = NONTAX_NOT_SENT;
    call->result.cause = cause;
    size_t size = strnlen(reason, sizeof call->result.reason - 1);
    memcpy(call->result.reason, reason, size);
    call->result.reason[size] = '\0';
    set_state(call, NX_CALL_FINISHED);
}

void nx_call_finish_too_late(nontax_call *call, const char *reason)
{
    nx_call_finish_unsent(call, NONTAX_CAUSE_CONNECTION, reason);
    call->result.timed_out = true;
}

void nx_call_finish(nontax_call *call)
{
    set_state(call, NX_CALL_FINISHED);
}

void nx_call_finish_later(nontax_call *call)
{
    call->result.cause = NONTAX_CAUSE_LATER;
    set_state(call, NX_CALL_FINISHED);
}

void nx_call_finish_broken(nontax_call *call, const char *why)
{
    call->result.cause = NONTAX_CAUSE_CONNECTION;
    snprintf(call->result.reason, sizeof call->result.reason, "libcurl has failed: %s", why);
    set_state(call, NX_CALL_FINISHED);
}

void nx_call_finish_in_child(nontax_call *call)
{
    nx_call_finish_unsent(
        call, NONTAX_CAUSE_CANCELLED,
        "this process was forked during the call; the parent process continues it");
    call->result.outcome = NONTAX_IN_DOUBT;
}

void nx_call_pause(nontax_call *call, int64_t due)
{
    call->due = due;
    set_state(call, NX_CALL_PAUSING);
}

void nx_call_refuse_token(nontax_call *call)
{
    call->token_refused = true;
    set_state(call, NX_CALL_NEEDS_TOKEN);
}

/* What is written about an attempt, and what must not be seen in what comes back. */
static nx_account account_of(nontax_call *call)
{
    const nx_secrets secrets = {{call->token.data, call->first_token.data, call->secret.data}};
    return (nx_account){call->interface, secrets, &call->result, &call->fields, &call->reply};
}

void nx_call_begin_attempt(nontax_call *call)
{
    clear_result(call);
    call->result.attempts++;
    set_state(call, NX_CALL_RUNNING);
}

void nx_call_end_attempt(nontax_call *call, CURLcode code)
{
    const nx_account account = account_of(call);
    nx_transfer_finish(call->transfer, code, &account);
    call->result.fields = call->fields;
}

void nx_call_abandon_attempt(nontax_call *call, bool timed_out)
{
    const nx_account account = account_of(call);
    nx_transfer_abandon(call->transfer, timed_out, &account);
}

void nx_call_uncount_attempt(nontax_call *call)
{
    call->result.attempts--;
}

/* The payload is in the body, or is not. */
static nontax_status accept_payload(nontax_call *call, nontax_status status)
{
    switch (status) {
    case NONTAX_OK:
        nx_call_finish_unsent(call, NONTAX_CAUSE_TOKEN, "there is no access token");
        set_state(call, call->interface->by_secret ? NX_CALL_READY : NX_CALL_NEEDS_TOKEN);
        break;
    case NONTAX_BAD_PAYLOAD:
        nx_call_finish_unsent(call, NONTAX_CAUSE_PAYLOAD, "the payload is invalid");
        break;
    default:
        nx_call_finish_unsent(call, NONTAX_CAUSE_MEMORY, "out of memory");
    }
    return status;
}

nontax_status nontax_call_set_payload(nontax_call *call, nontax_payload *payload)
{
    if (nontax_interface_takes_file(call->interface)) {
        nontax_payload_free(payload);
        return accept_payload(call, NONTAX_BAD_PAYLOAD);
    }
    call->keys = nx_keys_of(call->interface, payload);
    nontax_status status = nx_request_build(call->interface, payload, call->client->extra,
                                            &call->problems, &call->body.text, &call->secret);
    call->body.size = call->body.text.size;
    return accept_payload(call, status);
}

const char *nontax_call_body(const nontax_call *call, size_t *size)
{
    *size = call->body.text.size;
    return call->body.text.data;
}

nontax_status nontax_call_set_file(nontax_call *call, const nontax_file *file)
{
    if (!nontax_interface_takes_file(call->interface)) {
        return accept_payload(call, NONTAX_BAD_PAYLOAD);
    }
    static const nx_place whole = {NULL, "", 0};
    const nx_place part = {&whole, call->interface->file_part, 0}, name = {&whole, "filename", 0};
    nx_report report = {&call->problems, NONTAX_OK};
    nontax_problem_id problem;
    if (nx_file_problem(file, &problem)) {
        nx_report_problem(&report, &part, problem);
    }
    if (!*file->name || !nx_utf8_valid(file->name, strlen(file->name))) {
        nx_report_problem(&report, &name,
                          *file->name ? NONTAX_PROBLEM_NOT_UTF8 : NONTAX_PROBLEM_EMPTY);
    }
    nontax_status status = report.status;
    if (status == NONTAX_OK && call->problems.count > 0) {
        status = NONTAX_BAD_PAYLOAD;
    }
    if (status == NONTAX_OK) {
        nx_body_free(&call->body); /* of an earlier file */
        status = nx_body_frame(&call->body, call->interface, file, call->client->boundary);
    }
    return accept_payload(call, status);
}

void nontax_call_limit_time(nontax_call *call, int64_t timeout_ms)
{
    int64_t now = nx_now_ms();
    if (timeout_ms < call->deadline - now) {
        call->deadline = now + timeout_ms;
    }
}

int64_t nontax_call_time_left(const nontax_call *call)
{
    int64_t left = call->deadline - nx_now_ms();
    return left > 0 ? left : 0;
}

bool nontax_call_needs_token(const nontax_call *call)
{
    return call->state == NX_CALL_NEEDS_TOKEN;
}

const char *nontax_call_stale_token(const nontax_call *call)
{
    return call->token_refused ? call->token.data : NULL;
}

bool nontax_call_may_keep_token(const nontax_call *call)
{
    bool may_pass =
        call->result.has_errcode &&
        nontax_errcode_find(call->result.errcode)->reaction == NONTAX_REACTION_NEW_TOKEN_OR_SAME;
    return call->token_refused && may_pass && !call->token_kept && !call->token_renewed;
}

/* The source has no newer one. */
static void keep_token(nontax_call *call)
{
    if (!nontax_call_may_keep_token(call)) {
        set_state(call, NX_CALL_FINISHED); /* with the refusal */
        return;
    }
    call->not_before = nx_now_ms() + MOMENT_MS;
    call->token_refused = false;
    call->token_kept = true;
    set_state(call, call->not_before < call->deadline ? NX_CALL_READY : NX_CALL_FINISHED);
}

static bool begins_with(const char *token, size_t size, const char *begin)
{
    return size >= strlen(begin) && memcmp(token, begin, strlen(begin)) == 0;
}

const char *nontax_token_problem(const char *token, size_t size)
{
    if (size == 0) {
        return "is empty";
    } else if (begins_with(token, size, "{")) {
        return "is a JSON object: take its access_token";
    } else if (begins_with(token, size, "\"") || begins_with(token, size, "'")) {
        return "is enclosed in quotes: it was written as JSON and not parsed";
    } else if (begins_with(token, size, "b'") || begins_with(token, size, "b\"")) {
        return "is the text of a bytes object (b'...'): decode the bytes instead of calling str()";
    }
    size_t visible = 0;
    while (visible < size && (unsigned char)(token[visible] - '!') <= '~' - '!') {
        visible++;
    }
    return visible == size
               ? NULL
               : "contains characters that an access token cannot have (a blank or a line break?)";
}

nontax_status nx_call_use_token(nontax_call *call, const char *token, size_t size)
{
    if (call->state != NX_CALL_NEEDS_TOKEN && call->state != NX_CALL_READY) {
        return NONTAX_BAD_PAYLOAD; /* no token can help it */
    }
    if (call->token_refused) {
        if (call->token.size == size && memcmp(call->token.data, token, size) == 0) {
            keep_token(call);
            return NONTAX_OK;
        }
        call->token_refused = false;
        call->token_renewed = true;
        call->first_token = call->token; /* it must still be masked */
        call->token = (nx_buffer){0};
    }
    nx_buffer_clear(&call->token, 4096);
    if (nx_buffer_append(&call->token, token, size) != NONTAX_OK) {
        nx_call_finish_unsent(call, NONTAX_CAUSE_MEMORY, "out of memory");
        return NONTAX_NO_MEMORY;
    }
    set_state(call, NX_CALL_READY);
    return NONTAX_OK;
}

nontax_status nontax_call_set_token(nontax_call *call, const char *token, size_t size)
{
    return nontax_token_problem(token, size) ? NONTAX_BAD_TOKEN
                                             : nx_call_use_token(call, token, size);
}

void nontax_call_cancel(nontax_call *call)
{
    nx_call_finish_unsent(call, NONTAX_CAUSE_CANCELLED, "cancelled before it was sent");
}

void nontax_call_give_up(nontax_call *call)
{
    call->gave_up = true;
    set_state(call, NX_CALL_FINISHED);
}

bool nontax_call_gave_up(const nontax_call *call)
{
    return call->gave_up;
}

void nontax_call_set_owner(nontax_call *call, void *owner)
{
    call->owner = owner;
}

void *nontax_call_owner(const nontax_call *call)
{
    return call->owner;
}

bool nontax_call_finished(const nontax_call *call)
{
    return call->state == NX_CALL_FINISHED;
}

const nontax_result *nontax_call_result(const nontax_call *call)
{
    return &call->result;
}

const nontax_interface *nontax_call_interface(const nontax_call *call)
{
    return call->interface;
}
