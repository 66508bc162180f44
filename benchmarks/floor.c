/* floor.c: OpenSSL and epoll without libcurl, many bills in flight: what TLS and the kernel cost.
 * It knows just enough HTTP for one fixed reply, so it is a floor and no client. */
#include "bare.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS_AT_ONCE = 64 };

typedef struct line {
    SSL *tls;
    int socket;
    bare_reply reply;
} line;

typedef struct target {
    char address[64];
    int port;
    char *request;
    int size;
} target;

static target read_target(const bare_job *job)
{
    target found = {.port = 443};
    char path[1024];
    if (sscanf(job->url, "https://%63[0-9.]:%d%1023s", found.address, &found.port, path) != 3) {
        bare_fail(job->url, "must be https://ADDRESS:PORT/PATH");
    }
    size_t room = strlen(path) + strlen(job->agent) + (size_t)job->body_size + 512;
    found.request = malloc(room);
    if (!found.request) {
        bare_fail("request", "out of memory");
    }
    int head = snprintf(found.request, room,
                        "POST %s HTTP/1.1\r\nHost: %s:%d\r\nUser-Agent: %s\r\nAccept: */*\r\n"
                        "Content-Type: application/json\r\nContent-Length: %ld\r\n\r\n",
                        path, found.address, found.port, job->agent, job->body_size);
    memcpy(found.request + head, job->body, (size_t)job->body_size);
    found.size = head + (int)job->body_size;
    return found;
}

static void connect_line(line *self, SSL_CTX *context, const target *to)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)to->port)};
    int yes = 1;
    self->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    self->tls = SSL_new(context);
    if (self->socket < 0 || !self->tls || inet_pton(AF_INET, to->address, &address.sin_addr) != 1 ||
        connect(self->socket, (struct sockaddr *)&address, sizeof address) != 0 ||
        setsockopt(self->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) != 0 ||
        SSL_set1_host(self->tls, to->address) != 1 || SSL_set_fd(self->tls, self->socket) != 1 ||
        SSL_connect(self->tls) != 1 || fcntl(self->socket, F_SETFL, O_NONBLOCK) != 0) {
        bare_fail(to->address, "cannot be connected to");
    }
}

static void send_bill(line *self, const target *to)
{
    self->reply.size = 0;
    if (SSL_write(self->tls, to->request, to->size) != to->size) {
        bare_fail("SSL_write", "did not take the whole request");
    }
}

/* Whether the whole reply is there. */
static bool read_reply(line *self)
{
    bare_reply *reply = &self->reply;
    int got = SSL_read(self->tls, reply->text + reply->size, (int)(MAX_REPLY - 1 - reply->size));
    if (got <= 0) {
        if (SSL_get_error(self->tls, got) != SSL_ERROR_WANT_READ) {
            bare_fail("SSL_read", "the connection ended");
        }
        return false;
    }
    reply->size += (size_t)got;
    reply->text[reply->size] = '\0';
    const char *length = strstr(reply->text, "Content-Length: ");
    const char *body = strstr(reply->text, "\r\n\r\n");
    if (!length || !body ||
        reply->size < (size_t)(body + 4 - reply->text) + (size_t)atol(length + 16)) {
        return false;
    }
    if (strncmp(reply->text, "HTTP/1.1 200", 12) != 0 || !strstr(body, "\"errcode\":0,")) {
        bare_fail("reply", reply->text);
    }
    return true;
}

int main(int count, char **arguments)
{
    bare_job job = bare_begin(count, arguments);
    target to = read_target(&job);
    line *lines = calloc((size_t)job.in_flight, sizeof *lines);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!lines || !context || epoll < 0 ||
        SSL_CTX_load_verify_locations(context, job.ca_file, NULL) != 1) {
        bare_fail(arguments[0], "cannot start");
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    for (long i = 0; i < job.in_flight; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &lines[i]};
        connect_line(&lines[i], context, &to);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, lines[i].socket, &event) != 0) {
            bare_fail("epoll_ctl", "failed");
        }
    }
    long all = job.warm_up + job.bills, begun = 0, ended = 0;
    bare_clock start = bare_now(&job);
    for (; begun < job.in_flight && begun < all; begun++) {
        send_bill(&lines[begun], &to);
    }
    while (ended < all) {
        struct epoll_event events[EVENTS_AT_ONCE];
        int ready = epoll_wait(epoll, events, EVENTS_AT_ONCE, 60000);
        for (int i = 0; i < ready; i++) {
            line *self = events[i].data.ptr;
            if (!read_reply(self)) {
                continue;
            }
            if (++ended == job.warm_up) {
                start = bare_now(&job);
            }
            if (begun < all) {
                begun++;
                send_bill(self, &to);
            }
        }
    }
    bare_end(&job, start);
    for (long i = 0; i < job.in_flight; i++) {
        SSL_free(lines[i].tls);
        close(lines[i].socket);
    }
    SSL_CTX_free(context);
    close(epoll);
    free(lines);
    free(to.request);
    return 0;
}
