/* module.c: the extension module nontax._core. People use nontax; this is its private engine room.
 */
#include "core.h"

#include <curl/curl.h>

PyDoc_STRVAR(errcode_doc, "errcode(code, /)\n--\n\n"
                          "Return (known, name, category, retry, advice) of an errcode.");

static PyObject *errcode(PyObject *Py_UNUSED(module), PyObject *argument)
{
    int overflow = 0;
    long code = PyLong_AsLongAndOverflow(argument, &overflow);
    if (code == -1 && !overflow && PyErr_Occurred()) {
        return NULL;
    }
    bool possible = !overflow && code >= INT32_MIN && code <= INT32_MAX;
    const nontax_errcode *found = nontax_errcode_find(possible ? (int)code : INT32_MIN);
    return Py_BuildValue("Nssss", PyBool_FromLong(possible && found->code == code), found->name,
                         nontax_category_name(found->category), nontax_retry_name(found->retry),
                         found->advice);
}

PyDoc_STRVAR(errcodes_doc, "errcodes()\n--\n\nReturn all known errcodes in rising order.");

static PyObject *errcodes(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    size_t count;
    const nontax_errcode *table = nontax_errcodes(&count);
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < count; i++) {
        PyObject *code = PyLong_FromLong(table[i].code);
        if (!code || PyList_Append(list, code) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(code);
    }
    return list;
}

PyDoc_STRVAR(libraries_doc, "libraries()\n--\n\n"
                            "Return the versions of libcurl, its TLS library and cJSON.");

static PyObject *libraries(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    const curl_version_info_data *curl = curl_version_info(CURLVERSION_NOW);
    return Py_BuildValue("szs", curl->version, curl->ssl_version, cJSON_Version());
}

PyDoc_STRVAR(is_read_only_doc,
             "is_read_only(interface, /)\n--\n\n"
             "Whether an interface changes nothing, so that it may be asked again.");

static PyObject *is_read_only(PyObject *Py_UNUSED(module), PyObject *name)
{
    const nontax_interface *interface = client_find_interface(name);
    return interface ? PyBool_FromLong(nontax_interface_is_read_only(interface)) : NULL;
}

PyDoc_STRVAR(make_result_doc, "make_result(interface, make, fields, /)\n--\n\n"
                              "Return make(fields), which are of the interface's reply.\n\n"
                              "A failure has no frames if there are credentials in them.");

static PyObject *make_result(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *name, *make, *fields;
    if (!PyArg_ParseTuple(args, "UOO", &name, &make, &fields)) {
        return NULL;
    }
    const nontax_interface *interface = client_find_interface(name);
    return interface ? client_result(interface, PyObject_CallFunctionObjArgs(make, fields, NULL))
                     : NULL;
}

PyDoc_STRVAR(check_doc, "check(interface, payload, extra, /)\n--\n\n"
                        "Return all problems of a payload as (path, message, id, values).");

static PyObject *check(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *name, *payload;
    int extra;
    if (!PyArg_ParseTuple(args, "UOi", &name, &payload, &extra)) {
        return NULL;
    }
    const nontax_interface *interface = client_find_interface(name);
    nontax_payload *values = interface ? payload_from_python(payload) : NULL;
    if (!values) {
        return NULL;
    }
    nontax_problems problems = {0};
    PyObject *list =
        nontax_payload_check(interface, values, (nontax_extra)extra, &problems) == NONTAX_NO_MEMORY
            ? PyErr_NoMemory()
            : client_list_problems(&problems);
    nontax_problems_free(&problems);
    return list;
}

PyDoc_STRVAR(problem_messages_doc, "problem_messages()\n--\n\n"
                                   "Return the message of each problem's id.");

static PyObject *problem_messages(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyObject *messages = PyDict_New();
    for (int id = 0; messages && id < NONTAX_PROBLEM_COUNT; id++) {
        PyObject *text = PyUnicode_FromString(nontax_problem_message((nontax_problem_id)id));
        const char *name = nontax_problem_id_name((nontax_problem_id)id);
        if (!text || PyDict_SetItemString(messages, name, text) < 0) {
            Py_CLEAR(messages);
        }
        Py_XDECREF(text);
    }
    return messages;
}

static PyMethodDef methods[] = {
    {"check", check, METH_VARARGS, check_doc},
    {"problem_messages", problem_messages, METH_NOARGS, problem_messages_doc},
    {"record_maker", record_maker, METH_VARARGS, record_maker_doc},
    {"reply_maker", reply_maker, METH_VARARGS, reply_maker_doc},
    {"errcode", errcode, METH_O, errcode_doc},
    {"errcodes", errcodes, METH_NOARGS, errcodes_doc},
    {"is_read_only", is_read_only, METH_O, is_read_only_doc},
    {"make_result", make_result, METH_VARARGS, make_result_doc},
    {"libraries", libraries, METH_NOARGS, libraries_doc},
    {NULL, NULL, 0, NULL},
};

static int add(PyObject *module, const char *name, PyObject *value)
{
    int failed = value ? PyModule_AddObjectRef(module, name, value) : -1;
    Py_XDECREF(value);
    return failed;
}

/* A libcurl that was linked in does not know where this machine keeps its certificates. */
#ifdef NONTAX_OWN_TLS
enum { OWN_TLS = 1 };
#else
enum { OWN_TLS = 0 };
#endif

static int execute(PyObject *module)
{
    core_state *state = PyModule_GetState(module);
    state->client_type = (PyTypeObject *)client_type_new(module);
    state->report_type = report_type_new();
    state->f_back = PyUnicode_InternFromString("f_back");
    if (!state->client_type || !state->report_type || !state->f_back ||
        add(module, "Client", Py_NewRef((PyObject *)state->client_type)) < 0 ||
        add(module, "Report", Py_NewRef(state->report_type)) < 0 ||
        add(module, "Run", run_type_new(module)) < 0 ||
        add(module, "own_tls", PyBool_FromLong(OWN_TLS)) < 0 ||
        add(module, "version", PyUnicode_FromString(nontax_version())) < 0) {
        return -1;
    }
    return 0;
}

static int traverse(PyObject *module, visitproc visit, void *arg)
{
    core_state *state = PyModule_GetState(module);
    Py_VISIT(state->client_type);
    Py_VISIT(state->report_type);
    return 0;
}

static int clear(PyObject *module)
{
    core_state *state = PyModule_GetState(module);
    Py_CLEAR(state->client_type);
    Py_CLEAR(state->report_type);
    Py_CLEAR(state->f_back);
    return 0;
}

static void release(void *module)
{
    (void)clear(module);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
/* The limited API of 3.11 knows neither slot; without it the interpreter's own headers decide. */
#if !defined(Py_LIMITED_API) && PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if !defined(Py_LIMITED_API) && PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "nontax._core",
    .m_doc = "The engine room of nontax: the C core behind a thin face.",
    .m_size = sizeof(core_state),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = release,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&definition);
}
