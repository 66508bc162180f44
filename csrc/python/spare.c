/* spare.c: when there is no memory left to say what became of a call. */
#include "core.h"

#include <string.h>

enum { CALL_FRAMES = 4 }; /* Client._call(), _change(), reject_bill(), and who has called that */

static const char answer_lost[] = "out of memory: WeChat's reply was lost";

/* The InDoubtError for a call that was sent and whose answer cannot be given out. It is made
 * before anything is sent, and kept for the next call if this one did not need it.
 *
 * One for all calls of a client would not do: what is raised carries the traceback and the context
 * of one call, and the threads that share a client may run out of memory together. So each call
 * has one of its own; to make it takes a tenth of a call's time, and SPARE_ERRORS of them wait for
 * the next calls. */
struct spare_error {
    const nontax_interface *interface;
    PyObject *error;
};

void spare_free(spare_error *spare)
{
    if (spare) {
        Py_DECREF(spare->error);
        PyMem_Free(spare);
    }
}

void spare_give_back(client_object *self, spare_error *spare)
{
    if (Py_REFCNT(spare->error) > 1) {
        spare_free(spare); /* it was raised */
        return;
    }
    for (int i = 0; spare && i < SPARE_ERRORS; i++) {
        spare = atomic_exchange(&self->spares[i], spare);
    }
    spare_free(spare);
}

spare_error *spare_take(client_object *self, const nontax_interface *interface)
{
    nontax_result result = {.outcome = NONTAX_IN_DOUBT, .cause = NONTAX_CAUSE_MEMORY};
    for (int i = 0; i < SPARE_ERRORS; i++) {
        spare_error *kept = atomic_exchange(&self->spares[i], NULL);
        if (kept && kept->interface == interface) {
            return kept;
        }
        if (kept) {
            spare_free(atomic_exchange(&self->spares[i], kept));
        }
    }
    spare_error *spare = PyMem_Calloc(1, sizeof *spare);
    if (!spare) {
        PyErr_NoMemory();
        return NULL;
    }
    memcpy(result.reason, answer_lost, sizeof answer_lost);
    spare->interface = interface;
    spare->error = client_error_of_result(self, interface, &result);
    if (!spare->error) {
        PyMem_Free(spare);
        return NULL;
    }
    return spare;
}

PyObject *spare_raised(spare_error *spare)
{
    PyErr_Clear();
    return Py_NewRef(spare->error);
}

/* Makes the frame objects of the callers, which an exception on its way to them needs: where there
 * is no memory for one, Python drops the exception (seen with 3.11), and with it what became of a
 * bill. */
int spare_make_frames(client_object *self)
{
    const core_state *state = PyType_GetModuleState(Py_TYPE((PyObject *)self));
    PyObject *frame = (PyObject *)PyThreadState_GetFrame(PyThreadState_Get());
    for (int made = 1; frame && frame != Py_None && made < CALL_FRAMES; made++) {
        PyObject *above = PyObject_GetAttr(frame, state->f_back);
        Py_DECREF(frame);
        frame = above;
    }
    Py_XDECREF(frame);
    return PyErr_Occurred() ? -1 : 0;
}
