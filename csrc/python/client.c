/* client.c: the type nontax._core.Client: a client of the core, and one blocking call on it. */
#include "core.h"

#include <string.h>

enum {
    MAX_TRIES = 10,
    MAX_CONTEXTS = 100,
    CALL_FRAMES = 3 /* Client._call(), Client.insert_bill(), and who has called that */
};

static const char answer_lost[] = "out of memory: WeChat's answer was lost";

/* ---- exceptions -------------------------------------------------------------------------- */

static PyObject *values_of(const nontax_problem *problem)
{
    PyObject *values = PyDict_New();
    for (int i = 0; values && i < NONTAX_PROBLEM_VALUES && problem->values[i].text; i++) {
        PyObject *text = PyUnicode_FromString(problem->values[i].text);
        if (!text || PyDict_SetItemString(values, problem->values[i].name, text) < 0) {
            Py_CLEAR(values);
        }
        Py_XDECREF(text);
    }
    return values;
}

PyObject *client_list_problems(const nontax_problems *problems)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < problems->count; i++) {
        const nontax_problem *problem = &problems->list[i];
        PyObject *values = values_of(problem);
        PyObject *fields = values ? Py_BuildValue("(sssO)", problem->path, problem->message,
                                                  nontax_problem_id_name(problem->id), values)
                                  : NULL;
        if (!fields || PyList_Append(list, fields) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(values);
        Py_XDECREF(fields);
    }
    return list;
}

/* `problems` may be NULL. */
static PyObject *make_error(client_object *self, const nontax_interface *interface,
                            const nontax_result *result, const nontax_problems *problems,
                            PyObject *source_error, const char *token_problem)
{
    PyObject *fields = NULL, *error = NULL;
    PyObject *listed = problems ? client_list_problems(problems) : PyList_New(0);
    PyObject *errcode = result->has_errcode ? PyLong_FromLong(result->errcode) : Py_NewRef(Py_None);
    PyObject *timed_out = PyBool_FromLong(result->timed_out);
    PyObject *positional = PyTuple_New(0);
    PyObject *takes_secret = PyBool_FromLong(nontax_interface_takes_secret(interface));
    PyObject *reads = PyBool_FromLong(nontax_interface_is_read_only(interface));
    if (listed && errcode && timed_out && positional && reads && takes_secret) {
        fields = Py_BuildValue(
            "{s:s,s:O,s:O,s:s,s:s,s:O,s:O,s:l,s:i,s:s,s:s,s:s,s:z,s:O,s:O,s:z}", "interface",
            nontax_interface_name(interface), "reads", reads, "takes_secret", takes_secret,
            "outcome", nontax_outcome_name(result->outcome), "cause",
            nontax_cause_name(result->cause), "timed_out", timed_out, "errcode", errcode,
            "http_status", result->http_status, "curl_code", result->curl_code, "rid", result->rid,
            "errmsg", result->errmsg, "reason", result->reason, "reply", result->reply, "problems",
            listed, "source_error", source_error ? source_error : Py_None, "token_problem",
            token_problem);
    }
    if (fields) {
        error = PyObject_Call(self->make_error, positional, fields);
    }
    Py_XDECREF(listed);
    Py_XDECREF(errcode);
    Py_XDECREF(timed_out);
    Py_XDECREF(reads);
    Py_XDECREF(takes_secret);
    Py_XDECREF(positional);
    Py_XDECREF(fields);
    return error;
}

PyObject *client_make_error(client_object *self, nontax_call *call, PyObject *source_error,
                            const char *token_problem)
{
    return make_error(self, nontax_call_interface(call), nontax_call_result(call),
                      nontax_call_problems(call), source_error, token_problem);
}

void raise_object(PyObject *error)
{
    if (error) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_DECREF(error);
    }
}

void client_raise_not_sent(client_object *self, const char *reason)
{
    nontax_result result = {.outcome = NONTAX_NOT_SENT, .cause = NONTAX_CAUSE_CONNECTION};
    PyOS_snprintf(result.reason, sizeof result.reason, "%s", reason);
    raise_object(make_error(self, nontax_interface_find("insertbill"), &result, NULL, NULL, NULL));
}

