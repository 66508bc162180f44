/* client.c: the type nontax._core.Client, which holds a client of the core. */
#include "core.h"

/* ---- notes ------------------------------------------------------------------------------- */

int client_tell_notes(client_object *self)
{
    nontax_note note;
    while (nontax_client_take_note(self->client, &note)) {
        PyObject *logged =
            PyObject_CallFunction(self->log_note, "ssssiid", nontax_note_kind_name(note.kind),
                                  nontax_interface_name(note.interface), note.host, note.reason,
                                  note.errcode, note.repeats, (double)note.wait_ms / 1000);
        if (!logged && !PyErr_ExceptionMatches(PyExc_Exception)) {
            return -1;
        }
        PyErr_Clear(); /* of no memory for a line of a log, nothing depends */
        Py_XDECREF(logged);
    }
    return 0;
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
    static char *names[] = {
        "make_error",      "log_note",  "appid",   "access_token",   "token_source",
        "own_source",      "base_urls", "ca_file", "system_ca_file", "proxy",
        "connect_timeout", "timeout",   "retries", "extra",          NULL};
    PyObject *make_error, *log_note, *appid, *access_token, *token_source, *base_urls;
    nontax_settings settings = NONTAX_SETTINGS_DEFAULT;
    double connect_timeout, timeout;
    int own_source, extra;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "$OOOOOpO!zzzddii", names, &make_error,
                                     &log_note, &appid, &access_token, &token_source, &own_source,
                                     &PyTuple_Type, &base_urls, &settings.ca_file,
                                     &settings.system_ca_file, &settings.proxy, &connect_timeout,
                                     &timeout, &settings.retries, &extra)) {
        return NULL;
    }
    settings.connect_timeout_ms = milliseconds_of(connect_timeout);
    settings.timeout_ms = milliseconds_of(timeout);
    settings.extra = (nontax_extra)extra;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    client_object *self = (client_object *)allocate(type, 0);
    if (!self) {
        return NULL;
    }
    self->make_error = Py_NewRef(make_error);
    self->log_note = Py_NewRef(log_note);
    self->appid = Py_NewRef(appid);
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
    Py_VISIT(self->log_note);
    return 0;
}

/* The token is not for gc.get_referents(), which is why client_traverse() leaves it out. */
static int client_clear(PyObject *object)
{
    client_object *self = (client_object *)object;
    Py_CLEAR(self->access_token);
    Py_CLEAR(self->token_source);
    Py_CLEAR(self->make_error);
    Py_CLEAR(self->log_note);
    Py_CLEAR(self->appid);
    return 0;
}

static void client_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    PyObject_GC_UnTrack(object);
    nontax_client_free(((client_object *)object)->client);
    for (int i = 0; i < SPARE_ERRORS; i++) {
        spare_free(atomic_exchange(&((client_object *)object)->spares[i], NULL));
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
