/* payloads.h: what the tests of payloads share: bills with something changed, and what is expected
 * of them. */
#ifndef NONTAX_TESTS_PAYLOADS_H
#define NONTAX_TESTS_PAYLOADS_H

#include "support.h"

/* A field of the bill in each shape. */
#define IN_SAMPLE "card_ext.user_card.invoice_user_data."
#define IN_TABLE "card_ext.user_card."

const nontax_interface *insertbill(void);

/* The sample with one field of the bill changed. */
cJSON *with(const char *name, cJSON *item);
/* The sample's body with one piece of its text replaced; good until the next time. */
const char *sample_but(const char *old, const char *new);

/* The payload is printed like this. */
void expect_body_with(cJSON *payload, nontax_extra extra, const char *expected);
void expect_body(cJSON *payload, const char *expected);
/* The sample with this field is printed with `new` in place of `old`. */
void expect_field(const char *name, cJSON *item, const char *old, const char *new);

/* `expected`: "path: message\n" for every problem. */
void expect_problems_with(cJSON *payload, nontax_extra extra, const char *expected);
void expect_problems(cJSON *payload, const char *expected);
/* This is the only problem of the sample with this field. */
void expect_field_problem(const char *name, cJSON *item, const char *message);

#endif
