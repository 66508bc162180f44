/* values.h: what the files that make a payload of Python's objects share. */
#ifndef NONTAX_PYTHON_VALUES_H
#define NONTAX_PYTHON_VALUES_H

#include "core.h"

enum { MAX_NAME = 81 }; /* of a type or an exception */

/* Where the next value goes. */
typedef struct target {
    nontax_payload *payload;
    const char *name; /* NULL: into a list, or the whole */
} target;

/* leaves.c. What puts a value in returns 0, or -1 with an exception: no memory, or one that
 * is no Exception. What cannot be converted, by what it is or by what the caller's own code behind
 * it has raised, is put in as a problem. */
int value_refuse(const target *target, nontax_problem_id id, const char *value);
int value_refuse_raised(const target *target, nontax_problem_id id);
int value_refuse_name(const target *target, PyObject *key);

int value_put_text(const target *target, PyObject *object);
int value_put_integer(const target *target, PyObject *object);
int value_put_float(const target *target, PyObject *object);
/* A number of another library (NumPy's integers), by way of __index__. */
int value_put_index(const target *target, PyObject *object);
/* A datetime, or something that behaves like one (pandas.Timestamp). */
int value_put_time(const target *target, PyObject *object);
/* A credential, which no frame of Python's is to show: its repr() does not, and only here its text
 * is taken. */
int value_put_secret(const target *target, PyObject *object);
/* What JSON does not have, by its type. */
int value_put_foreign(const target *target, PyObject *object);

/* The text of a str, or NULL: then *why is the problem, or there is an exception set. */
const char *value_text_of(PyObject *object, Py_ssize_t *size, nontax_problem_id *why);

/* The name of its type, into MAX_NAME bytes. */
void value_write_type(PyObject *object, char *written);

#endif
