/* bulk.c: the type nontax._core.Run: many calls at once on one lane, fed from an iterator, or one
 * by one from an event loop. */
#include "core.h"

#include <stdatomic.h>
#include <time.h>

enum {
    SLICE_MS = 100,   /* between two looks at Python's signals */
    SOURCE_MS = 30000 /* a run has no end of its own that a token source must keep to */
};

/* A call on its way. */
typedef struct entry {
    nontax_call *call;
    PyObject *subject; /* whom its outcome is about: the bill, or what add() was given */
    Py_ssize_t index;
    double began;
    struct entry *next;
    struct entry *previous;
    bool prepared;       /* its call is not in the run yet */
    struct entry *newer; /* the one that was prepared after it */
} entry;

typedef struct run_object {
    PyObject_HEAD
    client_object *client;
    nontax_run *run;
    PyObject *make_outcome;   /* the Python layer's: what it gives out for each call */
    PyObject *kept;           /* where each outcome is put before it is given out; or NULL */
    PyObject *append;         /* its method */
    PyObject *bills;          /* an iterator; NULL: exhausted */
    PyObject *held;           /* a bill that was taken, and whose beginning was interrupted */
    PyObject *iterator_error; /* what the iterator raised; given out last */
    PyObject *stop_error;     /* trouble that every bill would meet; given out last, before that */
    PyObject *ended_by;       /* the first of the last two, kept */
    PyObject *source_error;   /* why there was no token, the last time */
    const char *token_problem;
    Py_ssize_t pulled;
    atomic_bool busy;    /* somebody is inside, perhaps without the GIL */
    atomic_bool stopped; /* takes no more bills */
    bool begun;          /* somebody has asked for an outcome, or has closed it */
    bool bulk;           /* trouble that every call would meet ends it */
    entry *entries;
    Py_ssize_t under_way; /* entries */
    entry *oldest;        /* of those that are prepared */
    entry *newest;
    PyObject *last_prepared; /* subject of the last one, also when it has begun */
    atomic_bool woken;       /* somebody has something for whoever works on it */
    PyObject *gathered;      /* outcomes that were not given out yet; or NULL */

    /* While another thread asks the token source for an event loop. */
    bool fetching;
    atomic_bool fetched;
    PyObject *stale;        /* what it is asked with, */
    bool may_keep;          /* and whether that may be its answer */
    PyObject *answer;       /* its answer, */
    PyObject *answer_error; /* or what it has raised */
} run_object;

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- entries ----------------------------------------------------------------------------- */

static void forget_entry(run_object *self, entry *entry)
{
    if (entry->previous) {
        entry->previous->next = entry->next;
    } else {
        self->entries = entry->next;
    }
    if (entry->next) {
        entry->next->previous = entry->previous;
    }
    self->under_way--;
    Py_DECREF(entry->subject);
    PyMem_Free(entry);
}

static bool is_ours(run_object *self)
{
    bool ours = nontax_run_is_ours(self->run);
    if (!ours) {
        PyErr_SetString(PyExc_RuntimeError,
                        "this run belongs to the parent process: begin a new one after fork()");
    }
    return ours;
}

/* Only one at a time is inside: code of Python's may run there, and a signal handler, a finalizer
 * or another thread (there need be no GIL) could come in a second time. Whoever has reserved the
 * run releases it. */
static bool reserve(run_object *self)
{
    if (!is_ours(self)) {
        return false;
    }
    if (atomic_exchange(&self->busy, true)) {
        PyErr_SetString(PyExc_ValueError,
                        "this run is in use, by another thread or around its own iterable");
        return false;
    }
    return true;
}

static void release(run_object *self)
{
    atomic_store(&self->busy, false);
}

/* Converts the payload for a call that is not in the run yet; or, without one, of a call that was
 * not sent. */
static entry *make_entry(run_object *self, PyObject *payload, const nontax_interface *interface,
                         PyObject *subject)
{
    entry *entry = PyMem_Calloc(1, sizeof *entry);
    if (!entry) {
        PyErr_NoMemory();
        return NULL;
    }
    double began = seconds_now();
    nontax_call *call = nontax_call_new(self->client->client, interface);
    if (!call) {
        PyErr_NoMemory();
    }
    if (!call || (payload && client_set_payload(call, payload) < 0)) {
        nontax_call_free(call);
        PyMem_Free(entry);
        return NULL;
    }
    if (!payload) {
        nontax_call_cancel(call);
    }
    *entry = (struct entry){.call = call, .subject = subject, .began = began};
    return entry;
}

/* It has a place among the bills from now on. */
static void keep_entry(run_object *self, entry *entry)
{
    nontax_call_set_owner(entry->call, entry);
    (void)Py_NewRef(entry->subject);
    entry->index = self->pulled++;
    entry->next = self->entries;
    if (self->entries) {
        self->entries->previous = entry;
    }
    self->entries = entry;
    self->under_way++;
}

/* Puts an entry's call into the run. After a failure it is as before. */
static int enter(run_object *self, entry *entry)
{
    if (self->fetched && self->answer_error && !nontax_run_needs_token(self->run)) {
        /* Nobody was waiting for it any more, and it may be of any age. */
        self->fetching = false;
        self->fetched = false;
        Py_CLEAR(self->answer_error);
    }
    if (nontax_run_add(self->run, entry->call) != NONTAX_OK) {
        PyErr_SetString(PyExc_RuntimeError, "the iterator of bills has forked");
        return -1;
    }
    return 0;
}

/* Converts the payload and puts the call into the run. */
static int add_call(run_object *self, PyObject *payload, const nontax_interface *interface,
                    PyObject *subject)
{
    entry *entry = make_entry(self, payload, interface, subject);
    if (!entry) {
        return -1;
    }
    if (enter(self, entry) < 0) {
        nontax_call_free(entry->call);
        PyMem_Free(entry);
        return -1;
    }
    keep_entry(self, entry);
    return 0;
}

