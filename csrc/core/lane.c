/* lane.c: a lane: one multi handle with its connections, and the calls that are on it. */
#include "lane.h"

#include <stdio.h>
#include <unistd.h>

#include "engine.h"
#include "retry.h"

/* Calls hang in one of three lists of the lane. */
typedef struct call_list {
    nontax_call *first;
    nontax_call *last;
} call_list;

struct nontax_lane {
    nontax_client *client;
    unsigned generation; /* of the process that made it */
    bool http2;
    bool broken; /* libcurl has given up on the multi handle */
    CURLM *multi;
    nx_engine *engine;
    call_list running;
    call_list pausing;
    call_list done; /* finished, or in need of a token */
    nx_transfer *spare;
    uint32_t random;
    nontax_lane *next_idle;
};

/* ---- lists ------------------------------------------------------------------------------- */

static void list_append(call_list *list, nontax_call *call)
{
    call->next = NULL;
    call->previous = list->last;
    if (list->last) {
        list->last->next = call;
    } else {
        list->first = call;
    }
    list->last = call;
}

static void list_remove(call_list *list, nontax_call *call)
{
    if (call->previous) {
        call->previous->next = call->next;
    } else {
        list->first = call->next;
    }
    if (call->next) {
        call->next->previous = call->previous;
    } else {
        list->last = call->previous;
    }
    call->next = call->previous = NULL;
}

/* ---- making and freeing ------------------------------------------------------------------ */

bool nx_lane_is_ours(const nontax_lane *lane)
{
    return lane->generation == nx_process_generation();
}

bool nx_lane_is_usable(const nontax_lane *lane)
{
    return nx_lane_is_ours(lane) && !lane->broken;
}

nontax_lane **nx_lane_link(nontax_lane *lane)
{
    return &lane->next_idle;
}

nontax_status nontax_lane_new(nontax_client *client, int parallel, nontax_lane **result)
{
    nontax_lane *lane = NULL;
    *result = NULL;
    if (nx_client_prepare_lanes(client) != NONTAX_OK || !(lane = nx_calloc(1, sizeof *lane))) {
        return NONTAX_NO_MEMORY;
    }
    lane->client = client;
    lane->generation = nx_process_generation();
    lane->http2 = parallel > 1;
    lane->random = (uint32_t)nx_now_ms() ^ (uint32_t)(uintptr_t)lane ^ (uint32_t)getpid() << 16;
    lane->multi = curl_multi_init();
    if (!lane->multi ||
        curl_multi_setopt(lane->multi, CURLMOPT_MAXCONNECTS, (long)parallel) != CURLM_OK ||
        nx_engine_new(lane->multi, &lane->engine) != NONTAX_OK) {
        nontax_lane_free(lane);
        return NONTAX_NO_MEMORY;
    }
    *result = lane;
    return NONTAX_OK;
}

/* The transfer goes back to the spare ones; the call keeps only what it knows. */
static void detach_transfer(nontax_lane *lane, nontax_call *call)
{
    call->transfer->next = lane->spare;
    lane->spare = call->transfer;
    call->transfer = NULL;
}

void nontax_lane_free(nontax_lane *lane)
{
    if (!lane || !nx_lane_is_ours(lane)) {
        return; /* a parent's lane is forgotten, with its memory: freeing it would close sockets */
    }
    while (lane->running.first) {
        nontax_lane_cancel(lane, lane->running.first);
    }
    while (lane->spare) {
        nx_transfer *transfer = lane->spare;
        lane->spare = transfer->next;
        nx_transfer_free(transfer);
    }
    if (lane->multi) {
        (void)curl_multi_cleanup(lane->multi); /* nothing could be done if it failed */
    }
    nx_engine_free(lane->engine);
    nx_free(lane);
}

/* ---- a call's attempts ------------------------------------------------------------------- */

static uint32_t next_random(nontax_lane *lane)
{
    uint32_t x = lane->random ? lane->random : 1;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return lane->random = x;
}

