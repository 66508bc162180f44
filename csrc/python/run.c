/* run.c: the type nontax._core.Run: many calls at once on one lane, fed from an iterator, or one
 * by one from an event loop. */
#include "run.h"

#include <string.h>

bool run_check_ours(run_object *self)
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
bool run_reserve(run_object *self)
{
    if (!run_check_ours(self)) {
        return false;
    }
    if (atomic_exchange(&self->busy, true)) {
        PyErr_SetString(PyExc_ValueError,
                        "this run is in use, by another thread or around its own iterable");
        return false;
    }
    return true;
}

void run_release(run_object *self)
{
    atomic_store(&self->busy, false);
}

/* ---- as an iterator ---------------------------------------------------------------------- */

static PyObject *run_next(PyObject *object)
{
    run_object *self = (run_object *)object;
    if (!run_reserve(self)) {
        return NULL;
    }
    int there = run_wait_for_outcome(self);
    PyObject *outcome = there > 0 ? run_next_outcome(self) : NULL;
    PyObject *error = there == 0 ? run_take_last_word(self) : NULL;
    if (error) {
        raise_object(error);
    }
    run_release(self);
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
    PyObject *outcomes = run_gather(self, true);
    if (outcomes) {
        self->awaits_bills = false;
        Py_CLEAR(self->bills);
        Py_CLEAR(self->fatal_error);
        Py_CLEAR(self->iterator_error);
    }
    return outcomes;
}

static PyObject *run_close(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    if (!run_reserve(self)) {
        return NULL;
    }
    PyObject *outcomes = close_run(self);
    if (outcomes) {
        nontax_run_close(self->run);
    }
    run_release(self);
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
    if (!PyArg_ParseTuple(arguments, "OOO", &name, &payload, &subject) || !run_reserve(self)) {
        return NULL;
    }
    const nontax_interface *interface = client_find_interface(name);
    bool added = interface && run_add_call(self, payload, interface, subject) == 0;
    run_release(self);
    return added ? Py_NewRef(Py_None) : NULL;
}

static PyObject *step_and_gather(run_object *self)
{
    if (run_settle_token(self) < 0) {
        return NULL;
    }
    PyThreadState *thread = PyEval_SaveThread();
    (void)nontax_run_step(self->run, 0);
    PyEval_RestoreThread(thread);
    if (client_tell_notes(self->client) < 0) {
        return NULL;
    }
    return run_settle_token(self) < 0 ? NULL : run_gather(self, false);
}

