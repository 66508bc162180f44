/* run_feed.c: the rules of feeding a run: when a bill is taken, what is kept of one whose beginning
 * was interrupted, what ends the run, and what is said last. Whoever drives a run asks run_feed()
 * what it needs, and only waits. */
#include "run.h"

enum { SLICE_MS = 100 }; /* between two looks at Python's signals */

/* Works for at most wait_ms, or until a call is finished or a token is needed. Python's signals are
 * looked at in between: -1 with an exception if a handler raised one, and nothing is lost. */
int run_turn(run_object *self, int64_t wait_ms)
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
            ready =
                self->journal ? run_journal_go_on(self) : nontax_run_finished(self->run) != NULL;
            ready = ready || nontax_run_needs_token(self->run);
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
        if (PyErr_CheckSignals() < 0 || !run_check_ours(self)) {
            return -1; /* interrupted; or a handler has forked, and the parent goes on with it */
        }
        if (now >= until) {
            return 0;
        }
    }
}

/* ---- the rules ------------------------------------------------------------------------------ */

/* The next bill goes from the caller's iterator into the run in one go: a signal between the two
 * could lose it. */
static int pull(run_object *self)
{
    if (!self->pending) {
        self->pending = PyIter_Next(self->bills);
    }
    if (!self->pending) {
        bool fatal = PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_Exception);
        if (fatal) {
            return -1;
        }
        if (PyErr_Occurred()) {
            self->iterator_error = take_exception();
            if (self->iterator_error) {
                run_set_ended_by(self, self->iterator_error);
            }
        }
        Py_CLEAR(self->bills);
        self->awaits_bills = false;
        return 0;
    }
    /* Of an asynchronous iterable None is what somebody took for a bill. */
    if (self->bills && self->pending == Py_None && self->awaits_bills) {
        Py_CLEAR(self->pending);
        self->dry = true;
        return 0;
    }
    return run_add_pending(self, true);
}

static bool may_pull(run_object *self)
{
    return (self->bills || self->awaits_bills) && !self->fatal_error && !self->stopped;
}

/* In an event loop outcomes count when they are gathered, which each turn of the loop does once;
 * with a journal when that has them. */
bool run_has_outcome(run_object *self)
{
    return (self->gathered && PyList_Size(self->gathered) > 0) ||
           (!self->in_loop && !self->journal && nontax_run_finished(self->run));
}

/* In how many ms the next bill is wanted; -1: that is not known. */
static int64_t wants_in(run_object *self)
{
    if (!may_pull(self) || self->dry) {
        return -1;
    }
    return !self->journal ? nontax_run_wants_in(self->run) : run_journal_wants(self) ? 0 : -1;
}

/* Does all that can be done without waiting: what has finished is given out first, since it may
 * have ended the run; then bills are taken as long as the run wants some. *wait_ms is set for
 * NEED_WAIT; -1: as long as it takes. */
run_need run_feed(run_object *self, int64_t *wait_ms)
{
    self->begun = true;
    for (;;) {
        int64_t due_in = -1;
        if (!self->journal && atomic_exchange(&self->woken, false)) {
            self->dry = false;
        }
        if (self->journal && run_journal_advance(self, &due_in) < 0) {
            return NEED_FAILED;
        }
        if (run_has_outcome(self) && !self->ending) {
            return NEED_NOTHING;
        }
        if (!self->in_loop && nontax_run_needs_token(self->run)) {
            return NEED_TOKEN;
        }
        int64_t wanted_in = wants_in(self);
        if (wanted_in == 0 && !self->pending && !self->bills) {
            return NEED_BILL;
        } else if (wanted_in == 0) {
            if (pull(self) < 0) {
                return NEED_FAILED;
            }
        } else if (!may_pull(self) && run_journal_waits_for_others(self)) {
            return NEED_OTHERS;
        } else if (self->entries || may_pull(self)) {
            *wait_ms = self->journal ? due_in : wanted_in;
            return NEED_WAIT;
        } else if (!self->pending) {
            return NEED_END;
        } else if (run_add_pending(self, false) < 0) {
            return NEED_FAILED;
        }
    }
}

/* What is raised once when nothing is under way any more, as a new reference; NULL: nothing. */
PyObject *run_take_last_word(run_object *self)
{
    PyObject *error = self->fatal_error;
    if (error) {
        self->fatal_error = NULL;
        self->stopped = true;
        return error;
    }
    error = self->iterator_error;
    self->iterator_error = NULL;
    return error;
}

