/* payload.c: what a call sends, and what is made of its reply. */
#include "core.h"

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
    nontax_payload *values = payload_from_python(payload);
    if (!values) {
        return -1;
    }
    (void)nontax_call_set_payload(call, values); /* the call itself has what became of it */
    return 0;
}

PyObject *client_result(const nontax_interface *interface, PyObject *made)
{
    if (!made && nontax_interface_answers_secret(interface)) {
        hide_frames();
    }
    return made;
}
