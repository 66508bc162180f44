/* settings.h: a client's settings, checked and copied. */
#ifndef NONTAX_SETTINGS_H
#define NONTAX_SETTINGS_H

#include "client.h"

/* Copies the settings into a client that has none yet, and makes what follows from them. */
nontax_status nx_settings_copy(nontax_client *client, const nontax_settings *settings,
                               nontax_text *why);
/* Frees what it has made; also after a failure. */
void nx_settings_free(nontax_client *client);

#endif