static PyObject *poll_or_end(PyObject *object, PyObject *(*work)(run_object *))
{
    run_object *self = (run_object *)object;
    if (!run_reserve(self)) {
        return NULL;
    }
    PyObject *outcomes = work(self);
    if (outcomes) {
        self->gathered = Py_NewRef(outcomes); /* the list stays the same */
    }
    run_release(self);
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
    return run_wait_for_outcome(self) < 0 ? NULL : run_gather(self, false);
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

PyDoc_STRVAR(
    run_cancel_doc,
    "_cancel($self, subject, /)\n--\n\n"
    "End one call; return its outcome as it is known, or None if it has come already, or the\n"
    "call never was in the run.");

static PyObject *run_cancel(PyObject *object, PyObject *subject)
{
    run_object *self = (run_object *)object;
    if (!run_reserve(self)) {
        return NULL;
    }
    const entry *entry = self->entries;
    while (entry && entry->subject != subject) {
        entry = entry->next;
    }
    PyObject *outcome = entry ? run_cancel_call(self, entry->call) : Py_NewRef(Py_None);
    run_release(self);
    return outcome;
}

PyDoc_STRVAR(run_fileno_doc, "_fileno($self, /)\n--\n\n"
                             "A descriptor, readable when _poll() has something to do; or -1.");

static PyObject *run_fileno(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLong(nontax_run_descriptor(((run_object *)object)->run));
}

PyDoc_STRVAR(run_wakeup_doc, "_wakeup($self, /)\n--\n\n"
                             "Make the descriptor readable until the next _poll().");

static PyObject *run_wakeup(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    nontax_run_wakeup(((run_object *)object)->run);
    return Py_NewRef(Py_None);
}

/* ---- what is known of it ----------------------------------------------------------------- */

PyDoc_STRVAR(run_under_way_doc, "_under_way($self, /)\n--\n\n"
                                "How many calls have not told their outcomes yet.");

static PyObject *run_under_way(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSsize_t(((run_object *)object)->under_way);
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
    return PyBool_FromLong(gathered || self->entries || self->pending);
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
    if (!run_reserve(self)) {
        return NULL;
    }
    run_release(self);
    return Py_NewRef(Py_None);
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
    static char *names[] = {"client",       "make_outcome", "kept",        "bills", "concurrency",
                            "rate",         "quota_pause",  "never_waits", "bulk",  "in_loop",
                            "awaits_bills", "journal",      "make_result", NULL};
    PyObject *client = NULL, *make_outcome = NULL, *kept = NULL, *bills = NULL, *journal = Py_None;
    PyObject *make_result = Py_None;
    const core_state *state = state_of(type);
    nontax_run_settings settings = {0};
    double quota_pause = 0;
    int bulk = 0, never_waits = 0, in_loop = 0, awaits_bills = 0;
    nontax_text why;
    if (!state || !PyArg_ParseTupleAndKeywords(arguments, keywords, "|$O!OOOiddppppOO", names,
                                               state->client_type, &client, &make_outcome, &kept,
                                               &bills, &settings.concurrency, &settings.rate,
                                               &quota_pause, &never_waits, &bulk, &in_loop,
                                               &awaits_bills, &journal, &make_result)) {
        return NULL;
    }
    if (!client || !make_outcome || !kept || !bills) {
        PyErr_SetString(PyExc_TypeError, "client, make_outcome, kept and bills are required");
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
    self->make_result = make_result == Py_None ? NULL : Py_NewRef(make_result);
    self->inserted = PyUnicode_InternFromString(nontax_outcome_name(NONTAX_INSERTED));
    self->bulk = settings.bulk;
    self->in_loop = in_loop != 0;
    self->awaits_bills = awaits_bills != 0;
    self->bills = bills == Py_None || !self->inserted ? NULL : PyObject_GetIter(bills);
    nontax_status status = NONTAX_OK;
    if (self->inserted && (self->bills || bills == Py_None) &&
        (kept == Py_None || run_set_kept(self, kept) == 0)) {
        status = nontax_run_new(self->client->client, &settings, &self->run, &why);
    }
    if (self->run && (journal != Py_None || (self->bills && awaits_bills))) {
        (void)nontax_run_make_wakeable(self->run); /* else it looks ten times a second */
    }
    if (self->run && journal != Py_None) {
        if (run_set_journal(self, journal, settings.concurrency, settings.rate > 0) < 0) {
            Py_CLEAR(self);
            return NULL;
        }
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
    Py_VISIT(self->make_result);
    Py_VISIT(self->kept);
    Py_VISIT(self->append);
    Py_VISIT(self->bills);
    Py_VISIT(self->pending);
    Py_VISIT(self->iterator_error);
    Py_VISIT(self->fatal_error);
    Py_VISIT(self->ended_by);
    Py_VISIT(self->source_error);
    Py_VISIT(self->answer_error);
    Py_VISIT(self->gathered);
    Py_VISIT(self->journal);
    Py_VISIT(self->form);
    Py_VISIT(self->opens);
    Py_VISIT(self->closes);
    Py_VISIT(self->answers);
    Py_VISIT(self->put_open);
    Py_VISIT(self->put_close);
    Py_VISIT(self->attend);
    Py_VISIT(self->mark);
    Py_VISIT(self->arrived);
    Py_VISIT(self->failure);
    for (const entry *entry = self->entries; entry; entry = entry->next) {
        Py_VISIT(entry->subject);
        Py_VISIT(entry->claim);
        Py_VISIT(entry->fallback);
    }
    return 0;
}

static int run_clear(PyObject *object)
{
    run_object *self = (run_object *)object;
    nontax_run_free(self->run); /* with its calls */
    self->run = NULL;
    while (self->entries) {
        if (self->entries->stage != STAGE_IN_RUN) {
            nontax_call_free(self->entries->call);
        }
        run_forget_entry(self, self->entries);
    }
    memset(self->queues, 0, sizeof self->queues);
    Py_CLEAR(self->journal);
    Py_CLEAR(self->form);
    Py_CLEAR(self->opens);
    Py_CLEAR(self->closes);
    Py_CLEAR(self->answers);
    Py_CLEAR(self->put_open);
    Py_CLEAR(self->put_close);
    Py_CLEAR(self->attend);
    Py_CLEAR(self->mark);
    Py_CLEAR(self->arrived);
    Py_CLEAR(self->failure);
    Py_CLEAR(self->client);
    Py_CLEAR(self->make_outcome);
    Py_CLEAR(self->make_result);
    Py_CLEAR(self->inserted);
    Py_CLEAR(self->kept);
    Py_CLEAR(self->append);
    Py_CLEAR(self->bills);
    Py_CLEAR(self->pending);
    Py_CLEAR(self->iterator_error);
    Py_CLEAR(self->fatal_error);
    Py_CLEAR(self->ended_by);
    Py_CLEAR(self->source_error);
    Py_CLEAR(self->gathered);
    Py_CLEAR(self->stale);
    Py_CLEAR(self->answer);
    Py_CLEAR(self->answer_error);
    return 0;
}

static int warn_of_lost(Py_ssize_t count)
{
    return count == 0 ? 0
                      : PyErr_WarnFormat(PyExc_ResourceWarning, 1,
                                         "a run was left with %zd bills under way, whose outcomes "
                                         "nobody has seen: call close()",
                                         count);
}

/* A run that is dropped with bills under way says so: their outcomes are lost with it. */
static void run_finalize(PyObject *object)
{
    run_object *self = (run_object *)object;
    bool ours = self->run && nontax_run_is_ours(self->run);
    Py_ssize_t count = ours && self->pending ? 1 : 0;
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
    {"_wake", run_wake, METH_NOARGS, run_wake_doc},
    {"_poll", run_poll, METH_NOARGS, run_poll_doc},
    {"_end", run_end, METH_NOARGS, run_end_doc},
    {"_ask_for_token", run_ask_for_token, METH_O, run_ask_for_token_doc},
    {"_fetch_token", run_fetch_token, METH_NOARGS, run_fetch_token_doc},
    {"_fetch_ended", run_fetch_ended, METH_O, run_fetch_ended_doc},
    {"_under_way", run_under_way, METH_NOARGS, run_under_way_doc},
    {"_set_pending", run_set_pending, METH_O, run_set_pending_doc},
    {"_feed", run_feed_method, METH_NOARGS, run_feed_doc},
    {"_no_more_bills", run_no_more_bills, METH_O, run_no_more_bills_doc},
    {"_may_pull", run_may_pull, METH_NOARGS, run_may_pull_doc},
    {"_give_back", run_give_back, METH_NOARGS, run_give_back_doc},
    {"_begin_end", run_begin_end, METH_NOARGS, run_begin_end_doc},
    {"_look_again", run_look_again, METH_NOARGS, run_look_again_doc},
    {"_last_word", run_last_word, METH_NOARGS, run_last_word_doc},
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
    {"_wakeup", run_wakeup, METH_NOARGS, run_wakeup_doc},
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
