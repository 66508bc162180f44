"""WeChat's error codes, to be looked up without sending anything."""

from nontax import _core


class ErrorCode:
    """One of WeChat's error codes.

    code: the number (int). name: a short name, "UNKNOWN" if the code is in no public table.
    category: "access_token", "account", "quota", "parameter", "not_authorized", "duplicate",
        "state", "busy", "success" or "unknown"; each but the last two has its exception class.
    retry: "no", "yes", "later" or "after_token_refresh". advice: what to do, one sentence.
    """

    __slots__ = ("advice", "category", "code", "name", "retry")

    def __init__(self, code: int) -> None:
        self.code = code
        _, self.name, self.category, self.retry, self.advice = _core.errcode(code)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ErrorCode) and self.code == other.code

    def __hash__(self) -> int:
        return hash(self.code)

    def __repr__(self) -> str:
        return f"<{self.code} {self.name}: {self.category}, retry {self.retry}: {self.advice}>"


def errcode(code: int) -> ErrorCode:
    """Look up one of WeChat's error codes, such as 40001.

    A code in no public table gives an entry with the category "unknown". Raises TypeError if `code`
    is not an int.
    """
    return ErrorCode(code)
