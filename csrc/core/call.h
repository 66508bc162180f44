/* call.h: one bill's way through the core, and its state between the steps. */
#ifndef NONTAX_CALL_H
#define NONTAX_CALL_H

#include "http.h"
#include "twins.h"

typedef enum nx_call_state {
    NX_CALL_NEEDS_TOKEN,
    NX_CALL_READY,
    NX_CALL_RUNNING, /* a transfer is under way */
    NX_CALL_PAUSING, /* waits on the lane for its next attempt */
    NX_CALL_FINISHED
} nx_call_state;

/* Only call.c writes a call's state and its result. What may follow on what, which asserts check in
 * the C tests:
 *
 *   from         to           when
 *   FINISHED     NEEDS_TOKEN  a new call has got its payload, and is sent with an access token
 *   FINISHED     READY        or without one
 *   NEEDS_TOKEN  READY        it has got a token, or may try the refused one again
 *   READY        READY        it has got another one before it was sent
 *   READY        RUNNING      an attempt begins
 *   READY        PAUSING      it waits for its turn, or until the refused token is tried again
 *   RUNNING      RUNNING      the next attempt begins at once: on another connection or host
 *   RUNNING      PAUSING      it waits: to be repeated, for its turn, for the next minute's quota
 *   RUNNING      NEEDS_TOKEN  WeChat has refused the token
 *   PAUSING      PAUSING      its pause is over, and it waits for its turn
 *   PAUSING      RUNNING      an attempt begins
 *   any          FINISHED     with the last attempt's result, or as not sent
 *
 * A result is that of the last attempt. An attempt that begins clears the one before; so a bill
 * that went out keeps its doubt only as long as nothing more is tried, and retry.c repeats none in
 * doubt whose interface changes anything. */
#ifndef NX_WRITTEN_BY_CALL_C
#define NX_WRITTEN_BY_CALL_C /* tests/test_core_layers.py compiles all other files with const here \
                              */
#endif

struct nontax_call {
    nontax_client *client;
    const nontax_interface *interface;
    unsigned generation; /* of the process that made it */
    NX_WRITTEN_BY_CALL_C nx_call_state state;
    nontax_problems problems;
    nx_body body;
    nx_buffer token;
    nx_buffer first_token; /* the one before it, which WeChat has refused */
    nx_buffer secret;      /* another one in the payload */
    bool token_refused;    /* `token` is stale */
    bool token_renewed;    /* `token` is the second one */
    bool token_kept;       /* WeChat has refused it once before */
    int64_t not_before;    /* then it is not tried again before that */
    bool gave_up;          /* for want of a token */
    int repeats;
    int quota_pauses;
    bool bulk; /* part of a bulk run: errcode 45011 is waited out */
    int64_t deadline;
    int64_t waits_since; /* for a token, in a run */
    nx_keys keys;        /* of its payload */
    uint32_t place;      /* in its run, from 0 */
    void *owner;
    cJSON *fields;   /* owns what result.fields shows, */
    nx_buffer reply; /* and this what result.reply shows */

    /* While it is on a lane. */
    nx_transfer *transfer;
    int url;               /* of the client's base_urls */
    int urls_tried;        /* in this round, before that one */
    int64_t attempt_until; /* the deadline of this attempt */
    int64_t due;           /* of the next attempt */
    bool wants_turn;       /* the next attempt is to keep to the lane's rate */
    nontax_call *next;
    nontax_call *previous;

    NX_WRITTEN_BY_CALL_C nontax_result result; /* last: it ends with texts, which are most of it */
};

/* Whether this process made the call; if not, its parent goes on with it. */
bool nx_call_is_ours(const nontax_call *call);

/* An attempt: begins, on the call's transfer; ends as libcurl says; is given up before its end,
 * because its time is over or for another reason. The last two leave the state as it is. */
void nx_call_begin_attempt(nontax_call *call);
void nx_call_end_attempt(nontax_call *call, CURLcode code);
void nx_call_abandon_attempt(nontax_call *call, bool timed_out);
/* The attempt that has just ended was none of the bill's: its connection was not fit, or no file
 * descriptor was left. */
void nx_call_uncount_attempt(nontax_call *call);

/* It waits until the time `due`. */
void nx_call_pause(nontax_call *call, int64_t due);
/* As nontax_call_set_token(), with a token that was checked before. */
nontax_status nx_call_use_token(nontax_call *call, const char *token, size_t size);
/* WeChat has refused its token. */
void nx_call_refuse_token(nontax_call *call);

/* Ends it with the result that it has. */
void nx_call_finish(nontax_call *call);
/* Ends it before anything was sent in this attempt; the second one, because its time is over. */
void nx_call_finish_unsent(nontax_call *call, nontax_cause cause, const char *reason);
void nx_call_finish_too_late(nontax_call *call, const char *reason);
/* Ends it with the refusal of its token: its run does not wait for a newer one. */
void nx_call_finish_later(nontax_call *call);
/* libcurl has given up on the lane; keeps the outcome. */
void nx_call_finish_broken(nontax_call *call, const char *why);
/* In a forked child: its parent goes on with it. */
void nx_call_finish_in_child(nontax_call *call);

#endif
