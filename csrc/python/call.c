/* call.c: one blocking call on a client. */
#include "core.h"

enum { MAX_TRIES = 10 }; /* of making an error while Ctrl-C is pressed again and again */

/* ---- what the core asks back during a call ----------------------------------------------- */

typedef struct callback_context {
    client_object *self;
    PyThreadState *thread;     /* while the GIL is released */
    PyObject *fixed_token;     /* of this call or of the client; NULL: ask the source */
    PyObject *interrupt;       /* what a signal handler raised, inside the token source, too */
    PyObject *source_error;    /* what the token source raised */
    const char *token_problem; /* what is wrong with the token that it returned */
    spare_error *spare;
    bool returns_error; /* what became of the call, if that is an error: and does not raise it */
} callback_context;

static bool on_interrupted(void *opaque)
{
    callback_context *context = opaque;
    PyEval_RestoreThread(context->thread);
    if (client_tell_notes(context->self) < 0 || PyErr_CheckSignals() < 0) {
        context->interrupt = take_exception();
    }
    context->thread = PyEval_SaveThread();
    return context->interrupt != NULL;
}

static bool set_token(callback_context *context, nontax_call *call, PyObject *answer)
{
    Py_ssize_t size = 0;
    double seconds; /* a single call does not wait: it ends with the refusal */
    PyObject *token = client_answered_token(context->self, answer, &seconds);
    /* A client's own was looked at when the client was made. */
    const char *text = token == context->self->access_token
                           ? PyUnicode_AsUTF8AndSize(token, &size)
                           : client_token_text(token, &size, &context->token_problem);
    return text && nontax_call_set_token(call, text, (size_t)size) == NONTAX_OK;
}

/* A fixed token was set before. */
static bool on_token(void *opaque, nontax_call *call)
{
    callback_context *context = opaque;
    bool set = false;
    if (context->fixed_token || !context->self->token_source) {
        return false; /* there is no other token */
    }
    PyEval_RestoreThread(context->thread);
    bool interrupted = client_tell_notes(context->self) < 0;
    PyObject *token = NULL;
    if (!interrupted) {
        token = client_ask_source(context->self, nontax_call_stale_token(call),
                                  nontax_call_time_left(call), nontax_call_may_keep_token(call),
                                  &interrupted);
    }
    if (token) {
        set = set_token(context, call, token);
        Py_DECREF(token);
    } else if (interrupted) {
        context->interrupt = take_exception();
    } else {
        context->source_error = take_exception();
    }
    context->thread = PyEval_SaveThread();
    return set;
}

/* ---- one call ---------------------------------------------------------------------------- */

/* A note for what cannot be told in another way: the call that was interrupted has succeeded. */
static bool add_note(PyObject *exception, const cJSON *fields)
{
    PyObject *python = python_from_json(fields);
    PyObject *note =
        python ? PyUnicode_FromFormat("nontax: WeChat has processed the call: %R", python) : NULL;
    PyObject *added = note ? PyObject_CallMethod(exception, "add_note", "O", note) : NULL;
    bool is_there = added != NULL;
    PyErr_Clear();
    Py_XDECREF(python);
    Py_XDECREF(note);
    Py_XDECREF(added);
    return is_there;
}

/* The exception that tells what became of the call; NULL with an exception set: no memory for it,
 * and nothing was sent. */
static PyObject *error_of(callback_context *context, nontax_call *call)
{
    PyObject *error =
        client_make_error(context->self, call, context->source_error, context->token_problem);
    bool sent = nontax_call_result(call)->outcome != NONTAX_NOT_SENT;
    if (!error && sent && PyErr_ExceptionMatches(PyExc_MemoryError)) {
        error = spare_raised(context->spare);
    }
    return error;
}

/* The interrupting exception goes on as it is, and behind it stands what became of the call. */
static void raise_interrupt(callback_context *context, nontax_call *call)
{
    const nontax_result *result = nontax_call_result(call);
    PyObject *interrupt = context->interrupt, *error = NULL;
    context->interrupt = NULL;
    if (result->outcome == NONTAX_INSERTED) {
        /* What was only read can be read again, and may have a credential in it. */
        const nontax_interface *interface = nontax_call_interface(call);
        if (!nontax_interface_is_read_only(interface) &&
            !nontax_interface_answers_secret(interface) && !add_note(interrupt, result->fields)) {
            error = spare_raised(context->spare);
        }
    } else {
        /* Ctrl-C may be pressed again while the error is made, which is code of Python's. */
        for (int tries = 0; !error && tries < MAX_TRIES; tries++) {
            error = error_of(context, call);
            PyErr_Clear();
        }
        if (!error && result->outcome != NONTAX_NOT_SENT) {
            error = spare_raised(
                context->spare); /* it is a RecursionError: there is no room for another */
        }
    }
    if (error) {
        PyObject *earlier = PyException_GetContext(interrupt);
        PyException_SetContext(error, earlier); /* both take the reference over */
        PyException_SetContext(interrupt, error);
    }
    /* PyErr_SetObject() would put another context in place of ours. */
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(interrupt)), interrupt,
                  PyException_GetTraceback(interrupt));
}

