/* nontax.h: the core's whole public API: fiscal e-bills (财政电子票据) to WeChat, from C.
 *
 * The core knows WeChat's interfaces as data, checks a payload against them, sends it over HTTPS
 * with libcurl and reports what became of it. It knows nothing of Python.
 *
 * In short (examples/insert_bill.c is a whole program):
 *
 *     nontax_client *client;
 *     nontax_settings settings = NONTAX_SETTINGS_DEFAULT;
 *     nontax_text why;
 *     if (nontax_client_new(&settings, &client, &why) != NONTAX_OK) ... why.text says what is wrong
 *     nontax_call *call = nontax_call_new(client, nontax_interface_find("insertbill"));
 *     nontax_call_set_payload(call, nontax_payload_from_json(bill));   // takes the cJSON tree over
 *     nontax_call_set_token(call, token, strlen(token));
 *     nontax_client_run(client, call, NULL);
 *     const nontax_result *result = nontax_call_result(call);
 *
 * Conventions: functions that can fail return a nontax_status, or NULL for "no memory". Text is
 * UTF-8. Times are milliseconds on the monotonic clock unless a name says otherwise. A client may
 * be used by several threads at once; a call and a run by one thread at a time.
 */
#ifndef NONTAX_H
#define NONTAX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum nontax_status {
    NONTAX_OK = 0,
    NONTAX_NO_MEMORY,   /* nothing was changed */
    NONTAX_BAD_SETTING, /* a setting, or libcurl itself, cannot be used; the nontax_text says why */
    NONTAX_BAD_TOKEN,   /* an access token with characters that none can have; nothing is echoed */
    NONTAX_BAD_PAYLOAD, /* the payload breaks its interface's rules; see nontax_call_problems() */
    NONTAX_WRONG_PROCESS, /* this run or call was made in the parent of this process, or the run is
                             closed; it is not touched */
    NONTAX_NO_DESCRIPTOR  /* no further file or socket can be opened; nothing was changed */
} nontax_status;

/* A short message with a fixed place, so that reporting a failure can never fail. */
typedef struct nontax_text {
    char text[512];
    const char *setting; /* the name of the setting that it is about, a constant; NULL: none */
} nontax_text;

/* ---- the library ------------------------------------------------------------------------- */

/* "0.1.0" */
const char *nontax_version(void);

/* Prepares libcurl, once per process, and checks that it is new enough (7.85), has TLS and may be
 * used by threads. nontax_client_new() calls it. Thread-safe. */
nontax_status nontax_start(nontax_text *why);

/* The allocator of the core, of libcurl and of cJSON, for programs (and tests) that bring their
 * own. Must be called before anything else, and before anybody else starts libcurl. All five are
 * required. */
typedef struct nontax_allocator {
    void *(*malloc_fn)(size_t size);
    void *(*calloc_fn)(size_t count, size_t size);
    void *(*realloc_fn)(void *old, size_t size);
    char *(*strdup_fn)(const char *text);
    void (*free_fn)(void *memory);
} nontax_allocator;
void nontax_set_allocator(const nontax_allocator *allocator);

/* ---- error codes ------------------------------------------------------------------------- */

typedef enum nontax_category {
    NONTAX_CATEGORY_SUCCESS,
    NONTAX_CATEGORY_ACCESS_TOKEN,
    NONTAX_CATEGORY_ACCOUNT,
    NONTAX_CATEGORY_QUOTA,
    NONTAX_CATEGORY_PARAMETER,
    NONTAX_CATEGORY_NOT_AUTHORIZED,
    NONTAX_CATEGORY_DUPLICATE,
    NONTAX_CATEGORY_STATE,
    NONTAX_CATEGORY_BUSY,
    NONTAX_CATEGORY_UNKNOWN
} nontax_category;

typedef enum nontax_retry {
    NONTAX_RETRY_NO,
    NONTAX_RETRY_YES,
    NONTAX_RETRY_LATER,
    NONTAX_RETRY_AFTER_TOKEN_REFRESH
} nontax_retry;

/* What the core does by itself when WeChat answers with a code. */
typedef enum nontax_reaction {
    NONTAX_REACTION_NONE,
    NONTAX_REACTION_REPEAT,            /* the same again after a pause */
    NONTAX_REACTION_NEW_TOKEN,         /* once more with a newer access token */
    NONTAX_REACTION_NEW_TOKEN_OR_SAME, /* or with the same one, if there is no newer one */
    NONTAX_REACTION_NEXT_MINUTE        /* in a bulk run, in the next minute */
} nontax_reaction;

