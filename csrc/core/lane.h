/* lane.h: what the client's pool needs to know of a lane. */
#ifndef NONTAX_LANE_H
#define NONTAX_LANE_H

#include "call.h"

/* Whether this process made the lane. If not, nothing in it may be touched: its connections are
 * the parent's. */
bool nx_lane_is_ours(const nontax_lane *lane);

/* Whether it can carry another call. */
bool nx_lane_is_usable(const nontax_lane *lane);

/* Whether the last attempt on it got no answer because nothing could be sent. */
bool nx_lane_has_failed(const nontax_lane *lane);

/* After errcode 45011: how long all calls wait; 0: to the beginning of the next minute. Or whether
 * they end in place of it. */
void nx_lane_set_quota_pause(nontax_lane *lane, int64_t pause_ms, bool never_waits);

/* Nothing begins for so long. */
void nx_lane_hold(nontax_lane *lane, int64_t ms);

/* How far one attempt is to be from the next; 0: not at all. And when it will be the turn of a call
 * that is added now. */
void nx_lane_set_interval(nontax_lane *lane, double interval_ms);
double nx_lane_next_turn(const nontax_lane *lane);

/* Whether something went out of every call on it, or it was refused. */
bool nx_lane_all_sent(const nontax_lane *lane);
/* So long nobody has stepped, for whatever reason: calls of which nothing is under way get it back.
 */
void nx_lane_make_up_for(nontax_lane *lane, int64_t ms);

/* Any call that is under way or pausing, or NULL. Those of which nothing is under way come first.
 */
nontax_call *nx_lane_any(const nontax_lane *lane);

/* Whether anything of the call, which is on a lane, may have gone out and is not answered. */
bool nx_lane_has_sent(const nontax_call *call);

/* Before the call is ended: reads its answer, if that is here already. Sends nothing of it. */
void nx_lane_drain(nontax_lane *lane, const nontax_call *call);

/* Makes the lane's descriptor readable, for any thread; until it is calmed and then steps. */
void nx_lane_rouse(nontax_lane *lane);
void nx_lane_calm(nontax_lane *lane);

/* Makes it readable from then on, until it is set anew; NX_NEVER: not at all. */
void nx_lane_set_alarm(nontax_lane *lane, int64_t when);

/* Makes an idle lane as good as a new one, with its connections: nothing of its last use is left.
 * False: libcurl refuses it. */
bool nx_lane_reset(nontax_lane *lane, int parallel);

/* How many connections it keeps open; counted as 1 where there is none, for its own descriptors. */
int nx_lane_connections(const nontax_lane *lane);

/* The link of the pool's list of idle lanes; and when it was last in use. */
nontax_lane **nx_lane_link(nontax_lane *lane);
int64_t nx_lane_last_used(const nontax_lane *lane);

#endif
