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

struct nontax_call {
    nontax_client *client;
    const nontax_interface *interface;
    unsigned generation; /* of the process that made it */
    nx_call_state state;
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
    nontax_result result;
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
};

/* Whether this process made the call; if not, its parent goes on with it. */
bool nx_call_is_ours(const nontax_call *call);

/* What must not be seen in what comes back. */
nx_secrets nx_call_secrets(const nontax_call *call);

/* Before an attempt: forgets the last one's result. */
void nx_call_clear_result(nontax_call *call);

/* Ends it before anything was sent in this attempt. */
void nx_call_finish_unsent(nontax_call *call, nontax_cause cause, const char *reason);

#endif
