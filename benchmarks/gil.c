/* gil.c: preloaded into a Python process, measures for how long the thread that works holds the
 * GIL, in CPU time: all of it but what lies between giving it up and having it again. */
#define _GNU_SOURCE /* RTLD_NEXT */
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

/* Of one thread: the benchmark has no other. */
static double held, since;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void *find(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) {
        abort(); /* this is no Python */
    }
    return found;
}

/* These two stand in front of Python's own. */
void *PyEval_SaveThread(void);
void PyEval_RestoreThread(void *state);

void *PyEval_SaveThread(void)
{
    static void *(*save)(void);
    if (!save) {
        *(void **)&save = find("PyEval_SaveThread");
    }
    held += now() - since;
    return save();
}

void PyEval_RestoreThread(void *state)
{
    static void (*restore)(void *);
    if (!restore) {
        *(void **)&restore = find("PyEval_RestoreThread");
    }
    restore(state);
    since = now();
}

/* Seconds until now, of a thread that has it. */
double gil_held(void);

double gil_held(void)
{
    return held + now() - since;
}
