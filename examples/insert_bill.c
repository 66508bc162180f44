/* insert_bill.c: inserts one bill with nontax's C core alone, without Python.
 *
 *     make core
 *     NONTAX_BASE_URL=… NONTAX_CA_FILE=… NONTAX_ACCESS_TOKEN=… build/examples/insert_bill bill.json
 *
 * The file holds the bill as JSON, in any of its three shapes. Exit status: 0 inserted, 1 rejected,
 * 2 not sent, 3 in doubt, 64 wrong arguments, 70 no call could be made. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nontax.h"

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    if (file && fseek(file, 0, SEEK_END) == 0) {
        long size = ftell(file);
        text = size >= 0 ? malloc((size_t)size + 1) : NULL;
        rewind(file);
        if (text && fread(text, 1, (size_t)size, file) == (size_t)size) {
            text[size] = '\0';
        } else {
            free(text);
            text = NULL;
        }
    }
    if (file) {
        fclose(file);
    }
    return text;
}

/* A field of the reply, or "": a bill can be inserted without an openid in the reply. */
static const char *field(const nontax_result *result, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(result->fields, name));
    return text ? text : "";
}

static int report(nontax_call *call)
{
    const nontax_result *result = nontax_call_result(call);
    const nontax_problems *problems = nontax_call_problems(call);
    printf("%s\n", nontax_outcome_name(result->outcome));
    if (result->outcome == NONTAX_INSERTED) {
        printf("code   %s\n", field(result, "code"));
        printf("openid %s\n", field(result, "openid"));
        return 0;
    }
    for (size_t i = 0; i < problems->count; i++) {
        printf("%s %s\n", problems->list[i].path, problems->list[i].message);
    }
    if (result->reason[0]) {
        printf("%s\n", result->reason);
    } else if (result->has_errcode) {
        const nontax_errcode *known = nontax_errcode_find(result->errcode);
        printf("errcode %d (%s): %s\n%s\n", result->errcode, known->name, result->errmsg,
               known->advice);
    }
    return (int)result->outcome;
}

int main(int count, char **arguments)
{
    const char *token = getenv("NONTAX_ACCESS_TOKEN");
    if (count != 2 || !token) {
        fprintf(stderr, "usage: NONTAX_ACCESS_TOKEN=... %s bill.json\n", arguments[0]);
        return 64;
    }
    nontax_settings settings = NONTAX_SETTINGS_DEFAULT;
    if (getenv("NONTAX_BASE_URL")) {
        settings.base_url = getenv("NONTAX_BASE_URL");
    }
    settings.ca_file = getenv("NONTAX_CA_FILE");

    nontax_client *client = NULL;
    nontax_call *call = NULL;
    nontax_text why;
    int status = 70;
    char *text = read_file(arguments[1]);
    /* A program that reads fees beyond 2^53 would use nontax_json_number() instead of cJSON. */
    cJSON *bill = text ? cJSON_Parse(text) : NULL;
    if (!bill) {
        fprintf(stderr, "%s cannot be read, or is not JSON\n", arguments[1]);
    } else if (nontax_client_new(&settings, &client, &why) != NONTAX_OK) {
        fprintf(stderr, "%s\n", why.text);
    } else if (!(call = nontax_call_new(client, nontax_interface_find("insertbill")))) {
        fprintf(stderr, "out of memory\n");
    } else {
        nontax_status checked = nontax_call_set_payload(call, nontax_payload_from_json(bill));
        bill = NULL; /* the call has taken it over */
        if (checked == NONTAX_OK &&
            nontax_call_set_token(call, token, strlen(token)) != NONTAX_OK) {
            fprintf(stderr, "NONTAX_ACCESS_TOKEN is not an access token\n");
        } else {
            if (checked == NONTAX_OK) {
                nontax_client_run(client, call, NULL);
            }
            status = report(call);
        }
    }
    cJSON_Delete(bill);
    nontax_call_free(call);
    nontax_client_free(client);
    free(text);
    return status;
}
