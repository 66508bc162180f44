/* run_outcomes.c: the calls of a run: how one comes in, and its outcome out. */
#include "run.h"

void run_forget_entry(run_object *self, entry *entry)
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
    Py_XDECREF(entry->claim);
    Py_XDECREF(entry->fallback);
    PyMem_Free(entry);
}

/* Converts the payload for a call that is not in the run yet; or, without one, of a call that was
 * not sent. */
entry *run_make_entry(run_object *self, PyObject *payload, const nontax_interface *interface,
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
void run_keep_entry(run_object *self, entry *entry)
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

/* Nobody was waiting for it any more, and it may be of any age. */
void run_forget_old_token(run_object *self)
{
    if (self->fetched && self->answer_error && !nontax_run_needs_token(self->run)) {
        self->fetching = false;
        self->fetched = false;
        Py_CLEAR(self->answer_error);
    }
}

/* Puts an entry's call into the run. After a failure it is as before. */
int run_enter(run_object *self, entry *entry)
{
    run_forget_old_token(self);
    if (nontax_run_add(self->run, entry->call) != NONTAX_OK) {
        PyErr_SetString(PyExc_RuntimeError, "the iterable of bills has called fork()");
        return -1;
    }
    return 0;
}

/* Converts the payload and puts the call into the run. */
int run_add_call(run_object *self, PyObject *payload, const nontax_interface *interface,
                 PyObject *subject)
{
    entry *entry = run_make_entry(self, payload, interface, subject);
    if (!entry) {
        return -1;
    }
    if (run_enter(self, entry) < 0) {
        nontax_call_free(entry->call);
        PyMem_Free(entry);
        return -1;
    }
    run_keep_entry(self, entry);
    return 0;
}

/* Begins the pending bill. If that fails, it stays pending: it has no outcome yet. */
int run_add_pending(run_object *self, bool begin)
{
    if (begin && self->journal) {
        return run_journal_print(self);
    }
    PyObject *payload = begin ? self->pending : NULL;
    if (run_add_call(self, payload, nontax_interface_find("insertbill"), self->pending) < 0) {
        return -1;
    }
    Py_CLEAR(self->pending);
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

void run_set_ended_by(run_object *self, PyObject *error)
{
    if (!self->ended_by) {
        self->ended_by = Py_NewRef(error);
    }
}

/* What a call's reply says, as what make_result makes of it, or in a dict. */
static PyObject *result_of(run_object *self, nontax_call *call)
{
    const cJSON *fields = nontax_call_result(call)->fields;
    PyObject *made =
        self->make_result ? record_of_reply(self->make_result, fields) : python_from_json(fields);
    return client_result(nontax_call_interface(call), made);
}

static PyObject *name_of_outcome(run_object *self, PyObject *error)
{
    if (error == Py_None) {
        return Py_NewRef(self->inserted);
    }
    PyObject *attribute =
        PyUnicode_InternFromString("outcome"); /* Python keeps others in a cache */
    PyObject *name = attribute ? PyObject_GetAttr(error, attribute) : NULL;
    Py_XDECREF(attribute);
    return name;
}

static PyObject *make_outcome(run_object *self, nontax_call *call, PyObject *inserted,
                              PyObject *error)
{
    const entry *entry = nontax_call_owner(call);
    int attempts = nontax_call_result(call)->attempts + entry->attempts;
    PyObject *values[] = {
        PyLong_FromSsize_t(entry->index),
        Py_NewRef(entry->subject),
        name_of_outcome(self, error),
        Py_NewRef(inserted),
        Py_NewRef(error),
        PyLong_FromLong(attempts),
        PyFloat_FromDouble(seconds_now() - entry->began),
        Py_NewRef(Py_False), /* from_ledger */
        Py_NewRef(Py_False), /* spooled */
    };
    enum { COUNT = sizeof values / sizeof *values };
    bool whole = true;
    for (int i = 0; i < COUNT; i++) {
        whole = whole && values[i];
    }
    PyObject *outcome = whole ? record_call(self->make_outcome, values, COUNT) : NULL;
    for (int i = 0; i < COUNT; i++) {
        Py_XDECREF(values[i]);
    }
    return client_result(nontax_call_interface(call), outcome);
}

/* What became of a finished call, which stays where it is. */
PyObject *run_outcome_of(run_object *self, nontax_call *call)
{
    const nontax_result *result = nontax_call_result(call);
    bool inserted = result->outcome == NONTAX_INSERTED;
    PyObject *fields = inserted ? result_of(self, call) : Py_NewRef(Py_None);
    PyObject *error = inserted ? Py_NewRef(Py_None) : error_of(self, call);
    PyObject *outcome = fields && error ? make_outcome(self, call, fields, error) : NULL;
    bool stops = nontax_call_gave_up(call) || nontax_result_stops_run(result);
    if (outcome && stops && self->bulk && !self->fatal_error) {
        self->fatal_error = Py_NewRef(error);
        run_set_ended_by(self, error);
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

void run_forget_call(run_object *self, nontax_call *call)
{
    run_forget_entry(self, nontax_call_owner(call));
    nontax_call_free(call);
}

/* Takes a finished call, whose outcome was made, out of the run. */
static void take_call(run_object *self, nontax_call *call)
{
    (void)nontax_run_take(self->run); /* the same one */
    run_forget_call(self, call);
}

/* The next outcome: a gathered one, or that of a finished call. NULL without an exception: there is
 * none. A failure leaves the call where it is, so that nothing is lost. */
PyObject *run_next_outcome(run_object *self)
{
    if (self->gathered && PyList_Size(self->gathered) > 0) {
        PyObject *first = Py_NewRef(PyList_GetItem(self->gathered, 0));
        if (PyList_SetSlice(self->gathered, 0, 1, NULL) < 0) {
            Py_CLEAR(first);
        }
        return first;
    }
    nontax_call *call = nontax_run_finished(self->run);
    PyObject *outcome = call ? run_outcome_of(self, call) : NULL;
    if (outcome && keep_outcome(self, outcome) < 0) {
        Py_CLEAR(outcome);
    }
    if (outcome) {
        take_call(self, call);
    }
    return outcome;
}

/* An outcome is kept, and gathered to be given out. After a failure it is neither. */
int run_give_outcome(run_object *self, PyObject *outcome)
{
    Py_ssize_t before = PyList_Size(self->gathered);
    int failed = PyList_Append(self->gathered, outcome);
    if (!failed && keep_outcome(self, outcome) < 0) {
        PyObject *raised = take_exception();
        (void)PyList_SetSlice(self->gathered, before, before + 1, NULL);
        raise_object(raised);
        failed = -1;
    }
    return failed;
}

/* Adds the outcome of a finished call to the gathered ones. */
static int gather_one(run_object *self, nontax_call *call)
{
    PyObject *outcome = run_outcome_of(self, call);
    int failed = outcome ? run_give_outcome(self, outcome) : -1;
    Py_XDECREF(outcome);
    if (!failed) {
        take_call(self, call);
    }
    return failed;
}

/* The outcomes of all finished calls, or, with `end`, of all calls, in a list. After a failure
 * those that were gathered wait for the next time. */
PyObject *run_gather(run_object *self, bool end)
{
    if (!self->gathered && !(self->gathered = PyList_New(0))) {
        return NULL;
    }
    int failed = !self->journal ? 0 : end ? run_journal_end(self) : run_journal_collect(self);
    if (failed || (end && self->pending && run_add_pending(self, false) < 0)) {
        return NULL;
    }
    while (!self->journal) {
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

PyObject *run_cancel_call(run_object *self, nontax_call *call)
{
    nontax_run_cancel(self->run, call);
    PyObject *outcome = run_outcome_of(self, call);
    if (outcome) {
        run_forget_call(self, call);
    } else {
        nontax_run_put_back(self->run, call);
    }
    return outcome;
}

/* ---- where they are kept ------------------------------------------------------------------ */

int run_set_kept(run_object *self, PyObject *kept)
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

const char run_kept_doc[] = PyDoc_STR("_kept($self, /)\n--\n\n"
                                      "Return what the outcomes are kept in, or None.");

PyObject *run_kept(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    return Py_NewRef(self->kept ? self->kept : Py_None);
}

const char run_keep_in_doc[] =
    PyDoc_STR("_keep_in($self, kept, /)\n--\n\n"
              "Append all further outcomes to kept before they are given out.");

PyObject *run_keep_in(PyObject *object, PyObject *kept)
{
    return run_set_kept((run_object *)object, kept) < 0 ? NULL : Py_NewRef(Py_None);
}

const char run_ended_by_doc[] =
    PyDoc_STR("_ended_by($self, /)\n--\n\n"
              "Return the error that ended the run, as often as asked, or None.");

PyObject *run_ended_by(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    run_object *self = (run_object *)object;
    return Py_NewRef(self->ended_by ? self->ended_by : Py_None);
}