/* Begins the bill that is held. If that fails, it is held on: it has no outcome yet. */
static int add_held(run_object *self, bool begin)
{
    PyObject *payload = begin ? self->held : NULL;
    if (add_call(self, payload, nontax_interface_find("insertbill"), self->held) < 0) {
        return -1;
    }
    Py_CLEAR(self->held);
    return 0;
}

/* ---- outcomes ---------------------------------------------------------------------------- */

/* Has an error that says "duplicate" say of which bill of the same run it is one. */
static PyObject *with_twin(run_object *self, nontax_call *call, PyObject *error)
{
    uint32_t place = 0;
    nontax_twin twin = nontax_run_twin(self->run, call, &place);
    if (error && twin != NONTAX_TWIN_NONE) {
        PyObject *said = PyObject_CallMethod(error, "_is_twin_of", "sI", nontax_twin_name(twin),
                                             (unsigned int)place);
        if (!said) {
            Py_CLEAR(error);
        }
        Py_XDECREF(said);
    }
    return error;
}

static PyObject *error_of(run_object *self, nontax_call *call)
{
    bool gave_up = nontax_call_gave_up(call);
    PyObject *error = client_make_error(self->client, call, gave_up ? self->source_error : NULL,
                                        gave_up ? self->token_problem : NULL);
    return with_twin(self, call, error);
}

static void ended_by(run_object *self, PyObject *error)
{
    if (!self->ended_by) {
        self->ended_by = Py_NewRef(error);
    }
}

/* What became of a finished call, which stays where it is. */
static PyObject *outcome_of(run_object *self, nontax_call *call)
{
    const nontax_result *result = nontax_call_result(call);
    const entry *entry = nontax_call_owner(call);
    bool inserted = result->outcome == NONTAX_INSERTED;
    PyObject *fields = inserted ? python_from_json(result->fields) : Py_NewRef(Py_None);
    PyObject *error = inserted ? Py_NewRef(Py_None) : error_of(self, call);
    PyObject *outcome = NULL;
    if (fields && error) {
        PyObject *args = Py_BuildValue("nOOOid", entry->index, entry->subject, fields, error,
                                       result->attempts, seconds_now() - entry->began);
        outcome =
            args ? client_call_with_reply(nontax_call_interface(call), self->make_outcome, args)
                 : NULL;
        Py_XDECREF(args);
    }
    bool stops = nontax_call_gave_up(call) || nontax_result_stops_run(result);
    if (outcome && stops && self->bulk && !self->stop_error) {
        self->stop_error = Py_NewRef(error);
        ended_by(self, error);
    }
    Py_XDECREF(fields);
    Py_XDECREF(error);
    return outcome;
}

/* Puts an outcome where all are kept. After a failure it counts as not made. */
static int keep_outcome(run_object *self, PyObject *outcome)
{
    if (!self->append) {
        return 0;
    }
    PyObject *kept = PyObject_CallFunctionObjArgs(self->append, outcome, NULL);
    Py_XDECREF(kept);
    return kept ? 0 : -1;
}

static void forget_call(run_object *self, nontax_call *call)
{
    forget_entry(self, nontax_call_owner(call));
    nontax_call_free(call);
}

/* Takes a finished call, whose outcome was made, out of the run. */
static void take_call(run_object *self, nontax_call *call)
{
    (void)nontax_run_take(self->run); /* the same one */
    forget_call(self, call);
}

/* The next outcome: a gathered one, or that of a finished call. NULL without an exception: there is
 * none. A failure leaves the call where it is, so that nothing is lost. */
static PyObject *next_outcome(run_object *self)
{
    if (self->gathered && PyList_Size(self->gathered) > 0) {
        PyObject *first = Py_NewRef(PyList_GetItem(self->gathered, 0));
        if (PyList_SetSlice(self->gathered, 0, 1, NULL) < 0) {
            Py_CLEAR(first);
        }
        return first;
    }
    nontax_call *call = nontax_run_finished(self->run);
    PyObject *outcome = call ? outcome_of(self, call) : NULL;
    if (outcome && keep_outcome(self, outcome) < 0) {
        Py_CLEAR(outcome);
    }
    if (outcome) {
        take_call(self, call);
    }
    return outcome;
}

/* Adds the outcome of a finished call to the gathered ones. */
static int gather_one(run_object *self, nontax_call *call)
{
    PyObject *outcome = outcome_of(self, call);
    Py_ssize_t before = PyList_Size(self->gathered);
    int failed = outcome ? PyList_Append(self->gathered, outcome) : -1;
    if (!failed && keep_outcome(self, outcome) < 0) {
        PyObject *raised = take_exception();
        (void)PyList_SetSlice(self->gathered, before, before + 1, NULL);
        raise_object(raised);
        failed = -1;
    }
    Py_XDECREF(outcome);
    if (!failed) {
        take_call(self, call);
    }
    return failed;
}

/* Of the queue of those that are prepared. */
static entry *take_oldest(run_object *self)
{
    entry *entry = self->oldest;
    self->oldest = entry->newer;
    if (!self->oldest) {
        self->newest = NULL;
    }
    entry->newer = NULL;
    entry->prepared = false;
    return entry;
}

/* Ends those that are prepared: none of them was sent. */
static int end_prepared(run_object *self)
{
    while (self->oldest) {
        nontax_call_cancel(self->oldest->call);
        if (enter(self, self->oldest) < 0) {
            return -1;
        }
        (void)take_oldest(self);
    }
    return 0;
}

/* The outcomes of all finished calls, or, with `end`, of all calls, in a list. After a failure
 * those that were gathered wait for the next time. */
