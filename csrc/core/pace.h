/* pace.h: when a call may begin: the rate, and the minute's quota. It knows neither calls nor the
 * clock; all times are handed to it. */
#ifndef NONTAX_PACE_H
#define NONTAX_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* {0}: no rate, and all wait for the quota. */
typedef struct nx_pace {
    double interval_ms;     /* from one beginning to the next; 0: any number may begin at once */
    double next_turn;       /* the next call may begin then; 0 at first */
    int64_t quota_pause_ms; /* how long a used-up quota is waited for; 0: to the next minute */
    int64_t quota_until;    /* it is used up until then */
    bool never_waits;       /* a call that would wait for the quota ends */
} nx_pace;

void nx_pace_set_interval(nx_pace *pace, double interval_ms);

/* Nothing begins for so long. */
void nx_pace_hold(nx_pace *pace, int64_t now, int64_t ms);

typedef enum nx_turn {
    NX_TURN_NOW,   /* it may begin, and the next one's turn is later */
    NX_TURN_LATER, /* not before the time *due */
    NX_TURN_NEVER  /* the quota is used up, and nothing waits for it */
} nx_turn;

/* Asks for a turn. */
nx_turn nx_pace_take_turn(nx_pace *pace, int64_t now, int64_t *due);

/* When a further call could begin, behind so many that wait for their turns. */
double nx_pace_next_turn(const nx_pace *pace, int waiting);

/* WeChat has answered that the minute's quota is used up. `random`: any 32 bits. Returns for how
 * long nothing begins, if that is news, else 0. */
int64_t nx_pace_quota_used_up(nx_pace *pace, int64_t now, int64_t to_next_minute, uint32_t random);

#endif
