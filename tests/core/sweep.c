/* sweep.c: see sweep.h. */
#include "sweep.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "support.h"

/* What is to fail, and what has happened. Each sweep has a process of its own; but libcurl may
 * start a thread there, to look up an address that it had no memory to read by itself. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t freed;
    long countdown; /* to the one that fails; 0: none does */
    bool and_all_after;
    bool failed;
    long live; /* allocations that were not freed yet */
} heap = {.lock = PTHREAD_MUTEX_INITIALIZER, .freed = PTHREAD_COND_INITIALIZER};

/* Decides upon an allocation, and counts it if it is a new one. */
static bool may_allocate(bool is_new)
{
    pthread_mutex_lock(&heap.lock);
    bool fails = heap.countdown > 0 && --heap.countdown == 0;
    if (fails) {
        heap.failed = true;
        heap.countdown = heap.and_all_after ? 1 : 0;
    } else {
        heap.live += is_new;
    }
    pthread_mutex_unlock(&heap.lock);
    return !fails;
}

static void *test_malloc_fn(size_t size)
{
    return may_allocate(true) ? malloc(size) : NULL;
}

static void *test_calloc_fn(size_t number, size_t size)
{
    return may_allocate(true) ? calloc(number, size) : NULL;
}

static void *test_realloc_fn(void *old, size_t size)
{
    return may_allocate(!old) ? realloc(old, size) : NULL;
}

static char *test_strdup_fn(const char *text)
{
    return may_allocate(true) ? strdup(text) : NULL;
}

static void test_free_fn(void *memory)
{
    if (memory) {
        free(memory);
        pthread_mutex_lock(&heap.lock);
        heap.live--;
        pthread_cond_broadcast(&heap.freed);
        pthread_mutex_unlock(&heap.lock);
    }
}

void use_heap(void)
{
    static const nontax_allocator allocator = {test_malloc_fn, test_calloc_fn, test_realloc_fn,
                                               test_strdup_fn, test_free_fn};
    nontax_set_allocator(&allocator);
}

void fail_at(long number, bool and_all_after)
{
    pthread_mutex_lock(&heap.lock);
    heap.countdown = number;
    heap.and_all_after = and_all_after;
    heap.failed = false;
    pthread_mutex_unlock(&heap.lock);
}

void fail_no_more(void)
{
    pthread_mutex_lock(&heap.lock);
    heap.countdown = 0;
    pthread_mutex_unlock(&heap.lock);
}

bool heap_failed(void)
{
    pthread_mutex_lock(&heap.lock);
    bool failed = heap.failed;
    pthread_mutex_unlock(&heap.lock);
    return failed;
}

/* How many more allocations there are than `before`, once a thread of libcurl's has ended that
 * nobody waits for. */
static long leaked(long before)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20; /* a leak is certain then */
    pthread_mutex_lock(&heap.lock);
    while (heap.live > before &&
           pthread_cond_timedwait(&heap.freed, &heap.lock, &until) != ETIMEDOUT) {
    }
    long count = heap.live - before;
    pthread_mutex_unlock(&heap.lock);
    return count;
}

bool with_every_failure(bool (*attempt)(long number, bool and_all_after))
{
    REQUIRE(attempt(0, false)); /* what libcurl keeps for ever comes into being here */
    for (int and_all_after = 0; and_all_after < 2; and_all_after++) {
        long number = 0;
        do {
            long before = heap.live;
            bool good = attempt(++number, and_all_after);
            fail_no_more();
            long left = good ? leaked(before) : 0;
            if (!good || left != 0) {
                print_error("allocation %ld%s failed: %ld more are left\n", number,
                            and_all_after ? " and all after it" : "", left);
                return false;
            }
        } while (heap_failed());
        REQUIRE(number > 1); /* at least one was there to fail */
    }
    return true;
}

bool finish_run(nontax_run *run, nontax_call **calls, int count, const char *token,
                int64_t timeout_ms)
{
    int64_t forward = timeout_ms;
    for (int added = 0, taken = 0; taken < count;) {
        while (added < count && nontax_run_wants_in(run) == 0) {
            REQUIRE(nontax_run_add(run, calls[added++]) == NONTAX_OK);
        }
        if (nontax_run_needs_token(run) &&
            nontax_run_set_token(run, token, strlen(token)) != NONTAX_OK) {
            REQUIRE(heap_failed());
            nontax_run_no_token(run);
        }
        if (nontax_run_step(run, 20) == NONTAX_STEP_IDLE && heap_failed()) {
            /* libcurl can lose a transfer so. Further jumps pass the time that a lane gives to
             * answers that have come while it was away. */
            clock_forward(forward);
            forward = 400;
        }
        while (nontax_run_take(run)) {
            taken++;
        }
    }
    return true;
}
