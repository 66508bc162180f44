/* lanes.h: what the tests of lanes share: steps until something has happened, and what came out. */
#ifndef NONTAX_TESTS_LANES_H
#define NONTAX_TESTS_LANES_H

#include "support.h"

#include "lane.h"

nx_lane *new_lane(nontax_client *client, int parallel);
void add(nx_lane *lane, nontax_call *call);
/* Steps until a call comes off the lane. */
nontax_call *take(nx_lane *lane);
void step_until_requests(nx_lane *lane, server *server, int count);
void step_until_state(nx_lane *lane, const nontax_call *call, nx_call_state wanted);
/* The server gives the order's id as the code: each answer belongs to its own call. */
void expect_inserted(const nontax_call *call, const char *order_id);
/* Blocking calls, one after another, which are all answered. */
void run_calls(nontax_client *client, int count);

#endif
