/* json.c: payloads as trees of cJSON's, and the wiping of such trees. */
#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "payload.h"

enum { MAX_DEPTH = 100 }; /* the check refuses what is deeper than that, wherever it stands */

/* The valueint of a raw or invalid item is unused by cJSON; ours says what its text is. */
enum { RAW_NUMBER = 1, RAW_TIME = 2, FOREIGN = 3, FIRST_PROBLEM = 4 };

/* ---- leaves that cJSON has no constructor for ------------------------------------------- */

static cJSON *raw_item(const char *literal, int kind)
{
    cJSON *item = cJSON_CreateRaw(literal);
    if (item) {
        item->valueint = kind;
    }
    return item;
}

cJSON *nontax_json_number(const char *literal)
{
    return raw_item(literal, RAW_NUMBER);
}

cJSON *nontax_json_time(int64_t unix_seconds)
{
    char literal[24];
    snprintf(literal, sizeof literal, "%lld", (long long)unix_seconds);
    return raw_item(literal, RAW_TIME);
}

/* Invalid for cJSON, which refuses to print it. */
static cJSON *invalid_item(const char *text, int kind)
{
    cJSON *item = cJSON_CreateString(text);
    if (item) {
        item->type = cJSON_Invalid;
        item->valueint = kind;
    }
    return item;
}

cJSON *nontax_json_foreign(const char *kind)
{
    return invalid_item(kind, FOREIGN);
}

cJSON *nontax_json_problem(nontax_problem_id id, const char *value)
{
    return invalid_item(value ? value : "", FIRST_PROBLEM + (int)id);
}

/* ---- from a tree to a payload ------------------------------------------------------------ */

static void put(nontax_payload *payload, const char *name, const cJSON *item, int depth);

static void put_raw(nontax_payload *payload, const char *name, const cJSON *item)
{
    if (item->valueint == RAW_NUMBER) {
        nontax_payload_number(payload, name, item->valuestring);
    } else if (item->valueint == RAW_TIME) {
        nontax_payload_time(payload, name, strtoll(item->valuestring, NULL, 10));
    } else {
        nx_payload_raw(payload, name);
    }
}

static void put_invalid(nontax_payload *payload, const char *name, const cJSON *item)
{
    if (item->valueint >= FIRST_PROBLEM) {
        nontax_problem_id id = (nontax_problem_id)(item->valueint - FIRST_PROBLEM);
        nontax_payload_problem(payload, name, id, item->valuestring);
    } else if (item->valueint == FOREIGN) {
        nontax_payload_foreign(payload, name, item->valuestring);
    } else {
        nx_payload_raw(payload, name);
    }
}

static void put_members(nontax_payload *payload, const cJSON *item, int depth)
{
    const cJSON *member = depth < MAX_DEPTH ? item->child : NULL;
    for (; member; member = member->next) {
        /* A tree that was put together wrongly can have a member without a name. */
        const char *name = member->string ? member->string : "";
        put(payload, cJSON_IsObject(item) ? name : NULL, member, depth + 1);
    }
    nontax_payload_end(payload);
}

static void put(nontax_payload *payload, const char *name, const cJSON *item, int depth)
{
    if (cJSON_IsString(item)) {
        nontax_payload_text(payload, name, item->valuestring, strlen(item->valuestring));
    } else if (cJSON_IsNumber(item)) {
        nx_payload_double(payload, name, item->valuedouble);
    } else if (cJSON_IsBool(item)) {
        nontax_payload_bool(payload, name, cJSON_IsTrue(item));
    } else if (cJSON_IsNull(item)) {
        nontax_payload_null(payload, name);
    } else if (cJSON_IsObject(item)) {
        nontax_payload_object(payload, name);
        put_members(payload, item, depth);
    } else if (cJSON_IsArray(item)) {
        nontax_payload_list(payload, name);
        put_members(payload, item, depth);
    } else if (cJSON_IsRaw(item)) {
        put_raw(payload, name, item);
    } else {
        put_invalid(payload, name, item);
    }
}

nontax_payload *nontax_payload_from_json(cJSON *tree)
{
    nontax_payload *payload = tree ? nontax_payload_new() : NULL;
    if (payload) {
        put(payload, NULL, tree, 0);
    }
    nx_json_free(tree);
    return payload;
}

/* ---- the whole tree ---------------------------------------------------------------------- */

static void wipe_strings(cJSON *item)
{
    for (; item; item = item->next) {
        if (item->type & cJSON_IsReference) {
            continue; /* somebody else's memory */
        }
        if (item->valuestring) {
            nx_wipe(item->valuestring, strlen(item->valuestring));
        }
        wipe_strings(item->child);
    }
}

void nx_json_free(cJSON *tree)
{
    wipe_strings(tree);
    cJSON_Delete(tree);
}