static PyObject *gather(run_object *self, bool end)
{
    if (!self->gathered && !(self->gathered = PyList_New(0))) {
        return NULL;
    }
    if (end && (end_prepared(self) < 0 || (self->held && add_held(self, false) < 0))) {
        return NULL;
    }
    for (;;) {
        nontax_call *call = nontax_run_finished(self->run);
        if (!call && end && self->entries) {
            nontax_run_end(self->run);
        } else if (!call) {
            break;
        } else if (gather_one(self, call) < 0) {
            return NULL;
        }
    }
    PyObject *outcomes = self->gathered;
    self->gathered = NULL;
    return outcomes;
}

/* ---- tokens ------------------------------------------------------------------------------ */

static void use_token(run_object *self, PyObject *answer)
{
    Py_ssize_t size = 0;
    double seconds;
    PyObject *token = client_answered_token(self->client, answer, &seconds);
    if (seconds > 0 && self->bulk) {
        (void)nontax_run_token_in(self->run, (int64_t)(seconds * 1000) + 1); /* it is ours */
        return;
    }
    const char *text = client_token_text(token, &size, &self->token_problem);
    if (!text || nontax_run_set_token(self->run, text, (size_t)size) != NONTAX_OK) {
        nontax_run_no_token(self->run);
    }
}

/* Asks the token source, which is called from here so that no frame of Python's ever holds a token.
 * -1 with an exception: interrupted, and the calls go on waiting. */
static int ask_for_token(run_object *self)
{
    Py_CLEAR(self->source_error);
    self->token_problem = NULL;
    const char *stale = nontax_run_stale_token(self->run);
    if (self->client->access_token) {
        if (stale) {
            nontax_run_no_token(self->run); /* there is no other */
        } else {
            use_token(self, self->client->access_token);
        }
        return 0;
    }
    bool interrupted;
    PyObject *answer = client_ask_source(self->client, stale, SOURCE_MS,
                                         nontax_run_may_keep_token(self->run), &interrupted);
    if (!nontax_run_is_ours(self->run)) {
        /* The source has forked: what becomes of the bills, the parent will know. */
        if (answer) {
            Py_DECREF(answer);
            (void)is_ours(self);
        }
        return -1;
    }
    if (interrupted) {
        return -1;
    }
    if (answer) {
        use_token(self, answer);
        Py_DECREF(answer);
    } else {
        self->source_error = take_exception();
        nontax_run_no_token(self->run);
    }
    return 0;
}

/* ---- turning ----------------------------------------------------------------------------- */

/* Works for at most wait_ms, or until a call is finished or a token is needed. Python's signals are
 * looked at in between: -1 with an exception if a handler raised one, and nothing is lost. */
static int turn(run_object *self, int64_t wait_ms)
{
    double until = seconds_now() + (double)wait_ms / 1000;
    bool was_stopped = self->stopped;
    for (;;) {
        double now = seconds_now();
        double slice_end = until < now + SLICE_MS / 1e3 ? until : now + SLICE_MS / 1e3;
        nontax_step step;
        bool ready;
        PyThreadState *thread = PyEval_SaveThread();
        do {
            double left_ms = (slice_end - now) * 1000;
            step = nontax_run_step(self->run, left_ms <= 0 ? 0 : (int)(left_ms + 0.999));
            ready = nontax_run_finished(self->run) || nontax_run_needs_token(self->run);
            now = seconds_now();
            ready = ready || self->woken;
        } while (!ready && step == NONTAX_STEP_BUSY && now < slice_end);
        PyEval_RestoreThread(thread);
        if (client_tell_notes(self->client) < 0) {
            return -1;
        }
        if (ready || wait_ms == 0 || self->stopped != was_stopped) {
            return 0;
        }
        if (PyErr_CheckSignals() < 0 || !is_ours(self)) {
            return -1; /* interrupted; or a handler has forked, and the parent goes on with it */
        }
        if (now >= until) {
            return 0;
        }
    }
}

/* ---- as an iterator ---------------------------------------------------------------------- */

/* The next bill goes from the caller's iterator into the run in one go: a signal between the two
 * could lose it. */
static int pull(run_object *self)
{
    if (!self->held) {
        self->held = PyIter_Next(self->bills);
    }
    if (!self->held) {
        bool fatal = PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_Exception);
        if (fatal) {
            return -1;
        }
        if (PyErr_Occurred()) {
            self->iterator_error = take_exception();
            if (self->iterator_error) {
                ended_by(self, self->iterator_error);
            }
        }
        Py_CLEAR(self->bills);
        return 0;
    }
    return add_held(self, true);
}

static bool may_pull(run_object *self)
{
    return self->bills && !self->stop_error && !self->stopped;
}

/* What has finished is told first: it may have ended the run. */
static int refill(run_object *self)
{
    while (!nontax_run_finished(self->run)) {
        if (nontax_run_needs_token(self->run)) {
            if (ask_for_token(self) < 0) {
                return -1;
            }
        } else if (may_pull(self) && nontax_run_wants_in(self->run) == 0) {
            if (pull(self) < 0) {
                return -1;
            }
        } else {
            break;
        }
    }
    return 0;
}

/* What is raised once when nothing is under way any more; NULL and no exception at the very end. */
static PyObject *last_word(run_object *self)
{
    PyObject *error = NULL;
    if (self->stop_error) {
        error = self->stop_error;
        self->stop_error = NULL;
        self->stopped = true;
    } else if (self->iterator_error) {
        error = self->iterator_error;
        self->iterator_error = NULL;
    }
    if (error) {
        raise_object(error);
    }
    return NULL;
}

static bool has_outcome(run_object *self)
{
    return (self->gathered && PyList_Size(self->gathered) > 0) || nontax_run_finished(self->run);
}

/* Takes bills and works until there is an outcome. 1: there is one; 0: there will be no other; -1:
 * interrupted, and nothing is lost. */
