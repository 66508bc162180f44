/* leaves.h: what the value of each kind of field must be. */
#ifndef NONTAX_LEAVES_H
#define NONTAX_LEAVES_H

#include "interfaces.h"
#include "payload.h"
#include "problems.h"

/* Reports what nontax_payload_problem() has put in; whether it was that. */
bool nx_report_if_problem(nx_report *report, const nx_value *value, const nx_place *here);

/* Checks the value of a field that is no object. */
void nx_check_leaf(nx_report *report, const nx_field *field, const nx_value *value,
                   const nx_place *here);

/* Checks the member of an object whose name the interface does not have: name and value. */
void nx_check_extra(nx_report *report, const nx_value *value, const nx_place *here);

#endif
