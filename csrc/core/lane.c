/* lane.c: a lane: one multi handle with its connections, and the calls that are on it.
 *
 * A call on a lane is in one of three lists, according to its state: `running`, `pausing`, or
 * `done` (finished, or in need of a token). What one attempt leads to is decided in settle(), which
 * asks retry.c. All waiting is done in nx_lane_step(). */
#include "lane.h"

#include <stdatomic.h>
#include <unistd.h>

#include "clock.h"
#include "descriptors.h"
#include "engine.h"
#include "fork_lock.h"
#include "hosts.h"
#include "list.h"
#include "process.h"
#include "retry.h"
#include "share.h"

enum {
    /* File descriptors of a new lane: epoll, libcurl's pair for wakeups, and the first connection.
     */
    FOR_A_LANE = 4,
    /* If the caller did not step for so long after a deadline, answers may be waiting that arrived
     * in time. More than the jitter of a busy scheduler, less than anybody would notice. */
    LATE_MS = 20,
    /* Then so long is given to read them: several TLS records and steps, but no new round trip over
     * a slow line. */
    GRACE_MS = 500
};

struct nx_lane {
    nontax_client *client;
    unsigned generation; /* of the process that made it */
    bool broken;         /* libcurl has given up on the multi handle */
    bool failed;         /* its last attempt got no answer, for a reason that may be the lane's */
    CURLM *multi;
    int parallel; /* connections that it keeps open */
    nx_engine *engine;
    atomic_bool wakeup_pending; /* nx_lane_wakeup() was called since the last step */
    int64_t alarm;              /* the descriptor becomes readable then, too */
    nx_list running;
    nx_list pausing;
    nx_list done; /* finished, or in need of a token */
    nx_transfer *spare;
    nx_connections connections;
    uint32_t random;
    int64_t next_deadline; /* no running call's deadline is earlier */
    int64_t last_step;
    int64_t grace_until; /* see expire() */
    nx_pace pace;
    nx_lane *next_idle;
};

/* ---- making and freeing ------------------------------------------------------------------ */

bool nx_lane_is_ours(const nx_lane *lane)
{
    return lane->generation == nx_process_generation();
}

bool nx_lane_is_usable(const nx_lane *lane)
{
    return nx_lane_is_ours(lane) && !lane->broken;
}

bool nx_lane_has_failed(const nx_lane *lane)
{
    return lane->failed;
}

void nx_lane_set_pace(nx_lane *lane, const nx_pace *pace)
{
    lane->pace = *pace;
}

void nx_lane_hold(nx_lane *lane, int64_t ms)
{
    nx_pace_hold(&lane->pace, nx_now_ms(), ms);
}

double nx_lane_next_turn(const nx_lane *lane)
{
    int waiting = 0;
    for (const nontax_call *call = lane->pausing.first; call; call = call->next) {
        waiting += call->wants_turn;
    }
    return nx_pace_next_turn(&lane->pace, waiting);
}

nx_lane **nx_lane_link(nx_lane *lane)
{
    return &lane->next_idle;
}

int64_t nx_lane_last_used(const nx_lane *lane)
{
    return lane->last_step;
}

/* A name look-up that hangs must not hold up whoever frees the lane: since 8.20 the threads are the
 * multi handle's, and CURLOPT_QUICK_EXIT says nothing about them. */
static CURLMcode leave_look_ups(CURLM *multi)
{
#if LIBCURL_VERSION_NUM >= 0x081400
    CURLMcode code = curl_multi_setopt(multi, CURLMOPT_QUICK_EXIT, 1L);
    return code == CURLM_UNKNOWN_OPTION ? CURLM_OK : code; /* an older one is loaded */
#else
    (void)multi;
    return CURLM_OK;
#endif
}

/* The kept connections of a run are not closed because one call is made on its lane. */
static bool set_parallel(nx_lane *lane, int parallel)
{
    if (parallel <= lane->parallel) {
        return true;
    }
    lane->parallel = parallel;
    return curl_multi_setopt(lane->multi, CURLMOPT_MAXCONNECTS, (long)parallel) == CURLM_OK;
}

bool nx_lane_reset(nx_lane *lane, int parallel)
{
    lane->wakeup_pending = false;
    lane->alarm = lane->next_deadline = NX_NEVER;
    lane->grace_until = 0;
    lane->pace = (nx_pace){0};
    return set_parallel(lane, parallel);
}

