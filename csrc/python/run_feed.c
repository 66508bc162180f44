/* run_feed.c: feeding a run: when a bill is taken, when it works, and what is said at its end. */
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
        if (PyErr_CheckSignals() < 0 || !run_check_ours(self)) {
            return -1; /* interrupted; or a handler has forked, and the parent goes on with it */
        }
        if (now >= until) {
            return 0;
        }
    }
}

/* ---- from an iterator --------------------------------------------------------------------- */

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
                run_set_ended_by(self, self->iterator_error);
            }
        }
        Py_CLEAR(self->bills);
        return 0;
    }
    return run_add_held(self, true);
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
            if (run_get_token(self) < 0) {
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
PyObject *run_raise_last_word(run_object *self)
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

bool run_has_outcome(run_object *self)
{
    return (self->gathered && PyList_Size(self->gathered) > 0) || nontax_run_finished(self->run);
}

/* Takes bills and works until there is an outcome. 1: there is one; 0: there will be no other; -1:
 * interrupted, and nothing is lost. */
int run_wait_for_outcome(run_object *self)
{
    self->begun = true;
    while (!run_has_outcome(self)) {
        if (refill(self) < 0) {
            return -1;
        }
        if (!self->entries && !may_pull(self)) {
            if (!self->held) {
                nontax_run_close(self->run); /* its connections serve the next run */
                return 0;
            }
            if (run_add_held(self, false) < 0) {
                return -1;
            }
            continue;
        }
        int64_t wait = may_pull(self) ? nontax_run_wants_in(self->run) : -1;
        if (run_turn(self, wait < 0 ? INT64_C(1000) : wait) < 0) {
            return -1;
        }
    }
    return 1;
}

/* ---- from an event loop ------------------------------------------------------------------- */

const char run_hold_doc[] = PyDoc_STR("_hold($self, bill, /)\n--\n\n"
                                      "Keep a bill, the only one, for _pull() or _end_held().");

PyObject *run_hold(PyObject *object, PyObject *bill)
{
    run_object *self = (run_object *)object;
    if (self->held) {
        PyErr_SetString(PyExc_RuntimeError, "another bill is held");
        return NULL;
    }
    self->held = Py_NewRef(bill);
    return Py_NewRef(Py_None);
}

const char run_pull_doc[] =
    PyDoc_STR("_pull($self, /)\n--\n\n"
              "Begin the bill that is held, or else the iterator's next; whether there was one.");

PyObject *run_pull(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    if (!run_reserve(self)) {
        return NULL;
    }
    Py_ssize_t before = self->pulled;
    int failed = self->held || self->bills ? pull(self) : 0;
    bool began = self->pulled > before;
    run_release(self);
    return failed ? NULL : PyBool_FromLong(began);
}

const char run_holds_doc[] = PyDoc_STR("_holds($self, /)\n--\n\n"
                                       "Whether a bill is held.");

PyObject *run_holds(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(((run_object *)object)->held != NULL);
}

const char run_end_held_doc[] = PyDoc_STR("_end_held($self, /)\n--\n\n"
                                          "End the bill that is held, unsent.");

PyObject *run_end_held(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    if (!run_reserve(self)) {
        return NULL;
    }
    int failed = self->held ? run_add_held(self, false) : 0;
    run_release(self);
    return failed ? NULL : Py_NewRef(Py_None);
}

const char run_wants_in_doc[] =
    PyDoc_STR("_wants_in($self, /)\n--\n\n"
              "In how many seconds it can take another call; -1: not before another step.");

PyObject *run_wants_in(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    int64_t wait_ms = nontax_run_wants_in(self->run);
    return PyFloat_FromDouble(wait_ms < 0 ? -1.0 : (double)wait_ms / 1000);
}

const char run_iterator_error_doc[] = PyDoc_STR("_iterator_error($self, /)\n--\n\n"
                                                "Return what the iterator raised, once, or None.");

PyObject *run_iterator_error(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    PyObject *error = self->iterator_error;
    self->iterator_error = NULL;
    return error ? error : Py_NewRef(Py_None);
}

const char run_trouble_doc[] =
    PyDoc_STR("_trouble($self, /)\n--\n\n"
              "Return the error that every other bill would meet, too, or None.");

PyObject *run_trouble(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    return Py_NewRef(self->stop_error ? self->stop_error : Py_None);
}
