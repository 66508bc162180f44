/* pool.c: the idle lanes of a client, which are lent to calls and to runs.
 *
 * A new connection costs a TLS handshake and, for the first one of a lane, reading the file of CA
 * certificates: together about as much as thirty bills. So lanes are kept with their connections.
 * The last one returned is lent first: its connections are the ones least likely to have been
 * closed by the server. A lane whose last attempt could not be sent is lent last. */
#include "pool.h"

#include "http.h"

enum {
    /* Connections of all lanes in the pool. A run gives back up to a thousand, and the caller needs
     * descriptors for other things: by default a process has 1,024. */
    MAX_IDLE = 128,
    IDLE_MS = NX_IDLE_SECONDS * 1000, /* after so long a connection would not be used again */
    LOOK_MS = IDLE_MS / 3             /* between two searches for such lanes */
};

static void free_lanes(nx_lane *lane)
{
    while (lane) {
        nx_lane *next = *nx_lane_link(lane);
        nx_lane_free(lane);
        lane = next;
    }
}

bool nx_pool_free_idle(nontax_client *client)
{
    pthread_mutex_lock(&client->lock);
    nx_lane *lanes = client->idle;
    client->idle = NULL;
    client->idle_connections = 0;
    pthread_mutex_unlock(&client->lock);
    free_lanes(lanes);
    return lanes;
}

void nontax_client_close_idle(nontax_client *client)
{
    (void)nx_pool_free_idle(client);
}

static nx_lane *take_first(nontax_client *client)
{
    pthread_mutex_lock(&client->lock);
    nx_lane *lane = client->idle;
    if (lane) {
        client->idle = *nx_lane_link(lane);
        client->idle_connections -= nx_lane_connections(lane);
    }
    pthread_mutex_unlock(&client->lock);
    return lane;
}

nontax_status nx_pool_borrow(nontax_client *client, int parallel, nx_lane **lane)
{
    *lane = take_first(client);
    if (*lane && nx_lane_reset(*lane, parallel)) {
        return NONTAX_OK;
    }
    nx_lane_free(*lane);
    return nx_lane_new(client, parallel, lane);
}

/* Removes those that a burst of threads has left in the pool, for the caller to free. */
static nx_lane *take_old(nontax_client *client, int64_t now)
{
    nx_lane **link = &client->idle;
    if (now - client->looked_at < LOOK_MS) {
        return NULL;
    }
    client->looked_at = now;
    client->idle_connections = 0;
    while (*link && now - nx_lane_last_used(*link) < IDLE_MS) {
        client->idle_connections += nx_lane_connections(*link);
        link = nx_lane_link(*link);
    }
    nx_lane *old = *link; /* and all after it, which were returned before it or have failed */
    *link = NULL;
    return old;
}

static void insert(nontax_client *client, nx_lane *lane)
{
    nx_lane **link = &client->idle;
    while (*link && nx_lane_has_failed(lane)) {
        link = nx_lane_link(*link);
    }
    *nx_lane_link(lane) = *link;
    *link = lane;
    client->idle_connections += nx_lane_connections(lane);
}

void nx_pool_return(nontax_client *client, nx_lane *lane)
{
    pthread_mutex_lock(&client->lock);
    nx_lane *old = take_old(client, nx_lane_last_used(lane));
    bool keep =
        nx_lane_is_usable(lane) && client->idle_connections + nx_lane_connections(lane) <= MAX_IDLE;
    if (keep) {
        insert(client, lane);
    }
    pthread_mutex_unlock(&client->lock);
    free_lanes(old);
    if (!keep) {
        nx_lane_free(lane);
    }
}
