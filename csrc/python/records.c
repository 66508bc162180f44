/* records.c: makes the records of the Python layer (nontax/record.py), which are immutable there:
 * their slots are filled here, without a frame of Python's for each. */
#include "core.h"

/* `parts`: the class, and the descriptors of its slots in the order of the values. */
static PyObject *make(PyObject *parts, PyObject *const *values, Py_ssize_t count)
{
    PyTypeObject *type = (PyTypeObject *)PyTuple_GetItem(parts, 0);
    if (count != PyTuple_Size(parts) - 1) {
        PyErr_Format(PyExc_TypeError, "%zd values are needed, not %zd", PyTuple_Size(parts) - 1,
                     count);
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *record = allocate(type, 0);
    for (Py_ssize_t i = 0; record && i < count; i++) {
        PyObject *slot = PyTuple_GetItem(parts, i + 1);
        descrsetfunc set = (descrsetfunc)PyType_GetSlot(Py_TYPE(slot), Py_tp_descr_set);
        if (set(slot, record, values[i]) < 0) {
            Py_CLEAR(record);
        }
    }
    return record;
}

static PyMethodDef make_definition = {"make", (PyCFunction)(void (*)(void))make, METH_FASTCALL,
                                      PyDoc_STR("Make a record of its values.")};

const char record_maker_doc[] =
    PyDoc_STR("record_maker(type, slots, /)\n--\n\n"
              "Return a function that makes an instance of the type, whose slots, given as their\n"
              "descriptors in a tuple, get its arguments. Neither __new__ nor __init__ is called.");

PyObject *record_maker(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *type, *slots;
    if (!PyArg_ParseTuple(arguments, "O!O!", &PyType_Type, &type, &PyTuple_Type, &slots)) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyTuple_Size(slots); i++) {
        if (!PyType_GetSlot(Py_TYPE(PyTuple_GetItem(slots, i)), Py_tp_descr_set)) {
            PyErr_SetString(PyExc_TypeError, "a slot's descriptor can be set");
            return NULL;
        }
    }
    PyObject *first = PyTuple_Pack(1, type);
    PyObject *parts = first ? PySequence_Concat(first, slots) : NULL;
    PyObject *maker = parts ? PyCFunction_New(&make_definition, parts) : NULL;
    Py_XDECREF(first);
    Py_XDECREF(parts);
    return maker;
}
