/* fuzz_reply.c: any bytes as a reply: the outcome is honest, and no secret is shown. */
#include <string.h>

#include "json.h"
#include "kept.h"
#include "reply.h"
#include "target.h"

#define TOKEN "89_secret-token"

static void check_text(const char *text, size_t capacity)
{
    MUST(memchr(text, '\0', capacity));
    MUST(nx_utf8_valid(text, strlen(text)));
    MUST(!strstr(text, TOKEN));
}

/* What is read without a parser is what the parser reads: it is not asked where blanks stand. */
static void read_again(const nontax_interface *interface, const char *body, size_t size,
                       long status, const nontax_result *expected, const cJSON *expected_fields)
{
    const nx_secrets secrets = {{TOKEN}};
    nontax_result result = {0};
    cJSON *fields = NULL;
    char *spaced = malloc(size + 2);
    MUST(spaced);
    spaced[0] = ' ';
    memcpy(spaced + 1, body, size + 1);
    nx_reply_read(interface, spaced, size + 1, status, &secrets, &result, &fields);
    MUST(result.outcome == expected->outcome && result.errcode == expected->errcode);
    MUST(strcmp(result.errmsg, expected->errmsg) == 0 && strcmp(result.rid, expected->rid) == 0);
    char *printed = cJSON_PrintUnformatted(fields);
    char *expected_text = cJSON_PrintUnformatted(expected_fields);
    MUST(printed && expected_text);
    /* In any order; cJSON's comparison takes two members of one name for different. */
    MUST(cJSON_Compare(fields, expected_fields, true) || strcmp(printed, expected_text) == 0);
    cJSON_free(printed);
    cJSON_free(expected_text);
    nx_json_free(fields);
    free(spaced);
}

/* First an interface and a status, then the body. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const long statuses[] = {200, 200, 200, 299, 302, 404, 500, 502};
    const nx_secrets secrets = {{TOKEN}};
    nontax_result result = {0};
    cJSON *fields = NULL;
    if (size < 2) {
        return 0;
    }
    char *body = malloc(size - 1); /* no longer than it must be, so that a read too far is seen */
    MUST(body);
    memcpy(body, data + 2, size - 2);
    body[size - 2] = '\0';
    long status = statuses[data[1] % (sizeof statuses / sizeof *statuses)];
    nx_reply_read(interface_for(data[0]), body, size - 2, status, &secrets, &result, &fields);
    check_text(result.errmsg, sizeof result.errmsg);
    check_text(result.rid, sizeof result.rid);
    check_text(result.reason, sizeof result.reason);
    switch (result.outcome) {
    case NONTAX_INSERTED:
        MUST(cJSON_IsObject(fields) && result.errcode == 0);
        MUST(status >= 200 && status <= 299);
        read_again(interface_for(data[0]), body, size - 2, status, &result, fields);
        break;
    case NONTAX_REJECTED:
        MUST(result.has_errcode && result.errcode != 0 && result.errcode != -1);
        break;
    case NONTAX_IN_DOUBT:
        MUST(result.cause != NONTAX_CAUSE_NONE || result.errcode == -1);
        MUST(*result.reason || result.has_errcode);
        break;
    case NONTAX_NOT_SENT:
        MUST(!"a reply came, so it was sent");
    }
    nx_json_free(fields);
    nx_buffer kept = {0};
    nx_reply_keep(body, size - 2, &secrets, &kept);
    MUST(nx_utf8_valid(kept.size ? kept.data : "", kept.size) && kept.size < 16 * 1024);
    /* "\\xf8" and "9_secret-token" are none, although they look like one. */
    const char *shown = kept.size ? strstr(kept.data, TOKEN) : NULL;
    MUST(!shown || (shown - kept.data >= 3 && shown[-3] == '\\' && shown[-2] == 'x'));
    nx_buffer_free(&kept);
    free(body);
    return 0;
}