static PyObject *conclude(callback_context *context, nontax_call *call, PyObject *make_result)
{
    const nontax_result *result = nontax_call_result(call);
    bool sent = result->outcome != NONTAX_NOT_SENT, inserted = result->outcome == NONTAX_INSERTED;
    if (!context->interrupt) {
        if (!sent && result->cause == NONTAX_CAUSE_MEMORY) {
            return PyErr_NoMemory();
        }
        PyObject *made = NULL;
        if (inserted) {
            made = client_result(nontax_call_interface(call),
                                 record_of_reply(make_result, result->fields));
        }
        if (made) {
            return made;
        }
        PyObject *error = inserted ? NULL : error_of(context, call);
        if (!error && PyErr_ExceptionMatches(PyExc_MemoryError)) {
            if (!sent) {
                return NULL;
            }
            error = spare_raised(context->spare);
        }
        if (error && context->returns_error) {
            return error;
        } else if (error) {
            raise_object(error);
            return NULL;
        }
        context->interrupt = take_exception(); /* a signal handler's, while it was made */
    }
    raise_interrupt(context, call);
    return NULL;
}

static PyObject *run_call(callback_context *context, nontax_call *call, PyObject *payload,
                          PyObject *make_result)
{
    const nontax_hooks hooks = {context, on_interrupted, on_token};
    if (client_set_payload(call, payload) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_Exception)) {
            nontax_call_cancel(call);
            context->interrupt = take_exception();
            raise_interrupt(context, call);
        }
        return NULL;
    }
    if (context->fixed_token && nontax_call_needs_token(call) &&
        !set_token(context, call, context->fixed_token)) {
        nontax_call_give_up(call);
    }
    context->thread = PyEval_SaveThread();
    nontax_client_run(context->self->client, call, &hooks);
    PyEval_RestoreThread(context->thread);
    /* A signal that came while we waited for the GIL must find the outcome still in our hands. */
    if (!context->interrupt && (client_tell_notes(context->self) < 0 || PyErr_CheckSignals() < 0)) {
        context->interrupt = take_exception();
    }
    PyObject *result = conclude(context, call, make_result);
    Py_XDECREF(context->interrupt);
    Py_XDECREF(context->source_error);
    return result;
}

const char client_call_doc[] = PyDoc_STR(
    "call($self, interface, payload, access_token, seconds, make_result, /)\n--\n\n"
    "Run one call to its end; return what make_result makes of the reply's fields, a dict.\n\n"
    "The payload of an interface that takes a file is a tuple: its name, bytes or an open\n"
    "descriptor, offset and size. At most so many seconds, if that is not None. Where there is\n"
    "no memory for the result, the error says that the call is in doubt.");

static PyObject *call_with(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                           bool returns_error)
{
    client_object *self = (client_object *)object;
    callback_context context = {
        .self = self, .fixed_token = self->access_token, .returns_error = returns_error};
    double seconds = 0;
    if (count != 5) {
        PyErr_SetString(PyExc_TypeError,
                        "interface, payload, access_token, seconds and make_result are needed");
        return NULL;
    }
    const nontax_interface *interface = client_find_interface(arguments[0]);
    if (!interface) {
        return NULL;
    }
    if (arguments[2] != Py_None) {
        context.fixed_token = arguments[2];
    }
    if (arguments[3] != Py_None) {
        seconds = PyFloat_AsDouble(arguments[3]);
        if (seconds == -1.0 && PyErr_Occurred()) {
            return NULL;
        }
    }
    if (spare_make_frames(self) < 0 || !(context.spare = spare_take(self, interface))) {
        return NULL;
    }
    PyObject *result = NULL;
    nontax_call *call = nontax_call_new(self->client, interface);
    if (call) {
        if (arguments[3] != Py_None) {
            nontax_call_limit_time(call, milliseconds_of(seconds));
        }
        result = run_call(&context, call, arguments[1], arguments[4]);
        nontax_call_free(call);
    } else {
        PyErr_NoMemory();
    }
    spare_give_back(self, context.spare);
    return result;
}

PyObject *client_call(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    return call_with(object, arguments, count, false);
}

const char client_ask_doc[] =
    PyDoc_STR("ask($self, interface, payload, access_token, seconds, make_result, /)\n--\n\n"
              "As call(), but return the error that tells what became of the call.\n\n"
              "So it is told from an error of the same class that a signal handler has raised.");

PyObject *client_ask(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    return call_with(object, arguments, count, true);
}

const char client_body_doc[] =
    PyDoc_STR("body($self, interface, payload, form='', /)\n--\n\n"
              "Check and print a payload; return what call() would send, as a str.\n\n"
              "If it has that form, where \\1 stands for a text and \\2 for an integer, and\n"
              "nothing in it is escaped, return these values in a tuple instead.");

PyObject *client_body(PyObject *object, PyObject *arguments)
{
    client_object *self = (client_object *)object;
    PyObject *name, *payload;
    const char *form = "";
    if (!PyArg_ParseTuple(arguments, "OO|s", &name, &payload, &form)) {
        return NULL;
    }
    const nontax_interface *interface = client_find_interface(name);
    if (!interface) {
        return NULL;
    }
    nontax_call *call = nontax_call_new(self->client, interface);
    if (!call) {
        return PyErr_NoMemory();
    }
    PyObject *body = NULL;
    if (client_set_payload(call, payload) == 0 && nontax_call_finished(call)) {
        PyObject *error = client_make_error(self, call, NULL, NULL);
        if (error) {
            raise_object(error);
        }
    } else if (!PyErr_Occurred()) {
        body = printed_of(call, form);
    }
    nontax_call_free(call);
    return body;
}