static int wait_for_outcome(run_object *self)
{
    self->begun = true;
    while (!has_outcome(self)) {
        if (refill(self) < 0) {
            return -1;
        }
        if (!self->entries && !may_pull(self)) {
            if (!self->held) {
                return 0;
            }
            if (add_held(self, false) < 0) {
                return -1;
            }
            continue;
        }
        int64_t wait = may_pull(self) ? nontax_run_wants_in(self->run) : -1;
        if (turn(self, wait < 0 ? INT64_C(1000) : wait) < 0) {
            return -1;
        }
    }
    return 1;
}

static PyObject *run_next(PyObject *object)
{
    run_object *self = (run_object *)object;
    if (!reserve(self)) {
        return NULL;
    }
    int there = wait_for_outcome(self);
    PyObject *outcome = there > 0 ? next_outcome(self) : there == 0 ? last_word(self) : NULL;
    release(self);
    return outcome;
}

PyDoc_STRVAR(
    run_close_doc,
    "close($self, /)\n--\n\n"
    "End the run; return the outcomes of all bills that had none yet, in a list.\n\n"
    "No further bill is taken from the iterator. Bills under way are ended with what is known\n"
    "of them: those whose body went out are in doubt.");

static PyObject *close_run(run_object *self)
{
    self->begun = true;
    self->stopped = true;
    PyObject *outcomes = gather(self, true);
    if (outcomes) {
        Py_CLEAR(self->bills);
        Py_CLEAR(self->stop_error);
        Py_CLEAR(self->iterator_error);
    }
    return outcomes;
}

static PyObject *run_close(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    if (!reserve(self)) {
        return NULL;
    }
    PyObject *outcomes = close_run(self);
    release(self);
    return outcomes;
}

PyDoc_STRVAR(run_stop_doc,
             "stop($self, /)\n--\n\n"
             "Take no more bills from the iterable; those under way come to their ends.\n\n"
             "For any thread, and for signal handlers.");

static PyObject *run_stop(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    self->stopped = true;
    return Py_NewRef(Py_None);
}

/* ---- from an event loop ------------------------------------------------------------------ */

PyDoc_STRVAR(run_add_doc, "_add($self, interface, payload, subject, /)\n--\n\n"
                          "Begin a call. Its outcome, which comes from _poll(), is the subject's.");

static PyObject *run_add(PyObject *object, PyObject *arguments)
{
    run_object *self = (run_object *)object;
    PyObject *name, *payload, *subject;
    if (!PyArg_ParseTuple(arguments, "OOO", &name, &payload, &subject) || !reserve(self)) {
        return NULL;
    }
    const nontax_interface *interface = client_find_interface(name);
    bool added = interface && add_call(self, payload, interface, subject) == 0;
    release(self);
    return added ? Py_NewRef(Py_None) : NULL;
}

/* ---- written ahead: a bill is prepared, its attempt is kept on disk, then it begins ---------- */

PyDoc_STRVAR(
    run_prepare_doc,
    "_prepare($self, payload, subject, /)\n--\n\n"
    "Check and print a bill that is to begin later; return what will be sent, as a str.\n\n"
    "None: it is invalid, and its outcome comes as that of any other. A repeat with the same\n"
    "subject, after an interruption, changes nothing.");

static PyObject *body_of(const entry *entry)
{
    size_t size;
    const char *body = nontax_call_body(entry->call, &size);
    return PyUnicode_DecodeUTF8(body, (Py_ssize_t)size, NULL);
}

static PyObject *prepare(run_object *self, PyObject *payload, PyObject *subject)
{
    if (subject == self->last_prepared) {
        bool there = self->newest && self->newest->subject == subject;
        return there ? body_of(self->newest) : Py_NewRef(Py_None);
    }
    entry *entry = make_entry(self, payload, nontax_interface_find("insertbill"), subject);
    if (!entry) {
        return NULL;
    }
    bool invalid = nontax_call_finished(entry->call);
    PyObject *body = invalid ? Py_NewRef(Py_None) : body_of(entry);
    if (!body || (invalid && enter(self, entry) < 0)) {
        Py_XDECREF(body);
        nontax_call_free(entry->call);
        PyMem_Free(entry);
        return NULL;
    }
    keep_entry(self, entry);
    if (!invalid) {
        entry->prepared = true;
        if (self->newest) {
            self->newest->newer = entry;
        } else {
            self->oldest = entry;
        }
        self->newest = entry;
    }
    PyObject *before = self->last_prepared;
    self->last_prepared = Py_NewRef(subject);
    Py_XDECREF(before);
    return body;
}

static PyObject *run_prepare(PyObject *object, PyObject *arguments)
{
    run_object *self = (run_object *)object;
    PyObject *payload, *subject;
    if (!PyArg_ParseTuple(arguments, "OO", &payload, &subject) || !reserve(self)) {
        return NULL;
    }
    PyObject *body = prepare(self, payload, subject);
    release(self);
    return body;
}

PyDoc_STRVAR(run_begin_doc,
             "_begin_prepared($self, subject, /)\n--\n\n"
             "Begin the oldest bill that is prepared, if it is this one; whether it was.");

static PyObject *run_begin(PyObject *object, PyObject *subject)
{
    run_object *self = (run_object *)object;
    if (!reserve(self)) {
        return NULL;
    }
    bool there = self->oldest && self->oldest->subject == subject;
    int failed = there ? enter(self, self->oldest) : 0;
    if (there && !failed) {
        (void)take_oldest(self);
    }
    release(self);
    return failed ? NULL : PyBool_FromLong(there);
}

PyDoc_STRVAR(run_skip_doc,
             "_skip_prepared($self, subject, /)\n--\n\n"
             "Forget the oldest bill that is prepared, if it is this one: it is not sent, and has\n"
             "no outcome here.");

