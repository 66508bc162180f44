/* bare.c: see bare.h. */
#include "bare.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

_Noreturn void bare_fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static void read_body(bare_job *job, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0 || (job->body_size = ftell(file)) < 0) {
        bare_fail(path, "cannot be read");
    }
    rewind(file);
    job->body = malloc((size_t)job->body_size + 1);
    if (!job->body || fread(job->body, 1, (size_t)job->body_size, file) != (size_t)job->body_size) {
        bare_fail(path, "cannot be read");
    }
    fclose(file);
}

static void add_header(bare_job *job, const char *header)
{
    struct curl_slist *longer = curl_slist_append(job->headers, header);
    if (!longer) {
        bare_fail(header, "out of memory");
    }
    job->headers = longer;
}

bare_job bare_begin(int count, char **arguments)
{
    bare_job job = {0};
    if (count != 10) {
        bare_fail(arguments[0], "see bare.h for the arguments");
    }
    job.url = arguments[1];
    job.ca_file = arguments[2];
    read_body(&job, arguments[3]);
    job.agent = arguments[4];
    job.server_pid = atol(arguments[5]);
    job.warm_up = atol(arguments[6]);
    job.bills = atol(arguments[7]);
    job.in_flight = atol(arguments[8]);
    job.callback = strcmp(arguments[9], "callback") == 0;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        bare_fail("libcurl", "does not start");
    }
    add_header(&job, "Content-Type: application/json");
    add_header(&job, "Expect:");
    return job;
}

static size_t receive(char *data, size_t size, size_t count, void *context)
{
    bare_reply *reply = context;
    if (reply->size + size * count >= MAX_REPLY) {
        return 0;
    }
    memcpy(reply->text + reply->size, data, size * count);
    reply->size += size * count;
    return size * count;
}

static size_t send_body(char *buffer, size_t size, size_t count, void *context)
{
    bare_reply *reply = context;
    size_t left = (size_t)(reply->job->body_size - reply->body_sent);
    size_t piece = left < size * count ? left : size * count;
    memcpy(buffer, reply->job->body + reply->body_sent, piece);
    reply->body_sent += (long)piece;
    return piece;
}

#define SET(option, value)                                                                         \
    do {                                                                                           \
        CURLcode code = curl_easy_setopt(easy, option, value);                                     \
        if (code != CURLE_OK) {                                                                    \
            bare_fail(#option, curl_easy_strerror(code));                                          \
        }                                                                                          \
    } while (0)

CURL *bare_handle(const bare_job *job, bare_reply *reply)
{
    CURL *easy = curl_easy_init();
    reply->job = job;
    if (!easy) {
        bare_fail("curl_easy_init", "out of memory");
    }
    SET(CURLOPT_URL, job->url);
    SET(CURLOPT_CAINFO, job->ca_file);
    SET(CURLOPT_USERAGENT, job->agent);
    SET(CURLOPT_HTTPHEADER, job->headers);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_POST, 1L);
    if (job->callback) {
        SET(CURLOPT_READFUNCTION, send_body);
        SET(CURLOPT_READDATA, reply);
    } else {
        SET(CURLOPT_POSTFIELDS, job->body);
    }
    SET(CURLOPT_POSTFIELDSIZE, job->body_size);
    SET(CURLOPT_WRITEFUNCTION, receive);
    SET(CURLOPT_WRITEDATA, reply);
    SET(CURLOPT_PRIVATE, reply);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_PROXY, "");
    return easy;
}

void bare_check(CURL *easy, CURLcode code, bare_reply *reply)
{
    long status = 0;
    if (code != CURLE_OK) {
        bare_fail("transfer", curl_easy_strerror(code));
    }
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    reply->text[reply->size] = '\0';
    if (status != 200 || !strstr(reply->text, "\"errcode\":0,")) {
        bare_fail("reply", reply->text);
    }
    reply->size = 0;
    reply->body_sent = 0;
}

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

/* A number from a file in /proc, or -1. */
static long read_number(const char *path, const char *before)
{
    char line[256];
    long number = -1;
    FILE *file = fopen(path, "r");
    while (file && number < 0 && fgets(line, sizeof line, file)) {
        if (strncmp(line, before, strlen(before)) == 0) {
            number = atol(line + strlen(before));
        }
    }
    if (file) {
        fclose(file);
    }
    return number;
}

bare_clock bare_now(const bare_job *job)
{
    char path[64];
    struct timespec wall;
    struct rusage used;
    snprintf(path, sizeof path, "/proc/%ld/schedstat", job->server_pid);
    clock_gettime(CLOCK_MONOTONIC, &wall);
    getrusage(RUSAGE_SELF, &used);
    return (bare_clock){.wall = (double)wall.tv_sec + (double)wall.tv_nsec / 1e9,
                        .cpu = seconds(used.ru_utime) + seconds(used.ru_stime),
                        .server_cpu = (double)read_number(path, "") / 1e9};
}

void bare_end(bare_job *job, bare_clock start)
{
    bare_clock end = bare_now(job);
    /* Not ru_maxrss: that one begins with the memory of whoever started this program. */
    long peak_kib = read_number("/proc/self/status", "VmHWM:");
    printf("{\"bills\": %ld, \"wall\": %.9f, \"cpu\": %.9f, \"server_cpu\": %.9f, "
           "\"peak_kib\": %ld, \"version\": \"%s\"}\n",
           job->bills, end.wall - start.wall, end.cpu - start.cpu,
           end.server_cpu - start.server_cpu, peak_kib, curl_version());
    curl_slist_free_all(job->headers);
    free(job->body);
}
