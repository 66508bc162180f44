/* interfaces.c: WeChat's interfaces as data. Another interface is another set of rows. */
#include "interfaces.h"

#include <string.h>

#define COUNT(rows) ((int)(sizeof(rows) / sizeof *(rows)))
#define FIELDS(rows) .fields = (rows), .field_count = COUNT(rows)
#define REPLY(rows) .reply_fields = (rows), .reply_field_count = COUNT(rows)

#define FIELD(depth, name, kind) {depth, name, kind, true, NULL, NX_KEY_NONE}
#define OPTIONAL(depth, name, kind) {depth, name, kind, false, NULL, NX_KEY_NONE}
#define CHOICE(depth, name, choices) {depth, name, NX_TEXT, true, choices, NX_KEY_NONE}
#define KEY(depth, name, key) {depth, name, NX_TEXT, true, NULL, key}

/* ---- the finance bureau ------------------------------------------------------------------ */

/* https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_notaxinvoicecreatecard.html
 * The page's table lacks the wrapper that its sample has, and that the sister product requires. */
static const nx_field createbillcard_fields[] = {
    FIELD(0, "invoice_info", NX_OBJECT),
    FIELD(1, "payee", NX_TEXT),
    FIELD(1, "base_info", NX_OBJECT),
    FIELD(2, "logo_url", NX_TEXT),
};
static const nx_field createbillcard_reply[] = {FIELD(0, "card_id", NX_TEXT)};

/* https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_invoiceplatformsetpdf.html
 */
static const nx_field setpdf_reply[] = {FIELD(0, "s_media_id", NX_TEXT)};

/* https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_setinvoiceurl.html */
static const nx_field seturl_reply[] = {FIELD(0, "invoice_url", NX_TEXT)};

/* https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_invoiceplatformgetpdf.html
 */
static const char *const getpdf_actions[] = {"get_url", NULL};
static const nx_field getpdf_fields[] = {
    CHOICE(0, "action", getpdf_actions),
    FIELD(0, "s_media_id", NX_TEXT),
};
static const nx_field getpdf_reply[] = {
    FIELD(0, "pdf_url", NX_TEXT),
    FIELD(0, "pdf_url_expire_time", NX_INTEGER),
};

/* https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_notaxinvoiceinsert.html
 * The page's table has the six fields of the bill directly under user_card, its sample has them
 * under invoice_user_data; hence the wrapper. */
static const nx_field insertbill_fields[] = {
    KEY(0, "order_id", NX_KEY_ORDER),
    FIELD(0, "card_id", NX_TEXT),
    FIELD(0, "appid", NX_TEXT),
    FIELD(0, "card_ext", NX_OBJECT),
    FIELD(1, "user_card", NX_OBJECT),
    FIELD(2, "invoice_user_data", NX_WRAPPER),
    FIELD(3, "fee", NX_FEN),
    FIELD(3, "title", NX_TEXT),
    FIELD(3, "billing_time", NX_TIME),
    KEY(3, "billing_no", NX_KEY_NUMBER),
    KEY(3, "billing_code", NX_KEY_NUMBER),
    FIELD(3, "s_pdf_media_id", NX_TEXT),
};
static const nx_field insertbill_reply[] = {
    FIELD(0, "code", NX_CODE),
    OPTIONAL(0, "openid", NX_TEXT),
};

/* https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_invoicekpupdatainvoicestatus.html
 */
static const char *const reimburse_statuses[] = {"INVOICE_REIMBURSE_INIT", "INVOICE_REIMBURSE_LOCK",
                                                 "INVOICE_REIMBURSE_CLOSURE",
                                                 "INVOICE_REIMBURSE_CANCEL", NULL};
static const nx_field updatestatus_fields[] = {
    FIELD(0, "card_id", NX_TEXT),
    FIELD(0, "code", NX_TEXT),
    CHOICE(0, "reimburse_status", reimburse_statuses),
};

/* ---- the collecting unit ----------------------------------------------------------------- */

