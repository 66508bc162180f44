/* fork_lock.h: held during every call into libcurl, so that a fork, and the end of the process, can
 * wait until no thread is inside.
 *
 * libcurl's TLS library has locks of its own. A child that is forked while another thread holds one
 * would wait for it forever; and when the process ends, that library frees its state under the
 * threads that still use it. Waiting for a socket is done without the lock. */
#ifndef NONTAX_FORK_LOCK_H
#define NONTAX_FORK_LOCK_H

#include <stdbool.h>

/* May be nested. */
void nx_fork_lock_enter(void);
void nx_fork_lock_leave(void);

/* For fork handlers: waits until no thread is inside and keeps all others out; releases it, in the
 * parent or in the child. */
void nx_fork_lock_close(void);
void nx_fork_lock_open(void);
void nx_fork_lock_open_in_child(void);

/* Takes the lock when the process ends, and never releases it; only the ending thread can still
 * enter. To be called after the TLS library was started, since handlers run in reverse. False: no
 * memory. */
bool nx_fork_lock_close_at_exit(void);

#endif
