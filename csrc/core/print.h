/* print.h: a checked payload as JSON. */
#ifndef NONTAX_PRINT_H
#define NONTAX_PRINT_H

#include "payload.h"

nontax_status nx_print_json(const nx_value *whole, nx_buffer *text);

#endif
