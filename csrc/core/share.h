/* share.h: what all lanes of a client share: resolved names, and TLS sessions if libcurl remembers
 * any. */
#ifndef NONTAX_SHARE_H
#define NONTAX_SHARE_H

#include "client.h"

/* The locks of a new client. */
void nx_share_init(nontax_client *client);

/* To be called before a lane is made: a fork leaves its child without a share. */
nontax_status nx_share_prepare(nontax_client *client);

/* No lane may be left. */
void nx_share_free(nontax_client *client);

#endif
