"""The error codes that the sandbox answers of its own accord, with WeChat's texts for them."""

TEXTS = {
    40001: "invalid credential, access_token is invalid or not latest",
    40002: "invalid grant_type",
    40007: "invalid media_id",
    40013: "invalid appid",
    40014: "invalid access_token",
    40066: "invalid url",
    40073: "invalid card id",
    40078: "invalid card status",
    40080: "invalid card ext",
    40097: "invalid args",
    40101: "missing parameter",
    40125: "invalid appsecret",
    40221: "invalid Content-Encoding",
    41001: "access_token missing",
    41002: "appid missing",
    41004: "appsecret missing",
    41011: "missing required fields! please check document and request json!",
    41012: "missing card id",
    41013: "missing code",
    42001: "access_token expired",
    43001: "require GET method",
    43002: "require POST method",
    44002: "empty post data",
    44006: "empty file data",
    45009: "reach max api daily quota limit",
    47001: "data format error",
    47002: (
        "data format error, do NOT use json unicode encode (\\uxxxx\\uxxxx), "
        "please use utf8 encoded text!"
    ),
    48001: "api unauthorized",
    48006: "forbid to clear quota because of reaching the limit",
    72024: "invoice status error",
    72027: "invoice action error",
    72031: "invalid params",
    72035: "biz reject insert",
    72038: "invoice order never auth",
    72040: "invoice pdf error",
    72042: "billing_code and billing_no repeated",
    72056: "order_id repeated, please check order_id",
    72060: "this invoice has been cancelled, check the reimburse_status please",
    72061: "this invoice has been closed, check the reimburse_status please",
    76001: "rid not found",
    76002: "rid is error",
    76003: "could not query this rid,no permission",
    76021: "cgi_path not found, please check",
    76022: "could not use this cgi_path,no permission",
}

# For codes that only a fault brings up.
GENERIC_TEXT = "refused by the sandbox"


class RefusalError(Exception):
    """A request is answered with an error code.

    `detail` names the field or the reason and is joined to the text of the code; `text` replaces
    that text.
    """

    def __init__(self, errcode: int, detail: str = "", *, text: str | None = None) -> None:
        self.errcode = errcode
        self.text = TEXTS.get(errcode, f"errcode {errcode}") if text is None else text
        if detail:
            self.text += f": {detail}"
        super().__init__(errcode, self.text)