typedef struct nontax_errcode {
    int code;
    const char *name; /* "INVALID_CREDENTIAL" */
    nontax_category category;
    nontax_retry retry;
    nontax_reaction reaction;
    bool stops_run;     /* every other bill of the account would get it, too */
    const char *advice; /* one sentence: what to do */
} nontax_errcode;

/* Never NULL: a code that is not in the table gives an entry with the category UNKNOWN, whose
 * `code` is not the one that was asked for. */
const nontax_errcode *nontax_errcode_find(int code);

/* All codes of the table in rising order; *count is set. */
const nontax_errcode *nontax_errcodes(size_t *count);

const char *nontax_category_name(nontax_category category); /* "access_token" */
const char *nontax_retry_name(nontax_retry retry);          /* "after_token_refresh" */

/* ---- interfaces and payloads ------------------------------------------------------------- */

typedef struct nontax_interface nontax_interface;

/* By the last part of its path; NULL when there is no such interface. There are the product's ten:
 * "createbillcard", "setpdf", "seturl", "getpdf", "insertbill" and "updatestatus" for the finance
 * bureau, "getticket", "getbillauthurl", "getauthdata" and "rejectinsert" for the collecting unit;
 * "stable_token" and "token", which take the AppSecret; "rid/get" and "quota/get". */
const nontax_interface *nontax_interface_find(const char *name);
const char *nontax_interface_name(const nontax_interface *interface);
/* It takes a file in place of a payload: nontax_call_set_file(). */
bool nontax_interface_takes_file(const nontax_interface *interface);
/* It changes nothing at WeChat, and is asked again by itself when no usable answer came. */
bool nontax_interface_is_read_only(const nontax_interface *interface);
/* It takes the AppSecret in place of an access token: then 40001 means that the AppSecret is wrong.
 */
bool nontax_interface_takes_secret(const nontax_interface *interface);
/* There are credentials in its reply: not to be shown to anybody. */
bool nontax_interface_answers_secret(const nontax_interface *interface);

/* The values of a payload, added in order:
 *
 *     nontax_payload *bill = nontax_payload_new();
 *     nontax_payload_object(bill, NULL);                    // the first value is the whole payload
 *     nontax_payload_text(bill, "order_id", order, strlen(order));
 *     nontax_payload_integer(bill, "fee", 1200);            // in fen
 *     ...
 *     nontax_payload_end(bill);
 *
 * Inside an object each value has a name, inside a list NULL. Everything is copied. These functions
 * report no failure: a payload that lacks a value for want of memory is not whole, and is refused
 * by nontax_call_set_payload(). */
typedef struct nontax_payload nontax_payload;
nontax_payload *nontax_payload_new(void); /* NULL: no memory */
/* Wipes and frees it. NULL is allowed. */
void nontax_payload_free(nontax_payload *payload);
/* Drops all values. */
void nontax_payload_clear(nontax_payload *payload);
bool nontax_payload_is_whole(const nontax_payload *payload);
/* Whether the first value is an object, or stands for one that could not be converted. */
bool nontax_payload_has_fields(const nontax_payload *payload);

/* A text without NUL. */
void nontax_payload_text(nontax_payload *payload, const char *name, const char *text, size_t size);
void nontax_payload_integer(nontax_payload *payload, const char *name, int64_t integer);
/* A number as it is written, exact to the last digit ("9007199254740993", "12.50"). */
void nontax_payload_number(nontax_payload *payload, const char *name, const char *literal);
/* A moment, in Unix seconds: printed as an integer, and no amount. */
void nontax_payload_time(nontax_payload *payload, const char *name, int64_t unix_seconds);
void nontax_payload_bool(nontax_payload *payload, const char *name, bool truth);
void nontax_payload_null(nontax_payload *payload, const char *name);
/* The values up to nontax_payload_end() are inside this object or list. */
void nontax_payload_object(nontax_payload *payload, const char *name);
void nontax_payload_list(nontax_payload *payload, const char *name);
void nontax_payload_end(nontax_payload *payload);
/* A value of a kind that JSON does not have, such as "a Decimal". The check names the kind, and
 * says what the field takes. */
