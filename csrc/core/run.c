/* run.c: a run: many calls on one lane, with a rate, pauses, and one access token for all.
 *
 * A call in a run is in `waiting` (needs a token), on the lane, or in `finished`. collect() takes
 * from the lane what has come off it: a call whose token was refused waits again, all others are
 * finished. `inside` counts the calls in all three places, and concurrency limits it.
 *
 * The token of all calls: it is current until token_until, and then the source is asked again,
 * which usually returns the same one. When WeChat refuses it, token_refused is set by the first
 * call that comes back with it; those that come back later with an older token get the current one.
 */
#include <string.h>

#include "clock.h"
#include "descriptors.h"
#include "list.h"
#include "pool.h"
#include "process.h"
#include "text.h"

enum {
    MAX_CONCURRENCY = 1000, /* a connection each, of the 1,024 descriptors that are usual */
    LONGEST_WAIT_MS = 24 * 3600 * 1000, /* at a very low rate: so that it fits into an int */
    MOST_TOKEN_WAITS = 3,               /* for one newer token: then the source must be broken */
    /* How long a token counts as current. The source knows before WeChat refuses it that one has
     * ended; asking it for each of a thousand bills a second would cost more than they do. */
    TOKEN_MS = 1000,
    /* Where the next bill takes longer than this to come (each may be a query of a database),
     * nobody steps meanwhile. So the bills before it are sent first, in steps of UNSENT_WAIT_MS. */
    SLOW_MS = 20,
    UNSENT_WAIT_MS = 2
};

struct nontax_run {
    nontax_client *client;
    unsigned generation;       /* of the process that made it */
    nx_lane *lane;             /* borrowed; NULL: the run is closed */
    pthread_mutex_t lane_lock; /* held to wake the lane up, by any thread, and to give it back */
    nontax_run_settings settings;
    nx_buffer token; /* the current one */
    int64_t token_until;
    bool token_refused; /* WeChat has refused it */
    int64_t token_at;   /* the source has no newer one before then; 0: that is not known */
    int token_waits;    /* how often it has said so about this token */
    nx_list waiting;    /* calls that wait for a token */
    nx_list finished;
    int inside;         /* calls in these two lists and on the lane */
    int64_t wanted_at;  /* when the caller was last told that another call can be taken in */
    bool is_fed_slowly; /* the last one came more than SLOW_MS after that */
    uint32_t added;     /* calls so far */
    nx_twins twins;     /* the orders and numbers of their bills */
};

nontax_status nontax_run_new(nontax_client *client, const nontax_run_settings *settings,
                             nontax_run **result, nontax_text *why)
{
    *result = NULL;
    if (settings->concurrency < 1 || settings->concurrency > MAX_CONCURRENCY) {
        return nx_text_refuse(why, "concurrency", "must be between 1 and %d", MAX_CONCURRENCY);
    }
    if (!(settings->rate >= 0 && settings->rate <= 1e6)) {
        return nx_text_refuse(why, "rate", "must be a number of bills per second");
    }
    nontax_run *run = nx_calloc(1, sizeof *run);
    nontax_status status = NONTAX_NO_MEMORY;
    if (run) {
        status = nx_pool_borrow(client, settings->concurrency, &run->lane);
    }
    if (status != NONTAX_OK) {
        nx_text_format(why, "%s", status == NONTAX_NO_DESCRIPTOR ? nx_no_descriptor : "");
        nx_free(run);
        return status;
    }
    nx_pace pace = {.quota_pause_ms = settings->quota_pause_ms,
                    .never_waits = settings->never_waits};
    nx_pace_set_interval(&pace, settings->rate > 0 ? 1000.0 / settings->rate : 0);
    nx_lane_set_pace(run->lane, &pace);
    run->client = client;
    run->generation = nx_process_generation();
    (void)pthread_mutex_init(&run->lane_lock, NULL); /* on Linux and macOS it always succeeds */
    run->settings = *settings;
    *result = run;
    return NONTAX_OK;
}

bool nontax_run_is_ours(const nontax_run *run)
{
    return run->generation == nx_process_generation();
}

