/* payloads.c: see payloads.h. */
#include "payloads.h"

#include <stdio.h>
#include <string.h>

#include "request.h"

const nontax_interface *insertbill(void)
{
    const nontax_interface *interface = nontax_interface_find("insertbill");
    assert_non_null(interface);
    return interface;
}

void expect_body_with(cJSON *payload, nontax_extra extra, const char *expected)
{
    nontax_problems problems = {0};
    nx_buffer body = {0}, secret = {0};
    nontax_status status = nx_request_build(insertbill(), nontax_payload_from_json(payload), extra,
                                            &problems, &body, &secret);
    for (size_t i = 0; i < problems.count; i++) {
        print_error("%s: %s\n", problems.list[i].path, problems.list[i].message);
    }
    assert_int_equal(status, NONTAX_OK);
    assert_int_equal(problems.count, 0);
    assert_string_equal(body.data, expected);
    assert_int_equal(body.size, strlen(expected));
    assert_null(secret.data);
    nx_buffer_free(&body);
    nontax_problems_free(&problems);
}

void expect_body(cJSON *payload, const char *expected)
{
    expect_body_with(payload, NONTAX_EXTRA_REFUSE, expected);
}

void expect_problems_with(cJSON *payload, nontax_extra extra, const char *expected)
{
    nontax_problems problems = {0};
    nx_buffer body = {0}, secret = {0};
    char found[16384];
    size_t size = 0;
    nontax_status status = nx_request_build(insertbill(), nontax_payload_from_json(payload), extra,
                                            &problems, &body, &secret);
    found[0] = '\0';
    for (size_t i = 0; i < problems.count; i++) {
        size += (size_t)snprintf(found + size, sizeof found - size, "%s: %s\n",
                                 problems.list[i].path, problems.list[i].message);
        assert_true(size < sizeof found);
    }
    nontax_problems_free(&problems);
    nx_buffer_free(&body);
    assert_string_equal(found, expected);
    assert_int_equal(status, NONTAX_BAD_PAYLOAD);
    assert_null(body.data);
}

void expect_problems(cJSON *payload, const char *expected)
{
    expect_problems_with(payload, NONTAX_EXTRA_REFUSE, expected);
}

cJSON *with(const char *name, cJSON *item)
{
    char path[128];
    cJSON *bill = sample_bill();
    snprintf(path, sizeof path, IN_SAMPLE "%s", name);
    put(bill, path, item);
    return bill;
}

const char *sample_but(const char *old, const char *new)
{
    static char body[4096];
    const char *found = strstr(sample_body, old);
    assert_non_null(found);
    snprintf(body, sizeof body, "%.*s%s%s", (int)(found - sample_body), sample_body, new,
             found + strlen(old));
    return body;
}

void expect_field(const char *name, cJSON *item, const char *old, const char *new)
{
    expect_body(with(name, item), sample_but(old, new));
}

void expect_field_problem(const char *name, cJSON *item, const char *message)
{
    char expected[512];
    snprintf(expected, sizeof expected, IN_SAMPLE "%s: %s\n", name, message);
    expect_problems(with(name, item), expected);
}