void nontax_payload_foreign(nontax_payload *payload, const char *name, const char *kind);

/* A payload from a cJSON tree, which is taken over in any case: do not free it. NULL: no memory, or
 * the tree was NULL. A number of cJSON's is a double: make numbers beyond 2^53 with
 * nontax_json_number(). The other two are nontax_payload_time() and nontax_payload_foreign() for
 * trees. */
nontax_payload *nontax_payload_from_json(cJSON *tree);
cJSON *nontax_json_number(const char *literal);
cJSON *nontax_json_time(int64_t unix_seconds);
cJSON *nontax_json_foreign(const char *kind);

/* What can be wrong. Each has an id and a message; see nontax_problem_id_name(). */
typedef enum nontax_problem_id {
    NONTAX_PROBLEM_MORE, /* there are more than are listed */
    /* objects and names */
    NONTAX_PROBLEM_NOT_FIELDS,
    NONTAX_PROBLEM_NOT_OBJECT,
    NONTAX_PROBLEM_MISSING,
    NONTAX_PROBLEM_GIVEN_TWICE,
    NONTAX_PROBLEM_WRONG_PLACE,
    NONTAX_PROBLEM_UNKNOWN_FIELD,
    NONTAX_PROBLEM_UNKNOWN_FIELD_LIKE,
    NONTAX_PROBLEM_NAME_CHARACTER,
    NONTAX_PROBLEM_NAME_NOT_UTF8,
    NONTAX_PROBLEM_NAME_NOT_TEXT,
    /* texts */
    NONTAX_PROBLEM_NOT_TEXT,
    NONTAX_PROBLEM_NUMBER_NOT_TEXT,
    NONTAX_PROBLEM_EMPTY,
    NONTAX_PROBLEM_BLANK,
    NONTAX_PROBLEM_BEGINS_WITH,
    NONTAX_PROBLEM_ENDS_WITH,
    NONTAX_PROBLEM_NOT_UTF8,
    NONTAX_PROBLEM_HAS_NUL,
    NONTAX_PROBLEM_HAS_SURROGATE,
    NONTAX_PROBLEM_NOT_RID,
    NONTAX_PROBLEM_NOT_INTERFACE_PATH,
    NONTAX_PROBLEM_NOT_A_CHOICE,
    /* numbers */
    NONTAX_PROBLEM_EMPTY_CELL,
    NONTAX_PROBLEM_NOT_NUMBER,
    NONTAX_PROBLEM_NOT_BOOLEAN,
    NONTAX_PROBLEM_NOT_FEN,
    NONTAX_PROBLEM_FEN_FRACTION,
    NONTAX_PROBLEM_FEN_NEGATIVE,
    NONTAX_PROBLEM_INTEGER_RANGE,
    NONTAX_PROBLEM_INTEGER_RAISED,
    /* times */
    NONTAX_PROBLEM_NOT_TIME,
    NONTAX_PROBLEM_TIME_FORM,
    NONTAX_PROBLEM_TIME_MILLISECONDS,
    NONTAX_PROBLEM_TIME_TO_THE_HOUR,
    NONTAX_PROBLEM_TIME_TEXT,
    NONTAX_PROBLEM_TIME_NAIVE,
    NONTAX_PROBLEM_TIME_OFFSET,
    NONTAX_PROBLEM_TIME_RAISED,
    /* anything */
    NONTAX_PROBLEM_FOREIGN,
    NONTAX_PROBLEM_TOO_DEEP,
    NONTAX_PROBLEM_TOO_MANY,
    NONTAX_PROBLEM_INSIDE_ITSELF,
    NONTAX_PROBLEM_UNREADABLE,
    NONTAX_PROBLEM_NO_PAIRS,
    /* files */
    NONTAX_PROBLEM_FILE_UNREADABLE,
    NONTAX_PROBLEM_NOT_PDF,
    NONTAX_PROBLEM_ZIP_NOT_PDF,
    NONTAX_PROBLEM_COUNT
} nontax_problem_id;

/* "unknown_field_like": stable, for programs and translations. */
const char *nontax_problem_id_name(nontax_problem_id id);
/* In English, with the names of its values in braces: "… did you mean {name}?" */
const char *nontax_problem_message(nontax_problem_id id);

