/* reply.c: reply body -> errcode, errmsg, rid, fields. */
#include "reply.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "literals.h"
#include "plain.h"

/* WeChat's replies are two objects deep. Each level is a call of cJSON to itself on the stack of
 * whatever thread this is. */
enum { MAX_DEPTH = 64 };

static void in_doubt(nontax_result *result, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* An answer came, but not one that says what became of the call. */
static void in_doubt(nontax_result *result, const char *format, ...)
{
    result->outcome = NONTAX_IN_DOUBT;
    result->cause = NONTAX_CAUSE_REPLY;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(result->reason, sizeof result->reason, format, arguments);
    va_end(arguments);
}

typedef enum repetition { ONCE, THE_SAME_AGAIN, DIFFERENT } repetition;

/* The last member of that name; NULL if there is none. */
static cJSON *find_member(const cJSON *object, const char *name, repetition *repeated)
{
    cJSON *found = NULL, *member = NULL;
    *repeated = ONCE;
    cJSON_ArrayForEach(member, object)
    {
        if (strcmp(member->string, name) != 0) {
            continue;
        }
        if (found && *repeated != DIFFERENT) {
            bool same = cJSON_IsString(found) && cJSON_IsString(member) &&
                        strcmp(found->valuestring, member->valuestring) == 0;
            *repeated = same ? THE_SAME_AGAIN : DIFFERENT;
        }
        found = member;
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

static const nx_field *find_code(const nontax_interface *interface)
{
    for (int i = 0; i < interface->reply_field_count; i++) {
        if (interface->reply_fields[i].kind == NX_CODE) {
            return &interface->reply_fields[i];
        }
    }
    return NULL;
}

/* All texts but a card code, which WeChat gives only once: all digits, as no secret is. */
static void mask(const nontax_interface *interface, cJSON *reply, const nx_secrets *secrets)
{
    const nx_field *code = find_code(interface);
    for (cJSON *item = reply->child; item; item = item->next) {
        bool is_code = code && item->valuestring && strcmp(item->string, code->name) == 0;
        bool is_card_code = is_code && !item->valuestring[strspn(item->valuestring, "0123456789")];
        if (item->valuestring && !is_card_code) {
            nx_text_mask(item->valuestring, secrets);
        }
        nx_text_mask(item->string, secrets);
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

/* WeChat's pages and WeChat itself do not agree on what is a number and what a text. */
static nontax_status adapt(cJSON *item, nx_kind kind)
{
    if (cJSON_IsNumber(item) && (kind == NX_TEXT || kind == NX_CODE)) {
        return nx_literal_to_string(item);
    }
    if (cJSON_IsString(item) && kind == NX_INTEGER) {
        (void)nx_literal_to_number(item); /* or else it cannot be used */
    }
    return NONTAX_OK;
}

/* Whether the rows from this one on, which are the members of one object, can be used; those that
 * are required. */
static bool read_members(const nontax_interface *interface, int first, const cJSON *object,
                         nontax_result *result)
{
    const nx_field *rows = interface->reply_fields;
    int count = interface->reply_field_count, depth = first < count ? rows[first].depth : 0;
    for (int i = first; i < count && rows[i].depth >= depth; i++) {
        if (rows[i].depth > depth) {
            continue; /* a member of a member */
        }
        repetition repeated;
        cJSON *item = find_member(object, rows[i].name, &repeated);
        if (adapt(item, rows[i].kind) != NONTAX_OK) {
            in_doubt(result, "out of memory: the reply was lost");
            result->cause = NONTAX_CAUSE_MEMORY;
            return false;
        }
        bool good = usable(item, rows[i].kind);
        if (rows[i].required && (repeated == DIFFERENT || !good)) {
            in_doubt(result, "the reply says success, but has %s %s",
                     repeated == DIFFERENT ? "more than one"
                     : item                ? "an unusable"
                                           : "no",
                     rows[i].name);
            return false;
        }
        bool has_members = i + 1 < count && rows[i + 1].depth > depth;
        if (good && has_members && !read_members(interface, i + 1, item, result)) {
            return false;
        }
    }
    return true;
}

static void read_success(const nontax_interface *interface, const cJSON *reply, long http_status,
                         nontax_result *result)
{
    if (http_status < 200 || http_status > 299) {
        in_doubt(result, "the reply says success, but came with HTTP status %ld", http_status);
        return;
    }
    if (read_members(interface, 0, reply, result)) {
        result->outcome = NONTAX_INSERTED;
        result->cause = NONTAX_CAUSE_NONE;
    }
}

static void read_object(const nontax_interface *interface, const cJSON *reply, long http_status,
                        nontax_result *result)
{
    repetition repeated;
    const cJSON *errcode = find_member(reply, "errcode", &repeated);
    cJSON *errmsg = cJSON_GetObjectItemCaseSensitive(reply, "errmsg");
    (void)adapt(errmsg, NX_TEXT); /* without memory there are no words */
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
    if (repeated != ONCE || !errcode || !read_errcode(errcode, &code)) {
        in_doubt(result, "the reply %s errcode (HTTP status %ld): it is not from WeChat, or broken",
                 repeated != ONCE ? "has more than one"
                 : errcode        ? "has an unusable"
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

/* Whether it is nested too deep for whoever reads it by recursion, perhaps on a small stack;
 * cJSON's own limit is a thousand. What is no JSON may be taken for deeper than it is. */
static bool is_deep(const char *body)
{
    int depth = 0;
    for (const char *at = body; *at; at++) {
        if (*at == '"') {
            for (at++; *at && *at != '"'; at++) {
                at += *at == '\\' && at[1];
            }
            if (!*at) {
                return false;
            }
        } else if (*at == '[' || *at == '{') {
            if (++depth > MAX_DEPTH) {
                return true;
            }
        } else if (*at == ']' || *at == '}') {
            depth--;
        }
    }
    return false;
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
    if (http_status == 200 &&
        nx_plain_read(interface, body, size, secrets, result->errmsg, fields)) {
        result->has_errcode = true;
        result->errcode = 0;
        result->outcome = NONTAX_INSERTED;
        result->cause = NONTAX_CAUSE_NONE;
        return;
    }
    const char *end = NULL;
    /* cJSON takes a NUL, raw or escaped, for the end of a string: what it shows is not what was
     * sent. */
    if (memchr(body, '\0', size) || strstr(body, "\\u0000")) {
        in_doubt(result, "the reply has a NUL character in it (HTTP status %ld)", http_status);
        return;
    }
    if (is_deep(body)) {
        in_doubt(result, "the reply is nested deeper than %d (HTTP status %ld)", MAX_DEPTH,
                 http_status);
        return;
    }
    cJSON *reply = cJSON_ParseWithLengthOpts(body, size + 1, &end, true);
    if (!cJSON_IsObject(reply) || (size_t)(end - body) != size) {
        in_doubt(result, "the reply was not a JSON object (HTTP status %ld, %zu bytes)",
                 http_status, size);
        nx_json_free(reply);
        return;
    }
    if (nx_literals_keep(reply, body) != NONTAX_OK) {
        in_doubt(result, "out of memory: the reply was lost");
        result->cause = NONTAX_CAUSE_MEMORY;
        nx_json_free(reply);
        return;
    }
    mask(interface, reply, secrets);
    read_object(interface, reply, http_status, result);
    cJSON_DeleteItemFromObjectCaseSensitive(reply, "errcode");
    cJSON_DeleteItemFromObjectCaseSensitive(reply, "errmsg");
    *fields = reply;
}
