/* leaves.c: Python's values as those of a payload. Knows what JSON can hold, and nothing of
 * what a payload should. */
#include "values.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    ZONE_STEP = 15 * 60, /* all zones' offsets are multiples, since 1972 */
    FIRST_ZONE = -12 * 3600,
    LAST_ZONE = 14 * 3600
};

/* ---- what cannot be converted ------------------------------------------------------------ */

int value_refuse(const target *target, nontax_problem_id id, const char *value)
{
    nontax_payload_problem(target->payload, target->name, id, value);
    return 0;
}

/* One bad bill must not look like a failure of the program, so an Exception becomes a problem. */
int value_refuse_raised(const target *target, nontax_problem_id id)
{
    PyObject *type = NULL, *value = NULL, *traceback = NULL;
    if (PyErr_ExceptionMatches(PyExc_MemoryError) || !PyErr_ExceptionMatches(PyExc_Exception)) {
        return -1;
    }
    PyErr_Fetch(&type, &value, &traceback);
    char written[MAX_NAME];
    PyObject *name = PyType_GetName((PyTypeObject *)type);
    const char *text = name ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;
    PyErr_Clear();
    snprintf(written, sizeof written, "%.80s", text ? text : "an exception");
    Py_XDECREF(name);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return value_refuse(target, id, written);
}

void value_write_type(PyObject *object, char *written)
{
    PyObject *name = PyType_GetQualName(Py_TYPE(object));
    const char *text = name ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;
    if (!text) {
        PyErr_Clear();
    }
    snprintf(written, MAX_NAME, "%.80s", text ? text : "thing");
    Py_XDECREF(name);
}

int value_put_foreign(const target *target, PyObject *object)
{
    char type[MAX_NAME], kind[MAX_NAME + 3];
    value_write_type(object, type);
    snprintf(kind, sizeof kind, "%s %s", strchr("AEIOUaeio", type[0]) ? "an" : "a", type);
    nontax_payload_foreign(target->payload, target->name, kind);
    return 0;
}

/* A name that is no str is shown only if it is sure to be neither long nor secret. */
int value_refuse_name(const target *target, PyObject *key)
{
    char type[MAX_NAME], written[MAX_NAME + 16];
    int overflow = 0;
    long long value = PyLong_CheckExact(key) ? PyLong_AsLongLongAndOverflow(key, &overflow) : 0;
    value_write_type(key, type);
    if (key == Py_None || key == Py_True || key == Py_False) {
        return value_refuse(target, NONTAX_PROBLEM_NAME_NOT_TEXT,
                            key == Py_None   ? "None"
                            : key == Py_True ? "True"
                                             : "False");
    }
    if (PyLong_CheckExact(key) && !overflow) {
        snprintf(written, sizeof written, "the int %lld", value);
    } else {
        snprintf(written, sizeof written, "of type %s", type);
    }
    return value_refuse(target, NONTAX_PROBLEM_NAME_NOT_TEXT, written);
}

/* ---- what can ---------------------------------------------------------------------------- */

const char *value_text_of(PyObject *object, Py_ssize_t *size, nontax_problem_id *why)
{
    const char *text = PyUnicode_AsUTF8AndSize(object, size);
    if (!text) {
        if (PyErr_ExceptionMatches(PyExc_UnicodeError)) {
            PyErr_Clear();
            *why = NONTAX_PROBLEM_HAS_SURROGATE;
        }
        return NULL;
    }
    if (strlen(text) != (size_t)*size) {
        *why = NONTAX_PROBLEM_HAS_NUL;
        return NULL;
    }
    return text;
}

int value_put_text(const target *target, PyObject *object)
{
    Py_ssize_t size = 0;
    nontax_problem_id why = NONTAX_PROBLEM_COUNT;
    const char *text = value_text_of(object, &size, &why);
    if (text) {
        nontax_payload_text(target->payload, target->name, text, (size_t)size);
        return 0;
    }
    return PyErr_Occurred() ? -1 : value_refuse(target, why, NULL);
}

int value_put_integer(const target *target, PyObject *object)
{
    int overflow = 0;
    long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (!overflow) {
        if (value == -1 && PyErr_Occurred()) {
            return -1;
        }
        nontax_payload_integer(target->payload, target->name, value);
        return 0;
    }
    PyObject *digits = PyNumber_ToBase(object, 10);
    if (!digits) {
        return value_refuse_raised(target,
                                   NONTAX_PROBLEM_INTEGER_RANGE); /* sys.get_int_max_str_digits() */
    }
    const char *literal = PyUnicode_AsUTF8AndSize(digits, NULL);
    if (literal) {
        nontax_payload_number(target->payload, target->name, literal);
    }
    Py_DECREF(digits);
    return literal ? 0 : -1;
}

