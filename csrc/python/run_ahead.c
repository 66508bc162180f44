/* run_ahead.c: bills that are written ahead: one is prepared, its attempt is kept on disk, then it
 * begins. */
#include "run.h"

const char run_prepare_doc[] = PyDoc_STR(
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
    entry *entry = run_make_entry(self, payload, nontax_interface_find("insertbill"), subject);
    if (!entry) {
        return NULL;
    }
    bool invalid = nontax_call_finished(entry->call);
    PyObject *body = invalid ? Py_NewRef(Py_None) : body_of(entry);
    if (!body || (invalid && run_enter(self, entry) < 0)) {
        Py_XDECREF(body);
        nontax_call_free(entry->call);
        PyMem_Free(entry);
        return NULL;
    }
    run_keep_entry(self, entry);
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

PyObject *run_prepare(PyObject *object, PyObject *arguments)
{
    run_object *self = (run_object *)object;
    PyObject *payload, *subject;
    if (!PyArg_ParseTuple(arguments, "OO", &payload, &subject) || !run_reserve(self)) {
        return NULL;
    }
    PyObject *body = prepare(self, payload, subject);
    run_release(self);
    return body;
}

const char run_begin_doc[] =
    PyDoc_STR("_begin_prepared($self, subject, /)\n--\n\n"
              "Begin the oldest bill that is prepared, if it is this one; whether it was.");

PyObject *run_begin(PyObject *object, PyObject *subject)
{
    run_object *self = (run_object *)object;
    if (!run_reserve(self)) {
        return NULL;
    }
    bool there = self->oldest && self->oldest->subject == subject;
    int failed = there ? run_enter(self, self->oldest) : 0;
    if (there && !failed) {
        (void)run_take_oldest(self);
    }
    run_release(self);
    return failed ? NULL : PyBool_FromLong(there);
}

const char run_skip_doc[] = PyDoc_STR(
    "_skip_prepared($self, subject, /)\n--\n\n"
    "Forget the oldest bill that is prepared, if it is this one: it is not sent, and has\n"
    "no outcome here.");

PyObject *run_skip(PyObject *object, PyObject *subject)
{
    run_object *self = (run_object *)object;
    if (!run_reserve(self)) {
        return NULL;
    }
    bool there = self->oldest && self->oldest->subject == subject;
    if (there) {
        nontax_call *call = run_take_oldest(self)->call;
        run_forget_entry(self, nontax_call_owner(call));
        nontax_call_free(call);
    }
    run_release(self);
    return PyBool_FromLong(there);
}

const char run_wake_doc[] = PyDoc_STR("_wake($self, /)\n--\n\n"
                                      "Have _work() return, in whatever thread it waits.");

PyObject *run_wake(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    self->woken = true;
    nontax_run_wakeup(self->run);
    return Py_NewRef(Py_None);
}

const char run_work_doc[] = PyDoc_STR(
    "_work($self, seconds, /)\n--\n\n"
    "Work until a call is finished, _wake() is called, or the time is over; return the outcomes\n"
    "that have come, in the list of _poll().");

static PyObject *work_and_gather(run_object *self, double seconds)
{
    if (!run_has_outcome(self) && nontax_run_needs_token(self->run) && run_get_token(self) < 0) {
        return NULL;
    }
    if (!run_has_outcome(self) && !self->woken && run_turn(self, (int64_t)(seconds * 1000)) < 0) {
        return NULL;
    }
    self->woken = false;
    return run_gather(self, false);
}

PyObject *run_work(PyObject *object, PyObject *arguments)
{
    run_object *self = (run_object *)object;
    double seconds;
    if (!PyArg_ParseTuple(arguments, "d", &seconds) || !run_reserve(self)) {
        return NULL;
    }
    self->begun = true;
    PyObject *outcomes = work_and_gather(self, seconds);
    if (outcomes) {
        self->gathered = Py_NewRef(outcomes); /* the list stays the same */
    }
    run_release(self);
    return outcomes;
}
