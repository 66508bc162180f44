/* driver.c: one blocking call: borrows a lane, and waits in slices. */
#include "clock.h"
#include "descriptors.h"
#include "pool.h"

/* Between two questions whether the caller wants to stop: nobody who presses Ctrl-C notices so
 * little, and ten wake-ups a second cost nothing. */
enum { SLICE_MS = 100 };

static bool is_interrupted(const nontax_hooks *hooks)
{
    return hooks && hooks->interrupted && hooks->interrupted(hooks->context);
}

/* A signal handler or a token source of the caller's can fork. The copy of the call in the child
 * must not go on: its parent does, and the bill would be sent twice. */
static bool was_forked(nontax_call *call)
{
    if (nx_call_is_ours(call)) {
        return false;
    }
    nx_call_finish_in_child(call);
    return true;
}

/* Waits until the call is off the lane: finished, or in need of a token. */
static void wait_for(nx_lane *lane, nontax_call *call, const nontax_hooks *hooks)
{
    int64_t asked = nx_now_ms();
    while (nx_lane_take(lane) != call) {
        nontax_step step = nx_lane_step(lane, SLICE_MS);
        int64_t now = nx_now_ms();
        if (step == NONTAX_STEP_BUSY && now - asked < SLICE_MS) {
            continue;
        }
        asked = now;
        bool interrupted = is_interrupted(hooks);
        if (was_forked(call)) {
            return;
        }
        if (interrupted) {
            nx_lane_drain(lane, call);
            if (nx_lane_take(lane) != call) {
                nx_lane_cancel(lane, call);
            } else if (nontax_call_needs_token(call)) {
                nx_call_finish(call); /* refused, and not to be sent once more */
            }
            return;
        }
    }
}

void nontax_client_run(nontax_client *client, nontax_call *call, const nontax_hooks *hooks)
{
    nx_lane *lane = NULL;
    while (!nontax_call_finished(call) && !was_forked(call)) {
        if (nontax_call_needs_token(call)) {
            if (!hooks || !hooks->token || !hooks->token(hooks->context, call)) {
                nontax_call_give_up(call);
            }
            continue;
        }
        nontax_status status = lane ? NONTAX_OK : nx_pool_borrow(client, 1, &lane);
        if (status == NONTAX_OK) {
            status = nx_lane_add(lane, call);
        }
        if (status == NONTAX_OK) {
            wait_for(lane, call, hooks);
        } else if (status == NONTAX_NO_DESCRIPTOR) {
            nx_call_finish_unsent(call, NONTAX_CAUSE_CONNECTION, nx_no_descriptor);
        } else {
            nx_call_finish_unsent(call, NONTAX_CAUSE_MEMORY, "out of memory");
        }
    }
    if (lane) {
        nx_pool_return(client, lane);
    }
}
