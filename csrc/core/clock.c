/* clock.c: the time; see clock.h. */
#include "clock.h"

#include <time.h>

int64_t nx_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t nx_to_next_minute_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (60 - now.tv_sec % 60) * INT64_C(1000);
}
