/* bare_multi.c: one multi handle, many bills in flight, epoll: the fastest way through libcurl
 * that one thread has. */
#include "bare.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_AT_ONCE = 64 };

typedef struct run {
    CURLM *multi;
    int epoll;
    double due; /* when libcurl wants to be called; negative: never */
    long begun;
    long ended;
} run;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void must(CURLMcode code, const char *what)
{
    if (code != CURLM_OK) {
        bare_fail(what, curl_multi_strerror(code));
    }
}

static int watch(CURL *easy, curl_socket_t socket, int what, void *context, void *known)
{
    run *self = context;
    struct epoll_event event = {.data.fd = socket};
    (void)easy;
    event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
    if (what == CURL_POLL_REMOVE) {
        (void)epoll_ctl(self->epoll, EPOLL_CTL_DEL, socket, NULL);
    } else if (epoll_ctl(self->epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, socket, &event) != 0) {
        return -1;
    } else {
        must(curl_multi_assign(self->multi, socket, self), "curl_multi_assign");
    }
    return 0;
}

static int set_timer(CURLM *multi, long timeout_ms, void *context)
{
    run *self = context;
    (void)multi;
    self->due = timeout_ms < 0 ? -1 : now() + (double)timeout_ms / 1e3;
    return 0;
}

static void turn(run *self)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    int running = 0;
    double left = self->due < 0 ? 60 : self->due - now();
    int wait = left <= 0 ? 0 : (int)(left * 1e3) + 1;
    int count = epoll_wait(self->epoll, events, EVENTS_AT_ONCE, wait);
    for (int i = 0; i < count; i++) {
        int mask = (events[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) |
                   (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                   (events[i].events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
        must(curl_multi_socket_action(self->multi, events[i].data.fd, mask, &running), "socket");
    }
    if (self->due >= 0 && self->due <= now()) {
        self->due = -1;
        must(curl_multi_socket_action(self->multi, CURL_SOCKET_TIMEOUT, 0, &running), "timer");
    }
}

/* Every handle whose transfer has ended goes straight into the next one. */
static void collect(run *self, const bare_job *job, bare_clock *start)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(self->multi, &left))) {
        CURL *easy = message->easy_handle;
        CURLcode code = message->data.result;
        char *reply = NULL;
        must(curl_multi_remove_handle(self->multi, easy), "curl_multi_remove_handle");
        (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, &reply);
        bare_check(easy, code, (bare_reply *)(void *)reply);
        if (++self->ended == job->warm_up) {
            *start = bare_now(job);
        }
        if (self->begun < job->warm_up + job->bills) {
            self->begun++;
            must(curl_multi_add_handle(self->multi, easy), "curl_multi_add_handle");
        }
    }
}

int main(int count, char **arguments)
{
    bare_job job = bare_begin(count, arguments);
    CURL **handles = calloc((size_t)job.in_flight, sizeof *handles);
    bare_reply *replies = calloc((size_t)job.in_flight, sizeof *replies);
    run self = {.multi = curl_multi_init(), .epoll = epoll_create1(0), .due = -1};
    if (!handles || !replies || !self.multi || self.epoll < 0) {
        bare_fail(arguments[0], "cannot start");
    }
    must(curl_multi_setopt(self.multi, CURLMOPT_SOCKETFUNCTION, watch), "SOCKETFUNCTION");
    must(curl_multi_setopt(self.multi, CURLMOPT_SOCKETDATA, &self), "SOCKETDATA");
    must(curl_multi_setopt(self.multi, CURLMOPT_TIMERFUNCTION, set_timer), "TIMERFUNCTION");
    must(curl_multi_setopt(self.multi, CURLMOPT_TIMERDATA, &self), "TIMERDATA");
    must(curl_multi_setopt(self.multi, CURLMOPT_MAXCONNECTS, job.in_flight), "MAXCONNECTS");

    bare_clock start = bare_now(&job);
    for (long i = 0; i < job.in_flight; i++) {
        handles[i] = bare_handle(&job, &replies[i]);
        if (self.begun < job.warm_up + job.bills) {
            self.begun++;
            must(curl_multi_add_handle(self.multi, handles[i]), "curl_multi_add_handle");
        }
    }
    while (self.ended < job.warm_up + job.bills) {
        turn(&self);
        collect(&self, &job, &start);
    }
    bare_end(&job, start);
    for (long i = 0; i < job.in_flight; i++) {
        curl_easy_cleanup(handles[i]);
    }
    (void)curl_multi_cleanup(self.multi);
    close(self.epoll);
    free(handles);
    free(replies);
    curl_global_cleanup();
    return 0;
}
