/* printed.c: a body that is printed, and its values, taken out of that very text. */
#include "core.h"

#include <stdlib.h>
#include <string.h>

enum { LONGEST_INTEGER = 18 }; /* digits of those that are sure to fit into an int64_t */

/* The text whose first character is `at`, if nothing is escaped in it; *end: its quote. NULL
 * without an exception: something is. */
static PyObject *take_text(const char *at, const char **end)
{
    *end = at + strcspn(at, "\"\\");
    return **end == '"' ? PyUnicode_DecodeUTF8(at, *end - at, NULL) : NULL;
}

static PyObject *take_integer(const char *at, const char **end)
{
    size_t size = strspn(at, "0123456789");
    *end = at + size;
    return size > 0 && size <= LONGEST_INTEGER ? PyLong_FromLongLong(strtoll(at, NULL, 10)) : NULL;
}

/* Its values in a tuple, if it has this form; NULL without an exception: it has not. */
static PyObject *take_apart(const char *text, const char *form, Py_ssize_t count)
{
    PyObject *values = PyTuple_New(count);
    Py_ssize_t taken = 0;
    bool fits = values != NULL;
    for (; fits && *form; form++) {
        if (*form != PRINTED_TEXT && *form != PRINTED_INTEGER) {
            fits = *form == *text++;
            continue;
        }
        PyObject *value =
            *form == PRINTED_TEXT ? take_text(text, &text) : take_integer(text, &text);
        fits = value && PyTuple_SetItem(values, taken++, value) == 0;
    }
    if (!fits || *text) {
        Py_CLEAR(values);
    }
    return values;
}

/* The values of a call's body, if it has the form; else the body. */
PyObject *printed_of(const nontax_call *call, const char *form)
{
    size_t size;
    const char *text = nontax_call_body(call, &size);
    Py_ssize_t count = 0;
    for (const char *c = form; *c; c++) {
        count += *c == PRINTED_TEXT || *c == PRINTED_INTEGER;
    }
    PyObject *values = count ? take_apart(text, form, count) : NULL;
    return values || PyErr_Occurred() ? values : PyUnicode_DecodeUTF8(text, (Py_ssize_t)size, NULL);
}