void raise_refusal(nontax_status status, const nontax_text *why)
{
    if (status == NONTAX_NO_MEMORY) {
        PyErr_NoMemory();
    } else {
        PyErr_SetString(PyExc_ValueError, why->text);
    }
}

PyObject *take_exception(void)
{
    PyObject *type = NULL, *value = NULL, *traceback = NULL;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (value && traceback) {
        (void)PyException_SetTraceback(value, traceback); /* a traceback is always accepted */
    }
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

/* ---- when there is no memory left to say what became of a call ---------------------------- */

/* The InDoubtError for a call that was sent and whose answer cannot be given out. It is made
 * before anything is sent, and kept for the next call if this one did not need it. */
struct spare_error {
    const nontax_interface *interface;
    PyObject *error;
};

static void free_spare(spare_error *spare)
{
    if (spare) {
        Py_DECREF(spare->error);
        PyMem_Free(spare);
    }
}

static void keep_spare(client_object *self, spare_error *spare)
{
    for (int i = 0; spare && i < SPARE_ERRORS; i++) {
        spare = atomic_exchange(&self->spares[i], spare);
    }
    free_spare(spare);
}

/* NULL with an exception set: no memory. */
static spare_error *take_spare(client_object *self, const nontax_interface *interface)
{
    nontax_result result = {.outcome = NONTAX_IN_DOUBT, .cause = NONTAX_CAUSE_MEMORY};
    for (int i = 0; i < SPARE_ERRORS; i++) {
        spare_error *kept = atomic_exchange(&self->spares[i], NULL);
        if (kept && kept->interface == interface) {
            return kept;
        }
        if (kept) {
            free_spare(atomic_exchange(&self->spares[i], kept));
        }
    }
    spare_error *spare = PyMem_Calloc(1, sizeof *spare);
    if (!spare) {
        PyErr_NoMemory();
        return NULL;
    }
    memcpy(result.reason, answer_lost, sizeof answer_lost);
    spare->interface = interface;
    spare->error = make_error(self, interface, &result, NULL, NULL, NULL);
    if (!spare->error) {
        PyMem_Free(spare);
        return NULL;
    }
    return spare;
}

/* Makes the frame objects of the callers, which an exception on its way to them needs: where there
 * is no memory for one, Python drops the exception (seen with 3.11), and with it what became of a
 * bill. -1 with an exception set: no memory. */
static int make_frames(void)
{
    PyObject *name = PyUnicode_InternFromString("f_back"); /* Python keeps others in a cache */
    PyObject *frame = name ? (PyObject *)PyThreadState_GetFrame(PyThreadState_Get()) : NULL;
    for (int made = 1; frame && frame != Py_None && made < CALL_FRAMES; made++) {
        PyObject *above = PyObject_GetAttr(frame, name);
        Py_DECREF(frame);
        frame = above;
    }
    Py_XDECREF(frame);
    Py_XDECREF(name);
    return PyErr_Occurred() ? -1 : 0;
}

/* ---- notes ------------------------------------------------------------------------------- */

int client_tell_notes(client_object *self)
{
    nontax_note note;
    while (nontax_client_take_note(self->client, &note)) {
        PyObject *told =
            PyObject_CallFunction(self->tell_note, "ssssiid", nontax_note_kind_name(note.kind),
                                  nontax_interface_name(note.interface), note.host, note.reason,
                                  note.errcode, note.repeats, (double)note.wait_ms / 1000);
        if (!told && !PyErr_ExceptionMatches(PyExc_Exception)) {
            return -1;
        }
        PyErr_Clear(); /* of no memory for a line of a log, nothing depends */
        Py_XDECREF(told);
    }
    return 0;
}

/* ---- what the core asks back during a call ----------------------------------------------- */

typedef struct conversation {
    client_object *self;
    PyThreadState *thread;     /* while the GIL is released */
    PyObject *fixed_token;     /* of this call or of the client; NULL: ask the source */
    PyObject *interrupt;       /* what a signal handler raised, inside the token source, too */
    PyObject *source_error;    /* what the token source raised */
    const char *token_problem; /* what is wrong with the token that it returned */
    spare_error *spare;
    bool returns_error; /* what became of the call, if that is an error: and does not raise it */
} conversation;

static bool on_interrupted(void *context)
{
    conversation *talk = context;
    PyEval_RestoreThread(talk->thread);
    if (client_tell_notes(talk->self) < 0 || PyErr_CheckSignals() < 0) {
        talk->interrupt = take_exception();
    }
    talk->thread = PyEval_SaveThread();
    return talk->interrupt != NULL;
}

/* No part of a token may get into an exception; Python's own UnicodeEncodeError would carry it
 * whole. */
const char *client_token_text(PyObject *token, Py_ssize_t *size, const char **problem)
{
    const char *text = NULL;
    if (!PyUnicode_Check(token)) {
        *problem = PyBytes_Check(token) ? "is bytes, not a str: decode it"
                   : PyObject_HasAttrString(token, "__await__")
                       ? "is a coroutine that nobody awaits: give the async def function itself"
                       : "is not a str";
    } else if (!(text = PyUnicode_AsUTF8AndSize(token, size))) {
        PyErr_Clear();
        *problem = "has characters that no access token has";
    } else if ((*problem = nontax_token_problem(text, (size_t)*size))) {
        text = NULL;
    }
    return text;
}

PyObject *client_answered_token(client_object *self, PyObject *answer, double *seconds)
{
    *seconds = 0;
    if (!self->own_source || !PyTuple_Check(answer)) {
        return answer;
    }
    *seconds = PyFloat_AsDouble(PyTuple_GetItem(answer, 1));
    return PyTuple_GetItem(answer, 0);
}

static bool set_token(conversation *talk, nontax_call *call, PyObject *answer)
{
    Py_ssize_t size = 0;
    double seconds; /* a single call does not wait: it ends with the refusal */
    PyObject *token = client_answered_token(talk->self, answer, &seconds);
    const char *text = client_token_text(token, &size, &talk->token_problem);
    return text && nontax_call_set_token(call, text, (size_t)size) == NONTAX_OK;
}

/* The frames that an exception has come through, and those that it happened in, have a credential
 * among their local variables: of a function of ours that was interrupted before it could forget
 * it. */
static void hide_frames(void)
{
    PyObject *raised = take_exception();
    PyObject *handled = PyErr_GetHandledException(); /* the caller's own, in an `except` block */
    PyObject *each = Py_XNewRef(raised);
    for (int i = 0; each && each != handled && i < MAX_CONTEXTS; i++) {
        (void)PyException_SetTraceback(each, Py_None); /* always accepted */
        PyObject *context = PyException_GetContext(each);
        Py_DECREF(each);
        each = context;
    }
    Py_XDECREF(each);
    Py_XDECREF(handled);
    raise_object(raised);
}

/* A source of ours returns why there is no token: so what it raises is a signal handler's, like an
 * exception from anybody's source that is no Exception. */
PyObject *client_ask_source(client_object *self, const char *stale, int64_t time_left_ms,
                            bool may_keep, bool *interrupted)
{
    if (!self->own_source) {
        PyObject *answer = PyObject_CallFunction(self->token_source, "z", stale);
        *interrupted = !answer && !PyErr_ExceptionMatches(PyExc_Exception);
        return answer;
    }
    PyObject *answer = PyObject_CallFunction(self->token_source, "zdi", stale,
                                             (double)time_left_ms / 1000, may_keep);
    *interrupted = !answer && !PyErr_ExceptionMatches(PyExc_MemoryError);
    if (answer && PyExceptionInstance_Check(answer)) {
        PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(answer)), answer, NULL);
        answer = NULL;
    }
    if (!answer) {
        hide_frames();
    }
    return answer;
}

