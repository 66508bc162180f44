/* gate.h: every stretch of work inside libcurl passes through here, so that a fork, and the end of
 * the process, can wait until no thread is in it.
 *
 * libcurl's TLS library has locks of its own. A child that is forked while another thread holds one
 * would wait for it for ever; and when the process ends, that library takes itself down under the
 * threads that are still in it. Waiting for a socket is not work: it is done outside. */
#ifndef NONTAX_GATE_H
#define NONTAX_GATE_H

#include <stdbool.h>

/* May be nested. */
void nx_gate_enter(void);
void nx_gate_leave(void);

/* For fork handlers: waits until nobody is inside, and lets nobody in; opens again, in the parent
 * or in the child. */
void nx_gate_close(void);
void nx_gate_open(void);
void nx_gate_open_in_child(void);

/* Closes the gate for good when the process ends; the ending thread alone still gets through. To be
 * called after the TLS library was started, since handlers run in reverse. False: no memory. */
bool nx_gate_close_at_exit(void);

#endif
