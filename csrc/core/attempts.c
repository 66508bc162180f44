/* attempts.c: the attempts of the calls on a lane, and what each leads to; see attempts.h. */
#include "attempts.h"

#include "clock.h"
#include "hosts.h"
#include "retry.h"

/* The transfer goes back to the spare ones; the call keeps only what it knows. */
static void detach_transfer(nx_lane *lane, nontax_call *call)
{
    call->transfer->next = lane->spare;
    lane->spare = call->transfer;
    call->transfer = NULL;
}

static uint32_t next_random(nx_lane *lane)
{
    uint32_t x = lane->random ? lane->random : 1;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return lane->random = x;
}

void nx_attempt_finish_call(nx_lane *lane, nontax_call *call)
{
    if (call->interface->answers_secret) {
        bool fetched = call->result.outcome == NONTAX_INSERTED;
        nx_note(call, fetched ? NONTAX_NOTE_FETCHED : NONTAX_NOTE_NOT_FETCHED, 0);
    }
    nx_call_finish(call);
    nx_list_append(&lane->done, call);
}

void nx_attempt_pause(nx_lane *lane, nontax_call *call, int64_t due)
{
    nx_call_pause(call, due);
    nx_list_append(&lane->pausing, call);
}

static void begin(nx_lane *lane, nontax_call *call);

static void finish_unsent(nx_lane *lane, nontax_call *call, nontax_cause cause, const char *reason)
{
    nx_call_finish_unsent(call, cause, reason);
    nx_attempt_finish_call(lane, call);
}

/* Begins an attempt, or has it wait for its turn, which takes nothing of the call's own time. */
void nx_attempt_begin_in_turn(nx_lane *lane, nontax_call *call)
{
    int64_t now = nx_now_ms(), due;
    nx_turn turn = call->wants_turn ? nx_pace_take_turn(&lane->pace, now, &due) : NX_TURN_NOW;
    if (turn == NX_TURN_NEVER) {
        finish_unsent(lane, call, NONTAX_CAUSE_LATER, "the quota of calls per minute is used up");
        return;
    }
    if (turn == NX_TURN_LATER) {
        call->deadline += due - now;
        nx_attempt_pause(lane, call, due);
        return;
    }
    call->wants_turn = false;
    begin(lane, call);
}

/* The minute's quota is used up: for this call, and for those that would follow it. */
static void wait_for_quota(nx_lane *lane, nontax_call *call)
{
    int64_t pause =
        nx_pace_quota_used_up(&lane->pace, nx_now_ms(), nx_to_next_minute_ms(), next_random(lane));
    if (pause) {
        nx_note(call, NONTAX_NOTE_PAUSE, pause);
    }
    if (lane->pace.never_waits) {
        nx_attempt_finish_call(lane, call); /* with the refusal */
        return;
    }
    call->quota_pauses++;
    nx_attempt_begin_in_turn(lane, call);
}

/* Nothing could be sent to this host: is there one that was not tried yet? */
static bool take_next_url(nontax_call *call)
{
    const nontax_result *result = &call->result;
    bool unreachable =
        result->outcome == NONTAX_NOT_SENT &&
        (result->cause == NONTAX_CAUSE_CONNECTION || result->cause == NONTAX_CAUSE_TLS);
    if (!unreachable || call->urls_tried + 1 >= call->client->base_url_count) {
        return false;
    }
    nx_note(call, NONTAX_NOTE_HOST_FAILED, 0);
    call->urls_tried++;
    call->url = (call->url + 1) % call->client->base_url_count;
    return true;
}

/* An attempt has its result: is there another one? */
void nx_attempt_settle(nx_lane *lane, nontax_call *call)
{
    lane->failed = call->result.outcome == NONTAX_NOT_SENT;
    if (take_next_url(call)) {
        begin(lane, call);
        return;
    }
    if (call->urls_tried && call->result.outcome != NONTAX_NOT_SENT) {
        nx_hosts_prefer(call->client, call->url);
        nx_note(call, NONTAX_NOTE_HOST_CHOSEN, 0);
    }
    call->urls_tried = 0;
    call->url = nx_hosts_first(call->client);
    call->wants_turn = true;
    const nx_history history = {
        .retries = lane->client->retries,
        .repeats = call->repeats,
        .token_renewed = call->token_renewed || call->interface->by_secret,
        .read_only = call->interface->read_only,
        .bulk = call->bulk,
        .quota_pauses = call->quota_pauses,
    };
    int64_t due, delay;
    switch (nx_retry_decide(&call->result, &history)) {
    case NX_AGAIN_SAME:
        delay = nx_retry_delay_ms(call->repeats, next_random(lane));
        due = nx_now_ms() + delay;
        if (due < call->deadline) {
            nx_note(call, NONTAX_NOTE_RETRY, delay);
            call->repeats++;
            nx_attempt_pause(lane, call, due);
        } else {
            nx_attempt_finish_call(lane, call);
        }
        break;
    case NX_AGAIN_NEXT_MINUTE:
        wait_for_quota(lane, call);
        break;
    case NX_AGAIN_NEW_TOKEN:
        nx_note(call, NONTAX_NOTE_TOKEN_REFUSED, 0);
        nx_call_refuse_token(call);
        nx_list_append(&lane->done, call);
        break;
    case NX_AGAIN_NEVER:
        nx_attempt_finish_call(lane, call);
    }
}

