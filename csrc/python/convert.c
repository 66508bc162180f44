/* convert.c: Python objects to cJSON trees and back. Knows what JSON can hold, and nothing of what
 * a payload should. */
#include "core.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_DEPTH = 64,      /* like the core's own limit */
    MAX_VALUES = 100000, /* shared lists can unfold without end: a payload has a dozen values */
    MAX_DIGITS = 500,    /* of an integer in a reply; Python's own limit can be set to 640 */
    MAX_NAME = 81,       /* of a type or an exception */
    ZONE_STEP = 15 * 60, /* all zones' offsets are multiples, since 1972 */
    FIRST_ZONE = -12 * 3600,
    LAST_ZONE = 14 * 3600
};

/* A container that is being walked, linked to those that it is in; they live on the C stack. */
typedef struct place {
    const struct place *above;
    PyObject *container; /* borrowed */
    int depth;
} place;

/* Every one of these returns a new item, or NULL with an exception set. */
static cJSON *convert(int *values, PyObject *object, const place *here);

static cJSON *checked(cJSON *item)
{
    if (!item) {
        PyErr_NoMemory();
    }
    return item;
}

/* The item that stands for a value which cannot be converted. */
static cJSON *refuse(nontax_problem_id id, const char *value)
{
    return checked(nontax_json_problem(id, value));
}

/* The caller's own code, behind a mapping or a number, has raised. One bad bill must not look like
 * a failure of the program, so an Exception becomes a problem. */
