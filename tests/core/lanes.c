/* lanes.c: see lanes.h. */
#include "lanes.h"

#include <stdio.h>

nx_lane *new_lane(nontax_client *client, int parallel)
{
    nx_lane *lane = NULL;
    assert_int_equal(nx_lane_new(client, parallel, &lane), NONTAX_OK);
    return lane;
}

void add(nx_lane *lane, nontax_call *call)
{
    assert_int_equal(nx_lane_add(lane, call), NONTAX_OK);
}

nontax_call *take(nx_lane *lane)
{
    nontax_call *call;
    while (!(call = nx_lane_take(lane))) {
        (void)nx_lane_step(lane, 50);
    }
    return call;
}

void step_until_requests(nx_lane *lane, server *server, int count)
{
    while (server_requests(server) < count) {
        (void)nx_lane_step(lane, 10);
    }
}

void step_until_state(nx_lane *lane, const nontax_call *call, nx_call_state wanted)
{
    while (call->state != wanted) {
        (void)nx_lane_step(lane, 10);
    }
}

void expect_inserted(const nontax_call *call, const char *order_id)
{
    expect(call, NONTAX_INSERTED, NONTAX_CAUSE_NONE);
    const cJSON *fields = nontax_call_result(call)->fields;
    assert_string_equal(cJSON_GetObjectItem(fields, "code")->valuestring, order_id);
    assert_string_equal(cJSON_GetObjectItem(fields, "openid")->valuestring, "o-1");
}

void run_calls(nontax_client *client, int count)
{
    for (int i = 0; i < count; i++) {
        char order_id[32];
        snprintf(order_id, sizeof order_id, "order-%d", i);
        nontax_call *call = call_for(client, order_id);
        nontax_client_run(client, call, NULL);
        expect_inserted(call, order_id);
        nontax_call_free(call);
    }
}