static nontax_status make_transfer(nx_lane *lane, nontax_call *call, bool fresh, nontax_text *why)
{
    nontax_status status = NONTAX_OK;
    if (!lane->spare) {
        status = nx_transfer_new(lane->client, &lane->connections, &lane->spare, why);
    }
    if (status == NONTAX_OK) {
        call->transfer = lane->spare;
        lane->spare = call->transfer->next;
        const nx_request request = {
            .interface = call->interface,
            .base_url = lane->client->base_urls[call->url],
            .token = call->interface->by_secret ? NULL : call->token.data,
            .body = &call->body,
            .fresh = fresh,
            .owner = call,
        };
        status = nx_transfer_prepare(call->transfer, &request);
        if (status != NONTAX_OK) {
            detach_transfer(lane, call);
        }
    }
    return status;
}

/* An interface that may be asked again when no answer comes must have time left for it. */
static int64_t attempt_until(const nontax_call *call, int64_t now)
{
    int repeats_left = call->interface->read_only ? call->client->retries - call->repeats : 0;
    return repeats_left > 0 ? now + (call->deadline - now) / (repeats_left + 1) : call->deadline;
}

/* Begins an attempt, on a `fresh` connection or on any. If that fails, the call is finished, and
 * nothing of this attempt was sent. */
static void begin_attempt(nx_lane *lane, nontax_call *call, bool fresh)
{
    nontax_text why;
    int64_t now = nx_now_ms();
    why.text[0] = '\0';
    if (lane->broken) {
        finish_unsent(lane, call, NONTAX_CAUSE_CONNECTION, "libcurl has failed on this lane");
        return;
    }
    if (call->deadline <= now) {
        if (call->result.attempts == 0) {
            nx_call_finish_too_late(call, "timed out before it was sent");
            nx_attempt_finish_call(lane, call);
        } else {
            nx_attempt_finish_call(
                lane, call); /* with the last attempt's result, which was not a success */
        }
        return;
    }
    nontax_status status = make_transfer(lane, call, fresh, &why);
    if (status != NONTAX_OK) {
        bool memory = status == NONTAX_NO_MEMORY;
        finish_unsent(lane, call, memory ? NONTAX_CAUSE_MEMORY : NONTAX_CAUSE_CONNECTION,
                      memory ? "out of memory" : why.text);
        return;
    }
    CURLMcode code = curl_multi_add_handle(lane->multi, call->transfer->easy);
    if (code != CURLM_OK) {
        nx_call_abandon_attempt(call, false);
        detach_transfer(lane, call);
        finish_unsent(lane, call, NONTAX_CAUSE_MEMORY, curl_multi_strerror(code));
        return;
    }
    if (!lane->running.first) {
        lane->last_step = now; /* nobody was away: there was nothing to do */
        lane->next_deadline = NX_NEVER;
    }
    nx_call_begin_attempt(call);
    nx_list_append(&lane->running, call);
    call->attempt_until = attempt_until(call, now);
    if (call->attempt_until < lane->next_deadline) {
        lane->next_deadline = call->attempt_until;
    }
}

static void begin(nx_lane *lane, nontax_call *call)
{
    begin_attempt(lane, call, false);
}

static void stop_running(nx_lane *lane, nontax_call *call)
{
    nx_list_remove(&lane->running, call);
    CURLMcode removed = curl_multi_remove_handle(lane->multi, call->transfer->easy);
    lane->broken = lane->broken || removed != CURLM_OK;
}

void nx_attempt_end(nx_lane *lane, nontax_call *call, CURLcode code)
{
    stop_running(lane, call);
    nx_call_end_attempt(call, code);
    bool elsewhere = call->transfer->refused && !call->transfer->fresh;
    bool no_descriptor = call->transfer->no_descriptor;
    if (code == CURLE_SEND_FAIL_REWIND) {
        /* libcurl (seen with 8.14.1) would try the same again before the handle's next request. */
        nx_transfer_free(call->transfer);
        call->transfer = NULL;
    } else {
        detach_transfer(lane, call);
    }
    if (elsewhere) { /* where the connection was not fit, that is no attempt of the bill's */
        nx_call_uncount_attempt(call);
        begin_attempt(lane, call, true);
    } else if (no_descriptor && lane->client->free_idle(lane->client)) {
        nx_call_uncount_attempt(call);
        begin(lane, call); /* there are some now */
    } else {
        nx_attempt_settle(lane, call);
    }
}

/* Takes a call's transfer away before its end. */
void nx_attempt_abandon(nx_lane *lane, nontax_call *call, bool timed_out)
{
    stop_running(lane, call);
    nx_call_abandon_attempt(call, timed_out);
    detach_transfer(lane, call);
}
