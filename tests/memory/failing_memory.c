/* failing_memory.c: a Python module for tests that makes some of Python's allocations fail. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdatomic.h>
#include <stdbool.h>

enum { DOMAINS = 3 }; /* raw, mem, object */

static PyMemAllocatorEx true_allocators[DOMAINS];
static atomic_long allocations; /* since arm() */
static atomic_long first;       /* the number of the first one that fails; 0: none does */
static atomic_long count;       /* how many fail, in a row */

static bool may_allocate(void)
{
    long number = atomic_fetch_add(&allocations, 1) + 1, from = atomic_load(&first);
    return from == 0 || number < from || number >= from + atomic_load(&count);
}

static void *fail_malloc(void *context, size_t size)
{
    PyMemAllocatorEx *true_one = context;
    return may_allocate() ? true_one->malloc(true_one->ctx, size) : NULL;
}

static void *fail_calloc(void *context, size_t count, size_t size)
{
    PyMemAllocatorEx *true_one = context;
    return may_allocate() ? true_one->calloc(true_one->ctx, count, size) : NULL;
}

static void *fail_realloc(void *context, void *old, size_t size)
{
    PyMemAllocatorEx *true_one = context;
    return may_allocate() ? true_one->realloc(true_one->ctx, old, size) : NULL;
}

static void fail_free(void *context, void *memory)
{
    PyMemAllocatorEx *true_one = context;
    true_one->free(true_one->ctx, memory);
}

PyDoc_STRVAR(arm_doc, "arm(first, count, /)\n--\n\n"
                      "Make so many allocations in a row fail, the first of them counted from 1.");

static PyObject *arm(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    long first_number, how_many;
    if (!PyArg_ParseTuple(arguments, "ll", &first_number, &how_many)) {
        return NULL;
    }
    atomic_store(&allocations, 0);
    atomic_store(&count, how_many);
    atomic_store(&first, first_number);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(disarm_doc, "disarm()\n--\n\nLet all succeed again; return whether one has failed.");

static PyObject *disarm(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    bool failed = atomic_load(&allocations) >= atomic_load(&first);
    atomic_store(&first, 0);
    return PyBool_FromLong(failed);
}

static PyMethodDef methods[] = {
    {"arm", arm, METH_VARARGS, arm_doc},
    {"disarm", disarm, METH_NOARGS, disarm_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "failing_memory",
    .m_size = 0,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit_failing_memory(void)
{
    static const PyMemAllocatorDomain domains[DOMAINS] = {PYMEM_DOMAIN_RAW, PYMEM_DOMAIN_MEM,
                                                          PYMEM_DOMAIN_OBJ};
    for (int i = 0; i < DOMAINS; i++) {
        PyMemAllocatorEx failing = {&true_allocators[i], fail_malloc, fail_calloc, fail_realloc,
                                    fail_free};
        PyMem_GetAllocator(domains[i], &true_allocators[i]);
        PyMem_SetAllocator(domains[i], &failing);
    }
    return PyModule_Create(&definition);
}
