/* failing_malloc.c: preloaded by tests, makes allocations of the extension, libcurl and cJSON fail.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* glibc's own: looking the next ones up would need memory itself. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

static atomic_long allocations; /* since failing_malloc_arm() */
static atomic_long first;       /* the number of the first one that fails; 0: none does */
static atomic_long count;       /* how many fail, in a row */

/* Makes so many allocations in a row fail, the first of them counted from 1. */
void failing_malloc_arm(long first_number, long how_many)
{
    atomic_store(&allocations, 0);
    atomic_store(&count, how_many);
    atomic_store(&first, first_number);
}

/* Lets all succeed again; returns whether one has failed, as ctypes takes it. */
int failing_malloc_disarm(void)
{
    int failed = atomic_load(&allocations) >= atomic_load(&first);
    atomic_store(&first, 0);
    return failed;
}

static bool may_allocate(const void *caller)
{
    static const char *const names[] = {"/_core.", "/libcurl", "/libcjson"};
    Dl_info object;
    long from = atomic_load(&first);
    if (from == 0 || dladdr(caller, &object) == 0) {
        return true;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strstr(object.dli_fname, names[i])) {
            long number = atomic_fetch_add(&allocations, 1) + 1;
            return number < from || number >= from + atomic_load(&count);
        }
    }
    return true;
}

#define MAY_ALLOCATE may_allocate(__builtin_return_address(0))

void *malloc(size_t size)
{
    return MAY_ALLOCATE ? __libc_malloc(size) : NULL;
}

void *calloc(size_t members, size_t size)
{
    return MAY_ALLOCATE ? __libc_calloc(members, size) : NULL;
}

void *realloc(void *old, size_t size)
{
    return MAY_ALLOCATE ? __libc_realloc(old, size) : NULL;
}

char *strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = MAY_ALLOCATE ? __libc_malloc(size) : NULL;
    return copy ? memcpy(copy, text, size) : NULL;
}
