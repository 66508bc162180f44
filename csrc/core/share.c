/* share.c: what all lanes of a client share; see share.h. */
#include "share.h"

static void lock_share(CURL *easy, curl_lock_data data, curl_lock_access access, void *context)
{
    nontax_client *client = context;
    (void)easy, (void)access;
    pthread_mutex_lock(&client->share_locks[data]);
}

static void unlock_share(CURL *easy, curl_lock_data data, void *context)
{
    nontax_client *client = context;
    (void)easy;
    pthread_mutex_unlock(&client->share_locks[data]);
}

static nontax_status make_share(nontax_client *client)
{
    CURLSH *share = curl_share_init();
    if (!share) {
        return NONTAX_NO_MEMORY;
    }
    if (curl_share_setopt(share, CURLSHOPT_LOCKFUNC, lock_share) != CURLSHE_OK ||
        curl_share_setopt(share, CURLSHOPT_UNLOCKFUNC, unlock_share) != CURLSHE_OK ||
        curl_share_setopt(share, CURLSHOPT_USERDATA, client) != CURLSHE_OK ||
        curl_share_setopt(share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS) != CURLSHE_OK ||
        curl_share_setopt(share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) != CURLSHE_OK) {
        (void)curl_share_cleanup(share); /* nothing uses it, so it cannot refuse */
        return NONTAX_NO_MEMORY;
    }
    client->share = share;
    return NONTAX_OK;
}

nontax_status nx_share_prepare(nontax_client *client)
{
    pthread_mutex_lock(&client->lock);
    nontax_status status = client->share ? NONTAX_OK : make_share(client);
    pthread_mutex_unlock(&client->lock);
    return status;
}

void nx_share_init(nontax_client *client)
{
    for (int i = 0; i < CURL_LOCK_DATA_LAST; i++) {
        (void)pthread_mutex_init(&client->share_locks[i], NULL); /* as in client.c */
    }
}

void nx_share_free(nontax_client *client)
{
    if (client->share) {
        (void)curl_share_cleanup(client->share); /* no lane is left that could use it */
    }
    for (int i = 0; i < CURL_LOCK_DATA_LAST; i++) {
        (void)pthread_mutex_destroy(&client->share_locks[i]);
    }
}