static cJSON *refuse_raised(nontax_problem_id id)
{
    PyObject *type = NULL, *value = NULL, *traceback = NULL;
    if (PyErr_ExceptionMatches(PyExc_MemoryError) || !PyErr_ExceptionMatches(PyExc_Exception)) {
        return NULL;
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
    return refuse(id, written);
}

static void write_type(PyObject *object, char *written)
{
    PyObject *name = PyType_GetQualName(Py_TYPE(object));
    const char *text = name ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;
    if (!text) {
        PyErr_Clear();
    }
    snprintf(written, MAX_NAME, "%.80s", text ? text : "thing");
    Py_XDECREF(name);
}

/* What JSON does not have, by its type. */
static cJSON *convert_foreign(PyObject *object)
{
    char type[MAX_NAME], kind[MAX_NAME + 3];
    write_type(object, type);
    snprintf(kind, sizeof kind, "%s %s", strchr("AEIOUaeio", type[0]) ? "an" : "a", type);
    return checked(nontax_json_foreign(kind));
}

/* A name that is no str is shown only if it is sure to be neither long nor secret. */
static cJSON *refuse_name(PyObject *key)
{
    char type[MAX_NAME], written[MAX_NAME + 16];
    int overflow = 0;
    long long value = PyLong_CheckExact(key) ? PyLong_AsLongLongAndOverflow(key, &overflow) : 0;
    write_type(key, type);
    if (key == Py_None || key == Py_True || key == Py_False) {
        return refuse(NONTAX_PROBLEM_NAME_NOT_TEXT, key == Py_None   ? "None"
                                                    : key == Py_True ? "True"
                                                                     : "False");
    }
    if (PyLong_CheckExact(key) && !overflow) {
        snprintf(written, sizeof written, "the int %lld", value);
    } else {
        snprintf(written, sizeof written, "of type %s", type);
    }
    return refuse(NONTAX_PROBLEM_NAME_NOT_TEXT, written);
}

/* ---- leaves ------------------------------------------------------------------------------ */

/* The text of a str, or NULL: then *why is the problem, or there is an exception set. */
static const char *text_of(PyObject *object, nontax_problem_id *why)
{
    Py_ssize_t size = 0;
    const char *text = PyUnicode_AsUTF8AndSize(object, &size);
    if (!text) {
        if (PyErr_ExceptionMatches(PyExc_UnicodeError)) {
            PyErr_Clear();
            *why = NONTAX_PROBLEM_HAS_SURROGATE;
        }
        return NULL;
    }
    if (strlen(text) != (size_t)size) {
        *why = NONTAX_PROBLEM_HAS_NUL;
        return NULL;
    }
    return text;
}

static cJSON *convert_text(PyObject *object)
{
    nontax_problem_id why = NONTAX_PROBLEM_COUNT;
    const char *text = text_of(object, &why);
    if (text) {
        return checked(cJSON_CreateString(text));
    }
    return PyErr_Occurred() ? NULL : refuse(why, NULL);
}

static cJSON *convert_integer(PyObject *object)
{
    int overflow = 0;
    long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (!overflow) {
        char literal[24];
        if (value == -1 && PyErr_Occurred()) {
            return NULL;
        }
        snprintf(literal, sizeof literal, "%lld", value);
        return checked(nontax_json_number(literal));
    }
    PyObject *digits = PyNumber_ToBase(object, 10);
    if (!digits) {
        return refuse_raised(NONTAX_PROBLEM_INTEGER_RANGE); /* sys.get_int_max_str_digits() */
    }
    const char *literal = PyUnicode_AsUTF8AndSize(digits, NULL);
    cJSON *item = literal ? checked(nontax_json_number(literal)) : NULL;
    Py_DECREF(digits);
    return item;
}

static cJSON *convert_float(PyObject *object)
{
    double value = PyFloat_AsDouble(object);
    if (value == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    if (isnan(value)) {
        return refuse(NONTAX_PROBLEM_EMPTY_CELL, "NaN");
    }
    char *literal = PyOS_double_to_string(value, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (!literal) {
        return NULL;
    }
    cJSON *item = checked(nontax_json_number(literal)); /* "inf" is the core's to refuse */
    PyMem_Free(literal);
    return item;
}

/* A number of another library (NumPy's integers), by way of __index__. */
static cJSON *convert_index(PyObject *object)
{
    PyObject *integer = PyNumber_Index(object);
    if (!integer) {
        return refuse_raised(NONTAX_PROBLEM_INTEGER_RAISED);
    }
    cJSON *item = convert_integer(integer);
    Py_DECREF(integer);
    return item;
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
static cJSON *refuse_offset(long seconds)
{
    char written[MAX_NAME];
    long magnitude = seconds < 0 ? -seconds : seconds;
    int size = snprintf(written, sizeof written, "%c%02ld:%02ld", seconds < 0 ? '-' : '+',
                        magnitude / 3600, magnitude / 60 % 60);
    if (magnitude % 60) {
        snprintf(written + size, sizeof written - (size_t)size, ":%02ld", magnitude % 60);
    }
    return refuse(NONTAX_PROBLEM_TIME_OFFSET, written);
}

/* A datetime, or something that behaves like one (pandas.Timestamp). The C API of datetime is not
 * part of the limited API, and importing the module would slow down `import nontax`. */
static cJSON *convert_time(PyObject *object)
{
    long zone = 0;
    bool whole_seconds = true;
    PyObject *offset = PyObject_CallMethod(object, "utcoffset", NULL);
    if (!offset) {
        return refuse_raised(NONTAX_PROBLEM_TIME_RAISED);
    }
    bool naive = offset == Py_None, read = naive || read_offset(offset, &zone, &whole_seconds);
    Py_DECREF(offset);
    if (naive) {
        return refuse(NONTAX_PROBLEM_TIME_NAIVE, NULL);
    } else if (!read) {
        return refuse_raised(NONTAX_PROBLEM_TIME_RAISED);
    } else if (!whole_seconds || zone % ZONE_STEP || zone < FIRST_ZONE || zone > LAST_ZONE) {
        return refuse_offset(zone);
    }
    PyObject *seconds = PyObject_CallMethod(object, "timestamp", NULL);
    if (!seconds) {
        return refuse_raised(NONTAX_PROBLEM_TIME_RAISED);
    }
    double value = PyFloat_AsDouble(seconds);
    Py_DECREF(seconds);
    if (value == -1.0 && PyErr_Occurred()) {
        return refuse_raised(NONTAX_PROBLEM_TIME_RAISED);
    }
    if (isnan(value)) {
        return refuse(NONTAX_PROBLEM_EMPTY_CELL, "NaT");
    }
    if (!(value > -1e15 && value < 1e15)) {
        return refuse(NONTAX_PROBLEM_TIME_FORM, NULL);
    }
    int64_t whole = (int64_t)value;
    whole -= (double)whole > value; /* rounds down, also before 1970 */
    return checked(nontax_json_time(whole));
}

/* A credential, which no frame of Python's is to show: its repr() does not, and only here its text
 * is taken. */
static cJSON *convert_secret(PyObject *object)
{
    PyObject *text = PyObject_GetAttrString(object, "_secret_text");
    if (!text) {
        return refuse_raised(NONTAX_PROBLEM_UNREADABLE);
    }
    cJSON *item = PyUnicode_Check(text) ? convert_text(text) : convert_foreign(text);
    Py_DECREF(text);
    return item;
}

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

static int add_member(int *values, cJSON *target, PyObject *key, PyObject *value, const place *here)
{
    nontax_problem_id why = NONTAX_PROBLEM_COUNT;
    const char *name = PyUnicode_Check(key) ? text_of(key, &why) : NULL;
    cJSON *item = NULL;
    if (name) {
        item = convert(values, value, here);
    } else if (!PyErr_Occurred()) {
        item = why == NONTAX_PROBLEM_COUNT ? refuse_name(key) : refuse(why, NULL);
    }
    if (!item) {
        return -1;
    }
    if (!cJSON_AddItemToObject(target, name ? name : "", item)) {
        cJSON_Delete(item);
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static cJSON *convert_mapping(int *values, PyObject *object, const place *here)
{
    /* A snapshot: converting a value may run the caller's code, and that may change the mapping. */
    PyObject *items = PyMapping_Items(object);
    if (!items) {
        return refuse_raised(NONTAX_PROBLEM_UNREADABLE);
    }
    cJSON *target = checked(cJSON_CreateObject());
    Py_ssize_t count = target ? PyList_Size(items) : 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyList_GetItem(items, i); /* borrowed; the list is ours alone */
        int failed;
        if (item && PyTuple_Check(item) && PyTuple_Size(item) == 2) {
            failed = add_member(values, target, PyTuple_GetItem(item, 0), PyTuple_GetItem(item, 1),
                                here);
        } else {
            cJSON_Delete(target);
            target = refuse(NONTAX_PROBLEM_NO_PAIRS, NULL);
            break;
        }
        if (failed) {
            cJSON_Delete(target);
            target = NULL;
            break;
        }
    }
    Py_DECREF(items);
    return target;
}

static cJSON *convert_sequence(int *values, PyObject *object, const place *here)
{
    PyObject *items = PySequence_Tuple(object);
    if (!items) {
        return refuse_raised(NONTAX_PROBLEM_UNREADABLE);
    }
    cJSON *target = checked(cJSON_CreateArray());
    Py_ssize_t count = target ? PyTuple_Size(items) : 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        cJSON *item = convert(values, PyTuple_GetItem(items, i), here);
        if (!item || !cJSON_AddItemToArray(target, item)) {
            cJSON_Delete(item);
            cJSON_Delete(target);
            target = NULL;
            break;
        }
    }
    Py_DECREF(items);
    return target;
}

static cJSON *convert_container(int *values, PyObject *object, const place *here, bool is_mapping)
{
    const place there = {here, object, here->depth + 1};
    if (is_inside_itself(object, here)) {
        return refuse(NONTAX_PROBLEM_INSIDE_ITSELF, NULL);
    }
    if (here->depth >= MAX_DEPTH) {
        return refuse(NONTAX_PROBLEM_TOO_DEEP, NULL);
    }
    return is_mapping ? convert_mapping(values, object, &there)
                      : convert_sequence(values, object, &there);
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
static cJSON *convert_other(int *values, PyObject *object, const place *here)
{
    char type[MAX_NAME];
    write_type(object, type);
    if (strcmp(type, "NAType") == 0 || strcmp(type, "NaTType") == 0) { /* pandas' */
        return refuse(NONTAX_PROBLEM_EMPTY_CELL, type[1] == 'A' ? "NA" : "NaT");
    }
    int is_time = has_both(object, "utcoffset", "timestamp");
    if (is_time) {
        return is_time < 0 ? NULL : convert_time(object);
    }
    int is_mapping = PyMapping_Check(object) ? has_both(object, "keys", "items") : 0;
    if (is_mapping) {
        return is_mapping < 0 ? NULL : convert_container(values, object, here, true);
    }
    int is_secret = has(object, "_secret_text");
    if (is_secret) {
        return is_secret < 0 ? NULL : convert_secret(object);
    }
    return convert_foreign(object);
}

static cJSON *convert(int *values, PyObject *object, const place *here)
{
    if (++*values > MAX_VALUES) {
        return refuse(NONTAX_PROBLEM_TOO_MANY, NULL);
    }
    if (PyUnicode_Check(object)) {
        return convert_text(object);
    } else if (object == Py_True || object == Py_False) {
        return checked(cJSON_CreateBool(object == Py_True));
    } else if (PyLong_Check(object)) {
        return convert_integer(object);
    } else if (PyDict_Check(object)) {
        return convert_container(values, object, here, true);
    } else if (object == Py_None) {
        return checked(cJSON_CreateNull());
    } else if (PyFloat_Check(object)) {
        return convert_float(object);
    } else if (PyList_Check(object) || PyTuple_Check(object)) {
        return convert_container(values, object, here, false);
    } else if (PyIndex_Check(object)) {
        return convert_index(object);
    }
    return convert_other(values, object, here);
}

cJSON *json_from_python(PyObject *object)
{
    int values = 0;
    const place top = {NULL, NULL, 0};
    cJSON *tree = convert(&values, object, &top);
    bool problem = tree && cJSON_IsInvalid(tree);
    if (tree && !problem && !cJSON_IsObject(tree)) {
        cJSON_Delete(tree);
        return convert_foreign(object); /* its own name says more than JSON's */
    }
    if (tree && values > MAX_VALUES) { /* in an extra field it could stay unseen */
        cJSON_Delete(tree);
        return refuse(NONTAX_PROBLEM_TOO_MANY, NULL);
    }
    return tree;
}

/* ---- back -------------------------------------------------------------------------------- */

static PyObject *python_from_object(const cJSON *item)
{
    PyObject *target = PyDict_New();
    const cJSON *member = NULL;
    cJSON_ArrayForEach(member, item)
    {
        PyObject *key = NULL, *value = NULL;
        if (target) {
            key =
                PyUnicode_DecodeUTF8(member->string, (Py_ssize_t)strlen(member->string), "replace");
            value = key ? python_from_json(member) : NULL;
            if (!value || PyDict_SetItem(target, key, value) < 0) {
                Py_CLEAR(target);
            }
        }
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    return target;
}

static PyObject *python_from_array(const cJSON *item)
{
    PyObject *target = PyList_New(0);
    const cJSON *member = NULL;
    cJSON_ArrayForEach(member, item)
    {
        PyObject *value = target ? python_from_json(member) : NULL;
        if (target && (!value || PyList_Append(target, value) < 0)) {
            Py_CLEAR(target);
        }
        Py_XDECREF(value);
    }
    return target;
}

/* The core keeps what a double would not hold. */
static bool is_integer_literal(const cJSON *item)
{
    if (!cJSON_IsNumber(item) || !item->valuestring) {
        return false;
    }
    const char *digits = item->valuestring + (*item->valuestring == '-');
    size_t size = strspn(digits, "0123456789");
    return size > 0 && size <= MAX_DIGITS && !digits[size];
}

PyObject *python_from_json(const cJSON *item)
{
    if (cJSON_IsString(item)) {
        return PyUnicode_DecodeUTF8(item->valuestring, (Py_ssize_t)strlen(item->valuestring),
                                    "replace");
    } else if (is_integer_literal(item)) {
        return PyLong_FromString(item->valuestring, NULL, 10);
    } else if (cJSON_IsNumber(item)) {
        double value = item->valuedouble;
        bool whole = value > -9e15 && value < 9e15 && value == (double)(long long)value;
        return whole ? PyLong_FromLongLong((long long)value) : PyFloat_FromDouble(value);
    } else if (cJSON_IsBool(item)) {
        return PyBool_FromLong(cJSON_IsTrue(item));
    } else if (cJSON_IsObject(item)) {
        return python_from_object(item);
    } else if (cJSON_IsArray(item)) {
        return python_from_array(item);
    }
    return Py_NewRef(Py_None);
}
