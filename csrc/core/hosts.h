/* hosts.h: which of a client's base_urls a call tries first. */
#ifndef NONTAX_HOSTS_H
#define NONTAX_HOSTS_H

#include "client.h"

/* The first one, or for a while the one that answered when those before it could not be reached. */
int nx_hosts_first(const nontax_client *client);
void nx_hosts_prefer(nontax_client *client, int url);

#endif
