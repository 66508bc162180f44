/* plain.h: a success as WeChat writes nearly all of them, read without parsing any JSON. */
#ifndef NONTAX_PLAIN_H
#define NONTAX_PLAIN_H

#include "interfaces.h"
#include "text.h"

/* {"errcode":0,"errmsg":"ok","code":"682000661927","openid":"ojZ8Y…"}: no blanks, each member once,
 * and besides errcode and errmsg the interface's own fields, all of which are texts of printable
 * ASCII without escapes. Then *errmsg and *fields are set as a parser would have it, the latter to
 * be freed by nx_json_free(). False: it is anything else, and nothing was set. The body must be
 * followed by a NUL. */
bool nx_plain_read(const nontax_interface *interface, const char *body, size_t size,
                   const nx_secrets *secrets, char *errmsg, cJSON **fields);

#endif