static bool on_token(void *context, nontax_call *call)
{
    conversation *talk = context;
    const char *stale = nontax_call_stale_token(call);
    bool set = false;
    if ((talk->fixed_token && stale) || (!talk->fixed_token && !talk->self->token_source)) {
        return false; /* there is no other token */
    }
    PyEval_RestoreThread(talk->thread);
    bool interrupted = client_tell_notes(talk->self) < 0;
    PyObject *token = NULL;
    if (!interrupted) {
        token = talk->fixed_token
                    ? Py_NewRef(talk->fixed_token)
                    : client_ask_source(talk->self, stale, nontax_call_time_left(call),
                                        nontax_call_may_keep_token(call), &interrupted);
    }
    if (token) {
        set = set_token(talk, call, token);
        Py_DECREF(token);
    } else if (interrupted) {
        talk->interrupt = take_exception();
    } else {
        talk->source_error = take_exception();
    }
    talk->thread = PyEval_SaveThread();
    return set;
}

/* ---- one call ---------------------------------------------------------------------------- */

/* A note for what cannot be told in another way: the call that was interrupted has succeeded. */
static bool add_note(PyObject *exception, const cJSON *fields)
{
    PyObject *python = python_from_json(fields);
    PyObject *note =
        python ? PyUnicode_FromFormat("nontax: WeChat has taken the call: %R", python) : NULL;
    PyObject *added = note ? PyObject_CallMethod(exception, "add_note", "O", note) : NULL;
    bool is_there = added != NULL;
    PyErr_Clear();
    Py_XDECREF(python);
    Py_XDECREF(note);
    Py_XDECREF(added);
    return is_there;
}

