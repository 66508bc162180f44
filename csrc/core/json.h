/* json.h: payloads as trees of cJSON's, and the wiping of such trees. */
#ifndef NONTAX_JSON_H
#define NONTAX_JSON_H

#include "nontax.h"

/* Wipes all texts of a tree, and frees it. */
void nx_json_free(cJSON *tree);

#endif
