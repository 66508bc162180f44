/* values.c: a payload of Python's objects, everything copied. */
#include "values.h"

#include <string.h>

enum {
    MAX_DEPTH = 64,     /* like the core's own limit */
    MAX_VALUES = 100000 /* shared lists can unfold without end: a payload has a dozen values */
};

/* A container that is being walked, linked to those that it is in; they live on the C stack. */
typedef struct place {
    const struct place *above; /* NULL: nothing is walked yet */
    PyObject *container;       /* borrowed */
    int depth;
    int *values; /* how many there are by now */
} place;

/* Each of these returns 0, or -1 with an exception set; see payload.h. */
static int put(const target *target, PyObject *object, const place *here);

/* ---- containers -------------------------------------------------------------------------- */

static bool is_inside_itself(PyObject *container, const place *here)
{
    for (; here; here = here->above) {
        if (here->container == container) {
            return true;
        }
    }
    return false;
}

static int put_member(nontax_payload *payload, PyObject *key, PyObject *value, const place *here)
{
    Py_ssize_t size = 0;
    nontax_problem_id why = NONTAX_PROBLEM_COUNT;
    const char *name = PyUnicode_Check(key) ? value_text_of(key, &size, &why) : NULL;
    const target target = {payload, name ? name : ""};
    if (name) {
        return put(&target, value, here);
    } else if (PyErr_Occurred()) {
        return -1;
    }
    return why == NONTAX_PROBLEM_COUNT ? value_refuse_name(&target, key)
                                       : value_refuse(&target, why, NULL);
}

static bool are_pairs(PyObject *items)
{
    Py_ssize_t count = PyList_Size(items), pairs = 0;
    while (pairs < count) {
        PyObject *item = PyList_GetItem(items, pairs);
        if (!PyTuple_Check(item) || PyTuple_Size(item) != 2) {
            break;
        }
        pairs++;
    }
    return pairs == count;
}

/* Converting a value may run the caller's code, and that may change the dict: hence a copy. */
static int put_dict(const target *target, PyObject *object, const place *here)
{
    PyObject *copied = PyDict_Copy(object), *key, *value;
    Py_ssize_t at = 0;
    int failed = copied ? 0 : -1;
    nontax_payload_object(target->payload, target->name);
    while (!failed && PyDict_Next(copied, &at, &key, &value)) {
        failed = put_member(target->payload, key, value, here);
    }
    nontax_payload_end(target->payload);
    Py_XDECREF(copied);
    return failed;
}

/* Any other mapping, of which items() says what is in it. */
static int put_mapping(const target *target, PyObject *object, const place *here)
{
    PyObject *items = PyMapping_Items(object);
    if (!items) {
        return value_refuse_raised(target, NONTAX_PROBLEM_UNREADABLE);
    }
    int failed = 0;
    if (are_pairs(items)) {
        nontax_payload_object(target->payload, target->name);
        for (Py_ssize_t i = 0; !failed && i < PyList_Size(items); i++) {
            PyObject *item = PyList_GetItem(items, i); /* borrowed; the list is ours alone */
            failed = put_member(target->payload, PyTuple_GetItem(item, 0), PyTuple_GetItem(item, 1),
                                here);
        }
        nontax_payload_end(target->payload);
    } else {
        failed = value_refuse(target, NONTAX_PROBLEM_NO_PAIRS, NULL);
    }
    Py_DECREF(items);
    return failed;
}

static int put_sequence(const target *target, PyObject *object, const place *here)
{
    PyObject *items = PySequence_Tuple(object);
    if (!items) {
        return value_refuse_raised(target, NONTAX_PROBLEM_UNREADABLE);
    }
    const struct target element = {target->payload, NULL};
    int failed = 0;
    nontax_payload_list(target->payload, target->name);
    for (Py_ssize_t i = 0; !failed && i < PyTuple_Size(items); i++) {
        failed = put(&element, PyTuple_GetItem(items, i), here);
    }
    nontax_payload_end(target->payload);
    Py_DECREF(items);
    return failed;
}

