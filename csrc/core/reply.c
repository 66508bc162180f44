/* reply.c: reply body -> errcode, errmsg, rid, fields. */
#include "reply.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

static void in_doubt(nontax_result *result, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* An answer came, but not one that tells what became of the call. */
static void in_doubt(nontax_result *result, const char *format, ...)
{
    result->outcome = NONTAX_IN_DOUBT;
    result->cause = NONTAX_CAUSE_REPLY;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(result->reason, sizeof result->reason, format, arguments);
    va_end(arguments);
}

/* The only member of that name; NULL if there is none. *twice is set if there are more. */
static cJSON *only_member(const cJSON *object, const char *name, bool *twice)
{
    cJSON *found = NULL, *member = NULL;
    cJSON_ArrayForEach(member, object)
    {
        if (strcmp(member->string, name) == 0) {
            *twice = *twice || found;
            found = member;
        }
    }
    return found;
}

/* WeChat's pages show errcode as a number, one types it as a string: both are read. */
static bool read_errcode(const cJSON *item, int *errcode)
{
    if (cJSON_IsNumber(item)) {
        double value = item->valuedouble;
        if (!(value >= INT_MIN && value <= INT_MAX) || value != (double)(int)value) {
            return false;
        }
        *errcode = (int)value;
        return true;
    }
    if (!cJSON_IsString(item)) {
        return false;
    }
    const char *digits = item->valuestring + (*item->valuestring == '-');
    size_t length = strlen(digits);
    if (length == 0 || length > 9 || strspn(digits, "0123456789") != length) {
        return false;
    }
    *errcode = atoi(item->valuestring);
    return true;
}

/* "rid: 61725984-6126f6f9-040f19c4" */
static void read_rid(const char *errmsg, char *rid, size_t capacity)
{
    const char *at = errmsg;
    *rid = '\0';
    while ((at = strstr(at, "rid:"))) {
        at += strlen("rid:");
        const char *start = at + strspn(at, " ");
        size_t size = nx_rid_size(start);
        if (size) {
            snprintf(rid, capacity, "%.*s", (int)size, start);
        }
    }
}

static void mask_strings(cJSON *item, const nx_secrets *secrets)
{
    for (; item; item = item->next) {
        if (item->valuestring) {
            nx_text_mask(item->valuestring, secrets);
        }
        if (item->string) {
            nx_text_mask(item->string, secrets);
        }
        mask_strings(item->child, secrets);
    }
}

/* Whether a documented field of the reply can be used as it stands. */
static bool usable(const cJSON *item, nx_kind kind)
{
    if (kind == NX_OBJECT) {
        return cJSON_IsObject(item);
    }
    if (kind == NX_INTEGER) {
        return cJSON_IsNumber(item) && fabs(item->valuedouble) < 9e15 &&
               item->valuedouble == floor(item->valuedouble);
    }
    return cJSON_IsString(item) && *item->valuestring &&
           nx_utf8_valid(item->valuestring, strlen(item->valuestring));
}

static void read_success(const nontax_interface *interface, const cJSON *reply, long http_status,
                         nontax_result *result)
{
    if (http_status < 200 || http_status > 299) {
        in_doubt(result, "the reply says success, but came with HTTP status %ld", http_status);
        return;
    }
    for (int i = 0; i < interface->reply_field_count; i++) {
        const nx_field *field = &interface->reply_fields[i];
        bool twice = false;
        const cJSON *item = only_member(reply, field->name, &twice);
        if (twice) {
            in_doubt(result, "the reply says success, but has %s twice", field->name);
            return;
        }
        if ((item || field->required) && !usable(item, field->kind)) {
            in_doubt(result, "the reply says success, but has %s %s", item ? "an unusable" : "no",
                     field->name);
            return;
        }
    }
    result->outcome = NONTAX_INSERTED;
    result->cause = NONTAX_CAUSE_NONE;
}

static void read_object(const nontax_interface *interface, const cJSON *reply, long http_status,
                        nontax_result *result)
{
    bool twice = false;
    const cJSON *errcode = only_member(reply, "errcode", &twice);
    const cJSON *errmsg = cJSON_GetObjectItemCaseSensitive(reply, "errmsg");
    if (cJSON_IsString(errmsg)) {
        nx_text_copy(result->errmsg, sizeof result->errmsg, errmsg->valuestring,
                     strlen(errmsg->valuestring));
        read_rid(errmsg->valuestring, result->rid, sizeof result->rid);
    }
    int code = 0;
    if (interface->by_secret && !errcode) {
        read_success(interface, reply, http_status, result);
        return;
    }
    if (twice || !errcode || !read_errcode(errcode, &code)) {
        in_doubt(result, "the reply %s errcode (HTTP status %ld): it is not from WeChat, or broken",
                 twice     ? "has more than one"
                 : errcode ? "has an unusable"
                           : "has no",
                 http_status);
        return;
    }
    if (http_status >= 500 && nontax_errcode_find(code)->code != code) {
        in_doubt(result, "the reply came with HTTP status %ld and an errcode that is not WeChat's",
                 http_status);
        return;
    }
    result->has_errcode = true;
    result->errcode = code;
    if (code == 0) {
        read_success(interface, reply, http_status, result);
        return;
    }
    /* -1 is the one errcode that does not say that the call was not carried out. */
    result->outcome = code == -1 ? NONTAX_IN_DOUBT : NONTAX_REJECTED;
    result->cause = NONTAX_CAUSE_NONE;
}

void nx_reply_read(const nontax_interface *interface, const char *body, size_t size,
                   long http_status, const nx_secrets *secrets, nontax_result *result,
                   cJSON **fields)
{
    *fields = NULL;
    result->http_status = http_status;
    if (http_status >= 300 && http_status <= 399) {
        in_doubt(result,
                 "the server redirects (HTTP status %ld), which WeChat never does; the redirect "
                 "was not followed: check base_url and the proxy",
                 http_status);
        return;
    }
    if (size == 0) {
        in_doubt(result, "the reply was empty (HTTP status %ld)", http_status);
        return;
    }
    const char *end = NULL;
    /* cJSON takes a NUL, raw or escaped, for the end of a string: what it shows is not what was
     * sent. */
    if (memchr(body, '\0', size) || strstr(body, "\\u0000")) {
        in_doubt(result, "the reply has a NUL character in it (HTTP status %ld)", http_status);
        return;
    }
    cJSON *reply = cJSON_ParseWithLengthOpts(body, size + 1, &end, true);
    if (!cJSON_IsObject(reply) || (size_t)(end - body) != size) {
        in_doubt(result, "the reply was not a JSON object (HTTP status %ld, %zu bytes)",
                 http_status, size);
        nx_json_free(reply);
        return;
    }
    mask_strings(reply->child, secrets);
    read_object(interface, reply, http_status, result);
    cJSON_DeleteItemFromObjectCaseSensitive(reply, "errcode");
    cJSON_DeleteItemFromObjectCaseSensitive(reply, "errmsg");
    *fields = reply;
}
