/* lane.h: what the client's pool needs to know of a lane. */
#ifndef NONTAX_LANE_H
#define NONTAX_LANE_H

#include "call.h"

/* Whether this process made the lane. If not, nothing in it may be touched: its connections are
 * the parent's. */
bool nx_lane_is_ours(const nontax_lane *lane);

/* Whether it can carry another call. */
bool nx_lane_is_usable(const nontax_lane *lane);

/* The link of the pool's list of idle lanes. */
nontax_lane **nx_lane_link(nontax_lane *lane);

#endif
