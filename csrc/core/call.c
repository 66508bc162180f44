/* call.c: one call: its payload, its token, its result. */
#include "call.h"

#include <stdio.h>
#include <string.h>

#include "request.h"

static const char *const outcome_names[] = {"inserted", "rejected", "not_sent", "in_doubt"};

const char *nontax_outcome_name(nontax_outcome outcome)
{
    return outcome_names[outcome];
}

nontax_call *nontax_call_new(nontax_client *client, const nontax_interface *interface)
{
    nontax_call *call = nx_calloc(1, sizeof *call);
    if (call) {
        call->client = client;
        call->interface = interface;
        call->generation = nx_process_generation();
        call->deadline = nx_now_ms() + client->timeout_ms;
        nx_call_finish_unsent(call, NONTAX_CAUSE_PAYLOAD, "it has no payload yet");
    }
    return call;
}

void nontax_call_free(nontax_call *call)
{
    if (call) {
        nx_problems_free(&call->problems);
        if (call->body) {
            nx_wipe(call->body, strlen(call->body));
            cJSON_free(call->body);
        }
        nx_buffer_free(&call->token);
        cJSON_Delete(call->fields);
        nx_free(call);
    }
}

nontax_problems *nontax_call_problems(nontax_call *call)
{
    return &call->problems;
}

bool nx_call_is_ours(const nontax_call *call)
{
    return call->generation == nx_process_generation();
}

void nx_call_clear_result(nontax_call *call)
{
    int attempts = call->result.attempts;
    cJSON_Delete(call->fields);
    call->fields = NULL;
    call->result = (nontax_result){.attempts = attempts};
}

void nx_call_finish_unsent(nontax_call *call, nontax_cause cause, const char *reason)
{
    nx_call_clear_result(call);
    call->result.outcome = NONTAX_NOT_SENT;
    call->result.cause = cause;
    snprintf(call->result.reason, sizeof call->result.reason, "%s", reason);
    call->state = NX_CALL_FINISHED;
}

nontax_status nontax_call_set_payload(nontax_call *call, cJSON *payload)
{
    nontax_status status = nx_request_build(call->interface, payload, call->client->allow_extra,
                                            &call->problems, &call->body);
    switch (status) {
    case NONTAX_OK:
        nx_call_finish_unsent(call, NONTAX_CAUSE_TOKEN, "there is no access token");
        call->state = NX_CALL_NEEDS_TOKEN;
        break;
    case NONTAX_BAD_PAYLOAD:
        nx_call_finish_unsent(call, NONTAX_CAUSE_PAYLOAD, "the payload is invalid");
        break;
    default:
        nx_call_finish_unsent(call, NONTAX_CAUSE_MEMORY, "out of memory");
    }
    return status;
}

bool nontax_call_needs_token(const nontax_call *call)
{
    return call->state == NX_CALL_NEEDS_TOKEN;
}

const char *nontax_call_stale_token(const nontax_call *call)
{
    return call->token_refused ? call->token.data : NULL;
}

bool nontax_token_is_valid(const char *token, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (token[i] <= ' ' || token[i] > '~') {
            return false;
        }
    }
    return size > 0;
}

nontax_status nontax_call_set_token(nontax_call *call, const char *token, size_t size)
{
    if (!nontax_token_is_valid(token, size)) {
        return NONTAX_BAD_TOKEN;
    }
    if (call->state != NX_CALL_NEEDS_TOKEN && call->state != NX_CALL_READY) {
        return NONTAX_BAD_PAYLOAD; /* no token can help it */
    }
    if (call->token_refused) {
        if (call->token.size == size && memcmp(call->token.data, token, size) == 0) {
            call->state = NX_CALL_FINISHED;
            return NONTAX_OK;
        }
        call->token_refused = false;
        call->token_renewed = true;
    }
    nx_buffer_clear(&call->token, 4096);
    if (nx_buffer_append(&call->token, token, size) != NONTAX_OK) {
        nx_call_finish_unsent(call, NONTAX_CAUSE_MEMORY, "out of memory");
        return NONTAX_NO_MEMORY;
    }
    call->state = NX_CALL_READY;
    return NONTAX_OK;
}

void nontax_call_give_up(nontax_call *call)
{
    call->gave_up = true;
    call->state = NX_CALL_FINISHED;
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