static void finish(nontax_lane *lane, nontax_call *call)
{
    call->state = NX_CALL_FINISHED;
    list_append(&lane->done, call);
}

/* An attempt has its result: is there another one? */
static void settle(nontax_lane *lane, nontax_call *call)
{
    nx_again again =
        nx_retry_decide(&call->result, call->repeats, lane->client->retries, call->token_renewed);
    if (again == NX_AGAIN_SAME) {
        int64_t now = nx_now_ms();
        int64_t delay = nx_retry_delay_ms(call->repeats, next_random(lane));
        if (delay < call->deadline - now) {
            call->repeats++;
            call->due = now + delay;
            call->state = NX_CALL_PAUSING;
            list_append(&lane->pausing, call);
            return;
        }
    } else if (again == NX_AGAIN_NEW_TOKEN) {
        call->token_refused = true;
        call->state = NX_CALL_NEEDS_TOKEN;
        list_append(&lane->done, call);
        return;
    }
    finish(lane, call);
}

static nontax_status make_transfer(nontax_lane *lane, nontax_call *call, int64_t time_left,
                                   nontax_text *why)
{
    nontax_status status = NONTAX_OK;
    if (!lane->spare) {
        status = nx_transfer_new(lane->client, lane->http2, &lane->spare, why);
    }
    if (status == NONTAX_OK) {
        call->transfer = lane->spare;
        lane->spare = call->transfer->next;
        status = nx_transfer_prepare(call->transfer, lane->client, call->interface,
                                     call->token.data, call->body, call, time_left);
        if (status != NONTAX_OK) {
            detach_transfer(lane, call);
        }
    }
    return status;
}

static void finish_unsent(nontax_lane *lane, nontax_call *call, nontax_cause cause,
                          const char *reason)
{
    nx_call_finish_unsent(call, cause, reason);
    finish(lane, call);
}

/* Begins an attempt. If that fails, the call is finished, and nothing of this attempt was sent. */
static void begin(nontax_lane *lane, nontax_call *call)
{
    nontax_text why = {""};
    int64_t time_left = call->deadline - nx_now_ms();
    if (lane->broken) {
        finish_unsent(lane, call, NONTAX_CAUSE_CONNECTION, "libcurl has failed on this lane");
        return;
    }
    if (time_left <= 0) {
        if (call->result.attempts == 0) {
            finish_unsent(lane, call, NONTAX_CAUSE_CONNECTION,
                          "the time was over before it was sent");
            call->result.timed_out = true;
        } else {
            finish(lane, call); /* with the last attempt's result, which was not a success */
        }
        return;
    }
    nontax_status status = make_transfer(lane, call, time_left, &why);
    if (status != NONTAX_OK) {
        bool memory = status == NONTAX_NO_MEMORY;
        finish_unsent(lane, call, memory ? NONTAX_CAUSE_MEMORY : NONTAX_CAUSE_CONNECTION,
                      memory ? "out of memory" : why.text);
        return;
    }
    CURLMcode code = curl_multi_add_handle(lane->multi, call->transfer->easy);
    if (code != CURLM_OK) {
        nx_transfer_cancel(call->transfer, &call->result);
        detach_transfer(lane, call);
        finish_unsent(lane, call, NONTAX_CAUSE_MEMORY, curl_multi_strerror(code));
        return;
    }
    nx_call_clear_result(call);
    call->result.attempts++;
    call->state = NX_CALL_RUNNING;
    list_append(&lane->running, call);
}

static void end_attempt(nontax_lane *lane, nontax_call *call, CURLcode code)
{
    list_remove(&lane->running, call);
    CURLMcode removed = curl_multi_remove_handle(lane->multi, call->transfer->easy);
    lane->broken = lane->broken || removed != CURLM_OK;
    nx_transfer_finish(call->transfer, code, call->interface, call->token.data, &call->result,
                       &call->fields);
    call->result.fields = call->fields;
    detach_transfer(lane, call);
    settle(lane, call);
}