int nx_lane_connections(const nx_lane *lane)
{
    return lane->connections.count ? lane->connections.count : 1;
}

static nontax_status make_lane(nontax_client *client, int parallel, nx_lane **result)
{
    nx_lane *lane = NULL;
    *result = NULL;
    if (nx_share_prepare(client) != NONTAX_OK || !(lane = nx_calloc(1, sizeof *lane))) {
        return NONTAX_NO_MEMORY;
    }
    lane->client = client;
    lane->generation = nx_process_generation();
    lane->next_deadline = lane->alarm = NX_NEVER;
    lane->random = (uint32_t)nx_now_ms() ^ (uint32_t)(uintptr_t)lane ^ (uint32_t)getpid() << 16;
    nx_fork_lock_enter();
    lane->multi = curl_multi_init();
    nontax_status status = NONTAX_NO_MEMORY;
    if (lane->multi && set_parallel(lane, parallel) && leave_look_ups(lane->multi) == CURLM_OK) {
        status = nx_engine_new(lane->multi, &lane->engine);
    }
    nx_fork_lock_leave();
    if (status != NONTAX_OK) {
        nx_lane_free(lane);
        return nx_descriptors_are_short(FOR_A_LANE) ? NONTAX_NO_DESCRIPTOR : status;
    }
    *result = lane;
    return NONTAX_OK;
}

nontax_status nx_lane_new(nontax_client *client, int parallel, nx_lane **lane)
{
    nontax_status status = make_lane(client, parallel, lane);
    if (status == NONTAX_NO_DESCRIPTOR && client->free_idle(client)) {
        status = make_lane(client, parallel, lane);
    }
    return status;
}

/* The transfer goes back to the spare ones; the call keeps only what it knows. */
static void detach_transfer(nx_lane *lane, nontax_call *call)
{
    call->transfer->next = lane->spare;
    lane->spare = call->transfer;
    call->transfer = NULL;
}

void nx_lane_free(nx_lane *lane)
{
    if (!lane || !nx_lane_is_ours(lane)) {
        return; /* a parent's lane is forgotten, with its memory: freeing it would close sockets */
    }
    nontax_call *call;
    nx_fork_lock_enter();
    while ((call = nx_lane_any(lane))) {
        nx_lane_cancel(lane, call);
    }
    while (lane->spare) {
        nx_transfer *transfer = lane->spare;
        lane->spare = transfer->next;
        nx_transfer_free(transfer);
    }
    if (lane->multi) {
        (void)curl_multi_cleanup(lane->multi); /* nothing could be done if it failed */
    }
    nx_fork_lock_leave();
    nx_engine_free(lane->engine);
    nx_connections_free(&lane->connections);
    nx_free(lane);
}

/* ---- a call's attempts ------------------------------------------------------------------- */

static uint32_t next_random(nx_lane *lane)
{
    uint32_t x = lane->random ? lane->random : 1;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return lane->random = x;
}

static void finish(nx_lane *lane, nontax_call *call)
{
    if (call->interface->answers_secret) {
        bool fetched = call->result.outcome == NONTAX_INSERTED;
        nx_note(call, fetched ? NONTAX_NOTE_FETCHED : NONTAX_NOTE_NOT_FETCHED, 0);
    }
    nx_call_finish(call);
    nx_list_append(&lane->done, call);
}

static void pause_call(nx_lane *lane, nontax_call *call, int64_t due)
{
    nx_call_pause(call, due);
    nx_list_append(&lane->pausing, call);
}

static void begin(nx_lane *lane, nontax_call *call);

static void finish_unsent(nx_lane *lane, nontax_call *call, nontax_cause cause, const char *reason)
{
    nx_call_finish_unsent(call, cause, reason);
    finish(lane, call);
}

