/* replies.c: JSON trees, of which replies are made, as Python objects. */
#include "core.h"

#include <string.h>

enum { MAX_DIGITS = 500 }; /* of an integer; Python's own limit can be set to 640 */

int python_put_member(PyObject *dict, const cJSON *member)
{
    PyObject *key =
        PyUnicode_DecodeUTF8(member->string, (Py_ssize_t)strlen(member->string), "replace");
    PyObject *value = key ? python_from_json(member) : NULL;
    int failed = value ? PyDict_SetItem(dict, key, value) : -1;
    Py_XDECREF(key);
    Py_XDECREF(value);
    return failed;
}

static PyObject *python_from_object(const cJSON *item)
{
    PyObject *target = PyDict_New();
    const cJSON *member = NULL;
    cJSON_ArrayForEach(member, item)
    {
        if (target && python_put_member(target, member) < 0) {
            Py_CLEAR(target);
        }
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
