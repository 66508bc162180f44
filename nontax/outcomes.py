"""What became of a bill: the inserted one, and the outcome of each in a bulk run."""

from nontax.record import Record
from nontax.values import order_id_of

try:
    from nontax._core import reply_maker
except ImportError:  # a room that needs no core, in which no reply is read
    reply_maker = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar

    from nontax.errors import NontaxError, OutcomeName


class InsertedBill(Record):
    """WeChat has put the bill into the citizen's wallet.

    code: the bill's card code in the wallet (str); keep it for later changes of its status.
    openid: the citizen who received it (str); None if WeChat's reply does not say.
    extra: further fields of the reply, if WeChat sends any (dict).
    """

    __slots__ = ("code", "openid", "extra")  # noqa: RUF023  (in the order of their meaning)
    __match_args__ = ("code", "openid")

    code: str
    openid: str | None
    extra: dict[str, object]
    # Makes one of the fields of a checked reply, which it takes over. What cannot be used as an
    # openid can be looked at in `extra`.
    _from_reply: "ClassVar[Callable[[dict[str, object]], InsertedBill]]"

    def __init__(
        self,
        *,
        code: str,
        openid: str | None = None,
        extra: "Mapping[str, object] | None" = None,
    ) -> None:
        super().__init__(code, openid, dict(extra or {}))


if reply_maker is not None:
    InsertedBill._from_reply = reply_maker(
        InsertedBill,
        tuple(getattr(InsertedBill, name) for name in InsertedBill._names),
        InsertedBill.__match_args__,
    )


class Outcome(Record):
    """What became of one bill of `Client.insert_bills`.

    index: the bill's place in the iterable, from 0 (int). bill: the very object that came in.
    outcome: "inserted", "rejected", "not_sent" or "in_doubt".
    inserted: the `InsertedBill`, or None. error: the `NontaxError` that `insert_bill` would have
        raised, or None.
    attempts: how often a transfer was begun (int). seconds: from the iterable to the outcome
        (float).
    order_id, reason: of the bill, and of its error, if any.
    from_ledger: the ledger knew it already, and nothing was sent now (bool). spooled: the ledger
        could not take the outcome, which is kept in its spool (bool).
    """

    __slots__ = (  # noqa: RUF023  (in the order of their meaning)
        "index",
        "bill",
        "outcome",
        "inserted",
        "error",
        "attempts",
        "seconds",
        "from_ledger",
        "spooled",
    )

    index: int
    bill: "Any"
    outcome: "OutcomeName"
    inserted: InsertedBill | None
    error: "NontaxError | None"
    attempts: int
    seconds: float
    from_ledger: bool
    spooled: bool

    @property
    def order_id(self) -> str | None:
        """The bill's order_id (str), or None if it has none."""
        return order_id_of(self.bill)

    @property
    def reason(self) -> str | None:
        """Why the bill was not inserted, in one line (str); None if it was.

        The same cause gives the same text, without request ids: outcomes can be counted by it.
        """
        return None if self.error is None else self.error.reason

    def to_dict(self) -> "dict[str, Any]":
        """Return the outcome as a flat dict of str, int, float and None: a row of a table, a log.

        Always the same keys: index, order_id, outcome, code, errcode, reason, retry, advice, rid,
        attempts and seconds. Neither the payer's name nor the openid is in it.
        """
        error = self.error
        return {
            "index": self.index,
            "order_id": self.order_id,
            "outcome": self.outcome,
            "code": None if self.inserted is None else self.inserted.code,
            "errcode": getattr(error, "errcode", None),
            "reason": self.reason,
            "retry": None if error is None else error.retry,
            "advice": None if error is None else error.advice,
            "rid": getattr(error, "rid", None),
            "attempts": self.attempts,
            "seconds": self.seconds,
        }

    def __repr__(self) -> str:
        # Neither the payer's name nor the openid: what is printed ends up in logs.
        try:
            shown = self.to_dict()
        except AttributeError:  # a traceback with local variables may show one that is not made yet
            return "Outcome()"
        del shown["advice"]
        parts = (f"{name}={value!r}" for name, value in shown.items() if value is not None)
        return f"Outcome({', '.join(parts)})"

    def _repr_html_(self) -> str:
        """What a notebook shows: no name, and of the openid only its beginning."""
        from html import escape

        openid = None if self.inserted is None else self.inserted.openid
        shown = {**self.to_dict(), "openid": None if openid is None else f"{openid[:4]}…"}
        rows = "".join(
            f"<tr><th>{name}</th><td>{escape(str(value))}</td></tr>"
            for name, value in shown.items()
            if value is not None
        )
        return f"<table>{rows}</table>"
