/* run.h: what the files of the type nontax._core.Run share. */
#ifndef NONTAX_PYTHON_RUN_H
#define NONTAX_PYTHON_RUN_H

#include "core.h"

#include <time.h>

/* Where a call is on its way. All but the first one only with a journal: see run_journal.c. */
typedef enum stage {
    STAGE_IN_RUN,
    STAGE_OPENING,
    STAGE_READY,
    STAGE_FINISHED,
    STAGE_CLOSING,
    STAGE_AGAIN,
    STAGE_ELSEWHERE,
    STAGES
} stage;

/* A call on its way. */
typedef struct entry {
    nontax_call *call;
    PyObject *subject; /* whom its outcome is about: the bill, or what add() was given */
    Py_ssize_t index;
    double began;
    struct entry *next;
    struct entry *previous;
    stage stage;
    struct entry *newer; /* the one after it in its stage */
    PyObject *claim;     /* its attempt, which the journal has; or NULL */
    int64_t attempt;     /* the number of that */
    PyObject *fallback;  /* its outcome if the run is stopped before it goes on; or NULL */
    int attempts;        /* transfers of those that were before */
} entry;

typedef struct entry_queue {
    entry *first;
    entry *last;
    Py_ssize_t count;
} entry_queue;

typedef struct run_object {
    PyObject_HEAD
    client_object *client;
    nontax_run *run;
    PyObject *make_outcome;   /* the Python layer's: what it gives out for each call, */
    PyObject *make_result;    /* and for what a reply says; NULL: a dict */
    PyObject *inserted;       /* a name that most outcomes have */
    PyObject *kept;           /* where each outcome is put before it is given out; or NULL */
    PyObject *append;         /* its method */
    PyObject *bills;          /* an iterator; NULL: exhausted, or an asynchronous one */
    PyObject *pending;        /* a bill that was taken, and has not begun */
    PyObject *iterator_error; /* what the iterator raised; given out last */
    PyObject *fatal_error;    /* every other bill would meet it; given out last, before that */
    PyObject *ended_by;       /* the first of the last two, kept */
    PyObject *source_error;   /* why there was no token, the last time */
    const char *token_problem;
    Py_ssize_t pulled;
    atomic_bool busy;    /* somebody is inside, perhaps without the GIL */
    atomic_bool stopped; /* takes no more bills */
    bool begun;          /* somebody has asked for an outcome, or has closed it */
    bool bulk;           /* an error that every call would meet ends it */
    bool in_loop;        /* an event loop drives it, and fetches its tokens and bills */
    bool awaits_bills;   /* bills: an asynchronous iterable, or an iterator that may give None */
    bool dry;            /* it gave None: there is no bill until the run is woken */
    entry *entries;
    Py_ssize_t under_way; /* entries */
    atomic_bool woken;    /* somebody has something for whoever works on it */
    PyObject *gathered;   /* outcomes that were not given out yet; or NULL */

    /* With a journal. Its queues, and methods of those and of its own. */
    PyObject *journal;
    PyObject *form; /* of a body of which it wants the values */
    PyObject *opens, *closes, *answers, *put_open, *put_close, *attend, *mark;
    entry_queue queues[STAGES];
    PyObject *arrived;     /* the answer that is being taken over, */
    Py_ssize_t arrived_at; /* and how far */
    PyObject *failure;     /* the journal's */
    int64_t marked;        /* the last attempt that may leave the machine */
    double pause_until;    /* nothing begins before then */
    double waits_since;    /* there is something for the journal; 0: there is not */
    int window;            /* bills under way at once */
    bool paced;            /* bills begin at a rate */
    bool attending;        /* the journal was told that there is something */
    bool ending;           /* what is under way is ended */

    /* While another thread asks the token source for an event loop. */
    bool fetching;
    atomic_bool fetched;
    PyObject *stale;        /* what it is asked with, */
    bool may_keep;          /* and whether that may be its answer */
    PyObject *answer;       /* its answer, */
    PyObject *answer_error; /* or what it has raised */
} run_object;

