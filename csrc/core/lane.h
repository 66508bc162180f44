/* lane.h: a lane: many calls at once, one thread. */
#ifndef NONTAX_LANE_H
#define NONTAX_LANE_H

#include "call.h"
#include "pace.h"

/* `parallel` is how many calls will be under way at once: as many connections are kept. A
 * connection carries one call at a time. */
nontax_status nx_lane_new(nontax_client *client, int parallel, nx_lane **lane);
/* Calls that are under way end as if cancelled; all calls on it are their owner's again. NULL is
 * allowed. */
void nx_lane_free(nx_lane *lane);

/* Puts a call with payload and token on the lane, which uses it until it is taken or cancelled. */
nontax_status nx_lane_add(nx_lane *lane, nontax_call *call);

/* Does what can be done now, after waiting for something to do for at most wait_ms (0: never
 * blocks). */
nontax_step nx_lane_step(nx_lane *lane, int wait_ms);

/* The next call that is finished or needs a token; NULL: none at the moment. It is off the lane. */
nontax_call *nx_lane_take(nx_lane *lane);

/* Ends a call that is on the lane, with the outcome that is known by now. It is off the lane. */
void nx_lane_cancel(nx_lane *lane, nontax_call *call);

/* A descriptor that is readable when nx_lane_step() has something to do, for an event loop;
 * -1 where the platform has none. It belongs to the lane. */
int nx_lane_descriptor(nx_lane *lane);

/* Whether this process made the lane. If not, nothing in it may be touched: its connections are
 * the parent's. */
bool nx_lane_is_ours(const nx_lane *lane);

/* Whether it can carry another call. */
bool nx_lane_is_usable(const nx_lane *lane);

/* Whether the last attempt on it got no answer because nothing could be sent. */
bool nx_lane_has_failed(const nx_lane *lane);

/* To be called before calls are added. */
void nx_lane_set_pace(nx_lane *lane, const nx_pace *pace);

/* Nothing begins for so long. */
void nx_lane_hold(nx_lane *lane, int64_t ms);

/* When it will be the turn of a call that is added now. */
double nx_lane_next_turn(const nx_lane *lane);

/* Whether something went out of every call on it, or it was refused. */
bool nx_lane_all_sent(const nx_lane *lane);
/* So long nobody has stepped, for whatever reason: calls of which nothing is under way get it back.
 */
void nx_lane_make_up_for(nx_lane *lane, int64_t ms);

/* Any call that is under way or pausing, or NULL. Those of which nothing is under way come first.
 */
nontax_call *nx_lane_any(const nx_lane *lane);

/* Whether anything of the call, which is on a lane, may have gone out and is not answered. */
bool nx_lane_has_sent(const nontax_call *call);

/* Before the call is ended: reads its answer, if that is here already. Sends nothing of it. */
void nx_lane_drain(nx_lane *lane, const nontax_call *call);

/* Makes the lane's descriptor readable until the wakeup is cleared and the lane steps. For any
 * thread. */
void nx_lane_wakeup(nx_lane *lane);
void nx_lane_clear_wakeup(nx_lane *lane);
/* From now on it ends the waiting of nx_lane_step(), too; false: no descriptor is left for it. */
bool nx_lane_make_wakeable(nx_lane *lane);

/* Makes it readable from then on, until it is set anew; NX_NEVER: not at all. */
void nx_lane_set_alarm(nx_lane *lane, int64_t when);

/* Makes an idle lane as good as a new one, with its connections: nothing of its last use is left.
 * False: libcurl refuses it. */
bool nx_lane_reset(nx_lane *lane, int parallel);

/* How many connections it keeps open; counted as 1 where there is none, for its own descriptors. */
int nx_lane_connections(const nx_lane *lane);

/* The link of the pool's list of idle lanes; and when it was last in use. */
nx_lane **nx_lane_link(nx_lane *lane);
int64_t nx_lane_last_used(const nx_lane *lane);

#endif
