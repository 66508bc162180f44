/* pace.c: when a call may begin; see pace.h. */
#include "pace.h"

/* Added to a pause, at random: not every clock is right, and not all callers should come back at
 * once. */
enum { SPREAD_MS = 1000 };

static const double longest_interval = 1e12; /* some decades, so that sums stay exact enough */

void nx_pace_set_interval(nx_pace *pace, double interval_ms)
{
    pace->interval_ms = interval_ms < longest_interval ? interval_ms : longest_interval;
}

void nx_pace_hold(nx_pace *pace, int64_t now, int64_t ms)
{
    double until = (double)(now + ms);
    pace->next_turn = until > pace->next_turn ? until : pace->next_turn;
}

nx_turn nx_pace_take_turn(nx_pace *pace, int64_t now, int64_t *due)
{
    if (pace->never_waits && pace->quota_until > now) {
        return NX_TURN_NEVER;
    }
    int64_t turn = (int64_t)pace->next_turn;
    *due = pace->quota_until > turn ? pace->quota_until : turn;
    if (*due > now) {
        return NX_TURN_LATER;
    }
    /* Time that was not used is gone: no burst makes up for it. */
    double begins = pace->next_turn > (double)now ? pace->next_turn : (double)now;
    pace->next_turn = begins + pace->interval_ms;
    return NX_TURN_NOW;
}

double nx_pace_next_turn(const nx_pace *pace, int waiting)
{
    double turn = pace->next_turn + waiting * pace->interval_ms;
    bool may_end = pace->never_waits || turn > (double)pace->quota_until;
    return may_end ? turn : (double)pace->quota_until;
}

int64_t nx_pace_quota_used_up(nx_pace *pace, int64_t now, int64_t to_next_minute, uint32_t random)
{
    if (pace->quota_until > now) {
        return 0;
    }
    int64_t pause = pace->quota_pause_ms ? pace->quota_pause_ms : to_next_minute;
    pace->quota_until = now + pause + random % SPREAD_MS;
    return pace->quota_until - now;
}