static PyObject *run_skip(PyObject *object, PyObject *subject)
{
    run_object *self = (run_object *)object;
    if (!reserve(self)) {
        return NULL;
    }
    bool there = self->oldest && self->oldest->subject == subject;
    if (there) {
        nontax_call *call = take_oldest(self)->call;
        forget_entry(self, nontax_call_owner(call));
        nontax_call_free(call);
    }
    release(self);
    return PyBool_FromLong(there);
}

PyDoc_STRVAR(run_wake_doc, "_wake($self, /)\n--\n\n"
                           "Have _work() return, in whatever thread it waits.");

static PyObject *run_wake(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    self->woken = true;
    nontax_run_rouse(self->run);
    return Py_NewRef(Py_None);
}

PyDoc_STRVAR(
    run_work_doc,
    "_work($self, seconds, /)\n--\n\n"
    "Work until a call is finished, _wake() is called, or the time is over; return the outcomes\n"
    "that have come, in the list of _poll().");

static PyObject *work_and_gather(run_object *self, double seconds)
{
    if (!has_outcome(self) && nontax_run_needs_token(self->run) && ask_for_token(self) < 0) {
        return NULL;
    }
    if (!has_outcome(self) && !self->woken && turn(self, (int64_t)(seconds * 1000)) < 0) {
        return NULL;
    }
    self->woken = false;
    return gather(self, false);
}

static PyObject *run_work(PyObject *object, PyObject *arguments)
{
    run_object *self = (run_object *)object;
    double seconds;
    if (!PyArg_ParseTuple(arguments, "d", &seconds) || !reserve(self)) {
        return NULL;
    }
    self->begun = true;
    PyObject *outcomes = work_and_gather(self, seconds);
    if (outcomes) {
        self->gathered = Py_NewRef(outcomes); /* the list stays the same */
    }
    release(self);
    return outcomes;
}

/* Uses what another thread has got from the token source, or a token that is there already. */
static int settle_token(run_object *self)
{
    if (self->fetched) {
        self->fetching = false;
        self->fetched = false;
        self->token_problem = NULL;
        Py_XDECREF(self->source_error);
        self->source_error = self->answer_error;
        self->answer_error = NULL;
        if (self->answer) {
            use_token(self, self->answer);
            Py_CLEAR(self->answer);
        } else {
            nontax_run_no_token(self->run);
        }
    }
    if (self->client->access_token && nontax_run_needs_token(self->run)) {
        return ask_for_token(self);
    }
    return 0;
}

static PyObject *step_and_gather(run_object *self)
{
    if (settle_token(self) < 0) {
        return NULL;
    }
    PyThreadState *thread = PyEval_SaveThread();
    (void)nontax_run_step(self->run, 0);
    PyEval_RestoreThread(thread);
    if (client_tell_notes(self->client) < 0) {
        return NULL;
    }
    return settle_token(self) < 0 ? NULL : gather(self, false);
}

static PyObject *poll_or_end(PyObject *object, PyObject *(*work)(run_object *))
{
    run_object *self = (run_object *)object;
    if (!reserve(self)) {
        return NULL;
    }
    PyObject *outcomes = work(self);
    if (outcomes) {
        self->gathered = Py_NewRef(outcomes); /* the list stays the same */
    }
    release(self);
    return outcomes;
}

PyDoc_STRVAR(
    run_poll_doc,
    "_poll($self, /)\n--\n\n"
    "Do what can be done without waiting; return the outcomes that have come, in a list.\n\n"
    "It is always the same list, from which they are to be taken out: what Ctrl-C kept\n"
    "somebody from taking is still there the next time.");

static PyObject *run_poll(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    return poll_or_end(object, step_and_gather);
}

static PyObject *wait_and_gather(run_object *self)
{
    return wait_for_outcome(self) < 0 ? NULL : gather(self, false);
}

PyDoc_STRVAR(run_group_doc,
             "_group($self, /)\n--\n\n"
             "Work until there are outcomes; return all that have come, in the list of _poll().\n\n"
             "It is empty when the run has ended. What ended it is not raised.");

static PyObject *run_group(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    return poll_or_end(object, wait_and_gather);
}

PyDoc_STRVAR(run_end_doc, "_end($self, /)\n--\n\n"
                          "As close(), with all outcomes in the list of _poll().");

static PyObject *run_end(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    return poll_or_end(object, close_run);
}

/* Takes over the references. There is something there already if Ctrl-C came when it was asked for,
 * and it was thought that nobody would. */
static void tell_fetched(run_object *self, PyObject *answer, PyObject *error)
{
    Py_XDECREF(self->answer);
    Py_XDECREF(self->answer_error);
    self->answer = answer;
    self->answer_error = error;
    self->fetched = true;
    nontax_run_rouse(self->run);
}

PyDoc_STRVAR(run_fetch_token_doc,
             "_fetch_token($self, /)\n--\n\n"
             "Ask the token source, in any thread; _poll() then uses what it has answered.");

static PyObject *run_fetch_token(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    PyObject *stale = self->stale;
    self->stale = NULL;
    const char *text = stale ? PyUnicode_AsUTF8AndSize(stale, NULL) : NULL;
    bool interrupted; /* no signal handler runs in this thread */
    PyObject *answer = stale && !text ? NULL
                                      : client_ask_source(self->client, text, SOURCE_MS,
                                                          self->may_keep, &interrupted);
    Py_XDECREF(stale);
    tell_fetched(self, answer, answer ? NULL : take_exception());
    return Py_NewRef(Py_None);
}

PyDoc_STRVAR(run_fetch_ended_doc,
             "_fetch_ended($self, asked, /)\n--\n\n"
             "For the end of what submit() returned: was _fetch_token() called at all?");

