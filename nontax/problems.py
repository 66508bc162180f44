"""One thing that is wrong with what was handed in: where, what, and what to do."""

# Imports nothing: `import nontax` must stay cheap.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_FEN = '; nontax.fen("12.34") converts yuan to fen'
_TIME = '; nontax.billing_time("2026-11-30 09:15:00") converts times to Unix seconds'

# What Python has against a problem of the core, by its id.
CURES = {
    "not_fields": ": give a dict",
    "number_not_text": ": read the column as text (pandas: dtype=str)",
    "begins_with": ": remove it",
    "ends_with": ": remove it",
    "empty_cell": ": leave the bill out, or fill the cell",
    "not_fen": _FEN,
    "fen_fraction": _FEN,
    "not_time": _TIME,
    "time_form": _TIME,
    "time_milliseconds": _TIME,
    "time_to_the_hour": ": add minutes and seconds" + _TIME,
    "time_naive": (
        ': give it one, such as tzinfo=ZoneInfo("Asia/Shanghai"), or hand it to '
        "nontax.billing_time(), which takes it as UTC+8"
    ),
    "time_offset": (
        ": pytz gives it to datetime(…, tzinfo=timezone(…)); use zoneinfo.ZoneInfo, or the zone's "
        "localize()"
    ),
    "foreign": ": give a str or an int",
}
_BYTE_ORDER_MARK = ' (read the file with encoding="utf-8-sig")'


class Problem(tuple[str, str]):
    """The pair (path, message), and what a program or a translation needs beside it.

    path: where it is, such as "card_ext.user_card.invoice_user_data.fee"; "" is the whole (str).
    message: what is wrong and what to do, in English (str).
    id: which problem it is, such as "not_fen"; "" if it has none (str).
    values: what the message of this id names, such as {"kind": "a Decimal"} (dict of str).
    index: the bill's place among many, from 0 (int), or None. order_id: its order (str), or None.

    Immutable, can be pickled, and is equal to the plain pair.
    """

    path: str
    message: str
    id: str
    values: "dict[str, str]"
    index: int | None  # type: ignore[assignment]  # not where a value is in the tuple
    order_id: str | None

    def __new__(
        cls,
        path: str,
        message: str,
        id: str = "",
        values: "Mapping[str, str] | None" = None,
        index: int | None = None,
        order_id: str | None = None,
    ) -> "Problem":
        problem = super().__new__(cls, (path, message))
        vars(problem).update(
            path=path,
            message=message,
            id=id,
            values=dict(values or {}),
            index=index,
            order_id=order_id,
        )
        return problem

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Problem is immutable: {name} cannot be set")

    def __str__(self) -> str:
        bill = "" if self.index is None else f"bill {self.index}"
        order = "" if self.order_id is None else f"order {self.order_id}"
        subject = ", ".join(part for part in (bill, order) if part)
        return f"{subject}: {self._words()}" if subject else self._words()

    def _words(self) -> str:
        return f"{self.path or 'the payload'} {self.message}"

    def __repr__(self) -> str:
        return f"<nontax.Problem {self.id or 'without id'}: {self}>"

    def __reduce__(self) -> tuple[object, ...]:
        more = (self.id, self.values, self.index, self.order_id)
        return Problem, (self.path, self.message, *more)


def problem_of_core(
    path: str,
    message: str,
    id: str,
    values: "dict[str, str]",
    index: int | None = None,
    order_id: str | None = None,
) -> Problem:
    """Make one of what the core has found, with Python's cure."""
    cure = CURES.get(id, "")
    if values.get("character", "").startswith("U+FEFF"):
        cure += _BYTE_ORDER_MARK
    return Problem(path, message + cure, id, values, index, order_id)
