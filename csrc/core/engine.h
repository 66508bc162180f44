/* engine.h: what drives a multi handle: waits for its sockets and timers and lets libcurl work.
 * engine_epoll.c on Linux, with a descriptor for event loops; engine_poll.c everywhere else, and
 * where NONTAX_PORTABLE_POLL is defined. */
#ifndef NONTAX_ENGINE_H
#define NONTAX_ENGINE_H

#include <curl/curl.h>

#include "connections.h"

#if defined(__linux__) && !defined(NONTAX_PORTABLE_POLL)
#define NX_ENGINE_EPOLL 1
#else
#define NX_ENGINE_EPOLL 0
#endif

typedef struct nx_engine nx_engine;

/* Takes over the multi handle's socket and timer functions. The connections are those of its
 * transfers. */
nontax_status nx_engine_new(CURLM *multi, nx_connections *connections, nx_engine **engine);
/* To be called after curl_multi_cleanup(). NULL is allowed. */
void nx_engine_free(nx_engine *engine);

/* Waits at most until the time `until` (see nx_now_ms()) and does what can be done. *happened says
 * whether anything came up. A code other than CURLM_OK means that the multi handle is beyond use.
 */
CURLMcode nx_engine_turn(nx_engine *engine, int64_t until, bool *happened);

/* Readable when nx_engine_turn() has something to do, or when the time `due` given to
 * nx_engine_arm() has come; -1 where there is none. */
int nx_engine_descriptor(nx_engine *engine);
void nx_engine_arm(nx_engine *engine, int64_t due);

/* A connection's socket is about to be closed. */
void nx_engine_forget(nx_engine *engine, curl_socket_t socket);

/* No transfer is under way: what comes on connections does not make the descriptor readable. */
void nx_engine_rest(nx_engine *engine);

/* From now on nx_engine_wakeup() ends the waiting of nx_engine_turn(), also where nobody has asked
 * for the descriptor; false: there is no descriptor left for it. */
bool nx_engine_make_wakeable(nx_engine *engine);

/* Makes the descriptor readable at once. For any thread. */
void nx_engine_wakeup(const nx_engine *engine);

#endif