/* Whether there is a lane that may be used. */
static bool has_lane(const nontax_run *run)
{
    return run->lane && nontax_run_is_ours(run);
}

void nontax_run_close(nontax_run *run)
{
    if (!has_lane(run)) {
        return;
    }
    nontax_run_end(run);
    pthread_mutex_lock(&run->lane_lock);
    nx_lane *lane = run->lane;
    run->lane = NULL;
    pthread_mutex_unlock(&run->lane_lock);
    nx_pool_return(run->client, lane);
}

void nontax_run_free(nontax_run *run)
{
    if (!run || !nontax_run_is_ours(run)) {
        return; /* a parent's run is forgotten, like its lane */
    }
    nontax_call *call;
    nontax_run_close(run);
    while ((call = nontax_run_take(run))) {
        nontax_call_free(call);
    }
    (void)pthread_mutex_destroy(&run->lane_lock);
    nx_buffer_free(&run->token);
    nx_twins_free(&run->twins);
    nx_free(run);
}

/* ---- tokens ------------------------------------------------------------------------------ */

static bool is_current(const nontax_run *run, const char *token)
{
    return run->token.size > 0 && strcmp(run->token.data, token) == 0;
}

/* Puts the call on the lane with this token, or among the finished if that does not go. */
static void send_with(nontax_run *run, nontax_call *call, const char *token, size_t size)
{
    (void)nx_call_use_token(call, token, size); /* what can go wrong is in the call */
    if (nontax_call_finished(call)) {
        nx_list_append(&run->finished, call);
    } else {
        (void)nx_lane_add(run->lane, call); /* the lane is ours */
    }
}

/* It would have to wait for a token. */
static void end_without_token(nontax_run *run, nontax_call *call)
{
    if (call->token_refused) {
        nx_call_finish_later(call);
    } else {
        nx_call_finish_unsent(call, NONTAX_CAUSE_LATER, "no newer access token is available yet");
    }
    nx_list_append(&run->finished, call);
}

/* A call needs a token: the run's own, if that is good enough, else it waits for the next one. */
static void give_token(nontax_run *run, nontax_call *call)
{
    const char *stale = nontax_call_stale_token(call);
    if (stale && is_current(run, stale)) {
        run->token_refused = true; /* the first of the calls that were sent with it to come back */
    }
    bool fresh = stale || nx_now_ms() < run->token_until;
    if (run->token.size > 0 && !run->token_refused && fresh) {
        send_with(run, call, run->token.data, run->token.size);
    } else if (run->settings.never_waits && nx_now_ms() < run->token_at) {
        end_without_token(run, call);
    } else {
        call->waits_since = nx_now_ms();
        nx_list_append(&run->waiting, call);
    }
}

/* A call ends in time although no token comes. A bulk run's bills wait as long as that takes: the
 * source is asked for all of them, and none of their time goes by. */
static void expire_waiting(nontax_run *run)
{
    int64_t now = nx_now_ms();
    int64_t alarm = run->waiting.first && run->token_at > now ? run->token_at : NX_NEVER;
    nontax_call *call = run->settings.bulk ? NULL : run->waiting.first;
    while (call) {
        nontax_call *next = call->next;
        if (call->deadline > now) {
            alarm = call->deadline < alarm ? call->deadline : alarm;
        } else {
            nx_list_remove(&run->waiting, call);
            if (call->token_refused) {
                nx_call_finish(call); /* with the refusal */
            } else {
                nx_call_finish_too_late(call, "timed out while waiting for an access token");
            }
            nx_list_append(&run->finished, call);
        }
        call = next;
    }
    nx_lane_set_alarm(run->lane, alarm);
}

bool nontax_run_needs_token(const nontax_run *run)
{
    return run->waiting.first && (!run->token_at || nx_now_ms() >= run->token_at);
}

const char *nontax_run_stale_token(const nontax_run *run)
{
    return run->token_refused ? run->token.data : NULL;
}

bool nontax_run_may_keep_token(const nontax_run *run)
{
    bool may_keep = run->token_refused;
    for (const nontax_call *call = run->waiting.first; call; call = call->next) {
        may_keep = may_keep && (!call->token_refused || nontax_call_may_keep_token(call));
    }
    return may_keep;
}

