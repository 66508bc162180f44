/* convert.c: Python objects to cJSON trees and back. Knows what JSON can hold, and nothing of what
 * a payload should. */
#include "core.h"

#include <stdio.h>
#include <string.h>

enum {
    MAX_DEPTH = 64,      /* like the core's own limit */
    MAX_VALUES = 100000, /* shared lists can unfold without end: a payload has a dozen values */
    MAX_PATH = 256,
    MAX_DIGITS = 500, /* of an integer in a reply; Python's own limit can be set to 640 */
    MAX_NAME = 81
};

/* A place in the tree, linked to the places above it; they live on the C stack. */
typedef struct place {
    const struct place *above;
    const char *name; /* NULL: `index` counts */
    Py_ssize_t index;
    PyObject *container; /* what is being walked here; borrowed */
    int depth;
} place;

typedef struct walk {
    nontax_problems *problems;
    int values;
} walk;

/* Every one of these returns a new item, or NULL with an exception set. */
static cJSON *convert(walk *walk, PyObject *object, const place *here);

static cJSON *checked(cJSON *item)
{
    if (!item) {
        PyErr_NoMemory();
    }
    return item;
}

static void write_path(const place *here, char *path)
{
    *path = '\0';
    if (!here->above) {
        return;
    }
    write_path(here->above, path);
    size_t used = strlen(path);
    const char *dot = used ? "." : "";
    if (here->name) {
        snprintf(path + used, MAX_PATH - used, "%s%s", dot, *here->name ? here->name : "\"\"");
    } else {
        snprintf(path + used, MAX_PATH - used, "%s%zd", dot, here->index);
    }
}

/* Adds a problem and returns the item that stands for it. */
static cJSON *refuse(walk *walk, const place *here, const char *message)
{
    char path[MAX_PATH];
    write_path(here, path);
    if (nontax_problems_add(walk->problems, path, message) != NONTAX_OK) {
        PyErr_NoMemory();
        return NULL;
    }
    return checked(nontax_json_invalid());
}

/* The caller's own code, behind a mapping or a number, has raised. One bad bill must not look like
 * a failure of the program, so an Exception becomes a problem. */
