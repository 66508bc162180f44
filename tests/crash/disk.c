/* disk.c: stands before the C library in a process whose ledger is tried (LD_PRELOAD): counts what
 * it does to its files, writes it down, has it fail, or kills the process at a given moment. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static char folder[4096]; /* only files below it count; "": nothing is armed */
static int log_file = -1;
static long kill_at, fail_at, events;
static int fail_with;
static char spared[64]; /* the end of names for which there is room */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* From Python, by ctypes: begin to look at files below `path`. */
void disk_arm(const char *path, const char *log, long kill, long fail, int error, const char *spare)
{
    snprintf(spared, sizeof spared, "%s", spare);
    snprintf(folder, sizeof folder, "%s", path);
    events = 0;
    kill_at = kill;
    fail_at = fail;
    fail_with = error;
    if (log && *log) {
        log_file = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    }
}

long disk_events(void)
{
    return events;
}

static int name_of(int file, char *name, size_t size)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, name, size - 1);
    if (length <= 0) {
        return 0;
    }
    name[length] = '\0';
    return 1;
}

static void put(const void *data, size_t size)
{
    const char *at = data;
    while (size > 0) {
        long written = syscall(SYS_write, log_file, at, size);
        if (written <= 0) {
            _exit(99);
        }
        at += written;
        size -= (size_t)written;
    }
}

static void note(char kind, const char *name, int64_t offset, const void *data, size_t size)
{
    if (log_file < 0) {
        return;
    }
    uint32_t length = (uint32_t)strlen(name), count = (uint32_t)size;
    put(&kind, 1);
    put(&length, 4);
    put(name, length);
    put(&offset, 8);
    put(&count, 4);
    put(data, size);
}

/* An event of a file that counts. -1 with errno: it is to fail. */
static int event(char kind, int file, int64_t offset, const void *data, size_t size)
{
    char name[4096];
    if (!*folder || !name_of(file, name, sizeof name) || strncmp(name, folder, strlen(folder))) {
        return 0;
    }
    pthread_mutex_lock(&lock);
    long number = ++events;
    if (kill_at && number == kill_at) {
        kill(getpid(), SIGKILL);
        pause();
    }
    size_t length = strlen(name), end = strlen(spared);
    int spare = end > 0 && length >= end && !strcmp(name + length - end, spared);
    int fails = fail_at && number >= fail_at && !spare;
    if (!fails) {
        note(kind, name, offset, data, size);
    }
    pthread_mutex_unlock(&lock);
    if (fails) {
        errno = fail_with;
        return -1;
    }
    return 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset)
{
    if (event('W', file, offset, data, size) < 0) {
        return -1;
    }
    return REAL(pwrite64)(file, data, size, offset);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t offset)
{
    if (event('W', file, offset, data, size) < 0) {
        return -1;
    }
    return REAL(pwrite64)(file, data, size, offset);
}

ssize_t write(int file, const void *data, size_t size)
{
    if (*folder && event('W', file, lseek(file, 0, SEEK_CUR), data, size) < 0) {
        return -1;
    }
    return syscall(SYS_write, file, data, size);
}

int fsync(int file)
{
    return event('S', file, 0, "", 0) < 0 ? -1 : REAL(fsync)(file);
}

int fdatasync(int file)
{
    return event('S', file, 0, "", 0) < 0 ? -1 : REAL(fdatasync)(file);
}

int ftruncate64(int file, off64_t size)
{
    return event('T', file, size, "", 0) < 0 ? -1 : REAL(ftruncate64)(file, size);
}

int ftruncate(int file, off_t size)
{
    return event('T', file, size, "", 0) < 0 ? -1 : REAL(ftruncate64)(file, size);
}

int posix_fallocate64(int file, off64_t offset, off64_t size)
{
    int failed = event('F', file, offset + size, "", 0);
    return failed < 0 ? errno : REAL(posix_fallocate64)(file, offset, size);
}

int posix_fallocate(int file, off_t offset, off_t size)
{
    int failed = event('F', file, offset + size, "", 0);
    return failed < 0 ? errno : REAL(posix_fallocate64)(file, offset, size);
}

/* What leaves the machine, in the same order as what goes to the disk. */
ssize_t send(int file, const void *data, size_t size, int flags)
{
    if (*folder && log_file >= 0) {
        pthread_mutex_lock(&lock);
        note('N', "", 0, data, size);
        pthread_mutex_unlock(&lock);
    }
    return REAL(send)(file, data, size, flags);
}
