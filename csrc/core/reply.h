/* reply.h: from the bytes of a reply to errcode, errmsg, rid and fields. */
#ifndef NONTAX_REPLY_H
#define NONTAX_REPLY_H

#include "interfaces.h"
#include "text.h"

/* Reads a whole reply into the result: outcome, cause, errcode, errmsg, rid, reason. The body must
 * be followed by a NUL. Whatever the bytes are, the outcome is honest: only a complete answer of
 * the interface's own form counts. *fields is set to the reply's other members, to be freed with
 * nx_json_free(), or NULL. The secrets are masked in all texts. */
void nx_reply_read(const nontax_interface *interface, const char *body, size_t size,
                   long http_status, const nx_secrets *secrets, nontax_result *result,
                   cJSON **fields);

#endif
