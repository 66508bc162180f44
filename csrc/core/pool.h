/* pool.h: the idle lanes of a client, which are lent to calls and to runs. */
#ifndef NONTAX_POOL_H
#define NONTAX_POOL_H

#include "lane.h"

/* Lends the lane that was returned last, or a new one. `parallel`: how many calls will be under way
 * on it at once. */
nontax_status nx_pool_borrow(nontax_client *client, int parallel, nx_lane **lane);

/* Takes a lane back on which no call is left. Where the pool is full or the lane is beyond use, it
 * is freed. */
void nx_pool_return(nontax_client *client, nx_lane *lane);

/* Frees the lanes in the pool, with their file descriptors; whether there were any. */
bool nx_pool_free_idle(nontax_client *client);

#endif
