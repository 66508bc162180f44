/* clock.h: the time. */
#ifndef NONTAX_CLOCK_H
#define NONTAX_CLOCK_H

#include <stdint.h>

/* Milliseconds on the monotonic clock: when the clock on the wall is set, no deadline moves. */
int64_t nx_now_ms(void);
#define NX_NEVER INT64_MAX /* as a time */

/* Milliseconds to the beginning of the next minute by the clock on the wall. WeChat counts the
 * calls of each such minute. */
int64_t nx_to_next_minute_ms(void);

#endif
