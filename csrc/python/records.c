/* records.c: makes the records of the Python layer (nontax/record.py), which are immutable there:
 * their slots are filled here, without a frame of Python's for each. */
#include "core.h"

#include <string.h>

enum { MAX_NAMED = 8 }; /* fields of a reply that have slots of their own */

/* ---- of values --------------------------------------------------------------------------- */

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
    PyTypeObject *slot_type = NULL; /* most often the same for all */
    descrsetfunc set = NULL;
    for (Py_ssize_t i = 0; record && i < count; i++) {
        PyObject *slot = PyTuple_GetItem(parts, i + 1);
        if (Py_TYPE(slot) != slot_type) {
            slot_type = Py_TYPE(slot);
            set = (descrsetfunc)PyType_GetSlot(slot_type, Py_tp_descr_set);
        }
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

/* (class, slots…), if the slots can be filled. */
static PyObject *parts_of(PyObject *type, PyObject *slots)
{
    for (Py_ssize_t i = 0; i < PyTuple_Size(slots); i++) {
        if (!PyType_GetSlot(Py_TYPE(PyTuple_GetItem(slots, i)), Py_tp_descr_set)) {
            PyErr_SetString(PyExc_TypeError, "a slot's descriptor can be set");
            return NULL;
        }
    }
    PyObject *first = PyTuple_Pack(1, type);
    PyObject *parts = first ? PySequence_Concat(first, slots) : NULL;
    Py_XDECREF(first);
    return parts;
}

PyObject *record_maker(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *type, *slots;
    if (!PyArg_ParseTuple(arguments, "O!O!", &PyType_Type, &type, &PyTuple_Type, &slots)) {
        return NULL;
    }
    PyObject *parts = parts_of(type, slots);
    PyObject *maker = parts ? PyCFunction_New(&make_definition, parts) : NULL;
    Py_XDECREF(parts);
    return maker;
}

static bool is_maker(PyObject *function, PyCFunction of)
{
    return PyCFunction_Check(function) && PyCFunction_GetFunction(function) == of;
}

PyObject *record_call(PyObject *function, PyObject *const *values, Py_ssize_t count)
{
    if (is_maker(function, make_definition.ml_meth)) {
        return make(PyCFunction_GetSelf(function), values, count);
    }
    PyObject *args = PyTuple_New(count);
    for (Py_ssize_t i = 0; args && i < count; i++) {
        (void)PyTuple_SetItem(args, i, Py_NewRef(values[i])); /* it is new, and so long */
    }
    PyObject *made = args ? PyObject_CallObject(function, args) : NULL;
    Py_XDECREF(args);
    return made;
}

/* ---- of a reply -------------------------------------------------------------------------- */

/* `context`: the parts, and the names of the fields that have slots. Takes the rest over, which may
 * be NULL, with an exception set. */
static PyObject *make_of_named(PyObject *context, PyObject **values, PyObject *rest)
{
    Py_ssize_t named = PyTuple_Size(PyTuple_GetItem(context, 1));
    values[named] = rest;
    PyObject *record = rest ? make(PyTuple_GetItem(context, 0), values, named + 1) : NULL;
    Py_XDECREF(rest);
    return record;
}

/* The rest of a reply's dict, from which `value` was taken; what is empty gives back its room. */
static PyObject *rest_of(PyObject *reply, PyObject *names, PyObject **values)
{
    for (Py_ssize_t i = 0; i < PyTuple_Size(names); i++) {
        PyObject *name = PyTuple_GetItem(names, i);
        bool is_there = PyDict_GetItemWithError(reply, name) == values[i]; /* None, it may be */
        if (is_there && PyDict_DelItem(reply, name) < 0) {
            return NULL;
        }
    }
    return PyDict_Size(reply) ? Py_NewRef(reply) : PyDict_New();
}

static PyObject *make_of_reply(PyObject *context, PyObject *reply)
{
    PyObject *names = PyTuple_GetItem(context, 1), *values[MAX_NAMED + 1];
    Py_ssize_t count = PyTuple_Size(names);
    if (!PyDict_Check(reply)) {
        PyErr_SetString(PyExc_TypeError, "a reply is a dict");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *value = PyDict_GetItemWithError(reply, PyTuple_GetItem(names, i));
        bool usable = value && PyUnicode_CheckExact(value) && PyUnicode_GetLength(value) > 0;
        values[i] = Py_NewRef(usable ? value : Py_None);
    }
    PyObject *record = make_of_named(context, values, rest_of(reply, names, values));
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_DECREF(values[i]);
    }
    return record;
}