/* https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_getticket.html */
static const char *const ticket_types[] = {"wx_card", NULL};
static const nx_field getticket_fields[] = {CHOICE(0, "type", ticket_types)};
static const nx_field getticket_reply[] = {
    FIELD(0, "ticket", NX_TEXT),
    FIELD(0, "expires_in", NX_INTEGER),
};

/* https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_notaxinvoicegetauthurl.html
 */
static const char *const sources[] = {"web", "app", NULL};
static const nx_field getbillauthurl_fields[] = {
    FIELD(0, "s_pappid", NX_TEXT), FIELD(0, "order_id", NX_TEXT),
    FIELD(0, "money", NX_FEN),     FIELD(0, "timestamp", NX_SECONDS),
    CHOICE(0, "source", sources),  OPTIONAL(0, "redirect_url", NX_TEXT),
    FIELD(0, "ticket", NX_SECRET),
};
static const nx_field getbillauthurl_reply[] = {
    FIELD(0, "auth_url", NX_TEXT),
    FIELD(0, "expire_time", NX_INTEGER),
};

/* https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_invoicebizgetauthdata.html
 * An order that was never authorised has no auth_time. */
static const nx_field getauthdata_fields[] = {
    FIELD(0, "s_pappid", NX_TEXT),
    FIELD(0, "order_id", NX_TEXT),
};
static const nx_field getauthdata_reply[] = {
    FIELD(0, "invoice_status", NX_TEXT),
    OPTIONAL(0, "auth_time", NX_INTEGER),
};

/* https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_invoicebizrejectinsert.html
 */
static const nx_field rejectinsert_fields[] = {
    FIELD(0, "s_pappid", NX_TEXT),
    FIELD(0, "order_id", NX_TEXT),
    FIELD(0, "reason", NX_TEXT),
    OPTIONAL(0, "url", NX_TEXT),
};

/* ---- credentials ------------------------------------------------------------------------- */

static const char *const grant_types[] = {"client_credential", NULL};
static const nx_field token_reply[] = {
    FIELD(0, "access_token", NX_TEXT),
    FIELD(0, "expires_in", NX_INTEGER),
};

/* https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken */
static const nx_field stable_token_fields[] = {
    CHOICE(0, "grant_type", grant_types),
    FIELD(0, "appid", NX_TEXT),
    FIELD(0, "secret", NX_SECRET),
    OPTIONAL(0, "force_refresh", NX_BOOL),
};

/* https://developers.weixin.qq.com/doc/oplatform/developers/dev/AccessToken.html */
static const nx_field token_fields[] = {
    CHOICE(0, "grant_type", grant_types),
    FIELD(0, "appid", NX_TEXT),
    FIELD(0, "secret", NX_SECRET),
};

/* ---- looking things up ------------------------------------------------------------------- */

/* https://developers.weixin.qq.com/doc/service/openApi/get_rid_info.html */
static const nx_field rid_fields[] = {FIELD(0, "rid", NX_RID)};
static const nx_field rid_reply[] = {
    FIELD(0, "request", NX_OBJECT),        OPTIONAL(1, "invoke_time", NX_INTEGER),
    OPTIONAL(1, "cost_in_ms", NX_INTEGER), OPTIONAL(1, "request_url", NX_TEXT),
    OPTIONAL(1, "request_body", NX_TEXT),  OPTIONAL(1, "response_body", NX_TEXT),
    OPTIONAL(1, "client_ip", NX_TEXT),
};

/* https://developers.weixin.qq.com/doc/offiaccount/openApi/get_api_quota.html */
static const nx_field quota_fields[] = {FIELD(0, "cgi_path", NX_PATH)};
static const nx_field quota_reply[] = {
    FIELD(0, "quota", NX_OBJECT),
    OPTIONAL(1, "daily_limit", NX_INTEGER),
    OPTIONAL(1, "used", NX_INTEGER),
    OPTIONAL(1, "remain", NX_INTEGER),
    OPTIONAL(0, "rate_limit", NX_OBJECT),
    OPTIONAL(1, "call_count", NX_INTEGER),
    OPTIONAL(1, "refresh_second", NX_INTEGER),
    OPTIONAL(0, "component_rate_limit", NX_OBJECT),
    OPTIONAL(1, "call_count", NX_INTEGER),
    OPTIONAL(1, "refresh_second", NX_INTEGER),
};