nontax_status nontax_run_set_token(nontax_run *run, const char *token, size_t size)
{
    if (!has_lane(run)) {
        return NONTAX_WRONG_PROCESS;
    }
    if (nontax_token_problem(token, size)) {
        return NONTAX_BAD_TOKEN;
    }
    bool is_newer = !is_current(run, token);
    if (run->token_refused && !is_newer && run->settings.bulk) {
        nx_lane_hold(run->lane, TOKEN_MS); /* a thousand bills need not try it */
    }
    nx_buffer_clear(&run->token, 4096);
    /* Without the memory for it those that wait get it all the same, and later calls ask again. */
    (void)nx_buffer_append(&run->token, token, size);
    run->token_waits = is_newer ? 0 : run->token_waits;
    run->token_refused = false;
    run->token_at = 0;
    run->token_until = nx_now_ms() + TOKEN_MS;
    nx_list waiting = run->waiting;
    run->waiting = (nx_list){0};
    while (waiting.first) {
        nontax_call *call = waiting.first;
        nx_list_remove(&waiting, call);
        call->deadline += run->settings.bulk ? nx_now_ms() - call->waits_since : 0;
        send_with(run, call, token, size);
    }
    return NONTAX_OK;
}

nontax_status nontax_run_token_in(nontax_run *run, int64_t wait_ms)
{
    if (!has_lane(run)) {
        return NONTAX_WRONG_PROCESS;
    }
    if (!run->settings.bulk || !run->token_refused || run->token_waits >= MOST_TOKEN_WAITS) {
        nontax_run_no_token(run);
        return NONTAX_OK;
    }
    run->token_waits++;
    run->token_at = nx_now_ms() + wait_ms;
    while (run->settings.never_waits && run->waiting.first) {
        nontax_call *call = run->waiting.first;
        nx_list_remove(&run->waiting, call);
        end_without_token(run, call);
    }
    expire_waiting(run);
    return NONTAX_OK;
}

void nontax_run_no_token(nontax_run *run)
{
    while (run->waiting.first) {
        nontax_call *call = run->waiting.first;
        nx_list_remove(&run->waiting, call);
        nontax_call_give_up(call);
        nx_list_append(&run->finished, call);
    }
}

/* ---- calls in and out -------------------------------------------------------------------- */

int64_t nontax_run_wants_in(nontax_run *run)
{
    int64_t now = nx_now_ms();
    /* Those that wait for a token have not had their turns. */
    if (!run->lane || run->inside >= run->settings.concurrency ||
        (run->settings.rate > 0 && run->waiting.first)) {
        return -1;
    }
    double left = nx_lane_next_turn(run->lane) - (double)now + 0.999;
    int64_t wait = left < LONGEST_WAIT_MS ? (int64_t)left : LONGEST_WAIT_MS;
    if (wait <= 0 && run->is_fed_slowly && (run->waiting.first || !nx_lane_all_sent(run->lane))) {
        return UNSENT_WAIT_MS;
    }
    run->wanted_at = now;
    return wait > 0 ? wait : 0;
}

void nontax_run_wakeup(nontax_run *run)
{
    if (!nontax_run_is_ours(run)) {
        return;
    }
    pthread_mutex_lock(&run->lane_lock);
    if (run->lane) {
        nx_lane_wakeup(run->lane);
    }
    pthread_mutex_unlock(&run->lane_lock);
}

/* What the run itself has to report makes the descriptor readable, too. */
static void wakeup_if_due(nontax_run *run)
{
    if (run->finished.first || nontax_run_needs_token(run)) {
        nontax_run_wakeup(run);
    }
}

static void collect(nontax_run *run)
{
    nontax_call *call;
    while (run->lane && (call = nx_lane_take(run->lane))) {
        if (nontax_call_needs_token(call)) {
            give_token(run, call);
        } else {
            nx_list_append(&run->finished, call);
        }
    }
}

