/* descriptors.h: whether this process can open another file or socket. */
#ifndef NONTAX_DESCRIPTORS_H
#define NONTAX_DESCRIPTORS_H

#include "nontax.h"

extern const char nx_no_descriptor[]; /* what is said of it */

/* Whether there are fewer than so many file descriptors left. What libcurl or its TLS library could
 * not open it reports as one thing or another. */
bool nx_descriptors_are_short(int count);

/* The same, known from an errno: EMFILE or ENFILE. */
bool nx_is_short_of_descriptors(int error);

#endif
