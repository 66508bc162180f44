/* core.h: what the files of the extension nontax._core share. */
#ifndef NONTAX_PYTHON_CORE_H
#define NONTAX_PYTHON_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "nontax.h"

/* convert.c: a tree of Python's as a cJSON tree, everything copied. What JSON cannot hold is added
 * to problems, with its path. NULL, with an exception set: no memory, or an exception that is not
 * an Exception came out of the caller's own code (KeyboardInterrupt). */
cJSON *json_from_python(PyObject *object, nontax_problems *problems);

/* The members of a JSON tree as Python objects. NULL with an exception set: no memory. */
PyObject *python_from_json(const cJSON *item);

/* client.c: the type nontax._core.Client, as a new reference. */
PyObject *client_type_new(PyObject *module);

#endif