/* Begins an attempt, or has it wait for its turn, which takes nothing of the call's own time. */
static void begin_in_turn(nx_lane *lane, nontax_call *call)
{
    int64_t now = nx_now_ms(), due;
    nx_turn turn = call->wants_turn ? nx_pace_take_turn(&lane->pace, now, &due) : NX_TURN_NOW;
    if (turn == NX_TURN_NEVER) {
        finish_unsent(lane, call, NONTAX_CAUSE_LATER, "the calls of this minute are used up");
        return;
    }
    if (turn == NX_TURN_LATER) {
        call->deadline += due - now;
        pause_call(lane, call, due);
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
        finish(lane, call); /* with the refusal */
        return;
    }
    call->quota_pauses++;
    begin_in_turn(lane, call);
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
static void settle(nx_lane *lane, nontax_call *call)
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
            pause_call(lane, call, due);
        } else {
            finish(lane, call);
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
        finish(lane, call);
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
    nontax_text why = {.text = ""};
    if (lane->broken) {
        finish_unsent(lane, call, NONTAX_CAUSE_CONNECTION, "libcurl has failed on this lane");
        return;
    }
    if (call->deadline <= nx_now_ms()) {
        if (call->result.attempts == 0) {
            nx_call_finish_too_late(call, "the time was over before it was sent");
            finish(lane, call);
        } else {
            finish(lane, call); /* with the last attempt's result, which was not a success */
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
        lane->last_step = nx_now_ms(); /* nobody was away: there was nothing to do */
        lane->next_deadline = NX_NEVER;
    }
    nx_call_begin_attempt(call);
    nx_list_append(&lane->running, call);
    call->attempt_until = attempt_until(call, nx_now_ms());
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

static void end_attempt(nx_lane *lane, nontax_call *call, CURLcode code)
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
        settle(lane, call);
    }
}

static void collect(nx_lane *lane)
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

/* Takes a call's transfer away before its end. */
static void abandon(nx_lane *lane, nontax_call *call, bool timed_out)
{
    stop_running(lane, call);
    nx_call_abandon_attempt(call, timed_out);
    detach_transfer(lane, call);
}

/* Ends the calls whose time is over; those of which something went out only if `sent_too`. */
static void end_late(nx_lane *lane, int64_t now, bool sent_too)
{
    lane->next_deadline = NX_NEVER;
    nontax_call *call = lane->running.first;
    while (call) {
        nontax_call *next = call->next;
        if (call->attempt_until <= now && (sent_too || !nx_lane_has_sent(call))) {
            abandon(lane, call, true);
            settle(lane, call);
        } else if (call->attempt_until < lane->next_deadline) {
            lane->next_deadline = call->attempt_until;
        }
        call = next;
    }
}

/* It is not libcurl that watches the time: when the caller has been away for a while between two
 * steps (a person at a notebook, after Ctrl-C), the answers that have arrived in the meantime must
 * be read first, and not be taken for missing. */
static void expire(nx_lane *lane)
{
    int64_t now = nx_now_ms();
    if (now >= lane->next_deadline && now >= lane->grace_until) {
        end_late(lane, now, true);
    }
}

static void begin_due(nx_lane *lane)
{
    int64_t now = lane->pausing.first ? nx_now_ms() : 0;
    nontax_call *call = lane->pausing.first;
    while (call) {
        nontax_call *next = call->next;
        if (call->due <= now) {
            nx_list_remove(&lane->pausing, call);
            begin_in_turn(lane, call);
        }
        call = next;
    }
}

/* When there will be something to do, whatever libcurl does. */
static int64_t earliest_due(const nx_lane *lane)
{
    int64_t due = lane->next_deadline > lane->grace_until ? lane->next_deadline : lane->grace_until;
    due = lane->wakeup_pending ? 0 : lane->running.first ? due : NX_NEVER;
    due = lane->alarm < due ? lane->alarm : due;
    for (const nontax_call *call = lane->pausing.first; call; call = call->next) {
        due = call->due < due ? call->due : due;
    }
    return due;
}

/* libcurl has given up on the multi handle: no call on it will get an answer any more. */
static void break_lane(nx_lane *lane, CURLMcode code)
{
    lane->broken = true;
    while (lane->running.first) {
        nontax_call *call = lane->running.first;
        nx_lane_cancel(lane, call);
        nx_call_finish_broken(call, curl_multi_strerror(code));
        finish(lane, call);
    }
}

/* ---- the driver's side ------------------------------------------------------------------- */

nontax_status nx_lane_add(nx_lane *lane, nontax_call *call)
{
    if (!nx_lane_is_ours(lane) || !nx_call_is_ours(call)) {
        return NONTAX_WRONG_PROCESS;
    }
    if (call->state == NX_CALL_READY && call->not_before > nx_now_ms()) {
        pause_call(lane, call, call->not_before);
    } else if (call->state == NX_CALL_READY) {
        nx_fork_lock_enter();
        begin_in_turn(lane, call);
        nx_fork_lock_leave();
    } else {
        nx_list_append(&lane->done, call);
    }
    nx_engine_arm(lane->engine, earliest_due(lane));
    return NONTAX_OK;
}

