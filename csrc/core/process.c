/* process.c: forks, and the clients of this process; see process.h. */
#include "process.h"

#include "fork_lock.h"

/* A fork copies the clients, but their connections stay the parent's: one process's bytes in the
 * other's TLS stream would destroy both. So the child forgets all lanes, unread and unfreed. Every
 * client's lock is held during the fork, so that no pool is copied half-changed, and no thread is
 * inside libcurl.
 *
 * Locks are taken in this order, here and everywhere: a run's lane_lock, the fork lock, the
 * registry's, a client's, and last those that libcurl itself takes through share.c. So nobody who
 * holds one of the last three enters the fork lock: lanes are freed after the pool is unlocked. */
static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static nontax_client *registry;
static atomic_uint generation;

unsigned nx_process_generation(void)
{
    return atomic_load_explicit(&generation, memory_order_relaxed);
}

static void before_fork(void)
{
    nx_fork_lock_close();
    pthread_mutex_lock(&registry_lock);
    for (nontax_client *client = registry; client; client = client->next) {
        pthread_mutex_lock(&client->lock);
    }
}

static void after_fork_in_parent(void)
{
    for (nontax_client *client = registry; client; client = client->next) {
        pthread_mutex_unlock(&client->lock);
    }
    pthread_mutex_unlock(&registry_lock);
    nx_fork_lock_open();
}

static void after_fork_in_child(void)
{
    atomic_fetch_add(&generation, 1);
    for (nontax_client *client = registry; client; client = client->next) {
        client->idle = NULL;
        client->idle_connections = 0;
        client->share = NULL;
        nx_notes_drop(&client->notes);
        pthread_mutex_unlock(&client->lock);
    }
    pthread_mutex_unlock(&registry_lock);
    nx_fork_lock_open_in_child();
}

bool nx_process_watch(void)
{
    return nx_fork_lock_close_at_exit() &&
           pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0;
}

void nx_process_add_client(nontax_client *client)
{
    pthread_mutex_lock(&registry_lock);
    client->next = registry;
    if (registry) {
        registry->previous = client;
    }
    registry = client;
    pthread_mutex_unlock(&registry_lock);
}

void nx_process_remove_client(nontax_client *client)
{
    pthread_mutex_lock(&registry_lock);
    if (client->previous) {
        client->previous->next = client->next;
    } else {
        registry = client->next;
    }
    if (client->next) {
        client->next->previous = client->previous;
    }
    pthread_mutex_unlock(&registry_lock);
}
