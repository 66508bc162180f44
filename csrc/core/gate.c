/* gate.c: who is inside libcurl; see gate.h. */
#include "gate.h"

#include <pthread.h>
#include <stdlib.h>

/* Whoever enters holds `inside` for reading. The turnstile before it keeps newcomers out while
 * somebody waits to close the gate, who could otherwise wait for ever. */
static pthread_mutex_t turnstile = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t inside = PTHREAD_RWLOCK_INITIALIZER;
static _Thread_local int depth;

void nx_gate_enter(void)
{
    if (depth++ == 0) {
        pthread_mutex_lock(&turnstile);
        pthread_rwlock_rdlock(&inside);
        pthread_mutex_unlock(&turnstile);
    }
}

void nx_gate_leave(void)
{
    if (--depth == 0) {
        pthread_rwlock_unlock(&inside);
    }
}

static void close_gate(void)
{
    pthread_mutex_lock(&turnstile);
    pthread_rwlock_wrlock(&inside);
}

void nx_gate_close(void)
{
    if (depth == 0) { /* or else the process ends, and this thread has closed it for good */
        close_gate();
    }
}

void nx_gate_open(void)
{
    if (depth == 0) {
        pthread_rwlock_unlock(&inside);
        pthread_mutex_unlock(&turnstile);
    }
}

void nx_gate_open_in_child(void)
{
    /* Made anew: a lock knows threads that do not exist here. */
    inside = (pthread_rwlock_t)PTHREAD_RWLOCK_INITIALIZER;
    turnstile = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

static void close_for_good(void)
{
    /* A thread that ends the process from inside must not wait for itself. */
    if (depth++ == 0) {
        close_gate();
    }
}

bool nx_gate_close_at_exit(void)
{
    return atexit(close_for_good) == 0;
}