nontax_step nx_lane_step(nx_lane *lane, int wait_ms)
{
    if (!nx_lane_is_ours(lane)) {
        return NONTAX_STEP_IDLE;
    }
    bool happened = false;
    int64_t now = nx_now_ms();
    if (lane->last_step < lane->next_deadline && now - lane->next_deadline > LATE_MS) {
        lane->grace_until = now + GRACE_MS;
        nx_fork_lock_enter();
        end_late(lane, now, false); /* nothing is sent any more when the time is over */
        nx_fork_lock_leave();
    }
    int64_t due = earliest_due(lane);
    int64_t until = wait_ms > 0 && !lane->done.first ? now + wait_ms : 0;
    CURLMcode code = nx_engine_turn(lane->engine, due < until ? due : until, &happened);
    nx_fork_lock_enter();
    if (code != CURLM_OK) {
        break_lane(lane, code);
    }
    collect(lane);
    expire(lane);
    begin_due(lane);
    nx_fork_lock_leave();
    nx_engine_arm(lane->engine, earliest_due(lane));
    lane->last_step = nx_now_ms();
    return happened ? NONTAX_STEP_BUSY : NONTAX_STEP_IDLE;
}

nontax_call *nx_lane_take(nx_lane *lane)
{
    nontax_call *call = nx_lane_is_ours(lane) ? lane->done.first : NULL;
    if (call) {
        nx_list_remove(&lane->done, call);
    }
    return call;
}

bool nx_lane_has_sent(const nontax_call *call)
{
    return call->state == NX_CALL_RUNNING && nx_transfer_was_sent(call->transfer);
}

bool nx_lane_all_sent(const nx_lane *lane)
{
    for (const nontax_call *call = lane->running.first; call; call = call->next) {
        if (!nx_lane_has_sent(call)) {
            return false;
        }
    }
    for (const nontax_call *call = lane->pausing.first; call; call = call->next) {
        if (call->result.outcome == NONTAX_NOT_SENT) {
            return false;
        }
    }
    return true;
}

void nx_lane_make_up_for(nx_lane *lane, int64_t ms)
{
    for (nontax_call *call = lane->running.first; call; call = call->next) {
        if (!nx_lane_has_sent(call)) {
            call->deadline += ms;
            call->attempt_until += ms;
        }
    }
    for (nontax_call *call = lane->pausing.first; call; call = call->next) {
        call->deadline += ms;
    }
}

void nx_lane_drain(nx_lane *lane, const nontax_call *call)
{
    /* TLS may need several steps for one answer, but an endless one must not hold us. */
    nontax_step step = NONTAX_STEP_BUSY;
    for (int i = 0; i < 16 && nx_lane_has_sent(call) && step == NONTAX_STEP_BUSY; i++) {
        step = nx_lane_step(lane, 0);
    }
}

nontax_call *nx_lane_any(const nx_lane *lane)
{
    nontax_call *call = lane->running.first;
    while (call && nx_lane_has_sent(call)) {
        call = call->next;
    }
    return lane->pausing.first ? lane->pausing.first : call ? call : lane->running.first;
}

void nx_lane_cancel(nx_lane *lane, nontax_call *call)
{
    if (!nx_lane_is_ours(lane)) {
        return;
    }
    if (call->state == NX_CALL_RUNNING) {
        nx_fork_lock_enter();
        abandon(lane, call, false);
        nx_fork_lock_leave();
    } else {
        nx_list_remove(call->state == NX_CALL_PAUSING ? &lane->pausing : &lane->done, call);
    }
    nx_call_finish(call);
    nx_engine_arm(lane->engine, earliest_due(lane));
}

void nx_lane_clear_wakeup(nx_lane *lane)
{
    lane->wakeup_pending = false;
}

void nx_lane_wakeup(nx_lane *lane)
{
    if (nx_lane_is_ours(lane)) {
        lane->wakeup_pending =
            true; /* first: otherwise the thread that steps could disarm the timer again */
        nx_engine_wakeup(lane->engine);
    }
}

void nx_lane_set_alarm(nx_lane *lane, int64_t when)
{
    if (lane->alarm != when) {
        lane->alarm = when;
        nx_engine_arm(lane->engine, earliest_due(lane));
    }
}

int nx_lane_descriptor(nx_lane *lane)
{
    int descriptor = nx_lane_is_ours(lane) ? nx_engine_descriptor(lane->engine) : -1;
    nx_engine_arm(lane->engine, earliest_due(lane));
    return descriptor;
}