/* A value that could not be converted: the check reports the problem where it stands. `text` is
 * what its message names, or NULL. */
void nontax_payload_problem(nontax_payload *payload, const char *name, nontax_problem_id id,
                            const char *text);
cJSON *nontax_json_problem(nontax_problem_id id, const char *text);

enum { NONTAX_PROBLEM_VALUES = 2 };

/* One thing that is wrong with a payload. */
typedef struct nontax_problem {
    nontax_problem_id id;
    char *path;    /* "card_ext.user_card.invoice_user_data.fee" */
    char *message; /* "is missing" */
    struct {
        char name[16]; /* "": none */
        char *text;
    } values[NONTAX_PROBLEM_VALUES]; /* what stands in the message's braces */
} nontax_problem;

typedef struct nontax_problems {
    nontax_problem *list;
    size_t count;
    size_t capacity;
} nontax_problems;

/* What becomes of fields that the interface does not have. */
typedef enum nontax_extra {
    NONTAX_EXTRA_REFUSE, /* they are problems */
    NONTAX_EXTRA_IGNORE, /* they are not sent */
    NONTAX_EXTRA_SEND
} nontax_extra;

/* Checks a payload without a client, and sends nothing. The payload is taken over in any case; NULL
 * gives NONTAX_NO_MEMORY. NONTAX_BAD_PAYLOAD: see problems, which must be {0} before the call, and
 * which the caller frees with nontax_problems_free(). */
nontax_status nontax_payload_check(const nontax_interface *interface, nontax_payload *payload,
                                   nontax_extra extra, nontax_problems *problems);
void nontax_problems_free(nontax_problems *problems);

/* ---- client ------------------------------------------------------------------------------ */

typedef struct nontax_settings {
    const char *base_url; /* https://…; http://… only to this machine itself */
    /* Further hosts, up to NULL, each tried when nothing could be sent to the one before it; NULL:
     * none. */
    const char *const *fallback_base_urls;
    const char *ca_file;        /* PEM file of a private CA, for WeChat's server alone */
    const char *system_ca_file; /* PEM file for all else; NULL: libcurl's own */
    const char *proxy;          /* NULL: the environment's proxy; "": none */
    int64_t connect_timeout_ms; /* for one connection, TLS included */
    int64_t timeout_ms;         /* for a whole call, repeats included */
    int retries;                /* how often a call is repeated that was certainly not taken */
    nontax_extra extra;         /* fields that the interface does not have */
} nontax_settings;

#define NONTAX_SETTINGS_DEFAULT                                                                    \
    {.base_url = "https://api.weixin.qq.com",                                                      \
     .connect_timeout_ms = 5000,                                                                   \
     .timeout_ms = 30000,                                                                          \
     .retries = 2}

typedef struct nontax_client nontax_client;

/* The settings are copied. On failure *client is NULL and *why says what to change. */
nontax_status nontax_client_new(const nontax_settings *settings, nontax_client **client,
                                nontax_text *why);
/* No call may be running on it any more. NULL is allowed. */
void nontax_client_free(nontax_client *client);
/* Closes the connections that are idle now; the client stays usable. */
void nontax_client_close_idle(nontax_client *client);

/* ---- notes ------------------------------------------------------------------------------- */

/* What happens on the way of calls and is in no result, for a log. */
typedef enum nontax_note_kind {
    NONTAX_NOTE_RETRY,         /* the call is sent again in wait_ms */
    NONTAX_NOTE_TOKEN_REFUSED, /* WeChat has refused the access token; a newer one is asked for */
    NONTAX_NOTE_PAUSE,         /* the minute's quota is used up; nothing is sent for wait_ms */
    NONTAX_NOTE_HOST_FAILED,   /* nothing could be sent to the host; the next one is tried */
    NONTAX_NOTE_HOST_CHOSEN,   /* the host has answered, and is the first one for a while */
    NONTAX_NOTE_FETCHED,       /* an access token or a ticket has come */
    NONTAX_NOTE_NOT_FETCHED    /* it has not */
} nontax_note_kind;

/* Nothing in it comes from a payload, an answer or a credential. */
typedef struct nontax_note {
    nontax_note_kind kind;
    const nontax_interface *interface;
    const char *host;   /* one of the client's base_urls; lives as long as the client */
    const char *reason; /* in English; a constant, "" where there is an errcode */
    int errcode;        /* 0: none */
    int repeats;        /* how often the call was sent again before */
    int64_t wait_ms;
} nontax_note;

