/* attempts.h: the attempts of the calls on a lane, and what each leads to; for lane.c. */
#ifndef NONTAX_ATTEMPTS_H
#define NONTAX_ATTEMPTS_H

#include "call.h"
#include "engine.h"
#include "list.h"
#include "pace.h"

#include <stdatomic.h>

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

/* Begins an attempt, or has it wait for its turn, which takes nothing of the call's own time. */
void nx_attempt_begin_in_turn(nx_lane *lane, nontax_call *call);

/* libcurl has ended the attempt with `code`. */
void nx_attempt_end(nx_lane *lane, nontax_call *call, CURLcode code);

/* Takes a call's transfer away before its end. */
void nx_attempt_abandon(nx_lane *lane, nontax_call *call, bool timed_out);

/* An attempt has its result: another one begins or is waited for, a newer token is needed, or the
 * call is finished. */
void nx_attempt_settle(nx_lane *lane, nontax_call *call);

/* The call waits on the lane until the time `due`. */
void nx_attempt_pause(nx_lane *lane, nontax_call *call, int64_t due);

/* The call is finished with the result that it has. */
void nx_attempt_finish_call(nx_lane *lane, nontax_call *call);

#endif
