/* core.h: what the files of the extension nontax._core share. */
#ifndef NONTAX_PYTHON_CORE_H
#define NONTAX_PYTHON_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdatomic.h>

#include "nontax.h"

/* The module's state. */
typedef struct core_state {
    PyTypeObject *client_type;
} core_state;

/* convert.c: a tree of Python's as a cJSON tree, everything copied. In place of what JSON cannot
 * hold stands a leaf that says so. NULL, with an exception set: no memory, or an exception that is
 * not an Exception came out of the caller's own code (KeyboardInterrupt). */
cJSON *json_from_python(PyObject *object);

/* The members of a JSON tree as Python objects. NULL with an exception set: no memory. */
PyObject *python_from_json(const cJSON *item);

/* client.c: the type nontax._core.Client, as a new reference, and what the runs on a client need.
 */
PyObject *client_type_new(PyObject *module);

typedef struct spare_error spare_error; /* see client.c */
enum { SPARE_ERRORS = 8 };              /* as many threads' calls at once need no new one */

typedef struct client_object {
    PyObject_HEAD
    nontax_client *client;
    PyObject *access_token; /* a fixed one, checked; or NULL */
    PyObject *token_source; /* a callable, or NULL */
    bool own_source; /* (stale, seconds) -> a token, or an exception that says why there is none */
    PyObject *make_error; /* the Python layer's: **what_happened -> exception */
    PyObject *tell_note;  /* the Python layer's: writes one of the core's notes into the log */
    _Atomic(spare_error *) spares[SPARE_ERRORS];
} client_object;

/* The interface of that name; NULL with an exception set. */
const nontax_interface *client_find_interface(PyObject *name);

/* Gives a call its payload, or its file, which must then outlive it. -1 with an exception: no
 * memory, or not an Exception; whatever else is wrong with it, the call itself has. */
int client_set_payload(nontax_call *call, PyObject *payload);

/* Calls a function of ours with what an interface has answered. A failure has no frames if there
 * are credentials in that. */
PyObject *client_call_with_reply(const nontax_interface *interface, PyObject *function,
                                 PyObject *args);

/* Asks the token source for a token, or for a newer one than `stale`, within so much time; a source
 * of ours may answer with that one if it `may_keep` it. NULL with an exception set: the source's
 * own, or else the asking was interrupted. */
PyObject *client_ask_source(client_object *self, const char *stale, int64_t time_left_ms,
                            bool may_keep, bool *interrupted);

/* Problems as a list of (path, message, id, values). NULL with an exception set: no memory. */
PyObject *client_list_problems(const nontax_problems *problems);

/* The token in a source's answer, borrowed from it. A source of ours can answer the refused token,
 * and in how many seconds it can have a newer one; else *seconds is 0. */
PyObject *client_answered_token(client_object *self, PyObject *answer, double *seconds);

/* The exception that tells what became of a call. The last two, which may be NULL, say why there
 * was no (newer) token for it: what the token source raised, or what is wrong with its answer. */
PyObject *client_make_error(client_object *self, nontax_call *call, PyObject *source_error,
                            const char *token_problem);

/* Hands on what the core has noted by now. -1 with an exception set: a signal handler's. */
int client_tell_notes(client_object *self);

/* Raises what tells that nothing could be sent, for this reason. */
void client_raise_not_sent(client_object *self, const char *reason);

/* The text of an access token, or NULL: then *problem says what is wrong with it. */
const char *client_token_text(PyObject *token, Py_ssize_t *size, const char **problem);

/* Raises an exception object, taking over the reference; NULL: one is set already. */
void raise_object(PyObject *error);
/* Raises what a constructor of the core has refused. */
void raise_refusal(nontax_status status, const nontax_text *why);
/* Takes the exception that is set, as an instance with its traceback. */
PyObject *take_exception(void);

/* run.c: the type nontax._core.Run. */
PyObject *run_type_new(PyObject *module);

#endif
