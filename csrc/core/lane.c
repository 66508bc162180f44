/* lane.c: a lane: one multi handle with its connections, and the calls that are on it.
 *
 * A call on a lane is in one of three lists, according to its state: `running`, `pausing`, or
 * `done` (finished, or in need of a token). What one attempt leads to is decided in
 * attempts.c. All waiting is done in nx_lane_step(). */
#include "lane.h"

#include <unistd.h>

#include "attempts.h"
#include "clock.h"
#include "descriptors.h"
#include "fork_lock.h"
#include "process.h"
#include "share.h"

enum {
    /* Descriptors of a new lane: epoll, libcurl's pair for wakeups, the first connection. */
    FOR_A_LANE = 4,
    /* If the caller did not step for so long after a deadline, answers may be waiting that arrived
     * in time. More than the jitter of a busy scheduler, less than anybody would notice. */
    LATE_MS = 20,
    /* Then so long is given to read them: several TLS records and steps, but no new round trip over
     * a slow line. */
    GRACE_MS = 500
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
        status = nx_engine_new(lane->multi, &lane->connections, &lane->engine);
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

/* ---- what a step does ---------------------------------------------------------------------- */

static void collect(nx_lane *lane)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(lane->multi, &left))) {
        if (message->msg == CURLMSG_DONE) {
            char *call = NULL;
            CURLcode code = message->data.result;
            if (curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &call) == CURLE_OK) {
                nx_attempt_end(lane, (nontax_call *)(void *)call, code);
            }
        }
    }
}

/* Ends the calls whose time is over; those of which something went out only if `sent_too`. */
static void end_late(nx_lane *lane, int64_t now, bool sent_too)
{
    lane->next_deadline = NX_NEVER;
    nontax_call *call = lane->running.first;
    while (call) {
        nontax_call *next = call->next;
        if (call->attempt_until <= now && (sent_too || !nx_lane_has_sent(call))) {
            nx_attempt_abandon(lane, call, true);
            nx_attempt_settle(lane, call);
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
            nx_attempt_begin_in_turn(lane, call);
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

/* To be called at the end of whatever changes what the lane waits for. */
static void arm(nx_lane *lane)
{
    if (!nx_lane_is_ours(lane)) {
        return; /* the kernel's side of the engine is the parent's, too */
    }
    if (!lane->running.first) {
        nx_engine_rest(lane->engine);
    }
    nx_engine_arm(lane->engine, earliest_due(lane));
}

/* libcurl has given up on the multi handle: no call on it will get an answer any more. */
static void break_lane(nx_lane *lane, CURLMcode code)
{
    lane->broken = true;
    while (lane->running.first) {
        nontax_call *call = lane->running.first;
        nx_lane_cancel(lane, call);
        nx_call_finish_broken(call, curl_multi_strerror(code));
        nx_attempt_finish_call(lane, call);
    }
}

/* ---- the driver's side ------------------------------------------------------------------- */

nontax_status nx_lane_add(nx_lane *lane, nontax_call *call)
{
    if (!nx_lane_is_ours(lane) || !nx_call_is_ours(call)) {
        return NONTAX_WRONG_PROCESS;
    }
    if (call->state == NX_CALL_READY && call->not_before > nx_now_ms()) {
        nx_attempt_pause(lane, call, call->not_before);
    } else if (call->state == NX_CALL_READY) {
        nx_fork_lock_enter();
        nx_attempt_begin_in_turn(lane, call);
        nx_fork_lock_leave();
    } else {
        nx_list_append(&lane->done, call);
    }
    arm(lane);
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
    arm(lane);
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
        nx_attempt_abandon(lane, call, false);
        nx_fork_lock_leave();
    } else {
        nx_list_remove(call->state == NX_CALL_PAUSING ? &lane->pausing : &lane->done, call);
    }
    nx_call_finish(call);
    arm(lane);
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
        arm(lane);
    }
}

int nx_lane_descriptor(nx_lane *lane)
{
    int descriptor = nx_lane_is_ours(lane) ? nx_engine_descriptor(lane->engine) : -1;
    arm(lane);
    return descriptor;
}

bool nx_lane_make_wakeable(nx_lane *lane)
{
    return nx_lane_is_ours(lane) && nx_engine_make_wakeable(lane->engine);
}
