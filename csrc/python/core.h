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
    PyObject *report_type;
    PyObject *f_back; /* the name of a frame's attribute */
} core_state;

/* values.c: a payload of Python's objects. In place of what JSON cannot hold stands a problem.
 * NULL, with an exception set: no memory, or an exception that is not an Exception came out of the
 * caller's own code (KeyboardInterrupt). */
nontax_payload *payload_from_python(PyObject *object);

/* replies.c: the members of a JSON tree as Python objects, or one of them into a dict. NULL, or -1,
 * with an exception set: no memory. */
PyObject *python_from_json(const cJSON *item);
int python_put_member(PyObject *dict, const cJSON *member);

/* ---- client.c: the type nontax._core.Client ------------------------------------------------ */

typedef struct spare_error spare_error; /* see spare.c */
enum { SPARE_ERRORS = 8 };              /* as many threads' calls at once need no new one */

typedef struct client_object {
    PyObject_HEAD
    nontax_client *client;
    PyObject *access_token; /* a fixed one, checked; or NULL */
    PyObject *token_source; /* a callable, or NULL */
    bool own_source; /* (stale, seconds) -> a token, or an exception that says why there is none */
    PyObject *make_error; /* the Python layer's: Report -> exception */
    PyObject *log_note;   /* the Python layer's: writes one of the core's notes into the log */
    PyObject *appid;      /* the account, for its errors; or None */
    _Atomic(spare_error *) spares[SPARE_ERRORS];
} client_object;

/* A new reference; NULL with an exception set. */
PyObject *client_type_new(PyObject *module);

/* Hands on what the core has noted by now. -1 with an exception set: a signal handler's. */
int client_tell_notes(client_object *self);

static inline int64_t milliseconds_of(double seconds)
{
    return seconds > 0 && seconds < 1e9 ? (int64_t)(seconds * 1000 + 0.5) : 0;
}

/* ---- call.c: methods of that type ---------------------------------------------------------- */

extern const char client_call_doc[], client_ask_doc[], client_body_doc[];
PyObject *client_call(PyObject *object, PyObject *const *arguments, Py_ssize_t count);
PyObject *client_ask(PyObject *object, PyObject *const *arguments, Py_ssize_t count);
PyObject *client_body(PyObject *object, PyObject *arguments);

/* ---- payload.c ----------------------------------------------------------------------------- */

/* The interface of that name; NULL with an exception set. */
const nontax_interface *client_find_interface(PyObject *name);

/* Gives a call its payload, or its file, which must then outlive it. -1 with an exception: no
 * memory, or not an Exception; whatever else is wrong with it, the call itself has. */
int client_set_payload(nontax_call *call, PyObject *payload);

/* What a function of ours has made of what an interface has answered, as it is. A failure, NULL,
 * loses its frames if there are credentials in that. */
PyObject *client_result(const nontax_interface *interface, PyObject *made);

/* ---- printed.c ----------------------------------------------------------------------------- */

/* In a form: a text, without its quotes, and an integer that is not negative. */
enum { PRINTED_TEXT = 1, PRINTED_INTEGER = 2 };

/* The values of a call's body in a tuple, if that has this form and nothing in it is escaped; else
 * the body, a str. NULL with an exception set: no memory. */
PyObject *printed_of(const nontax_call *call, const char *form);

/* ---- token.c ------------------------------------------------------------------------------- */

/* Asks the token source for a token, or for a newer one than `stale`, within so much time; a source
 * of ours may answer with that one if it `may_keep` it. NULL with an exception set: the source's
 * own, or else the asking was interrupted. */
PyObject *client_ask_source(client_object *self, const char *stale, int64_t time_left_ms,
                            bool may_keep, bool *interrupted);

/* The token in a source's answer, borrowed from it. A source of ours can answer the refused token,
 * and in how many seconds it can have a newer one; else *seconds is 0. */
PyObject *client_answered_token(client_object *self, PyObject *answer, double *seconds);

/* The text of an access token, or NULL: then *problem says what is wrong with it. */
const char *client_token_text(PyObject *token, Py_ssize_t *size, const char **problem);

/* ---- errors.c ------------------------------------------------------------------------------ */

/* The type nontax._core.Report, of which the Python layer makes exceptions. */
PyObject *report_type_new(void);

/* Problems as a list of (path, message, id, values). NULL with an exception set: no memory. */
PyObject *client_list_problems(const nontax_problems *problems);

/* The exception that says what became of a call. The last two, which may be NULL, say why there
 * was no (newer) token for it: what the token source raised, or what is wrong with its answer. */
PyObject *client_make_error(client_object *self, nontax_call *call, PyObject *source_error,
                            const char *token_problem);
/* The same for a result without a call. */
PyObject *client_error_of_result(client_object *self, const nontax_interface *interface,
                                 const nontax_result *result);

/* Raises NotSentError with this reason. */
void client_raise_not_sent(client_object *self, const char *reason);

/* Raises an exception object, taking over the reference; NULL: one is set already. */
void raise_object(PyObject *error);
/* Raises what a constructor of the core has refused. */
void raise_refusal(nontax_status status, const nontax_text *why);
/* Takes the exception that is set, as an instance with its traceback. */
PyObject *take_exception(void);
/* Removes the frames from the exception that is set, and from those that it happened in: they may
 * have a credential among their local variables. */
void hide_frames(void);

/* ---- records.c: functions of the module, and what calls the functions that they make --------- */

extern const char record_maker_doc[], reply_maker_doc[];
PyObject *record_maker(PyObject *module, PyObject *arguments);
PyObject *reply_maker(PyObject *module, PyObject *arguments);

/* These take any other function, too: it is called with the values, or with the fields in a dict.
 */
PyObject *record_call(PyObject *function, PyObject *const *values, Py_ssize_t count);
PyObject *record_of_reply(PyObject *function, const cJSON *fields);

/* ---- spare.c ------------------------------------------------------------------------------- */

/* What a call needs to raise an error without memory: taken before anything is sent, and given
 * back. NULL, and -1, with an exception set: no memory. */
spare_error *spare_take(client_object *self, const nontax_interface *interface);
int spare_make_frames(client_object *self);
void spare_give_back(client_object *self, spare_error *spare);
void spare_free(spare_error *spare);
/* The error, in place of the exception that is set; a new reference. */
PyObject *spare_raised(spare_error *spare);

/* ---- run.c: the type nontax._core.Run ------------------------------------------------------ */

PyObject *run_type_new(PyObject *module);

#endif