const char *nontax_note_kind_name(nontax_note_kind kind); /* "token_refused" */

/* Takes the oldest of the client's notes out; false: there is none. It keeps the last 64. */
bool nontax_client_take_note(nontax_client *client, nontax_note *note);

/* ---- calls ------------------------------------------------------------------------------- */

/* What became of a call. For interfaces other than insertbill, NONTAX_INSERTED means: carried out.
 * A request without a body (a GET) counts as sent as soon as its head may have gone out. */
typedef enum nontax_outcome {
    NONTAX_INSERTED, /* WeChat took it; the reply's fields are there, but for those that may be
                        missing: of insertbill, "code" is there and "openid" may be missing */
    NONTAX_REJECTED, /* WeChat answered with an errcode */
    NONTAX_NOT_SENT, /* the payload is invalid, or no byte of the body left this process */
    NONTAX_IN_DOUBT  /* the body went out, at least partly, and no usable answer came */
} nontax_outcome;

const char *nontax_outcome_name(nontax_outcome outcome); /* "in_doubt" */

/* Why, as far as callers react differently. */
typedef enum nontax_cause {
    NONTAX_CAUSE_NONE,       /* there was an answer */
    NONTAX_CAUSE_PAYLOAD,    /* the payload was refused here */
    NONTAX_CAUSE_TOKEN,      /* there is no access token to send it with */
    NONTAX_CAUSE_CONNECTION, /* the network */
    NONTAX_CAUSE_TLS,        /* certificate or handshake: repeating does not help */
    NONTAX_CAUSE_REPLY,      /* an answer came, but not one that WeChat gives */
    NONTAX_CAUSE_CANCELLED,  /* the caller ended it */
    NONTAX_CAUSE_MEMORY,
    NONTAX_CAUSE_LATER /* it would have to wait, and its run has never_waits: send it again later */
} nontax_cause;

const char *nontax_cause_name(nontax_cause cause); /* "connection"; "answer" where there was one */

/* Everything in it lives as long as the call. No text in it ever contains the access token. */
typedef struct nontax_result {
    nontax_outcome outcome;
    nontax_cause cause;
    bool timed_out;
    bool has_errcode;
    int errcode;         /* meaningful with has_errcode */
    long http_status;    /* 0: no reply */
    int curl_code;       /* a CURLcode; 0 when the transfer itself went well */
    int attempts;        /* how many times a transfer was begun */
    const cJSON *fields; /* the reply's members except errcode and errmsg; NULL: none. "code"
                            and other ids are strings, also where WeChat wrote a number */
    const char *reply;   /* of a reply that was no success: its text, where it says more than
                            errcode and errmsg; NULL: nothing, or it may contain a credential */
    char rid[32];        /* WeChat's request id, or "" */
    char errmsg[1024];   /* WeChat's own words, shortened if need be */
    char reason[512];    /* what happened, in English; "" where the errcode says it */
} nontax_result;

typedef struct nontax_call nontax_call;

/* The client's timeout counts from here. Without a payload the call is finished, and not sent.
 * NULL: no memory. */
nontax_call *nontax_call_new(nontax_client *client, const nontax_interface *interface);
/* Wipes and frees it. It must not be in a run. NULL is allowed. */
void nontax_call_free(nontax_call *call);

/* What is wrong with its payload; never NULL. They belong to the call. */
const nontax_problems *nontax_call_problems(const nontax_call *call);

/* Checks the payload and prints it. The payload is taken over in any case; NULL gives
 * NONTAX_NO_MEMORY. NONTAX_BAD_PAYLOAD: see nontax_call_problems(); if there is none, the interface
 * takes a file. */
nontax_status nontax_call_set_payload(nontax_call *call, nontax_payload *payload);

/* The body that is sent, for as long as the call is not finished. It belongs to the call. Not for
 * an interface that takes a file. */
const char *nontax_call_body(const nontax_call *call, size_t *size);

/* A file to be uploaded: memory, or a part of an open file, which is read as it is sent. */
typedef struct nontax_file {
    const char *name; /* as WeChat sees it; UTF-8 */
    const char *data; /* NULL: see descriptor */
    size_t size;
    int descriptor;
    int64_t offset; /* of the part in the open file */
} nontax_file;

