/* interfaces.c: WeChat's interfaces as data. Another interface is another set of rows. */
#include "interfaces.h"

#include <string.h>

#define COUNT(rows) ((int)(sizeof(rows) / sizeof *(rows)))

enum { REQUIRED = true };

/* https://developers.weixin.qq.com/doc/service/api/invoice/FiscalReceipt/api_notaxinvoiceinsert.html
 * The page's table has the six fields of the bill directly under user_card, its sample has them
 * under invoice_user_data; hence the wrapper. */
static const nx_field insertbill_fields[] = {
    {0, "order_id", NX_TEXT, REQUIRED},     {0, "card_id", NX_TEXT, REQUIRED},
    {0, "appid", NX_TEXT, REQUIRED},        {0, "card_ext", NX_OBJECT, REQUIRED},
    {1, "user_card", NX_OBJECT, REQUIRED},  {2, "invoice_user_data", NX_WRAPPER, REQUIRED},
    {3, "fee", NX_FEN, REQUIRED},           {3, "title", NX_TEXT, REQUIRED},
    {3, "billing_time", NX_TIME, REQUIRED}, {3, "billing_no", NX_TEXT, REQUIRED},
    {3, "billing_code", NX_TEXT, REQUIRED}, {3, "s_pdf_media_id", NX_TEXT, REQUIRED},
};
static const nx_field insertbill_reply[] = {
    {0, "code", NX_TEXT, REQUIRED},
    {0, "openid", NX_TEXT, REQUIRED},
};

static const nontax_interface interfaces[] = {
    {
        .name = "insertbill",
        .path = "/nontax/insertbill",
        .fields = insertbill_fields,
        .field_count = COUNT(insertbill_fields),
        .flat_allowed = true,
        .reply_fields = insertbill_reply,
        .reply_field_count = COUNT(insertbill_reply),
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