static PyObject *run_fetch_ended(PyObject *object, PyObject *asked)
{
    PyObject *error = PyObject_CallMethod(asked, "exception", NULL);
    if (!error) {
        PyErr_Clear(); /* it was cancelled */
        error = PyObject_CallFunction(PyExc_RuntimeError, "s", "the loop's executor was shut down");
    }
    if (!error) {
        error = take_exception(); /* no memory */
    }
    if (error != Py_None) {
        tell_fetched((run_object *)object, NULL, error);
    } else {
        Py_DECREF(error);
    }
    return Py_NewRef(Py_None);
}

/* Has _fetch_token() called in a thread. -1 with an exception: interrupted. */
static int begin_fetch(run_object *self, PyObject *submit)
{
    self->fetching = true;
    PyObject *fetch = PyObject_GetAttrString((PyObject *)self, "_fetch_token");
    PyObject *asked = fetch ? PyObject_CallFunctionObjArgs(submit, fetch, NULL) : NULL;
    Py_XDECREF(fetch);
    Py_XDECREF(asked);
    if (asked) {
        return 0;
    }
    PyObject *raised = take_exception();
    if (PyErr_GivenExceptionMatches(raised, PyExc_Exception)) {
        tell_fetched(self, NULL, raised); /* there is no thread to be had */
        return 0;
    }
    PyObject *why =
        PyObject_CallFunction(PyExc_RuntimeError, "s", "asking for a token was interrupted");
    tell_fetched(self, NULL, why ? why : take_exception());
    raise_object(raised);
    return -1;
}

PyDoc_STRVAR(run_ask_for_token_doc,
             "_ask_for_token($self, submit, /)\n--\n\n"
             "If calls wait for a token, and none is being fetched, call submit(fetch_token).\n\n"
             "In one go: a signal between the two could leave the calls waiting for ever.");

static PyObject *run_ask_for_token(PyObject *object, PyObject *submit)
{
    run_object *self = (run_object *)object;
    if (self->busy || self->fetching || !self->client->token_source ||
        !nontax_run_needs_token(self->run)) {
        return Py_NewRef(Py_None);
    }
    const char *stale = nontax_run_stale_token(self->run);
    self->may_keep = nontax_run_may_keep_token(self->run);
    Py_XDECREF(self->stale);
    self->stale = stale ? PyUnicode_FromString(stale) : NULL;
    if ((stale && !self->stale) || begin_fetch(self, submit) < 0) {
        return NULL;
    }
    return Py_NewRef(Py_None);
}

PyDoc_STRVAR(run_under_way_doc, "_under_way($self, /)\n--\n\n"
                                "How many calls have not told their outcomes yet.");

static PyObject *run_under_way(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSsize_t(((run_object *)object)->under_way);
}

PyDoc_STRVAR(run_hold_doc, "_hold($self, bill, /)\n--\n\n"
                           "Keep a bill, the only one, for _pull() or _end_held().");

static PyObject *run_hold(PyObject *object, PyObject *bill)
{
    run_object *self = (run_object *)object;
    if (self->held) {
        PyErr_SetString(PyExc_RuntimeError, "another bill is held");
        return NULL;
    }
    self->held = Py_NewRef(bill);
    return Py_NewRef(Py_None);
}

PyDoc_STRVAR(run_pull_doc,
             "_pull($self, /)\n--\n\n"
             "Begin the bill that is held, or else the iterator's next; whether there was one.");

static PyObject *run_pull(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    if (!reserve(self)) {
        return NULL;
    }
    Py_ssize_t before = self->pulled;
    int failed = self->held || self->bills ? pull(self) : 0;
    bool began = self->pulled > before;
    release(self);
    return failed ? NULL : PyBool_FromLong(began);
}

PyDoc_STRVAR(run_holds_doc, "_holds($self, /)\n--\n\n"
                            "Whether a bill is held.");

static PyObject *run_holds(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(((run_object *)object)->held != NULL);
}

PyDoc_STRVAR(run_end_held_doc, "_end_held($self, /)\n--\n\n"
                               "End the bill that is held, unsent.");

