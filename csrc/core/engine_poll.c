/* engine_poll.c: drives a multi handle with curl_multi_poll(), which every platform has. */
#include "engine.h"

#if !NX_ENGINE_EPOLL

#include <limits.h>

#include "clock.h"
#include "fork_lock.h"
#include "memory.h"

struct nx_engine {
    CURLM *multi;
    int running; /* transfers under way after the last turn */
};

nontax_status nx_engine_new(CURLM *multi, nx_connections *connections, nx_engine **engine)
{
    (void)connections;
    *engine = nx_calloc(1, sizeof **engine);
    if (!*engine) {
        return NONTAX_NO_MEMORY;
    }
    (*engine)->multi = multi;
    return NONTAX_OK;
}

void nx_engine_free(nx_engine *engine)
{
    nx_free(engine);
}

CURLMcode nx_engine_turn(nx_engine *engine, int64_t until, bool *happened)
{
    int before = engine->running, ready = 0;
    int64_t left = until - nx_now_ms();
    int wait_ms = left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
    /* Returns at once when a transfer was added since the last turn. */
    CURLMcode code = curl_multi_poll(engine->multi, NULL, 0, wait_ms, &ready);
    if (code == CURLM_OK) {
        nx_fork_lock_enter();
        code = curl_multi_perform(engine->multi, &engine->running);
        nx_fork_lock_leave();
    }
    *happened = ready > 0 || engine->running != before;
    return code;
}

int nx_engine_descriptor(nx_engine *engine)
{
    (void)engine;
    return -1;
}

bool nx_engine_make_wakeable(nx_engine *engine)
{
    (void)engine;
    return true;
}

void nx_engine_arm(nx_engine *engine, int64_t due)
{
    (void)engine, (void)due;
}

void nx_engine_forget(nx_engine *engine, curl_socket_t socket)
{
    (void)engine, (void)socket;
}

void nx_engine_rest(nx_engine *engine)
{
    (void)engine;
}

void nx_engine_wakeup(const nx_engine *engine)
{
    (void)curl_multi_wakeup(engine->multi); /* for any thread */
}

#else
typedef int nx_engine_poll_is_not_built; /* ISO C wants something in every file */
#endif
