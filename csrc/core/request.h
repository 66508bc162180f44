/* request.h: from a payload to the text of a request. */
#ifndef NONTAX_REQUEST_H
#define NONTAX_REQUEST_H

#include "interfaces.h"
#include "memory.h"

/* Checks the payload against its interface, adding to problems, and prints it if there are none: as
 * JSON, or for NX_QUERY as "name=value&name=value". The payload is wiped and freed in any case.
 * NULL, or one that is not whole, is no memory. NONTAX_OK: *text is the whole, and *secret what an
 * NX_SECRET field has, if there is one.
 * NONTAX_BAD_PAYLOAD: see problems. */
nontax_status nx_request_build(const nontax_interface *interface, nontax_payload *payload,
                               nontax_extra extra, nontax_problems *problems, nx_buffer *text,
                               nx_buffer *secret);

#endif
