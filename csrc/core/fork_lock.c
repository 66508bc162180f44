/* fork_lock.c: a lock that a fork waits for; see fork_lock.h. */
#include "fork_lock.h"

#include <pthread.h>
#include <stdlib.h>

/* A thread inside libcurl holds `inside` for reading; a fork takes it for writing. With a steady
 * stream of readers a writer could wait forever, so each reader first passes `entrance`, which a
 * waiting writer keeps locked. */
static pthread_mutex_t entrance = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t inside = PTHREAD_RWLOCK_INITIALIZER;
static _Thread_local int depth; /* of nested calls; only the outermost one locks */

void nx_fork_lock_enter(void)
{
    if (depth++ == 0) {
        pthread_mutex_lock(&entrance);
        pthread_rwlock_rdlock(&inside);
        pthread_mutex_unlock(&entrance);
    }
}

void nx_fork_lock_leave(void)
{
    if (--depth == 0) {
        pthread_rwlock_unlock(&inside);
    }
}

static void lock_for_writing(void)
{
    pthread_mutex_lock(&entrance);
    pthread_rwlock_wrlock(&inside);
}

void nx_fork_lock_close(void)
{
    if (depth == 0) { /* else the process ends, and this thread holds it already */
        lock_for_writing();
    }
}

void nx_fork_lock_open(void)
{
    if (depth == 0) {
        pthread_rwlock_unlock(&inside);
        pthread_mutex_unlock(&entrance);
    }
}

void nx_fork_lock_open_in_child(void)
{
    /* Made anew: a lock knows threads that do not exist here. */
    inside = (pthread_rwlock_t)PTHREAD_RWLOCK_INITIALIZER;
    entrance = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

static void lock_at_exit(void)
{
    /* A thread that ends the process from inside must not wait for itself. */
    if (depth++ == 0) {
        lock_for_writing();
    }
}

bool nx_fork_lock_close_at_exit(void)
{
    return atexit(lock_at_exit) == 0;
}