static inline double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Replaces what is there, or NULL. */
static inline void set_reference(PyObject **place, PyObject *object)
{
    PyObject *before = *place;
    *place = Py_NewRef(object);
    Py_XDECREF(before);
}

/* run.c. Only one at a time is inside; whoever has reserved the run releases it. false with an
 * exception: it is in use, or a parent process's. */
bool run_check_ours(run_object *self);
bool run_reserve(run_object *self);
void run_release(run_object *self);

/* run_outcomes.c: a call with its payload comes in, or, without one, a call that was not sent; or
 * the pending bill, sent or not. */
int run_add_call(run_object *self, PyObject *payload, const nontax_interface *interface,
                 PyObject *subject);
int run_add_pending(run_object *self, bool begin);
void run_forget_entry(run_object *self, entry *entry);
/* The same in steps: made, with a place among the bills, its call in the run. */
entry *run_make_entry(run_object *self, PyObject *payload, const nontax_interface *interface,
                      PyObject *subject);
void run_keep_entry(run_object *self, entry *entry);
int run_enter(run_object *self, entry *entry);
void run_forget_old_token(run_object *self);
/* An outcome is kept, and gathered to be given out. */
int run_give_outcome(run_object *self, PyObject *outcome);
/* The outcome of a call; the next one; all that have come, or, with `end`, that are to come. */
PyObject *run_outcome_of(run_object *self, nontax_call *call);
PyObject *run_next_outcome(run_object *self);
PyObject *run_gather(run_object *self, bool end);
PyObject *run_cancel_call(run_object *self, nontax_call *call);
void run_forget_call(run_object *self, nontax_call *call);
void run_set_ended_by(run_object *self, PyObject *error);
int run_set_kept(run_object *self, PyObject *kept);

/* run_tokens.c: asks the source here; or uses what another thread has got from it. */
int run_get_token(run_object *self);
int run_settle_token(run_object *self);

/* run_feed.c. What a run needs of whoever drives it. */
typedef enum run_need {
    NEED_FAILED = -1, /* an exception is set: interrupted, and nothing is lost */
    NEED_NOTHING,     /* there is an outcome */
    NEED_WAIT,        /* until something happens */
    NEED_TOKEN,       /* an access token, from the source */
    NEED_BILL,        /* the next bill of an asynchronous iterable */
    NEED_OTHERS,      /* other runs, which have the bills under way that are left */
    NEED_END          /* there will be no other outcome */
} run_need;
run_need run_feed(run_object *self, int64_t *wait_ms);
int run_turn(run_object *self, int64_t wait_ms);
bool run_has_outcome(run_object *self);
int run_wait_for_outcome(run_object *self);
PyObject *run_take_last_word(run_object *self);

/* run_journal.c */
int run_set_journal(run_object *self, PyObject *journal, int window, bool paced);
bool run_journal_wants(const run_object *self);
int run_journal_print(run_object *self);
int run_journal_advance(run_object *self, int64_t *due_in);
int run_journal_collect(run_object *self);
bool run_journal_waits_for_others(const run_object *self);
int run_journal_wait_for_others(run_object *self);
int run_journal_end(run_object *self);
/* Without the GIL: goes on with the calls; whether there is something to do for which that is
 * needed. */
bool run_journal_go_on(run_object *self);

/* Methods that stand beside what they work on. */
#define RUN_METHOD(name)                                                                           \
    extern const char run_##name##_doc[];                                                          \
    PyObject *run_##name(PyObject *object, PyObject *argument)
RUN_METHOD(kept);
RUN_METHOD(keep_in);
RUN_METHOD(ended_by);
RUN_METHOD(fetch_token);
RUN_METHOD(fetch_ended);
RUN_METHOD(ask_for_token);
RUN_METHOD(set_pending);
RUN_METHOD(no_more_bills);
RUN_METHOD(may_pull);
RUN_METHOD(give_back);
RUN_METHOD(last_word);
RUN_METHOD(begin_end);
RUN_METHOD(look_again);
RUN_METHOD(wake);
extern const char run_feed_doc[];
PyObject *run_feed_method(PyObject *object, PyObject *argument);
#undef RUN_METHOD

#endif
