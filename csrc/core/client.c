/* client.c: makes and frees a client. */
#include "client.h"

#include "fork_lock.h"
#include "http.h"
#include "memory.h"
#include "pool.h"
#include "process.h"
#include "settings.h"
#include "share.h"

/* Any option that this libcurl refuses shows now, not at the first bill. */
static nontax_status try_options(nontax_client *client, nontax_text *why)
{
    nx_transfer *transfer = NULL;
    nontax_status status = nx_transfer_new(client, NULL, &transfer, why);
    nx_transfer_free(transfer);
    return status;
}

nontax_status nontax_client_new(const nontax_settings *settings, nontax_client **result,
                                nontax_text *why)
{
    *result = NULL;
    *why = (nontax_text){.text = "out of memory"};
    nontax_status status = nontax_start(why);
    if (status != NONTAX_OK) {
        return status;
    }
    nontax_client *client = nx_calloc(1, sizeof *client);
    if (!client) {
        return NONTAX_NO_MEMORY;
    }
    (void)pthread_mutex_init(&client->lock, NULL); /* on Linux and macOS it always succeeds */
    nx_share_init(client);
    client->free_idle = nx_pool_free_idle;
    nx_process_add_client(client);
    nx_tls_find(&client->tls);
    nx_fork_lock_enter();
    status = nx_settings_copy(client, settings, why);
    if (status == NONTAX_OK) {
        status = nx_share_prepare(client);
    }
    if (status == NONTAX_OK) {
        status = try_options(client, why);
    }
    nx_fork_lock_leave();
    if (status != NONTAX_OK) {
        nontax_client_free(client);
        return status;
    }
    *result = client;
    return NONTAX_OK;
}

void nontax_client_free(nontax_client *client)
{
    if (!client) {
        return;
    }
    nontax_client_close_idle(client);
    nx_process_remove_client(client);
    nx_fork_lock_enter();
    nx_share_free(client);
    nx_settings_free(client);
    nx_fork_lock_leave();
    (void)pthread_mutex_destroy(&client->lock);
    nx_free(client);
}