nontax_status nontax_run_add(nontax_run *run, nontax_call *call)
{
    if (!has_lane(run)) {
        return NONTAX_WRONG_PROCESS;
    }
    run->inside++;
    call->place = run->added++;
    call->bulk = run->settings.bulk;
    int64_t took = run->settings.bulk ? nx_now_ms() - run->wanted_at : 0;
    run->is_fed_slowly = took > SLOW_MS;
    if (run->is_fed_slowly) {
        nx_lane_make_up_for(run->lane, took);
    }
    if (nontax_call_finished(call)) {
        nx_list_append(&run->finished, call);
        wakeup_if_due(run);
        return NONTAX_OK;
    }
    nx_twins_add(&run->twins, &call->keys, call->place);
    give_token(run, call);
    collect(run); /* it may have ended at once */
    wakeup_if_due(run);
    return NONTAX_OK;
}

nontax_step nontax_run_step(nontax_run *run, int wait_ms)
{
    if (!run->lane) {
        return NONTAX_STEP_IDLE;
    }
    nx_lane_clear_wakeup(run->lane);
    collect(run);
    bool busy = run->finished.first || nontax_run_needs_token(run);
    nontax_step step = nx_lane_step(run->lane, busy ? 0 : wait_ms);
    collect(run);
    expire_waiting(run);
    return step;
}

nontax_call *nontax_run_finished(nontax_run *run)
{
    collect(run);
    return run->finished.first;
}

nontax_call *nontax_run_take(nontax_run *run)
{
    nontax_call *call = nontax_run_finished(run);
    if (call) {
        nx_list_remove(&run->finished, call);
        run->inside--;
    }
    return call;
}

void nontax_run_end(nontax_run *run)
{
    nontax_call *call;
    collect(run);
    nontax_run_no_token(run);
    /* Nothing more is sent: what has not gone out ends before answers to the others are read. */
    while (run->lane && (call = nx_lane_any(run->lane))) {
        nx_lane_drain(run->lane, call);
        if (call->state == NX_CALL_RUNNING || call->state == NX_CALL_PAUSING) {
            nx_lane_cancel(run->lane, call);
            nx_list_append(&run->finished, call);
        }
        collect(run);
        nontax_run_no_token(run);
    }
}

void nontax_run_cancel(nontax_run *run, nontax_call *call)
{
    if (!nontax_run_is_ours(run)) {
        return;
    }
    if (run->lane) {
        nx_lane_drain(run->lane, call); /* an answer that is here already counts */
    }
    collect(run);
    switch (call->state) {
    case NX_CALL_NEEDS_TOKEN:
        nx_list_remove(&run->waiting, call);
        if (call->token_refused) {
            nx_call_finish(call); /* with the refusal */
        } else {
            nx_call_finish_unsent(call, NONTAX_CAUSE_CANCELLED, "cancelled before it was sent");
        }
        break;
    case NX_CALL_FINISHED:
        nx_list_remove(&run->finished, call);
        break;
    default:
        nx_lane_cancel(run->lane, call);
    }
    run->inside--;
    wakeup_if_due(run);
}

void nontax_run_put_back(nontax_run *run, nontax_call *call)
{
    run->inside++;
    nx_list_append(&run->finished, call);
    wakeup_if_due(run);
}

nontax_twin nontax_run_twin(const nontax_run *run, const nontax_call *call, uint32_t *place)
{
    const nontax_result *result = &call->result;
    bool is_duplicate = result->outcome == NONTAX_REJECTED &&
                        nontax_errcode_find(result->errcode)->category == NONTAX_CATEGORY_DUPLICATE;
    return is_duplicate ? nx_twins_find(&run->twins, &call->keys, call->place, place)
                        : NONTAX_TWIN_NONE;
}

const char *nontax_twin_name(nontax_twin twin)
{
    static const char *const names[] = {"none", "order", "number"};
    return names[twin];
}

int nontax_run_descriptor(nontax_run *run)
{
    return run->lane ? nx_lane_descriptor(run->lane) : -1;
}

bool nontax_run_make_wakeable(nontax_run *run)
{
    return run->lane && nx_lane_make_wakeable(run->lane);
}