/* What is raised in place of the answer of a call that was sent, and which cannot be made. */
static PyObject *spare_of(conversation *talk)
{
    PyErr_Clear();
    return Py_NewRef(talk->spare->error);
}

/* The exception that tells what became of the call; NULL with an exception set: no memory for it,
 * and nothing was sent. */
static PyObject *error_of(conversation *talk, nontax_call *call)
{
    PyObject *error = client_make_error(talk->self, call, talk->source_error, talk->token_problem);
    bool sent = nontax_call_result(call)->outcome != NONTAX_NOT_SENT;
    if (!error && sent && PyErr_ExceptionMatches(PyExc_MemoryError)) {
        error = spare_of(talk);
    }
    return error;
}

/* The interrupting exception goes on as it is, and behind it stands what became of the call. */
static void raise_interrupt(conversation *talk, nontax_call *call)
{
    const nontax_result *result = nontax_call_result(call);
    PyObject *interrupt = talk->interrupt, *error = NULL;
    talk->interrupt = NULL;
    if (result->outcome == NONTAX_INSERTED) {
        /* What was only read can be read again, and may have a credential in it. */
        const nontax_interface *interface = nontax_call_interface(call);
        if (!nontax_interface_is_read_only(interface) &&
            !nontax_interface_answers_secret(interface) && !add_note(interrupt, result->fields)) {
            error = spare_of(talk);
        }
    } else {
        /* Ctrl-C may be pressed again while the error is made, which is code of Python's. */
        for (int tries = 0; !error && tries < MAX_TRIES; tries++) {
            error = error_of(talk, call);
            PyErr_Clear();
        }
        if (!error && result->outcome != NONTAX_NOT_SENT) {
            error = spare_of(talk); /* it is a RecursionError: there is no room for another */
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

PyObject *client_call_with_reply(const nontax_interface *interface, PyObject *function,
                                 PyObject *args)
{
    PyObject *result = PyObject_CallObject(function, args);
    if (!result && nontax_interface_answers_secret(interface)) {
        hide_frames();
    }
    return result;
}

/* What the caller gets for the reply's fields. */
static PyObject *result_of(nontax_call *call, PyObject *make_result)
{
    PyObject *fields = python_from_json(nontax_call_result(call)->fields);
    PyObject *args = fields ? PyTuple_Pack(1, fields) : NULL;
    Py_XDECREF(fields);
    PyObject *result =
        args ? client_call_with_reply(nontax_call_interface(call), make_result, args) : NULL;
    Py_XDECREF(args);
    return result;
}

static PyObject *conclude(conversation *talk, nontax_call *call, PyObject *make_result)
{
    const nontax_result *result = nontax_call_result(call);
    bool sent = result->outcome != NONTAX_NOT_SENT, inserted = result->outcome == NONTAX_INSERTED;
    if (!talk->interrupt) {
        if (!sent && result->cause == NONTAX_CAUSE_MEMORY) {
            return PyErr_NoMemory();
        }
        PyObject *made = inserted ? result_of(call, make_result) : NULL;
        if (made) {
            return made;
        }
        PyObject *error = inserted ? NULL : error_of(talk, call);
        if (!error && PyErr_ExceptionMatches(PyExc_MemoryError)) {
            if (!sent) {
                return NULL;
            }
            error = spare_of(talk);
        }
        if (error && talk->returns_error) {
            return error;
        } else if (error) {
            raise_object(error);
            return NULL;
        }
        talk->interrupt = take_exception(); /* a signal handler's, while it was made */
    }
    raise_interrupt(talk, call);
    return NULL;
}

const nontax_interface *client_find_interface(PyObject *name)
{
    const char *text = PyUnicode_AsUTF8AndSize(name, NULL);
    const nontax_interface *interface = text ? nontax_interface_find(text) : NULL;
    if (text && !interface) {
        PyErr_SetString(PyExc_LookupError, "there is no such interface");
    }
    return interface;
}

/* (name, bytes or descriptor, offset, size) */
static int set_file(nontax_call *call, PyObject *payload)
{
    nontax_file file = {.descriptor = -1};
    PyObject *source;
    long long offset, size;
    if (!PyTuple_Check(payload)) {
        PyErr_SetString(PyExc_TypeError, "this interface takes a file");
        return -1;
    }
    if (!PyArg_ParseTuple(payload, "sOLL", &file.name, &source, &offset, &size)) {
        return -1;
    }
    if (offset < 0 || size < 0) {
        PyErr_SetString(PyExc_ValueError, "offset and size must not be negative");
        return -1;
    }
    if (!PyBytes_Check(source)) {
        file.descriptor = PyObject_AsFileDescriptor(source);
        if (file.descriptor < 0) {
            return -1;
        }
    } else if (offset + size > PyBytes_Size(source)) {
        PyErr_SetString(PyExc_ValueError, "offset and size go beyond the bytes");
        return -1;
    } else {
        file.data = PyBytes_AsString(source) + offset;
    }
    file.offset = offset;
    file.size = (size_t)size;
    (void)nontax_call_set_file(call, &file); /* the call itself has what became of it */
    return 0;
}

int client_set_payload(nontax_call *call, PyObject *payload)
{
    if (nontax_interface_takes_file(nontax_call_interface(call))) {
        return set_file(call, payload);
    }
    cJSON *tree = json_from_python(payload);
    if (!tree) {
        return -1;
    }
    (void)nontax_call_set_payload(call, tree); /* the call itself has what became of it */
    return 0;
}

static PyObject *run_call(conversation *talk, nontax_call *call, PyObject *payload,
                          PyObject *make_result)
{
    const nontax_hooks hooks = {talk, on_interrupted, on_token};
    if (client_set_payload(call, payload) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_Exception)) {
            nontax_call_cancel(call);
            talk->interrupt = take_exception();
            raise_interrupt(talk, call);
        }
        return NULL;
    }
    talk->thread = PyEval_SaveThread();
    nontax_client_run(talk->self->client, call, &hooks);
    PyEval_RestoreThread(talk->thread);
    /* A signal that came while we waited for the GIL must find the outcome still in our hands. */
    if (!talk->interrupt && (client_tell_notes(talk->self) < 0 || PyErr_CheckSignals() < 0)) {
        talk->interrupt = take_exception();
    }
    PyObject *result = conclude(talk, call, make_result);
    Py_XDECREF(talk->interrupt);
    Py_XDECREF(talk->source_error);
    return result;
}

static int64_t milliseconds(double seconds)
{
    return seconds > 0 && seconds < 1e9 ? (int64_t)(seconds * 1000 + 0.5) : 0;
}

PyDoc_STRVAR(
    client_call_doc,
    "call($self, interface, payload, access_token, seconds, make_result, /)\n--\n\n"
    "Run one call to its end; return what make_result makes of the reply's fields, a dict.\n\n"
    "The payload of an interface that takes a file is a tuple: its name, bytes or an open\n"
    "descriptor, offset and size. At most so many seconds, if that is not None. Where there is\n"
    "no memory for the result, the error says that the call is in doubt.");

static PyObject *call_with(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                           bool returns_error)
{
    client_object *self = (client_object *)object;
    conversation talk = {
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
        talk.fixed_token = arguments[2];
    }
    if (arguments[3] != Py_None) {
        seconds = PyFloat_AsDouble(arguments[3]);
        if (seconds == -1.0 && PyErr_Occurred()) {
            return NULL;
        }
    }
    if (make_frames() < 0 || !(talk.spare = take_spare(self, interface))) {
        return NULL;
    }
    PyObject *result = NULL;
    nontax_call *call = nontax_call_new(self->client, interface);
    if (call) {
        if (arguments[3] != Py_None) {
            nontax_call_limit_time(call, milliseconds(seconds));
        }
        result = run_call(&talk, call, arguments[1], arguments[4]);
        nontax_call_free(call);
    } else {
        PyErr_NoMemory();
    }
    if (Py_REFCNT(talk.spare->error) == 1) {
        keep_spare(self, talk.spare);
    } else {
        free_spare(talk.spare); /* it was raised */
    }
    return result;
}

static PyObject *client_call(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    return call_with(object, arguments, count, false);
}

PyDoc_STRVAR(client_ask_doc,
             "ask($self, interface, payload, access_token, seconds, make_result, /)\n--\n\n"
             "As call(), but return the error that tells what became of the call.\n\n"
             "So it is told from an error of the same class that a signal handler has raised.");

static PyObject *client_ask(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    return call_with(object, arguments, count, true);
}

PyDoc_STRVAR(client_body_doc,
             "body($self, interface, payload, /)\n--\n\n"
             "Check and print a payload; return what call() would send, as a str.");

static PyObject *client_body(PyObject *object, PyObject *arguments)
{
    client_object *self = (client_object *)object;
    PyObject *name, *payload;
    if (!PyArg_ParseTuple(arguments, "OO", &name, &payload)) {
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
        size_t size;
        const char *text = nontax_call_body(call, &size);
        body = PyUnicode_DecodeUTF8(text, (Py_ssize_t)size, NULL);
    }
    nontax_call_free(call);
    return body;
}

PyDoc_STRVAR(client_close_doc, "close($self, /)\n--\n\nClose the idle connections.");

static PyObject *client_close(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    nontax_client *client = ((client_object *)object)->client;
    Py_BEGIN_ALLOW_THREADS nontax_client_close_idle(client);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

/* ---- making and freeing ------------------------------------------------------------------ */

static int set_credentials(client_object *self, PyObject *access_token, PyObject *token_source)
{
    if (access_token != Py_None) {
        Py_ssize_t size = 0;
        const char *problem = NULL;
        if (!client_token_text(access_token, &size, &problem)) {
            PyErr_Format(PyExc_ValueError, "access_token %s", problem);
            return -1;
        }
        self->access_token = Py_NewRef(access_token);
    }
    if (token_source != Py_None) {
        if (!PyCallable_Check(token_source)) {
            PyErr_SetString(PyExc_TypeError, "token_source must be callable");
            return -1;
        }
        self->token_source = Py_NewRef(token_source);
    }
    return 0;
}

/* The texts of a sequence, borrowed from it, with a NULL behind them; NULL with an exception set.
 */
static const char **texts_of(PyObject *sequence)
{
    Py_ssize_t count = PyTuple_Size(sequence);
    const char **texts = PyMem_Calloc((size_t)count + 1, sizeof *texts);
    if (!texts) {
        PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; texts && i < count; i++) {
        texts[i] = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(sequence, i), NULL);
        if (!texts[i]) {
            PyMem_Free(texts);
            texts = NULL;
        }
    }
    return texts;
}

static int make_client(client_object *self, nontax_settings *settings, PyObject *base_urls)
{
    nontax_text why;
    const char **texts = texts_of(base_urls);
    if (!texts) {
        return -1;
    }
    settings->base_url = texts[0];
    settings->fallback_base_urls = texts + 1;
    nontax_status status = nontax_client_new(settings, &self->client, &why);
    PyMem_Free(texts);
    if (status != NONTAX_OK) {
        raise_refusal(status, &why);
        return -1;
    }
    return 0;
}

static PyObject *client_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"make_error",   "tell_note",
                            "access_token", "token_source",
                            "own_source",   "base_urls",
                            "ca_file",      "system_ca_file",
                            "proxy",        "connect_timeout",
                            "timeout",      "retries",
                            "extra",        NULL};
    PyObject *make_error_function, *tell_note, *access_token, *token_source, *base_urls;
    nontax_settings settings = NONTAX_SETTINGS_DEFAULT;
    double connect_timeout, timeout;
    int own_source, extra;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "$OOOOpO!zzzddii", names,
                                     &make_error_function, &tell_note, &access_token, &token_source,
                                     &own_source, &PyTuple_Type, &base_urls, &settings.ca_file,
                                     &settings.system_ca_file, &settings.proxy, &connect_timeout,
                                     &timeout, &settings.retries, &extra)) {
        return NULL;
    }
    settings.connect_timeout_ms = milliseconds(connect_timeout);
    settings.timeout_ms = milliseconds(timeout);
    settings.extra = (nontax_extra)extra;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    client_object *self = (client_object *)allocate(type, 0);
    if (!self) {
        return NULL;
    }
    self->make_error = Py_NewRef(make_error_function);
    self->tell_note = Py_NewRef(tell_note);
    self->own_source = own_source != 0;
    if (set_credentials(self, access_token, token_source) < 0 ||
        make_client(self, &settings, base_urls) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static int client_traverse(PyObject *object, visitproc visit, void *arg)
{
    client_object *self = (client_object *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->token_source);
    Py_VISIT(self->make_error);
    Py_VISIT(self->tell_note);
    return 0;
}

/* The token is not for gc.get_referents(), which is why client_traverse() leaves it out. */
static int client_clear(PyObject *object)
{
    client_object *self = (client_object *)object;
    Py_CLEAR(self->access_token);
    Py_CLEAR(self->token_source);
    Py_CLEAR(self->make_error);
    Py_CLEAR(self->tell_note);
    return 0;
}

static void client_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    PyObject_GC_UnTrack(object);
    nontax_client_free(((client_object *)object)->client);
    for (int i = 0; i < SPARE_ERRORS; i++) {
        free_spare(atomic_exchange(&((client_object *)object)->spares[i], NULL));
    }
    (void)client_clear(object);
    release(object);
    Py_DECREF(type);
}

static PyMethodDef client_methods[] = {
    {"call", (PyCFunction)(void (*)(void))client_call, METH_FASTCALL, client_call_doc},
    {"ask", (PyCFunction)(void (*)(void))client_ask, METH_FASTCALL, client_ask_doc},
    {"body", client_body, METH_VARARGS, client_body_doc},
    {"close", client_close, METH_NOARGS, client_close_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(client_doc, "The core's client: see nontax.Client for what people use.");

static PyType_Slot client_slots[] = {
    {Py_tp_doc, (void *)client_doc},
    {Py_tp_new, client_new},
    {Py_tp_dealloc, client_dealloc},
    {Py_tp_traverse, client_traverse},
    {Py_tp_clear, client_clear},
    {Py_tp_methods, client_methods},
    {0, NULL},
};

static PyType_Spec client_spec = {
    .name = "nontax._core.Client",
    .basicsize = sizeof(client_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = client_slots,
};

PyObject *client_type_new(PyObject *module)
{
    return PyType_FromModuleAndSpec(module, &client_spec, NULL);
}