static int put_container(const target *target, PyObject *object, const place *here, bool is_mapping)
{
    const place there = {here, object, here->depth + 1, here->values};
    if (is_inside_itself(object, here)) {
        return value_refuse(target, NONTAX_PROBLEM_INSIDE_ITSELF, NULL);
    }
    if (here->depth >= MAX_DEPTH) {
        return value_refuse(target, NONTAX_PROBLEM_TOO_DEEP, NULL);
    }
    return PyDict_CheckExact(object) ? put_dict(target, object, &there)
           : is_mapping              ? put_mapping(target, object, &there)
                                     : put_sequence(target, object, &there);
}

/* ---- anything ---------------------------------------------------------------------------- */

/* 1, 0, or -1 with an exception set: what came out of the caller's code was no Exception. */
static int has(PyObject *object, const char *name)
{
    PyObject *value = PyObject_GetAttrString(object, name);
    if (value) {
        Py_DECREF(value);
        return 1;
    }
    if (PyErr_ExceptionMatches(PyExc_MemoryError) || !PyErr_ExceptionMatches(PyExc_Exception)) {
        return -1;
    }
    PyErr_Clear();
    return 0;
}

static int has_both(PyObject *object, const char *one, const char *other)
{
    int there = has(object, one);
    return there == 1 ? has(object, other) : there;
}

/* What is none of Python's own types. */
static int put_other(const target *target, PyObject *object, const place *here)
{
    char type[MAX_NAME];
    value_write_type(object, type);
    if (strcmp(type, "NAType") == 0 || strcmp(type, "NaTType") == 0) { /* pandas' */
        return value_refuse(target, NONTAX_PROBLEM_EMPTY_CELL, type[1] == 'A' ? "NA" : "NaT");
    }
    int is_time = has_both(object, "utcoffset", "timestamp");
    if (is_time) {
        return is_time < 0 ? -1 : value_put_time(target, object);
    }
    int is_mapping = PyMapping_Check(object) ? has_both(object, "keys", "items") : 0;
    if (is_mapping) {
        return is_mapping < 0 ? -1 : put_container(target, object, here, true);
    }
    int is_secret = has(object, "_secret_text");
    if (is_secret) {
        return is_secret < 0 ? -1 : value_put_secret(target, object);
    }
    return value_put_foreign(target, object);
}

static int put(const target *target, PyObject *object, const place *here)
{
    if (++*here->values > MAX_VALUES) {
        return value_refuse(target, NONTAX_PROBLEM_TOO_MANY, NULL);
    }
    if (PyUnicode_Check(object)) {
        return value_put_text(target, object);
    } else if (object == Py_True || object == Py_False) {
        nontax_payload_bool(target->payload, target->name, object == Py_True);
        return 0;
    } else if (PyLong_Check(object)) {
        return value_put_integer(target, object);
    } else if (PyDict_Check(object)) {
        return put_container(target, object, here, true);
    } else if (object == Py_None) {
        nontax_payload_null(target->payload, target->name);
        return 0;
    } else if (PyFloat_Check(object)) {
        return value_put_float(target, object);
    } else if (PyList_Check(object) || PyTuple_Check(object)) {
        return put_container(target, object, here, false);
    } else if (PyIndex_Check(object)) {
        return value_put_index(target, object);
    }
    return put_other(target, object, here);
}

static int put_whole(nontax_payload *payload, PyObject *object)
{
    int values = 0;
    const place top = {NULL, NULL, 0, &values};
    const target whole = {payload, NULL};
    if (put(&whole, object, &top) < 0) {
        return -1;
    }
    if (values > MAX_VALUES) { /* in an extra field it could stay unseen */
        nontax_payload_clear(payload);
        return value_refuse(&whole, NONTAX_PROBLEM_TOO_MANY, NULL);
    }
    if (!nontax_payload_has_fields(payload)) {
        nontax_payload_clear(payload);
        return value_put_foreign(&whole, object); /* its own name says more than JSON's */
    }
    return 0;
}

nontax_payload *payload_from_python(PyObject *object)
{
    nontax_payload *payload = nontax_payload_new();
    int failed = payload ? put_whole(payload, object) : 0;
    if (!payload || (!failed && !nontax_payload_is_whole(payload))) {
        PyErr_NoMemory();
        failed = -1;
    }
    if (failed) {
        nontax_payload_free(payload);
        return NULL;
    }
    return payload;
}
