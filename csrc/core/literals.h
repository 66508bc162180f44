/* literals.h: the numbers of a JSON text exactly as they are written: a cJSON number is a double.
 */
#ifndef NONTAX_LITERALS_H
#define NONTAX_LITERALS_H

#include "nontax.h"

/* Gives each number of a tree, whose text this is, its literal as valuestring, unless its double
 * says the same. NONTAX_NO_MEMORY: not all of them have it. */
nontax_status nx_literals_keep(cJSON *tree, const char *text);

/* Makes a number a string, and a string of digits a number. NONTAX_BAD_PAYLOAD: it cannot be. */
nontax_status nx_literal_to_string(cJSON *number);
nontax_status nx_literal_to_number(cJSON *string);

#endif
