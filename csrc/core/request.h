/* request.h: from a payload to the body of a request. */
#ifndef NONTAX_REQUEST_H
#define NONTAX_REQUEST_H

#include "interfaces.h"
#include "memory.h"

/* Checks the payload against its interface, adding to problems, and prints it as JSON if there are
 * none. The payload is wiped and freed in any case. NONTAX_OK: *body is set, and freed with
 * cJSON_free(). NONTAX_BAD_PAYLOAD: see problems. */
nontax_status nx_request_build(const nontax_interface *interface, cJSON *payload, bool allow_extra,
                               nontax_problems *problems, char **body);

void nx_problems_free(nontax_problems *problems);

#endif
