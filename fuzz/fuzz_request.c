/* fuzz_request.c: any JSON, with the leaves that it has no words for, as a payload. */
#include <stdbool.h>
#include <string.h>

#include "problems.h"
#include "request.h"
#include "target.h"
#include "text.h"

/* What a host language makes of its own types. Bytes that no UTF-8 begins with mark them. */
static cJSON *leaf_for(const char *text)
{
    switch ((unsigned char)text[0]) {
    case 0xFE:
        return nontax_json_number(text + 1);
    case 0xFF:
        return nontax_json_time(strtoll(text + 1, NULL, 10));
    case 0xFD:
        return nontax_json_foreign(text + 1);
    case 0xFC:
        return nontax_json_problem(
            (nontax_problem_id)((unsigned char)text[1] % NONTAX_PROBLEM_COUNT),
            text[1] ? text + 2 : NULL);
    default:
        return NULL;
    }
}

static void put_leaves(cJSON *tree)
{
    for (cJSON *item = tree->child, *next; item; item = next) {
        next = item->next;
        cJSON *leaf = cJSON_IsString(item) ? leaf_for(item->valuestring) : NULL;
        if (leaf && cJSON_IsObject(tree)) {
            leaf->string = item->string; /* as it is: doubled names are wanted, too */
            item->string = NULL;
        }
        if (leaf) {
            MUST(cJSON_ReplaceItemViaPointer(tree, item, leaf));
        } else {
            put_leaves(item);
        }
    }
}

static void check_text(const nontax_interface *interface, const nx_buffer *text)
{
    MUST(text->data && strlen(text->data) == text->size);
    MUST(nx_utf8_valid(text->data, text->size));
    if (interface->form == NX_QUERY) {
        MUST(!strpbrk(text->data, " #\r\n\"<>"));
    } else {
        const char *end = NULL;
        cJSON *again = cJSON_ParseWithOpts(text->data, &end, true);
        MUST(cJSON_IsObject(again) && end == text->data + text->size);
        cJSON_Delete(again);
    }
}

/* First an interface and what becomes of extra fields, then the JSON. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nontax_problems problems = {0};
    nx_buffer text = {0}, secret = {0};
    if (size < 2) {
        return 0;
    }
    const nontax_interface *interface = interface_for(data[0]);
    cJSON *payload = cJSON_ParseWithLength((const char *)data + 2, size - 2);
    if (!payload || nontax_interface_takes_file(interface)) {
        cJSON_Delete(payload);
        return 0;
    }
    put_leaves(payload);
    switch (nx_request_build(interface, nontax_payload_from_json(payload),
                             (nontax_extra)(data[1] % 3), &problems, &text, &secret)) {
    case NONTAX_OK:
        MUST(problems.count == 0);
        check_text(interface, &text);
        break;
    case NONTAX_BAD_PAYLOAD:
        MUST(problems.count > 0);
        for (size_t i = 0; i < problems.count; i++) {
            MUST(nx_utf8_valid(problems.list[i].path, strlen(problems.list[i].path)));
            MUST(*problems.list[i].message);
        }
        break;
    default:
        MUST(!"there was memory enough");
    }
    nx_buffer_free(&text);
    nx_buffer_free(&secret);
    nontax_problems_free(&problems);
    return 0;
}
