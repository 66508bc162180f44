/* support.h: what the C tests share: payloads, clients, a scripted server, checks in a child. */
#ifndef NONTAX_TESTS_SUPPORT_H
#define NONTAX_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nontax.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* cmocka has one of its own, but not under the same name in its versions 1 and 2. */
#undef assert_in_range
#pragma GCC poison assert_in_range
#define assert_between(value, least, most)                                                         \
    do {                                                                                           \
        int64_t between = (int64_t)(value);                                                        \
        if (between < (int64_t)(least) || between > (int64_t)(most)) {                             \
            fail_msg("%s is %jd", #value, (intmax_t)between);                                      \
        }                                                                                          \
    } while (0)

/* Long enough to be masked, with characters that a query must encode. */
#define TOKEN "89_Abc-def+ghi/jkl=mno"
#define TOKEN_IN_QUERY "89_Abc-def%2Bghi%2Fjkl%3Dmno"
#define NEWER_TOKEN "90_Newer-token.value"

/* ---- payloads ---------------------------------------------------------------------------- */

/* Parses JSON in which ' stands for ". */
cJSON *json(const char *text);

/* One and the same bill in each of its three shapes. */
cJSON *sample_bill(void);
cJSON *table_bill(void);
cJSON *flat_bill(void);
/* How the sample's and the flat shape are printed, and how the table's. */
extern const char sample_body[];
extern const char table_body[];

/* Gives the member at a dotted path another value, in its old place; adds it if there is none.
 * NULL removes it. */
void put(cJSON *tree, const char *path, cJSON *item);

/* ---- clients and calls ------------------------------------------------------------------- */

nontax_client *client_for(const char *base_url, int retries);
/* A call of any interface, without a payload. */
nontax_call *call_of(nontax_client *client, const char *interface);
/* With a payload, as json() has it, and with a token if it needs one. */
nontax_call *call_with(nontax_client *client, const char *interface, const char *payload);
/* A call with a bill of this order_id, without a token. */
nontax_call *call_without_token(nontax_client *client, const char *order_id);
nontax_call *call_for(nontax_client *client, const char *order_id);
/* The call is finished, and this became of it. */
void expect(const nontax_call *call, nontax_outcome outcome, nontax_cause cause);

/* ---- time -------------------------------------------------------------------------------- */

/* Puts the monotonic clock of this program and of libcurl forward; 0 puts it right again. The
 * kernel's timers are not moved: poll() and nx_lane_descriptor() keep to the true time. */
void clock_forward(int64_t ms);

/* A test's setup: the clock is right, whatever the test before did. */
int true_time(void **state);

/* How far the clock on the wall is wrong. */
void wall_clock_jump(int64_t ms);

/* ---- a server on the loopback ------------------------------------------------------------ */

typedef enum server_move {
    ANSWER,           /* reads the request, answers, keeps the connection */
    ANSWER_AND_CLOSE, /* answers without announcing that the connection ends */
    ANSWER_AND_MORE,  /* answers, and sends another answer that nobody has asked for */
    ANSWER_WHEN_TOLD, /* reads the request, answers after server_release() */
    CLOSE_AT_ONCE,    /* closes without reading the request */
    CLOSE_AFTER_HEAD,
    CLOSE_AFTER_BODY,
    CLOSE_IN_REPLY /* half of the reply is missing */
} server_move;

/* What the server does with one request. */
typedef struct server_step {
    server_move move;
    int status;         /* 0: 200 */
    const char *body;   /* NULL: success, with the request's order_id as the code */
    const char *header; /* one more line with its line end; NULL: none */
} server_step;

extern const server_step hold;      /* answers when told */
extern const server_step bad_token; /* 40001, whose errmsg repeats TOKEN */
extern const server_step busy;      /* 72036: not taken, and may be repeated */

typedef struct server server;

/* Steps are taken in the order in which requests arrive, on whatever connection; requests after
 * the last step are answered with success. The steps must outlive the server. */
server *server_start(const server_step *steps, int count);
/* Ends all of its threads. */
void server_stop(server *server);
const char *server_url(const server *server);
/* Lets every request go on that waits with ANSWER_WHEN_TOLD, and all later ones. */
void server_release(server *server);
int server_connections(server *server);
/* How many requests have arrived completely, with head and body. */
int server_requests(server *server);
/* Waits until so many answers have been sent. */
void server_wait_for_answers(server *server, int count);
/* How many requests were answered with success: for WeChat, those would be bills in a wallet. */
int server_insertions(server *server);
/* How many complete bodies had this text in them. */
int server_bodies(server *server, const char *text);
/* Head and body of a complete request, by its order of arrival; valid until server_stop(). */
const char *server_head(server *server, int index);
const char *server_body(server *server, int index);
size_t server_body_size(server *server, int index);
/* Waits until all connections made before have been accepted, read to their end and closed. To be
 * called when the client has closed its own. */
void server_settle(server *server);

/* A base_url where every connection is refused until close() of the descriptor. */
char *refusing_url(int *descriptor);

/* ---- event loops ------------------------------------------------------------------------- */

enum { EVER = 60000 }; /* an event loop that sleeps so long has slept through its event */

bool is_readable(int descriptor, int wait_ms);

/* ---- children ---------------------------------------------------------------------------- */

/* For use in a child, where cmocka's own assertions would run on into the next test. */
#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            print_error("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                    \
            return false;                                                                          \
        }                                                                                          \
    } while (0)

/* Forks and runs the check in the child, which then ends at once: nothing it forgets counts as a
 * leak. True if the check was. */
bool true_in_child(bool (*check)(void *context), void *context);
/* The same, but what valgrind finds in the child counts, too. */
bool clean_in_child(bool (*check)(void *context), void *context);
/* The two halves of it, for a fork that somebody else makes. */
void child_verdict(int descriptor, bool verdict) __attribute__((noreturn));
bool parent_verdict(int descriptor, int child);

#endif
