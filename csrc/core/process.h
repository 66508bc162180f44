/* process.h: forks, and the clients of this process. */
#ifndef NONTAX_PROCESS_H
#define NONTAX_PROCESS_H

#include "client.h"

/* Rises in the child of every fork: what carries an older number belongs to the parent. */
unsigned nx_process_generation(void);

/* From now on every fork, and the end of the process, waits until no thread is inside libcurl.
 * False: no memory. */
bool nx_process_watch(void);

/* Enters a client into the list of this process, so that a fork finds it; and removes it. */
void nx_process_add_client(nontax_client *client);
void nx_process_remove_client(nontax_client *client);

#endif
