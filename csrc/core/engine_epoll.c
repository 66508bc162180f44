/* engine_epoll.c: drives a multi handle with epoll and a timerfd.
 *
 * libcurl says of each transfer's end that its socket is not to be watched any more, and of the
 * next one's beginning that it is. A connection stays watched in between, for as long as nothing
 * comes on it: that saves two system calls for each transfer. */
#include "engine.h"

#if NX_ENGINE_EPOLL

#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "clock.h"
#include "fork_lock.h"
#include "memory.h"

enum { EVENTS_AT_ONCE = 64 }; /* on the stack; the others come in the next turn */

struct nx_engine {
    CURLM *multi;
    nx_connections *connections;
    int epoll;
    int timer;         /* -1 until somebody asks for the descriptor */
    int wake;          /* an eventfd; -1 until somebody asks to be woken without one */
    int64_t curl_due;  /* when libcurl wants to be called for time's sake */
    int64_t timer_due; /* what the timerfd is set to */
    bool looked;       /* the last turn has looked at the sockets */
};

/* Has a socket watched for `what` in place of what `before` says. */
static int watch(const nx_engine *engine, curl_socket_t socket, int before, int what)
{
    struct epoll_event event = {.data.fd = socket};
    event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
    int operation = before ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    int failed = epoll_ctl(engine->epoll, operation, socket, &event);
    if (failed && (errno == EEXIST || errno == ENOENT)) {
        operation = errno == EEXIST ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
        failed = epoll_ctl(engine->epoll, operation, socket, &event);
    }
    return failed ? -1 : 0;
}

static void unwatch(const nx_engine *engine, curl_socket_t socket)
{
    /* It may be gone already, with its last descriptor. */
    (void)epoll_ctl(engine->epoll, EPOLL_CTL_DEL, socket, NULL);
}

static void unwatch_connection(const nx_engine *engine, nx_connection *connection)
{
    if (connection->watched) {
        unwatch(engine, connection->socket);
        connection->watched = 0;
    }
}

static int want_of_connection(const nx_engine *engine, nx_connection *connection, int what)
{
    connection->wanted = what;
    if (what && what != connection->watched) {
        int failed = watch(engine, connection->socket, connection->watched, what);
        connection->watched = failed ? 0 : what;
        return failed;
    }
    return 0;
}

static int watch_socket(CURL *easy, curl_socket_t socket, int what, void *context, void *known)
{
    nx_engine *engine = context;
    nx_connection *connection = nx_connection_of(engine->connections, socket);
    (void)easy;
    if (connection) {
        return want_of_connection(engine, connection, what == CURL_POLL_REMOVE ? 0 : what);
    }
    if (what == CURL_POLL_REMOVE) {
        unwatch(engine, socket);
        return 0;
    }
    int failed = watch(engine, socket, known != NULL, what);
    return failed || curl_multi_assign(engine->multi, socket, engine) != CURLM_OK ? -1 : 0;
}

void nx_engine_forget(nx_engine *engine, curl_socket_t socket)
{
    nx_connection *connection = engine ? nx_connection_of(engine->connections, socket) : NULL;
    if (connection) {
        unwatch_connection(engine, connection);
    }
}

void nx_engine_rest(nx_engine *engine)
{
    if (engine->timer < 0) {
        return; /* nobody has the descriptor */
    }
    for (int i = 0; i < engine->connections->count; i++) {
        unwatch_connection(engine, &engine->connections->list[i]);
    }
}

static int set_due(CURLM *multi, long timeout_ms, void *context)
{
    nx_engine *engine = context;
    (void)multi;
    engine->curl_due = timeout_ms < 0 ? NX_NEVER : nx_now_ms() + timeout_ms;
    return 0;
}

nontax_status nx_engine_new(CURLM *multi, nx_connections *connections, nx_engine **result)
{
    nx_engine *engine = nx_calloc(1, sizeof *engine);
    *result = engine;
    if (!engine) {
        return NONTAX_NO_MEMORY;
    }
    engine->multi = multi;
    engine->connections = connections;
    engine->timer = engine->wake = -1;
    engine->curl_due = engine->timer_due = NX_NEVER;
    engine->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (engine->epoll < 0 ||
        curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch_socket) != CURLM_OK ||
        curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, engine) != CURLM_OK ||
        curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_due) != CURLM_OK ||
        curl_multi_setopt(multi, CURLMOPT_TIMERDATA, engine) != CURLM_OK) {
        bool made = engine->epoll >= 0;
        nx_engine_free(engine);
        *result = NULL;
        return made ? NONTAX_NO_MEMORY : NONTAX_NO_DESCRIPTOR;
    }
    connections->engine = engine;
    return NONTAX_OK;
}

void nx_engine_free(nx_engine *engine)
{
    if (engine) {
        if (engine->epoll >= 0) {
            close(engine->epoll);
        }
        if (engine->timer >= 0) {
            close(engine->timer);
        }
        if (engine->wake >= 0) {
            close(engine->wake);
        }
        nx_free(engine);
    }
}

