"""`Inserted`: what became of each row of a list."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from nontax.notebook import frames, page
from nontax.notebook.listed import SHOWN, Bills
from nontax.notebook.words import OUTCOMES, Words
from nontax.sheets import yuan

_REASONS = 20
# In the order in which they matter to a person.
_ORDER = ("in_doubt", "rejected", "not_sent", "waiting", "sending", "held", "withdrawn", "inserted")


class Row(NamedTuple):
    """One row of the list, and what it has come to.

    row: its number (int). order_id: str. payer: masked (str). fee: in fen (int).
    outcome: "inserted", "rejected", "not_sent", "in_doubt", "waiting" (not sent yet), "sending" (by
    another process), "held", "withdrawn" or "not_for_wallet". card_code: the code in the wallet, ""
    if there is none. errcode: WeChat's, or 0. reason, advice: why, and what to do (str).
    from_ledger: nothing was sent now (bool).
    """

    row: int
    order_id: str
    payer: str
    fee: int
    outcome: str
    card_code: str = ""
    errcode: int = 0
    reason: str = ""
    advice: str = ""
    from_ledger: bool = False


class Inserted:
    """What `insert` returns, and what is kept when it was interrupted. It shows itself.

    bills: the `Bills` that were handed in. rows: a `Row` for each row that is a bill or has a
    problem, in the order of the list. error: what stopped it before all was sent, or None.
    interrupted: whether Ctrl-C did (bool). others: bills of earlier lists that were waiting, and
    were sent, too (int).
    """

    def __init__(
        self,
        bills: Bills,
        rows: Sequence[Row],
        *,
        error: BaseException | None,
        interrupted: bool,
        others: int,
    ) -> None:
        self.bills = bills
        self.rows = list(rows)
        self.error = error
        self.interrupted = interrupted
        self.others = others

    @property
    def counts(self) -> dict[str, int]:
        """How many rows came to what (dict of str to int)."""
        found = Counter(row.outcome for row in self.rows)
        return {name: found[name] for name in reversed(_ORDER) if name in found}

    @property
    def ok(self) -> bool:
        """Whether every bill of the list is in a wallet."""
        return set(self.counts) <= {"inserted"}

    @property
    def frame(self) -> Any:
        """`Bills.frame` with the columns outcome, card_code, errcode, reason and advice.

        Rows that are not for a wallet (red, paper, void) have the outcome "not_for_wallet".
        """
        known = {row.row: row for row in self.rows}
        other = Row(0, "", "", 0, "not_for_wallet")
        rows = [known.get(number, other) for number in self._numbers()]
        columns: dict[str, Sequence[object]] = {
            name: [getattr(row, name) for row in rows]
            for name in ("outcome", "card_code", "errcode", "reason", "advice")
        }
        return frames.with_columns(self.bills.frame, columns)

    def _numbers(self) -> Sequence[int]:
        if self.bills.source.is_frame:
            return range(1, len(self.bills.source.given) + 1)
        return [number for batch in self.bills.list.batches() for number in batch.rows]

    def write_rejects(self, path: str | os.PathLike[str]) -> int:
        """Write the rows that WeChat has not taken, with the list's columns and the reason.

        path: .xlsx, .csv, .tsv or .jsonl. Bills in doubt are not among them: they must not be
        handed in again. Returns how many rows were written (int).
        """
        reasons = {
            row.row: row.reason
            for row in self.rows
            if row.order_id and row.outcome in ("rejected", "not_sent")
        }
        return self.bills.write_rejects(path, reasons)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        ended = "; interrupted" if self.interrupted else ""
        if self.error is not None:
            ended += f"; stopped by {type(self.error).__name__}"
        return f"<Inserted: {counts or 'no bills'}{ended}>"

    def _repr_html_(self) -> str:
        words = Words(self.bills.lang)
        parts = [*self._summary(words), *self._reasons(words), *self._left(words)]
        return page.page(words("Insertion into card wallets"), words.lang, parts)

    def _summary(self, words: Words) -> Iterator[str]:
        counts = self.counts
        now = sum(row.outcome == "inserted" and not row.from_ledger for row in self.rows)
        text = words(
            "{inserted} of {count} bills are in card wallets; {now} were sent now.",
            inserted=counts.get("inserted", 0),
            count=len(self.rows),
            now=now,
        )
        yield page.line(text, "good" if self.ok else "bad")
        if self.interrupted:
            yield page.line(
                words("Interrupted. Run the cell again to go on: nothing is sent twice."), "bad"
            )
        elif self.error is not None:
            yield page.line(words("Stopped: {reason}", reason=self.error), "bad")
        elif counts.get("waiting"):
            text = "Bills wait to be sent. Run the cell again to go on: nothing is sent twice."
            yield page.line(words(text), "bad")
        if counts.get("in_doubt"):
            text = (
                "Bills in doubt are not sent again by themselves: settle each with evidence "
                "(Ledger.resolve)."
            )
            yield page.line(words(text), "bad")
        if self.others:
            text = "{count} bills of earlier lists, which were waiting, were sent, too."
            yield page.line(words(text, count=self.others), "note")

    def _reasons(self, words: Words) -> Iterator[str]:
        groups = Counter((row.outcome, row.reason, row.advice) for row in self.rows)
        headers = [words("Outcome"), words("Rows"), words("Reason"), words("What to do")]
        rows = [
            (words(OUTCOMES[outcome]), count, reason, advice)
            for (outcome, reason, advice), count in sorted(
                groups.items(), key=lambda item: (_ORDER.index(item[0][0]), -item[1], item[0])
            )
        ]
        yield page.table("", headers, rows[:_REASONS])
        if len(rows) > _REASONS:
            yield _cut(words, _REASONS, len(rows))

    def _left(self, words: Words) -> Iterator[str]:
        left = [row for row in self.rows if row.outcome != "inserted"]
        headers = ["Row", "Order", "Payer", "Amount (yuan)", "Outcome", "Reason"]
        rows = [
            (
                str(row.row), row.order_id, row.payer, yuan(row.fee) if row.order_id else "",
                words(OUTCOMES[row.outcome]), row.reason,
            )
            for row in left[:SHOWN]
        ]  # fmt: skip
        yield page.table(words("Bills not in the wallet"), list(map(words, headers)), rows)
        if len(left) > SHOWN:
            yield _cut(words, SHOWN, len(left))


def _cut(words: Words, shown: int, count: int) -> str:
    return page.line(words("{shown} of {count} rows are shown.", shown=shown, count=count), "note")