/* ---- the table --------------------------------------------------------------------------- */

static const nontax_interface interfaces[] = {
    {
        .name = "insertbill",
        .path = "/nontax/insertbill",
        .flat_allowed = true,
        FIELDS(insertbill_fields),
        REPLY(insertbill_reply),
    },
    {
        .name = "createbillcard",
        .path = "/nontax/createbillcard",
        FIELDS(createbillcard_fields),
        REPLY(createbillcard_reply),
    },
    {
        .name = "setpdf",
        .path = "/card/invoice/platform/setpdf",
        .form = NX_FILE,
        .file_part = "pdf",
        .file_type = "application/pdf",
        REPLY(setpdf_reply),
    },
    {
        .name = "seturl",
        .path = "/card/invoice/seturl",
        REPLY(seturl_reply),
    },
    {
        .name = "getpdf",
        .path = "/card/invoice/platform/getpdf",
        .read_only = true,
        FIELDS(getpdf_fields),
        REPLY(getpdf_reply),
    },
    {
        .name = "updatestatus",
        .path = "/card/invoice/platform/updatestatus",
        FIELDS(updatestatus_fields),
    },
    {
        .name = "getticket",
        .path = "/cgi-bin/ticket/getticket",
        .form = NX_QUERY,
        .read_only = true,
        .answers_secret = true,
        FIELDS(getticket_fields),
        REPLY(getticket_reply),
    },
    {
        .name = "getbillauthurl",
        .path = "/nontax/getbillauthurl",
        FIELDS(getbillauthurl_fields),
        REPLY(getbillauthurl_reply),
    },
    {
        .name = "getauthdata",
        .path = "/card/invoice/getauthdata",
        .read_only = true,
        FIELDS(getauthdata_fields),
        REPLY(getauthdata_reply),
    },
    {
        .name = "rejectinsert",
        .path = "/card/invoice/rejectinsert",
        FIELDS(rejectinsert_fields),
    },
    {
        /* Asked in normal mode, it gives the same token again. */
        .name = "stable_token",
        .path = "/cgi-bin/stable_token",
        .read_only = true,
        .answers_secret = true,
        .by_secret = true,
        FIELDS(stable_token_fields),
        REPLY(token_reply),
    },
    {
        /* Each call makes a new token, and ends the one before it. */
        .name = "token",
        .path = "/cgi-bin/token",
        .form = NX_QUERY,
        .answers_secret = true,
        .by_secret = true,
        FIELDS(token_fields),
        REPLY(token_reply),
    },
    {
        /* Its reply repeats a request, credentials and all. */
        .name = "rid/get",
        .path = "/cgi-bin/openapi/rid/get",
        .read_only = true,
        .answers_secret = true,
        FIELDS(rid_fields),
        REPLY(rid_reply),
    },
    {
        .name = "quota/get",
        .path = "/cgi-bin/openapi/quota/get",
        .read_only = true,
        FIELDS(quota_fields),
        REPLY(quota_reply),
    },
};

const nontax_interface *nontax_interface_find(const char *name)
{
    for (int i = 0; i < COUNT(interfaces); i++) {
        if (strcmp(interfaces[i].name, name) == 0) {
            return &interfaces[i];
        }
    }
    return NULL;
}

const char *nontax_interface_name(const nontax_interface *interface)
{
    return interface->name;
}

bool nontax_interface_takes_file(const nontax_interface *interface)
{
    return interface->form == NX_FILE;
}

bool nontax_interface_is_read_only(const nontax_interface *interface)
{
    return interface->read_only;
}

bool nontax_interface_takes_secret(const nontax_interface *interface)
{
    return interface->by_secret;
}

bool nontax_interface_answers_secret(const nontax_interface *interface)
{
    return interface->answers_secret;
}
