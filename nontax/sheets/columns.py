"""Which header stands for which field: one table.

A header counts without blanks, line breaks, asterisks and case, and without a unit at its end.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping

# The headers of real systems, the usual first. A field's own name is a header, too.
ALIASES: dict[str, tuple[str, ...]] = {
    "order_id": ("订单号", "订单编号", "授权订单号", "商户订单号", "orderId"),
    "card_id": ("卡券模板ID", "卡券ID", "cardId"),
    "appid": ("AppID", "公众账号ID", "公众号AppID"),
    "billing_no": (
        "票据代码",
        "电子票据代码",
        "billBatchCode",
        "EInvoiceCode",
        "pjdm",
        "发票代码",
        "电子发票代码",
    ),
    "billing_code": (
        "票据号码",
        "票据号",
        "电子票据号码",
        "电子票据号",
        "billNo",
        "EInvoiceNumber",
        "pjhm",
        "发票号码",
        "电子发票号码",
    ),
    "check_code": ("校验码", "票据校验码", "random", "RandomNumber", "jym", "checkCode"),
    "business_no": ("业务流水号", "busNo", "结算ID"),
    "related_no": ("关联票据代码", "关联电子票据代码"),
    "related_code": ("关联票据号码", "关联电子票据号码", "关联票据号"),
    "card_code": ("卡券code", "卡包内编号"),
    "transaction_id": ("微信订单号", "微信支付订单号"),
    "refund_no": ("商户退款单号",),
    "openid": (),
    "title": ("交款人", "缴款人", "缴费单位", "付款人", "患者姓名", "姓名", "payer"),
    "unit_name": (
        "执收单位",
        "执收单位名称",
        "收款单位",
        "开票单位",
        "医疗机构",
        "医院",
        "payee",
    ),
    "point": ("开票点", "开票点编码", "placeCode", "开票点名称"),
    "bill_type": ("票据种类", "票据种类名称", "BillName"),
    "data_type": ("数据类型", "DataType"),
    "status": ("状态", "票据状态", "开票状态"),
    "fee": (
        "金额",
        "总金额",
        "开票金额",
        "票据金额",
        "合计金额",
        "totalAmt",
        "小写",
        "amount",
    ),
    "billing_time": ("开票时间", "开票日期", "createTime", "IvcDate", "IvcTime"),
    "business_time": ("业务时间", "业务日期", "busDateTime"),
    "pdf": ("PDF文件名", "PDF文件", "文件名"),
    "s_pdf_media_id": (),
}

# A day in one column and the time of day in another: both together are the moment.
DAYS = {"开票日期", "ivcdate", "业务日期"}
CLOCKS = {"开票时间", "ivctime", "业务时间"}

# Of these, the first that a file has is taken; of all others two are ambiguous.
INFORMATION = {"unit_name", "point", "bill_type"}

# WeChat Pay's statements (交易账单): which of its order numbers is the key, only the user knows.
STATEMENT_MARKS = ("交易时间", "微信订单号", "商户订单号")
STATEMENT: dict[str, tuple[str, ...]] = {
    "appid": ("公众账号ID",),
    "transaction_id": ("微信订单号",),
    "refund_no": ("商户退款单号",),
    "openid": ("用户标识",),
    "status": ("交易状态",),
    "billing_time": ("交易时间",),
    "fee": ("订单金额", "应结订单金额", "总金额"),
    "refund": ("申请退款金额", "退款金额"),
}

KEYS = (("order_id",), ("billing_no", "billing_code"), ("business_no",))

TIMES = ("billing_time", "business_time")
MONEY = ("fee", "refund")
TEXTS = ("title", "unit_name", "point", "bill_type", "data_type", "status", "pdf")
IDS = tuple(field for field in ALIASES if field not in (*TIMES, *MONEY, *TEXTS))
HIDDEN = {"title", "openid"}

_UNIT = re.compile(r"[(\[【/_-]?(元|分|yuan|fen)[)\]】]?$")
_UNITS = {"元": "yuan", "yuan": "yuan", "分": "fen", "fen": "fen"}
_NOISE = re.compile(r"[\s*:'`﻿​]+")


def squeeze(header: object) -> str:
    """Write a header as the table has it: half width, lower case, without blanks and marks."""
    return _NOISE.sub("", unicodedata.normalize("NFKC", str(header))).lower()


def split_unit(header: str) -> tuple[str, str]:
    """Split a squeezed header: "金额(元)" → ("金额", "yuan"); no unit is ""."""
    found = _UNIT.search(header)
    if not found or found.start() == 0:
        return header, ""
    return header[: found.start()], _UNITS[found[1]]


def _squeezed(table: Mapping[str, Iterable[str]]) -> dict[str, str]:
    return {
        squeeze(header): field for field, headers in table.items() for header in (*headers, field)
    }


FIELD_OF = _squeezed(ALIASES)
STATEMENT_FIELD_OF = _squeezed(STATEMENT)


def is_statement(headers: Iterable[object]) -> bool:
    """Whether this is the header of one of WeChat Pay's statements."""
    return set(STATEMENT_MARKS) <= set(map(squeeze, headers))