static PyObject *run_end_held(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    if (!reserve(self)) {
        return NULL;
    }
    int failed = self->held ? add_held(self, false) : 0;
    release(self);
    return failed ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(run_wants_in_doc,
             "_wants_in($self, /)\n--\n\n"
             "In how many seconds it can take another call; -1: not before another step.");

static PyObject *run_wants_in(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    int64_t wait_ms = nontax_run_wants_in(self->run);
    return PyFloat_FromDouble(wait_ms < 0 ? -1.0 : (double)wait_ms / 1000);
}

PyDoc_STRVAR(run_iterator_error_doc, "_iterator_error($self, /)\n--\n\n"
                                     "Return what the iterator raised, once, or None.");

static PyObject *run_iterator_error(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    PyObject *error = self->iterator_error;
    self->iterator_error = NULL;
    return error ? error : Py_NewRef(Py_None);
}

PyDoc_STRVAR(run_ended_by_doc, "_ended_by($self, /)\n--\n\n"
                               "Return the error that ended the run, as often as asked, or None.");

static PyObject *run_ended_by(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    return Py_NewRef(self->ended_by ? self->ended_by : Py_None);
}

PyDoc_STRVAR(run_kept_doc, "_kept($self, /)\n--\n\n"
                           "Return what the outcomes are kept in, or None.");

static PyObject *run_kept(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    return Py_NewRef(self->kept ? self->kept : Py_None);
}

static int keep_in(run_object *self, PyObject *kept)
{
    PyObject *name = PyUnicode_InternFromString("append"); /* Python keeps others in a cache */
    PyObject *append = name ? PyObject_GetAttr(kept, name) : NULL;
    Py_XDECREF(name);
    if (!append) {
        return -1;
    }
    PyObject *before = self->kept, *append_before = self->append;
    self->kept = Py_NewRef(kept);
    self->append = append;
    Py_XDECREF(before);
    Py_XDECREF(append_before);
    return 0;
}

PyDoc_STRVAR(run_keep_in_doc, "_keep_in($self, kept, /)\n--\n\n"
                              "Append all further outcomes to kept before they are given out.");

static PyObject *run_keep_in(PyObject *object, PyObject *kept)
{
    return keep_in((run_object *)object, kept) < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(run_begun_doc, "_begun($self, /)\n--\n\n"
                            "Whether anybody has asked for outcomes, or has closed it.");

static PyObject *run_begun(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(((run_object *)object)->begun);
}

PyDoc_STRVAR(run_is_open_doc, "_is_open($self, /)\n--\n\n"
                              "Whether there are outcomes that were not given out, or will be.");

static PyObject *run_is_open(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    bool gathered = self->gathered && PyList_Size(self->gathered) > 0;
    return PyBool_FromLong(gathered || self->entries || self->held);
}

PyDoc_STRVAR(run_is_ours_doc, "_is_ours($self, /)\n--\n\n"
                              "Whether this process began the run; if not, its parent has it.");

static PyObject *run_is_ours(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(nontax_run_is_ours(((run_object *)object)->run));
}

PyDoc_STRVAR(run_check_doc, "_check($self, /)\n--\n\n"
                            "Raise what next() would if the run cannot be used from here.");

static PyObject *run_check(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    if (!reserve(self)) {
        return NULL;
    }
    release(self);
    return Py_NewRef(Py_None);
}

PyDoc_STRVAR(run_trouble_doc, "_trouble($self, /)\n--\n\n"
                              "Return the error that every other bill would meet, too, or None.");

static PyObject *run_trouble(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    return Py_NewRef(self->stop_error ? self->stop_error : Py_None);
}

static PyObject *cancel_call(run_object *self, nontax_call *call)
{
    nontax_run_cancel(self->run, call);
    PyObject *outcome = outcome_of(self, call);
    if (outcome) {
        forget_call(self, call);
    } else {
        nontax_run_put_back(self->run, call);
    }
    return outcome;
}

PyDoc_STRVAR(
    run_cancel_doc,
    "_cancel($self, subject, /)\n--\n\n"
    "End one call; return its outcome as it is known, or None if it has come already, or the\n"
    "call never was in the run.");

static PyObject *run_cancel(PyObject *object, PyObject *subject)
{
    run_object *self = (run_object *)object;
    if (!reserve(self)) {
        return NULL;
    }
    const entry *entry = self->entries;
    while (entry && entry->subject != subject) {
        entry = entry->next;
    }
    PyObject *outcome = entry ? cancel_call(self, entry->call) : Py_NewRef(Py_None);
    release(self);
    return outcome;
}

PyDoc_STRVAR(run_fileno_doc, "_fileno($self, /)\n--\n\n"
                             "A descriptor, readable when _poll() has something to do; or -1.");

static PyObject *run_fileno(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLong(nontax_run_descriptor(((run_object *)object)->run));
}

PyDoc_STRVAR(run_rouse_doc, "_rouse($self, /)\n--\n\n"
                            "Make the descriptor readable until the next _poll().");

static PyObject *run_rouse(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    nontax_run_rouse(((run_object *)object)->run);
    return Py_NewRef(Py_None);
}

static int warn_of_lost(Py_ssize_t count)
{
    return count == 0 ? 0
                      : PyErr_WarnFormat(PyExc_ResourceWarning, 1,
                                         "a run was left with %zd bills under way, whose outcomes "
                                         "nobody has seen: call close()",
                                         count);
}

/* ---- making and freeing ------------------------------------------------------------------ */

/* The module's state, by way of the base for which it was made: a subclass has none. */
static const core_state *state_of(PyTypeObject *type)
{
    const core_state *state = PyType_GetModuleState(type);
    while (!state && type) {
        PyErr_Clear();
        type = (PyTypeObject *)PyType_GetSlot(type, Py_tp_base);
        state = type ? PyType_GetModuleState(type) : NULL;
    }
    return state;
}

static PyObject *run_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"client", "make_outcome", "kept",        "bills", "concurrency",
                            "rate",   "quota_pause",  "never_waits", "bulk",  NULL};
    PyObject *client, *make_outcome, *kept, *bills;
    const core_state *state = state_of(type);
    nontax_run_settings settings = {0};
    double quota_pause;
    int bulk, never_waits;
    nontax_text why;
    if (!state ||
        !PyArg_ParseTupleAndKeywords(arguments, keywords, "$O!OOOiddpp", names, state->client_type,
                                     &client, &make_outcome, &kept, &bills, &settings.concurrency,
                                     &settings.rate, &quota_pause, &never_waits, &bulk)) {
        return NULL;
    }
    settings.bulk = bulk != 0;
    settings.never_waits = never_waits != 0;
    settings.quota_pause_ms = (int64_t)(quota_pause * 1000);
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    run_object *self = (run_object *)allocate(type, 0);
    if (!self) {
        return NULL;
    }
    self->client = (client_object *)Py_NewRef(client);
    self->make_outcome = Py_NewRef(make_outcome);
    self->bulk = settings.bulk;
    self->bills = bills == Py_None ? NULL : PyObject_GetIter(bills);
    nontax_status status = NONTAX_OK;
    if ((self->bills || bills == Py_None) && (kept == Py_None || keep_in(self, kept) == 0)) {
        status = nontax_run_new(self->client->client, &settings, &self->run, &why);
    }
    if (status == NONTAX_NO_DESCRIPTOR) {
        client_raise_not_sent(self->client, why.text);
    } else if (status != NONTAX_OK) {
        raise_refusal(status, &why);
    }
    if (!self->run) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static int run_traverse(PyObject *object, visitproc visit, void *arg)
{
    run_object *self = (run_object *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->client);
    Py_VISIT(self->make_outcome);
    Py_VISIT(self->kept);
    Py_VISIT(self->append);
    Py_VISIT(self->bills);
    Py_VISIT(self->held);
    Py_VISIT(self->iterator_error);
    Py_VISIT(self->stop_error);
    Py_VISIT(self->ended_by);
    Py_VISIT(self->source_error);
    Py_VISIT(self->answer_error);
    Py_VISIT(self->gathered);
    Py_VISIT(self->last_prepared);
    for (const entry *entry = self->entries; entry; entry = entry->next) {
        Py_VISIT(entry->subject);
    }
    return 0;
}

static int run_clear(PyObject *object)
{
    run_object *self = (run_object *)object;
    nontax_run_free(self->run); /* with its calls */
    self->run = NULL;
    while (self->oldest) {
        nontax_call_free(take_oldest(self)->call);
    }
    while (self->entries) {
        forget_entry(self, self->entries);
    }
    Py_CLEAR(self->last_prepared);
    Py_CLEAR(self->client);
    Py_CLEAR(self->make_outcome);
    Py_CLEAR(self->kept);
    Py_CLEAR(self->append);
    Py_CLEAR(self->bills);
    Py_CLEAR(self->held);
    Py_CLEAR(self->iterator_error);
    Py_CLEAR(self->stop_error);
    Py_CLEAR(self->ended_by);
    Py_CLEAR(self->source_error);
    Py_CLEAR(self->gathered);
    Py_CLEAR(self->stale);
    Py_CLEAR(self->answer);
    Py_CLEAR(self->answer_error);
    return 0;
}

/* A run that is dropped with bills under way says so: their outcomes are lost with it. */
static void run_finalize(PyObject *object)
{
    run_object *self = (run_object *)object;
    bool ours = self->run && nontax_run_is_ours(self->run);
    Py_ssize_t count = ours && self->held ? 1 : 0;
    for (const entry *entry = ours ? self->entries : NULL; entry; entry = entry->next) {
        count++;
    }
    PyObject *type = NULL, *value = NULL, *traceback = NULL;
    PyErr_Fetch(&type, &value, &traceback);
    if (warn_of_lost(count) < 0) {
        PyErr_WriteUnraisable((PyObject *)Py_TYPE(object));
    }
    PyErr_Restore(type, value, traceback);
}

static void run_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);
    PyObject_GC_UnTrack(object);
    if (!PyObject_GC_IsFinalized(object)) {
        run_finalize(object); /* it was in no cycle: the collector has not done it */
    }
    (void)run_clear(object);
    free_object(object);
    Py_DECREF(type);
}