static PyMethodDef reply_definition = {
    "make_of_reply", make_of_reply, METH_O,
    PyDoc_STR("Make a record of the fields of a checked reply, a dict that it takes over.")};

const char reply_maker_doc[] = PyDoc_STR(
    "reply_maker(type, slots, names, /)\n--\n\n"
    "Return a function that makes an instance of the type of a reply's fields, a dict.\n\n"
    "The slots get the texts of these names, or None, and the last one all other fields.\n"
    "What is no text, or empty, is one of those.");

PyObject *reply_maker(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *type, *slots, *names;
    if (!PyArg_ParseTuple(arguments, "O!O!O!", &PyType_Type, &type, &PyTuple_Type, &slots,
                          &PyTuple_Type, &names)) {
        return NULL;
    }
    bool fits = PyTuple_Size(names) <= MAX_NAMED && PyTuple_Size(slots) == PyTuple_Size(names) + 1;
    for (Py_ssize_t i = 0; fits && i < PyTuple_Size(names); i++) {
        fits = PyUnicode_CheckExact(PyTuple_GetItem(names, i)) != 0;
    }
    if (!fits) {
        PyErr_SetString(PyExc_TypeError, "each slot but the last one has a name");
        return NULL;
    }
    PyObject *parts = parts_of(type, slots);
    PyObject *context = parts ? PyTuple_Pack(2, parts, names) : NULL;
    PyObject *maker = context ? PyCFunction_New(&reply_definition, context) : NULL;
    Py_XDECREF(parts);
    Py_XDECREF(context);
    return maker;
}

/* The value of that name, of which the last one counts, if it can be used. */
static PyObject *text_named(const cJSON *fields, PyObject *name)
{
    const char *text = PyUnicode_AsUTF8AndSize(name, NULL);
    const cJSON *found = NULL, *member = NULL;
    cJSON_ArrayForEach(member, fields)
    {
        if (text && strcmp(member->string, text) == 0) {
            found = member;
        }
    }
    bool usable = cJSON_IsString(found) && *found->valuestring;
    return !text ? NULL : usable ? python_from_json(found) : Py_NewRef(Py_None);
}

static bool is_taken(const cJSON *member, PyObject *names, PyObject **values)
{
    for (Py_ssize_t i = 0; i < PyTuple_Size(names); i++) {
        const char *name = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(names, i), NULL); /* has it */
        bool usable = values[i] != Py_None || cJSON_IsNull(member);
        if (usable && strcmp(member->string, name) == 0) {
            return true;
        }
    }
    return false;
}

/* The other fields. */
static PyObject *others_of(const cJSON *fields, PyObject *names, PyObject **values)
{
    PyObject *rest = PyDict_New();
    const cJSON *member = NULL;
    cJSON_ArrayForEach(member, fields)
    {
        if (rest && !is_taken(member, names, values) && python_put_member(rest, member) < 0) {
            Py_CLEAR(rest);
        }
    }
    return rest;
}

static PyObject *make_of_fields(PyObject *context, const cJSON *fields)
{
    PyObject *names = PyTuple_GetItem(context, 1), *values[MAX_NAMED + 1], *record = NULL;
    Py_ssize_t count = PyTuple_Size(names), made = 0;
    while (made < count && (values[made] = text_named(fields, PyTuple_GetItem(names, made)))) {
        made++;
    }
    if (made == count) {
        record = make_of_named(context, values, others_of(fields, names, values));
    }
    while (made > 0) {
        Py_DECREF(values[--made]);
    }
    return record;
}

/* What is made of a reply's fields: without a dict of them in between, where that is known how. */
PyObject *record_of_reply(PyObject *function, const cJSON *fields)
{
    if (is_maker(function, reply_definition.ml_meth)) {
        return make_of_fields(PyCFunction_GetSelf(function), fields);
    }
    PyObject *reply = python_from_json(fields);
    PyObject *made = reply ? PyObject_CallFunctionObjArgs(function, reply, NULL) : NULL;
    Py_XDECREF(reply);
    return made;
}