static cJSON *refuse_raised(walk *walk, const place *here, const char *what)
{
    PyObject *type = NULL, *value = NULL, *traceback = NULL;
    if (PyErr_ExceptionMatches(PyExc_MemoryError) || !PyErr_ExceptionMatches(PyExc_Exception)) {
        return NULL;
    }
    PyErr_Fetch(&type, &value, &traceback);
    char message[160];
    PyObject *name = PyType_GetName((PyTypeObject *)type);
    const char *text = name ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;
    PyErr_Clear();
    snprintf(message, sizeof message, "%s: it raised %.80s", what, text ? text : "an exception");
    Py_XDECREF(name);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return refuse(walk, here, message);
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

/* A name that is no str is shown only if it is sure to be neither long nor secret. */
static cJSON *refuse_name(walk *walk, PyObject *key, const place *here)
{
    char type[MAX_NAME], message[160];
    int overflow = 0;
    long long value = PyLong_CheckExact(key) ? PyLong_AsLongLongAndOverflow(key, &overflow) : 0;
    write_type(key, type);
    if (key == Py_None || key == Py_True || key == Py_False) {
        const char *text = key == Py_None ? "None" : key == Py_True ? "True" : "False";
        snprintf(message, sizeof message, "has a name that is not a str but %s", text);
    } else if (PyLong_CheckExact(key) && !overflow) {
        snprintf(message, sizeof message, "has a name that is not a str but the int %lld", value);
    } else {
        snprintf(message, sizeof message, "has a name that is not a str but of type %s", type);
    }
    return refuse(walk, here, message);
}

/* ---- leaves ------------------------------------------------------------------------------ */

/* The text of a str, or NULL: then *why is the problem, or NULL with an exception set. */
static const char *text_of(PyObject *object, const char **why)
{
    Py_ssize_t size = 0;
    const char *text = PyUnicode_AsUTF8AndSize(object, &size);
    *why = NULL;
    if (!text) {
        if (PyErr_ExceptionMatches(PyExc_UnicodeError)) {
            PyErr_Clear();
            *why = "has half of a surrogate pair in it, which is no text";
        }
        return NULL;
    }
    if (strlen(text) != (size_t)size) {
        *why = "has a NUL character in it";
        return NULL;
    }
    return text;
}

static cJSON *convert_text(walk *walk, PyObject *object, const place *here)
{
    const char *why;
    const char *text = text_of(object, &why);
    if (text) {
        return checked(cJSON_CreateString(text));
    }
    return why ? refuse(walk, here, why) : NULL;
}

static cJSON *convert_integer(walk *walk, PyObject *object, const place *here)
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
        return refuse_raised(walk, here, "is too large"); /* beyond sys.get_int_max_str_digits() */
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
    char *literal = PyOS_double_to_string(value, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (!literal) {
        return NULL;
    }
    cJSON *item = checked(nontax_json_number(literal)); /* "nan" is the core's to refuse */
    PyMem_Free(literal);
    return item;
}

/* A number of another library (NumPy's integers), by way of __index__. */
static cJSON *convert_index(walk *walk, PyObject *object, const place *here)
{
    PyObject *integer = PyNumber_Index(object);
    if (!integer) {
        return refuse_raised(walk, here, "is not an integer");
    }
    cJSON *item = convert_integer(walk, integer, here);
    Py_DECREF(integer);
    return item;
}

/* A datetime, or something that behaves like one (pandas.Timestamp). The C API of datetime is not
 * part of the limited API, and importing the module would slow down `import nontax`. */
static cJSON *convert_time(walk *walk, PyObject *object, const place *here)
{
    PyObject *offset = PyObject_CallMethod(object, "utcoffset", NULL);
    if (!offset) {
        return refuse_raised(walk, here, "is not a time");
    }
    bool naive = offset == Py_None;
    Py_DECREF(offset);
    if (naive) {
        return refuse(walk, here,
                      "is a time without a time zone, which may mean any of 26 hours: "
                      "give it one, such as tzinfo=ZoneInfo(\"Asia/Shanghai\")");
    }
    PyObject *seconds = PyObject_CallMethod(object, "timestamp", NULL);
    if (!seconds) {
        return refuse_raised(walk, here, "is not a time");
    }
    double value = PyFloat_AsDouble(seconds);
    Py_DECREF(seconds);
    if (value == -1.0 && PyErr_Occurred()) {
        return refuse_raised(walk, here, "is not a time");
    }
    if (!(value > -1e15 && value < 1e15)) {
        return refuse(walk, here, "is not a time (an empty cell?)");
    }
    int64_t whole = (int64_t)value;
    whole -= (double)whole > value; /* rounds down, also before 1970 */
    return checked(nontax_json_time(whole));
}

/* A credential, which no frame of Python's is to show: its repr() does not, and only here its text
 * is taken. */
static cJSON *convert_secret(walk *walk, PyObject *object, const place *here)
{
    PyObject *text = PyObject_GetAttrString(object, "_secret_text");
    if (!text) {
        return refuse_raised(walk, here, "cannot be read");
    }
    cJSON *item = PyUnicode_Check(text) ? convert_text(walk, text, here)
                                        : refuse(walk, here, "is not a text");
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

static int add_member(walk *walk, cJSON *target, PyObject *key, PyObject *value, const place *here)
{
    place there = {here, "", 0, NULL, here->depth + 1};
    const char *why = NULL, *name = NULL;
    if (PyUnicode_Check(key)) {
        name = text_of(key, &why);
        if (!name && !why) {
            return -1;
        }
    }
    if (!name) {
        cJSON *item = why ? refuse(walk, &there, why) : refuse_name(walk, key, &there);
        cJSON_Delete(item);
        return item ? 0 : -1;
    }
    there.name = name;
    cJSON *item = convert(walk, value, &there);
    if (!item) {
        return -1;
    }
    if (!cJSON_AddItemToObject(target, name, item)) {
        cJSON_Delete(item);
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static cJSON *convert_mapping(walk *walk, PyObject *object, place *here)
{
    here->container = object;
    /* A snapshot: converting a value may run the caller's code, and that may change the mapping. */
    PyObject *items = PyMapping_Items(object);
    if (!items) {
        return refuse_raised(walk, here, "cannot be read");
    }
    cJSON *target = checked(cJSON_CreateObject());
    Py_ssize_t count = target ? PyList_Size(items) : 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyList_GetItem(items, i); /* borrowed; the list is ours alone */
        int failed;
        if (item && PyTuple_Check(item) && PyTuple_Size(item) == 2) {
            failed =
                add_member(walk, target, PyTuple_GetItem(item, 0), PyTuple_GetItem(item, 1), here);
        } else {
            cJSON_Delete(target);
            target = refuse(walk, here, "cannot be read: its items() gives no pairs");
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

static cJSON *convert_sequence(walk *walk, PyObject *object, place *here)
{
    here->container = object;
    PyObject *items = PySequence_Tuple(object);
    if (!items) {
        return refuse_raised(walk, here, "cannot be read");
    }
    cJSON *target = checked(cJSON_CreateArray());
    Py_ssize_t count = target ? PyTuple_Size(items) : 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        place there = {here, NULL, i, NULL, here->depth + 1};
        cJSON *item = convert(walk, PyTuple_GetItem(items, i), &there);
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

static cJSON *convert_container(walk *walk, PyObject *object, const place *here, bool is_mapping)
{
    place there = *here;
    if (is_inside_itself(object, here)) {
        return refuse(walk, here, "contains itself");
    }
    if (here->depth >= MAX_DEPTH) {
        return refuse(walk, here, "is nested too deeply");
    }
    return is_mapping ? convert_mapping(walk, object, &there)
                      : convert_sequence(walk, object, &there);
}

/* ---- anything ---------------------------------------------------------------------------- */

static cJSON *refuse_type(walk *walk, PyObject *object, const place *here)
{
    char name[MAX_NAME], message[160];
    write_type(object, name);
    if (here->above) {
        snprintf(message, sizeof message, "is a %s, which JSON does not have; give a str or an int",
                 name);
    } else {
        snprintf(message, sizeof message, "must be a dict, not %s", name);
    }
    return refuse(walk, here, message);
}

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
static cJSON *convert_other(walk *walk, PyObject *object, const place *here)
{
    int is_time = has_both(object, "utcoffset", "timestamp");
    if (is_time) {
        return is_time < 0 ? NULL : convert_time(walk, object, here);
    }
    int is_mapping = PyMapping_Check(object) ? has_both(object, "keys", "items") : 0;
    if (is_mapping) {
        return is_mapping < 0 ? NULL : convert_container(walk, object, here, true);
    }
    int is_secret = has(object, "_secret_text");
    if (is_secret) {
        return is_secret < 0 ? NULL : convert_secret(walk, object, here);
    }
    return refuse_type(walk, object, here);
}

static cJSON *convert(walk *walk, PyObject *object, const place *here)
{
    if (++walk->values > MAX_VALUES) {
        return walk->values == MAX_VALUES + 1 ? refuse(walk, here, "has too many values")
                                              : checked(nontax_json_invalid());
    }
    if (PyUnicode_Check(object)) {
        return convert_text(walk, object, here);
    } else if (object == Py_True || object == Py_False) {
        return checked(cJSON_CreateBool(object == Py_True));
    } else if (PyLong_Check(object)) {
        return convert_integer(walk, object, here);
    } else if (PyDict_Check(object)) {
        return convert_container(walk, object, here, true);
    } else if (object == Py_None) {
        return checked(cJSON_CreateNull());
    } else if (PyFloat_Check(object)) {
        return convert_float(object);
    } else if (PyList_Check(object) || PyTuple_Check(object)) {
        return convert_container(walk, object, here, false);
    } else if (PyIndex_Check(object)) {
        return convert_index(walk, object, here);
    }
    return convert_other(walk, object, here);
}

cJSON *json_from_python(PyObject *object, nontax_problems *problems)
{
    walk walk = {problems, 0};
    const place top = {NULL, NULL, 0, NULL, 0};
    size_t before = problems->count;
    cJSON *tree = convert(&walk, object, &top);
    if (tree && !cJSON_IsObject(tree) && problems->count == before) {
        cJSON_Delete(tree);
        tree = refuse_type(&walk, object, &top);
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
