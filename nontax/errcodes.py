"""WeChat's error codes, to be looked up without sending anything."""

from nontax import _core
from nontax.record import Record


class ErrorCode(Record):
    """One of WeChat's error codes.

    code: the number (int). name: a short name, "UNKNOWN" if the code is not in nontax's table.
    category: "access_token", "account", "quota", "parameter", "not_authorized", "duplicate",
        "state", "busy", "success" or "unknown"; each but the last two has its exception class.
    retry: "no", "yes", "later" or "after_token_refresh". advice: what to do, one sentence.
    """

    __slots__ = ("code", "name", "category", "retry", "advice")  # noqa: RUF023  (by meaning)

    code: int
    name: str
    category: str
    retry: str
    advice: str

    def __init__(self, code: int) -> None:
        _, *known = _core.errcode(code)
        super().__init__(code, *known)


def errcode(code: int) -> ErrorCode:
    """Look up one of WeChat's error codes, such as 40001.

    A code that is not in nontax's table gives an entry with the category "unknown". Raises
    TypeError if `code` is not an int.
    """
    return ErrorCode(code)