/* ---- for whoever may block ------------------------------------------------------------------ */

/* Takes bills and works until there is an outcome. 1: there is one; 0: there will be no other; -1:
 * interrupted, and nothing is lost. */
int run_wait_for_outcome(run_object *self)
{
    for (;;) {
        int64_t wait_ms = -1;
        switch (run_feed(self, &wait_ms)) {
        case NEED_NOTHING:
            return 1;
        case NEED_END:
            nontax_run_close(self->run); /* its connections serve the next run */
            return 0;
        case NEED_TOKEN:
            if (run_get_token(self) < 0) {
                return -1;
            }
            break;
        case NEED_WAIT:
            if (run_turn(self, wait_ms < 0 ? INT64_C(1000) : wait_ms) < 0) {
                return -1;
            }
            break;
        case NEED_OTHERS:
            if (run_journal_wait_for_others(self) < 0) {
                return -1;
            }
            break;
        case NEED_BILL: /* only in an event loop */
        case NEED_FAILED:
            return -1;
        }
    }
}

/* ---- for an event loop ----------------------------------------------------------------------- */

const char run_feed_doc[] = PyDoc_STR(
    "_feed($self, /)\n--\n\n"
    "Take bills as far as the run wants some; return what it needs now, and a time in seconds.\n\n"
    "\"nothing\": there are outcomes. \"wait\": for whatever happens, at most so long; -1: as "
    "long\n"
    "as it takes. \"bill\": _set_pending() or _no_more_bills(). \"others\": expire() of the "
    "journal,\n"
    "and _look_again() after so long. \"end\": there will be no other outcome.");

PyObject *run_feed_method(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    static const char *const names[] = {
        [NEED_NOTHING] = "nothing", [NEED_WAIT] = "wait",     [NEED_TOKEN] = "token",
        [NEED_BILL] = "bill",       [NEED_OTHERS] = "others", [NEED_END] = "end",
    };
    run_object *self = (run_object *)object;
    if (!run_reserve(self)) {
        return NULL;
    }
    int64_t wait_ms = -1;
    run_need need = run_feed(self, &wait_ms);
    run_release(self);
    if (need == NEED_FAILED) {
        return NULL;
    }
    return Py_BuildValue("sd", names[need], wait_ms < 0 ? -1.0 : (double)wait_ms / 1000);
}

const char run_set_pending_doc[] =
    PyDoc_STR("_set_pending($self, bill, /)\n--\n\n"
              "Keep a bill, the only one, until the run takes it, or ends it unsent.");

PyObject *run_set_pending(PyObject *object, PyObject *bill)
{
    run_object *self = (run_object *)object;
    if (self->pending) {
        PyErr_SetString(PyExc_RuntimeError, "another bill is pending");
        return NULL;
    }
    self->pending = Py_NewRef(bill);
    return Py_NewRef(Py_None);
}

const char run_no_more_bills_doc[] =
    PyDoc_STR("_no_more_bills($self, error, /)\n--\n\n"
              "The asynchronous iterable has no more bills; error: what it has raised, or None.");

PyObject *run_no_more_bills(PyObject *object, PyObject *error)
{
    run_object *self = (run_object *)object;
    self->awaits_bills = false;
    if (error != Py_None && !self->iterator_error) {
        self->iterator_error = Py_NewRef(error);
        run_set_ended_by(self, error);
    }
    return Py_NewRef(Py_None);
}

const char run_may_pull_doc[] = PyDoc_STR("_may_pull($self, /)\n--\n\n"
                                          "Whether another bill may be taken, now or later.");

PyObject *run_may_pull(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(may_pull((run_object *)object));
}

const char run_give_back_doc[] =
    PyDoc_STR("_give_back($self, /)\n--\n\n"
              "Give the connections back to the client: nothing is under way any more.");

PyObject *run_give_back(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    if (!run_reserve(self)) {
        return NULL;
    }
    if (!self->entries && !self->pending) {
        nontax_run_close(self->run);
    }
    run_release(self);
    return Py_NewRef(Py_None);
}

const char run_last_word_doc[] =
    PyDoc_STR("_last_word($self, /)\n--\n\n"
              "Return what is to be raised at the end, once, or None.");

PyObject *run_last_word(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    PyObject *error = run_take_last_word((run_object *)object);
    return error ? error : Py_NewRef(Py_None);
}
