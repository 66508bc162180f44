/* problems.h: all that is wrong with a payload, and where. */
#ifndef NONTAX_PROBLEMS_H
#define NONTAX_PROBLEMS_H

#include "nontax.h"

enum { NX_MAX_PATH = 256 }; /* of a problem's path; longer ones are cut */

/* A place in the payload, linked to the places above it. They live on the C stack, and are put
 * together to a path only when there is something to report. */
typedef struct nx_place {
    const struct nx_place *above; /* NULL: the whole payload */
    const char *name;             /* NULL: the element `index` of a list */
    int index;
} nx_place;

/* Where a check puts what it finds. */
typedef struct nx_report {
    nontax_problems *problems;
    nontax_status status; /* NONTAX_OK, or why one could not be added */
} nx_report;

/* Reports a problem whose message names no value, one, or two, in the order of the message. */
void nx_report_problem(nx_report *report, const nx_place *here, nontax_problem_id id);
void nx_report_value(nx_report *report, const nx_place *here, nontax_problem_id id,
                     const char *value);
void nx_report_values(nx_report *report, const nx_place *here, nontax_problem_id id,
                      const char *first, const char *second);

/* "parent.name", into a place of NX_MAX_PATH bytes, which may be the parent's own. */
void nx_join_path(char *target, const char *parent, const char *name);

#endif