int value_put_float(const target *target, PyObject *object)
{
    double value = PyFloat_AsDouble(object);
    if (value == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (isnan(value)) {
        return value_refuse(target, NONTAX_PROBLEM_EMPTY_CELL, "NaN");
    }
    char *literal = PyOS_double_to_string(value, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (!literal) {
        return -1;
    }
    nontax_payload_number(target->payload, target->name,
                          literal); /* "inf" is the core's to refuse */
    PyMem_Free(literal);
    return 0;
}

int value_put_index(const target *target, PyObject *object)
{
    PyObject *integer = PyNumber_Index(object);
    if (!integer) {
        return value_refuse_raised(target, NONTAX_PROBLEM_INTEGER_RAISED);
    }
    int failed = value_put_integer(target, integer);
    Py_DECREF(integer);
    return failed;
}

/* An attribute that is an integer; false with an exception set. */
static bool get_integer(PyObject *object, const char *name, long *value)
{
    PyObject *attribute = PyObject_GetAttrString(object, name);
    *value = attribute ? PyLong_AsLong(attribute) : -1;
    Py_XDECREF(attribute);
    return *value != -1 || !PyErr_Occurred();
}

/* The timedelta that a time gives as its offset, in seconds; false with an exception set. */
static bool read_offset(PyObject *offset, long *seconds, bool *whole)
{
    long days, rest, microseconds;
    if (!get_integer(offset, "days", &days) || !get_integer(offset, "seconds", &rest) ||
        !get_integer(offset, "microseconds", &microseconds)) {
        return false;
    }
    *seconds = days * 86400 + rest;
    *whole = microseconds == 0;
    return true;
}

/* pytz's zones, handed to datetime(), give the mean solar time of 1900. */
static int refuse_offset(const target *target, long seconds)
{
    char written[MAX_NAME];
    long magnitude = seconds < 0 ? -seconds : seconds;
    int size = snprintf(written, sizeof written, "%c%02ld:%02ld", seconds < 0 ? '-' : '+',
                        magnitude / 3600, magnitude / 60 % 60);
    if (magnitude % 60) {
        snprintf(written + size, sizeof written - (size_t)size, ":%02ld", magnitude % 60);
    }
    return value_refuse(target, NONTAX_PROBLEM_TIME_OFFSET, written);
}

/* The C API of datetime is not part of the limited API, and importing the module would slow down
 * `import nontax`. */
int value_put_time(const target *target, PyObject *object)
{
    long zone = 0;
    bool whole_seconds = true;
    PyObject *offset = PyObject_CallMethod(object, "utcoffset", NULL);
    if (!offset) {
        return value_refuse_raised(target, NONTAX_PROBLEM_TIME_RAISED);
    }
    bool naive = offset == Py_None, read = naive || read_offset(offset, &zone, &whole_seconds);
    Py_DECREF(offset);
    if (naive) {
        return value_refuse(target, NONTAX_PROBLEM_TIME_NAIVE, NULL);
    } else if (!read) {
        return value_refuse_raised(target, NONTAX_PROBLEM_TIME_RAISED);
    } else if (!whole_seconds || zone % ZONE_STEP || zone < FIRST_ZONE || zone > LAST_ZONE) {
        return refuse_offset(target, zone);
    }
    PyObject *seconds = PyObject_CallMethod(object, "timestamp", NULL);
    if (!seconds) {
        return value_refuse_raised(target, NONTAX_PROBLEM_TIME_RAISED);
    }
    double value = PyFloat_AsDouble(seconds);
    Py_DECREF(seconds);
    if (value == -1.0 && PyErr_Occurred()) {
        return value_refuse_raised(target, NONTAX_PROBLEM_TIME_RAISED);
    }
    if (isnan(value)) {
        return value_refuse(target, NONTAX_PROBLEM_EMPTY_CELL, "NaT");
    }
    if (!(value > -1e15 && value < 1e15)) {
        return value_refuse(target, NONTAX_PROBLEM_TIME_FORM, NULL);
    }
    int64_t whole = (int64_t)value;
    whole -= (double)whole > value; /* rounds down, also before 1970 */
    nontax_payload_time(target->payload, target->name, whole);
    return 0;
}

int value_put_secret(const target *target, PyObject *object)
{
    PyObject *text = PyObject_GetAttrString(object, "_secret_text");
    if (!text) {
        return value_refuse_raised(target, NONTAX_PROBLEM_UNREADABLE);
    }
    int failed =
        PyUnicode_Check(text) ? value_put_text(target, text) : value_put_foreign(target, text);
    Py_DECREF(text);
    return failed;
}