/* The payload of an interface that takes a file; NONTAX_BAD_PAYLOAD for any other. The name is
 * copied; data and descriptor must stay until the call is finished. */
nontax_status nontax_call_set_file(nontax_call *call, const nontax_file *file);

/* Shortens the call's time to at most timeout_ms from now. */
void nontax_call_limit_time(nontax_call *call, int64_t timeout_ms);
/* How many milliseconds of it are left. */
int64_t nontax_call_time_left(const nontax_call *call);

/* Why a text cannot be an access token, in a few words, or NULL if it can. A token is visible
 * ASCII, at least one character, and not the written form of something else, such as "None". */
const char *nontax_token_problem(const char *token, size_t size);

/* Whether it waits for a token: at first, and once more after WeChat has refused the first one.
 * Never for an interface that takes the AppSecret. */
bool nontax_call_needs_token(const nontax_call *call);
/* The token that WeChat has refused, or NULL in the beginning. */
const char *nontax_call_stale_token(const nontax_call *call);
/* Whether the refused token may be given again, for want of a newer one: errcode 40001 passes by
 * itself at times. The call then tries it once more a second later. Only when that is refused, too,
 * a source should do what ends the token of others. */
bool nontax_call_may_keep_token(const nontax_call *call);
/* Copies the token. A token equal to the stale one ends the call with the refusal that it already
 * has, unless nontax_call_may_keep_token(). */
nontax_status nontax_call_set_token(nontax_call *call, const char *token, size_t size);
/* Ends a call that needs a token and gets none. */
void nontax_call_give_up(nontax_call *call);
/* Whether that was done. */
bool nontax_call_gave_up(const nontax_call *call);

/* Ends a call that has not begun: it is not sent. */
void nontax_call_cancel(nontax_call *call);

/* A pointer of the caller's, kept with the call. */
void nontax_call_set_owner(nontax_call *call, void *owner);
void *nontax_call_owner(const nontax_call *call);

bool nontax_call_finished(const nontax_call *call);
const nontax_result *nontax_call_result(const nontax_call *call);
const nontax_interface *nontax_call_interface(const nontax_call *call);

/* ---- one blocking call ------------------------------------------------------------------- */

/* What a host language adds to a blocking call. Every member may be NULL. */
typedef struct nontax_hooks {
    void *context;
    /* Asked at least every 100 ms and after every signal: true ends the call at once. */
    bool (*interrupted)(void *context);
    /* The call needs a (newer) token: set it, or return false to give up. */
    bool (*token)(void *context, nontax_call *call);
} nontax_hooks;

/* Runs the call to its end on idle connections of the client, or on a new one. Afterwards it is
 * finished, whatever happened; see nontax_call_result(). */
void nontax_client_run(nontax_client *client, nontax_call *call, const nontax_hooks *hooks);

/* ---- runs: many bills, one thread -------------------------------------------------------- */

/* A run sends many calls over connections of the client: at most `concurrency` at once, at a rate,
 * with one access token for all, and with a pause when WeChat asks for one. Calls belong to the run
 * from nontax_run_add() until nontax_run_take() gives them back. A program's loop:
 *
 *     while (there are bills, or calls in the run) {
 *         while (there are bills && nontax_run_wants_in(run) == 0) {
 *             nontax_run_add(run, call);                    // with its payload
 *         }
 *         if (nontax_run_needs_token(run)) {
 *             nontax_run_set_token(run, token, strlen(token));
 *         }
 *         nontax_run_step(run, 1000);
 *         while ((call = nontax_run_take(run))) {
 *             ... nontax_call_result(call);
 *             nontax_call_free(call);
 *         }
 *     }
 */
typedef struct nontax_run nontax_run;

typedef struct nontax_run_settings {
    int concurrency;        /* calls under way at once, 1 to 1000 */
    double rate;            /* calls a second, repeats included; 0: no limit */
    bool bulk;              /* after errcode 45011, pause and send again */
    int64_t quota_pause_ms; /* how long; 0: to the beginning of the next minute */
    /* A call that would wait for the minute's quota or for a newer token ends at once: with 45011
     * or the refusal of its token if WeChat has answered it, else not sent. */
    bool never_waits;
} nontax_run_settings;

nontax_status nontax_run_new(nontax_client *client, const nontax_run_settings *settings,
                             nontax_run **run, nontax_text *why);
