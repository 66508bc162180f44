/* run_tokens.c: the access token of a run: from the source, in this thread or in another. */
#include "run.h"

enum { SOURCE_MS = 30000 }; /* a run has no end of its own that a token source must keep to */

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
int run_get_token(run_object *self)
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
            (void)run_check_ours(self);
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

/* ---- for an event loop: in another thread -------------------------------------------------- */

/* Uses what another thread has got from the token source, or a token that is there already. */
int run_settle_token(run_object *self)
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
        return run_get_token(self);
    }
    return 0;
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
    nontax_run_wakeup(self->run);
}

const char run_fetch_token_doc[] =
    PyDoc_STR("_fetch_token($self, /)\n--\n\n"
              "Ask the token source, in any thread; _poll() then uses what it has answered.");

PyObject *run_fetch_token(PyObject *object, PyObject *Py_UNUSED(ignored))
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

const char run_fetch_ended_doc[] =
    PyDoc_STR("_fetch_ended($self, asked, /)\n--\n\n"
              "For the end of what submit() returned: was _fetch_token() called at all?");

PyObject *run_fetch_ended(PyObject *object, PyObject *asked)
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

const char run_ask_for_token_doc[] =
    PyDoc_STR("_ask_for_token($self, submit, /)\n--\n\n"
              "If calls wait for a token, and none is being fetched, call submit(fetch_token).\n\n"
              "In one go: a signal between the two could leave the calls waiting for ever.");

PyObject *run_ask_for_token(PyObject *object, PyObject *submit)
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
