/* token.c: the access token of a call: the source is asked, and its answer looked at. */
#include "core.h"

/* No part of a token may get into an exception; Python's own UnicodeEncodeError would carry it
 * whole. */
const char *client_token_text(PyObject *token, Py_ssize_t *size, const char **problem)
{
    const char *text = NULL;
    if (!PyUnicode_Check(token)) {
        *problem = PyBytes_Check(token) ? "is bytes, not a str: decode it"
                   : PyObject_HasAttrString(token, "__await__")
                       ? "is a coroutine that was never awaited: pass the async def function itself"
                       : "is not a str";
    } else if (!(text = PyUnicode_AsUTF8AndSize(token, size))) {
        PyErr_Clear();
        *problem = "contains characters that an access token cannot have";
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