static PyMethodDef run_methods[] = {
    {"close", run_close, METH_NOARGS, run_close_doc},
    {"_add", run_add, METH_VARARGS, run_add_doc},
    {"_prepare", run_prepare, METH_VARARGS, run_prepare_doc},
    {"_begin_prepared", run_begin, METH_O, run_begin_doc},
    {"_skip_prepared", run_skip, METH_O, run_skip_doc},
    {"_wake", run_wake, METH_NOARGS, run_wake_doc},
    {"_work", run_work, METH_VARARGS, run_work_doc},
    {"_poll", run_poll, METH_NOARGS, run_poll_doc},
    {"_end", run_end, METH_NOARGS, run_end_doc},
    {"_ask_for_token", run_ask_for_token, METH_O, run_ask_for_token_doc},
    {"_fetch_token", run_fetch_token, METH_NOARGS, run_fetch_token_doc},
    {"_fetch_ended", run_fetch_ended, METH_O, run_fetch_ended_doc},
    {"_under_way", run_under_way, METH_NOARGS, run_under_way_doc},
    {"_hold", run_hold, METH_O, run_hold_doc},
    {"_pull", run_pull, METH_NOARGS, run_pull_doc},
    {"_holds", run_holds, METH_NOARGS, run_holds_doc},
    {"_end_held", run_end_held, METH_NOARGS, run_end_held_doc},
    {"_wants_in", run_wants_in, METH_NOARGS, run_wants_in_doc},
    {"_iterator_error", run_iterator_error, METH_NOARGS, run_iterator_error_doc},
    {"_trouble", run_trouble, METH_NOARGS, run_trouble_doc},
    {"_cancel", run_cancel, METH_O, run_cancel_doc},
    {"_fileno", run_fileno, METH_NOARGS, run_fileno_doc},
    {"stop", run_stop, METH_NOARGS, run_stop_doc},
    {"_group", run_group, METH_NOARGS, run_group_doc},
    {"_ended_by", run_ended_by, METH_NOARGS, run_ended_by_doc},
    {"_kept", run_kept, METH_NOARGS, run_kept_doc},
    {"_keep_in", run_keep_in, METH_O, run_keep_in_doc},
    {"_begun", run_begun, METH_NOARGS, run_begun_doc},
    {"_is_ours", run_is_ours, METH_NOARGS, run_is_ours_doc},
    {"_is_open", run_is_open, METH_NOARGS, run_is_open_doc},
    {"_check", run_check, METH_NOARGS, run_check_doc},
    {"_rouse", run_rouse, METH_NOARGS, run_rouse_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(run_doc,
             "Many calls on one lane: what nontax.Run and the calls of an event loop stand on.");

static PyType_Slot run_slots[] = {
    {Py_tp_doc, (void *)run_doc},    {Py_tp_new, run_new},
    {Py_tp_iter, PyObject_SelfIter}, {Py_tp_iternext, run_next},
    {Py_tp_dealloc, run_dealloc},    {Py_tp_traverse, run_traverse},
    {Py_tp_clear, run_clear},        {Py_tp_methods, run_methods},
    {Py_tp_finalize, run_finalize},  {0, NULL},
};

static PyType_Spec run_spec = {
    .name = "nontax._core.Run",
    .basicsize = sizeof(run_object),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_BASETYPE,
    .slots = run_slots,
};

PyObject *run_type_new(PyObject *module)
{
    return PyType_FromModuleAndSpec(module, &run_spec, NULL);
}
