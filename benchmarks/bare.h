/* bare.h: what both bare programs share: their arguments, a handle, the clocks. */
#ifndef BARE_H
#define BARE_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>

enum { MAX_REPLY = 4096 };

/* The arguments: URL CA_FILE BODY_FILE USER_AGENT SERVER_PID WARM_UP BILLS IN_FLIGHT WAY
 * WAY: "callback" hands the body over as nontax does, which keeps libcurl from sending it twice;
 * "fields" gives it to libcurl as a whole. */
typedef struct bare_job {
    const char *url;
    const char *ca_file;
    const char *agent;
    char *body;
    long body_size;
    long server_pid;
    long warm_up;
    long bills;
    long in_flight;
    bool callback;
    struct curl_slist *headers;
} bare_job;

typedef struct bare_reply {
    char text[MAX_REPLY];
    size_t size;
    const bare_job *job;
    long body_sent;
} bare_reply;

typedef struct bare_clock {
    double wall;
    double cpu;
    double server_cpu;
} bare_clock;

bare_job bare_begin(int count, char **arguments);
CURL *bare_handle(const bare_job *job, bare_reply *reply);
/* Ends the program unless the reply is HTTP 200 with errcode 0. Empties the reply. */
void bare_check(CURL *easy, CURLcode code, bare_reply *reply);
/* Seconds: of the wall's clock, of this process's CPU time, of the server's. */
bare_clock bare_now(const bare_job *job);
/* Prints one JSON object: what was used since `start`, peak memory, libcurl's version. */
void bare_end(bare_job *job, bare_clock start);
_Noreturn void bare_fail(const char *what, const char *why);

#endif
