/* kept.h: the text of a reply that did not settle what became of a call. */
#ifndef NONTAX_KEPT_H
#define NONTAX_KEPT_H

#include "text.h"

/* Appends what came, whatever it is, as text that can be printed: the secrets masked, other bytes
 * as "\xNN", and cut off where it gets long. What stands there as the value of a "code" is not
 * cut off, nor masked if it is all digits: it may be the card code, which WeChat gives only
 * once. The body must be
 * followed by a NUL. Without memory there is as much of it as there was room for. */
void nx_reply_keep(const char *body, size_t size, const nx_secrets *secrets, nx_buffer *kept);

#endif
