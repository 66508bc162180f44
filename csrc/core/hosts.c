/* hosts.c: which of a client's base_urls a call tries first; see hosts.h. */
#include "hosts.h"

#include "clock.h"

/* How long one that did not answer is passed over: each call that tries it spends its connect
 * timeout on it, and an outage lasts longer than a few calls. */
enum { PREFER_MS = 30 * 1000 };

int nx_hosts_first(const nontax_client *client)
{
    int64_t until = atomic_load(&client->preferred_until); /* most often it never was */
    return until && until > nx_now_ms() ? atomic_load(&client->preferred) : 0;
}

void nx_hosts_prefer(nontax_client *client, int url)
{
    atomic_store(&client->preferred, url);
    atomic_store(&client->preferred_until, nx_now_ms() + PREFER_MS);
}