/* Calls that are still in it are cancelled and freed. NULL is allowed. */
void nontax_run_free(nontax_run *run);

/* In how many milliseconds it can take another call:
 * 0: now.
 * -1: it is full, closed, or (with a rate) calls wait for a token; step and take first.
 * Where calls are added slowly, it also waits until those that it has have gone out. */
int64_t nontax_run_wants_in(nontax_run *run);

/* Takes over a call that has its payload, valid or not. On NONTAX_WRONG_PROCESS the call stays the
 * caller's. */
nontax_status nontax_run_add(nontax_run *run, nontax_call *call);
/* Ends all calls as nontax_run_end() does, and gives the connections back to the client. Finished
 * calls can still be taken; none can be added (NONTAX_WRONG_PROCESS). nontax_run_free() does this,
 * too. */
void nontax_run_close(nontax_run *run);

/* Whether calls wait for an access token: answer with nontax_run_set_token(), nontax_run_no_token()
 * or nontax_run_token_in(). nontax_run_stale_token() is the one that WeChat has refused, or NULL.
 */
bool nontax_run_needs_token(const nontax_run *run);
const char *nontax_run_stale_token(const nontax_run *run);
/* Like nontax_call_may_keep_token(), for all that wait. */
bool nontax_run_may_keep_token(const nontax_run *run);
nontax_status nontax_run_set_token(nontax_run *run, const char *token, size_t size);
/* Ends the calls that wait for one. */
void nontax_run_no_token(nontax_run *run);
/* There is no newer token yet: ask again in wait_ms. In a bulk run the calls wait for that; in any
 * other run, and after some tries, they end with the refusal. */
nontax_status nontax_run_token_in(nontax_run *run, int64_t wait_ms);

typedef enum nontax_step {
    NONTAX_STEP_IDLE, /* nothing happened: time ran out, or a signal came */
    NONTAX_STEP_BUSY  /* something happened */
} nontax_step;

/* Waits until there is something to do, for at most wait_ms (0: does not wait), and does it. */
nontax_step nontax_run_step(nontax_run *run, int wait_ms);
/* The next finished call, or NULL. It stays in the run. */
nontax_call *nontax_run_finished(nontax_run *run);
/* Takes the next finished call out of the run; it is the caller's then. NULL: there is none. */
nontax_call *nontax_run_take(nontax_run *run);
/* Ends all calls with the outcome that is known by now. They are then finished: take them. */
void nontax_run_end(nontax_run *run);

/* Ends one call with the outcome that is known by now, and takes it out: it is the caller's then.
 */
void nontax_run_cancel(nontax_run *run, nontax_call *call);
/* Puts a finished call that was taken out back among the finished ones. */
void nontax_run_put_back(nontax_run *run, nontax_call *call);

/* A descriptor that is readable when nontax_run_step() has something to do, for an event loop; -1
 * where the platform has none. It belongs to the run. */
int nontax_run_descriptor(nontax_run *run);

/* Makes the descriptor readable until the next step. Safe from any thread. */
void nontax_run_wakeup(nontax_run *run);

/* From now on nontax_run_wakeup() ends the waiting of nontax_run_step(). Asking for the descriptor
 * does that, too, but makes each step dearer. false: no descriptor is left for it. */
bool nontax_run_make_wakeable(nontax_run *run);

/* Whether this process made the run; if not, its parent goes on with it. */
bool nontax_run_is_ours(const nontax_run *run);

/* Two calls of one run that were about the same thing: WeChat takes one of them and refuses the
 * other as a duplicate. */
typedef enum nontax_twin {
    NONTAX_TWIN_NONE,
    NONTAX_TWIN_ORDER, /* the same order */
    NONTAX_TWIN_NUMBER /* the same number printed on the bill */
} nontax_twin;

/* For a finished call that was refused as a duplicate: whether one of the last 100,000 before it,
 * or one after it, had the same order or else the same number. Then *place is that one's place in
 * the run, from 0. */
nontax_twin nontax_run_twin(const nontax_run *run, const nontax_call *call, uint32_t *place);
const char *nontax_twin_name(nontax_twin twin); /* "order" */

/* Whether every other bill of the account would meet the same: end the run. */
bool nontax_result_stops_run(const nontax_result *result);

#ifdef __cplusplus
}
#endif

#endif
