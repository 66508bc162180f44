/* errors.c: what became of a call, as one report for the Python layer, which makes the exception of
 * it; and how exceptions are raised and taken. */
#include "core.h"

enum { MAX_CONTEXTS = 100 }; /* so many exceptions behind one another are a circle */

/* ---- the report of a call ----------------------------------------------------------------- */

static PyStructSequence_Field report_fields[] = {
    {"interface", "WeChat's name of the interface (str)"},
    {"read_only", "whether the interface changes nothing (bool)"},
    {"takes_secret", "whether the interface takes the AppSecret (bool)"},
    {"outcome", "what became of the call (str)"},
    {"cause", "why, as far as a caller would react differently (str)"},
    {"timed_out", "whether the time was over (bool)"},
    {"errcode", "WeChat's errcode (int), or None"},
    {"http_status", "status of the reply (int); 0: none"},
    {"curl_code", "libcurl's error number (int); 0: none"},
    {"rid", "WeChat's id of the request (str), or an empty str"},
    {"errmsg", "WeChat's words (str)"},
    {"reason", "what happened, where there is no errcode (str)"},
    {"reply", "what came, credentials masked (str), or None"},
    {"problems", "what is wrong with the payload: a list of (path, message, id, values)"},
    {"source_error", "what the token source raised, or None"},
    {"token_problem", "what is wrong with the token it returned (str), or None"},
    {"appid", "the account (str), or None"},
    {NULL, NULL},
};

enum { REPORT_FIELDS = sizeof report_fields / sizeof *report_fields - 1 };

static PyStructSequence_Desc report_description = {
    .name = "nontax._core.Report",
    .doc = "What became of one call.",
    .fields = report_fields,
    .n_in_sequence = REPORT_FIELDS,
};

PyObject *report_type_new(void)
{
    return (PyObject *)PyStructSequence_NewType(&report_description);
}

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
static PyObject *report_of(client_object *self, const nontax_interface *interface,
                           const nontax_result *result, const nontax_problems *problems,
                           PyObject *source_error, const char *token_problem)
{
    core_state *state = PyType_GetModuleState(Py_TYPE((PyObject *)self));
    PyObject *values = Py_BuildValue(
        "(sNNssNNlisssz" /* up to reply */ "NOzO)", nontax_interface_name(interface),
        PyBool_FromLong(nontax_interface_is_read_only(interface)),
        PyBool_FromLong(nontax_interface_takes_secret(interface)),
        nontax_outcome_name(result->outcome), nontax_cause_name(result->cause),
        PyBool_FromLong(result->timed_out),
        result->has_errcode ? PyLong_FromLong(result->errcode) : Py_NewRef(Py_None),
        result->http_status, result->curl_code, result->rid, result->errmsg, result->reason,
        result->reply, problems ? client_list_problems(problems) : PyList_New(0),
        source_error ? source_error : Py_None, token_problem, self->appid);
    PyObject *report =
        values ? PyObject_CallFunctionObjArgs((PyObject *)state->report_type, values, NULL) : NULL;
    Py_XDECREF(values);
    return report;
}

/* Takes over the report, which may be NULL, with an exception set. */
static PyObject *make_error(client_object *self, PyObject *report)
{
    PyObject *error = report ? PyObject_CallFunctionObjArgs(self->make_error, report, NULL) : NULL;
    Py_XDECREF(report);
    return error;
}

PyObject *client_error_of_result(client_object *self, const nontax_interface *interface,
                                 const nontax_result *result)
{
    return make_error(self, report_of(self, interface, result, NULL, NULL, NULL));
}

PyObject *client_make_error(client_object *self, nontax_call *call, PyObject *source_error,
                            const char *token_problem)
{
    return make_error(self, report_of(self, nontax_call_interface(call), nontax_call_result(call),
                                      nontax_call_problems(call), source_error, token_problem));
}

/* ---- raising and taking ------------------------------------------------------------------- */

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
    raise_object(client_error_of_result(self, nontax_interface_find("insertbill"), &result));
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

/* A function of ours that was interrupted has not deleted its credentials yet. */
void hide_frames(void)
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