static void collect(nontax_lane *lane)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(lane->multi, &left))) {
        if (message->msg == CURLMSG_DONE) {
            char *call = NULL;
            CURLcode code = message->data.result;
            if (curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &call) == CURLE_OK) {
                end_attempt(lane, (nontax_call *)(void *)call, code);
            }
        }
    }
}

static void begin_due(nontax_lane *lane)
{
    int64_t now = lane->pausing.first ? nx_now_ms() : 0;
    nontax_call *call = lane->pausing.first;
    while (call) {
        nontax_call *next = call->next;
        if (call->due <= now) {
            list_remove(&lane->pausing, call);
            begin(lane, call);
        }
        call = next;
    }
}

static int64_t earliest_due(const nontax_lane *lane)
{
    int64_t due = NX_NEVER;
    for (const nontax_call *call = lane->pausing.first; call; call = call->next) {
        due = call->due < due ? call->due : due;
    }
    return due;
}

/* libcurl has given up on the multi handle: no call on it will get an answer any more. */
static void break_lane(nontax_lane *lane, CURLMcode code)
{
    lane->broken = true;
    while (lane->running.first) {
        nontax_call *call = lane->running.first;
        nontax_lane_cancel(lane, call);
        call->result.cause = NONTAX_CAUSE_CONNECTION;
        snprintf(call->result.reason, sizeof call->result.reason, "libcurl has failed: %s",
                 curl_multi_strerror(code));
        finish(lane, call);
    }
}

/* ---- the driver's side ------------------------------------------------------------------- */

nontax_status nontax_lane_add(nontax_lane *lane, nontax_call *call)
{
    if (!nx_lane_is_ours(lane)) {
        return NONTAX_WRONG_PROCESS;
    }
    if (call->state == NX_CALL_READY) {
        begin(lane, call);
    } else {
        list_append(&lane->done, call);
    }
    nx_engine_arm(lane->engine, earliest_due(lane));
    return NONTAX_OK;
}

nontax_step nontax_lane_step(nontax_lane *lane, int wait_ms)
{
    if (!nx_lane_is_ours(lane)) {
        return NONTAX_STEP_IDLE;
    }
    bool happened = false;
    int64_t due = earliest_due(lane);
    int64_t until = wait_ms > 0 && !lane->done.first ? nx_now_ms() + wait_ms : 0;
    CURLMcode code = nx_engine_turn(lane->engine, due < until ? due : until, &happened);
    if (code != CURLM_OK) {
        break_lane(lane, code);
    }
    collect(lane);
    begin_due(lane);
    nx_engine_arm(lane->engine, earliest_due(lane));
    return happened ? NONTAX_STEP_BUSY : NONTAX_STEP_IDLE;
}

nontax_call *nontax_lane_take(nontax_lane *lane)
{
    nontax_call *call = nx_lane_is_ours(lane) ? lane->done.first : NULL;
    if (call) {
        list_remove(&lane->done, call);
    }
    return call;
}

void nontax_lane_cancel(nontax_lane *lane, nontax_call *call)
{
    if (!nx_lane_is_ours(lane)) {
        return;
    }
    if (call->state == NX_CALL_RUNNING) {
        list_remove(&lane->running, call);
        CURLMcode removed = curl_multi_remove_handle(lane->multi, call->transfer->easy);
        lane->broken = lane->broken || removed != CURLM_OK;
        nx_transfer_cancel(call->transfer, &call->result);
        detach_transfer(lane, call);
    } else {
        list_remove(call->state == NX_CALL_PAUSING ? &lane->pausing : &lane->done, call);
    }
    call->state = NX_CALL_FINISHED;
}

int nontax_lane_descriptor(nontax_lane *lane)
{
    int descriptor = nx_lane_is_ours(lane) ? nx_engine_descriptor(lane->engine) : -1;
    nx_engine_arm(lane->engine, earliest_due(lane));
    return descriptor;
}