static int wait_ms(int64_t until)
{
    int64_t left = until == NX_NEVER ? INT_MAX : until - nx_now_ms();
    return left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

static CURLMcode handle_event(nx_engine *engine, const struct epoll_event *event)
{
    int running = 0;
    if (event->data.fd == engine->timer) {
        uint64_t expirations;
        if (read(engine->timer, &expirations, sizeof expirations) == sizeof expirations) {
            engine->timer_due = NX_NEVER;
        }
        return CURLM_OK;
    }
    if (event->data.fd == engine->wake) {
        eventfd_t count;
        (void)eventfd_read(engine->wake, &count); /* it does not block, and nothing is in it */
        return CURLM_OK;
    }
    nx_connection *connection = nx_connection_of(engine->connections, event->data.fd);
    if (connection && !connection->wanted) {
        unwatch_connection(engine, connection); /* an idle one, which libcurl looks at itself */
        return CURLM_OK;
    }
    int mask = (event->events & EPOLLIN ? CURL_CSELECT_IN : 0) |
               (event->events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
               (event->events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
    return curl_multi_socket_action(engine->multi, event->data.fd, mask, &running);
}

/* Most often a transfer that was added just now begins. */
static CURLMcode handle_time(nx_engine *engine)
{
    int running = 0;
    engine->curl_due = NX_NEVER; /* libcurl sets the next one in this call */
    return curl_multi_socket_action(engine->multi, CURL_SOCKET_TIMEOUT, 0, &running);
}

static CURLMcode handle_sockets(nx_engine *engine, const struct epoll_event *events, int count)
{
    CURLMcode code = CURLM_OK;
    for (int i = 0; i < count && code == CURLM_OK; i++) {
        code = handle_event(engine, &events[i]);
    }
    return code;
}

CURLMcode nx_engine_turn(nx_engine *engine, int64_t until, bool *happened)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    CURLMcode code = CURLM_OK;
    int count = 0;
    /* What is due comes before a look at the sockets, but not twice. */
    if (engine->curl_due > nx_now_ms() || !engine->looked) {
        int64_t next = engine->curl_due < until ? engine->curl_due : until;
        count = epoll_wait(engine->epoll, events, EVENTS_AT_ONCE, wait_ms(next));
        engine->looked = true;
    } else {
        engine->looked = false;
    }
    *happened = count > 0;
    nx_fork_lock_enter();
    code = handle_sockets(engine, events, count);
    if (code == CURLM_OK && engine->curl_due <= nx_now_ms()) {
        *happened = true;
        code = handle_time(engine);
    }
    nx_fork_lock_leave();
    return code;
}

/* Has epoll watch a descriptor of ours, which it takes over; it, or -1. */
static int watch_own(const nx_engine *engine, int descriptor)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
    if (descriptor >= 0 && epoll_ctl(engine->epoll, EPOLL_CTL_ADD, descriptor, &event) != 0) {
        close(descriptor);
        return -1;
    }
    return descriptor;
}

int nx_engine_descriptor(nx_engine *engine)
{
    if (engine->timer < 0) {
        engine->timer =
            watch_own(engine, timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    }
    return engine->timer < 0 ? -1 : engine->epoll;
}

/* The timer would do, too, but setting it at each turn costs more than the turn. */
bool nx_engine_make_wakeable(nx_engine *engine)
{
    if (engine->timer < 0 && engine->wake < 0) {
        engine->wake = watch_own(engine, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    }
    return engine->timer >= 0 || engine->wake >= 0;
}

void nx_engine_wakeup(const nx_engine *engine)
{
    const struct itimerspec at_once = {.it_value = {.tv_nsec = 1}};
    if (engine->timer >= 0) {
        (void)timerfd_settime(engine->timer, TFD_TIMER_ABSTIME, &at_once, NULL); /* cannot fail */
    } else if (engine->wake >= 0) {
        (void)eventfd_write(engine->wake, 1); /* fails only where it is as full as can be */
    }
}

void nx_engine_arm(nx_engine *engine, int64_t due)
{
    due = engine->curl_due < due ? engine->curl_due : due;
    if (engine->timer < 0 || due == engine->timer_due) {
        return;
    }
    struct itimerspec when = {0}; /* all zero: off */
    if (due != NX_NEVER) {
        due = due < 1 ? 1 : due;
        when.it_value.tv_sec = (time_t)(due / 1000);
        when.it_value.tv_nsec = (long)(due % 1000) * 1000000L;
    }
    if (timerfd_settime(engine->timer, TFD_TIMER_ABSTIME, &when, NULL) == 0) {
        engine->timer_due = due;
    }
}

#else
typedef int nx_engine_epoll_is_not_built; /* ISO C wants something in every file */
#endif
