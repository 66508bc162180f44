"""WeChat Pay's statements (交易账单): the totals in their last two rows.

Such a file has a header, each value behind a backtick, then a header and the values of the totals.
"""

from collections.abc import Iterator, Sequence

from nontax.sheets.amounts import yuan
from nontax.sheets.columns import squeeze
from nontax.sheets.resolve import Columns
from nontax.values import InvalidValueError, fen

_COUNT = "总交易单数"
# Which total belongs to which column of the rows.
_TOTALS = {
    "订单金额": "订单总金额",
    "应结订单金额": "应结订单总金额",
    "总金额": "总交易额",
    "申请退款金额": "申请退款总金额",
    "退款金额": "退款总金额",
}


def is_totals_header(cells: Sequence[object]) -> bool:
    return bool(cells) and squeeze(cells[0]) == _COUNT


class StatementTotals:
    """Adds up a statement's rows, and compares them with its end. names: of the totals, if read."""

    def __init__(self, columns: Columns) -> None:
        self.names: list[str] = []
        self._values: list[str] = []
        self._count = 0
        self._sums = {"fee": 0, "refund": 0}
        self._headers = {
            field: squeeze(columns.headers[columns.indexes[field][0]])
            for field in self._sums
            if field in columns.indexes
        }

    def add(self, count: int, fees: Sequence[int], refunds: Sequence[int] | None) -> None:
        self._count += count
        self._sums["fee"] += sum(fees)
        self._sums["refund"] += sum(refunds or ())

    def take(self, cells: Sequence[object]) -> None:
        """Take the totals' header, then their values."""
        if not self.names:
            self.names = [squeeze(cell) for cell in cells]
        elif not self._values:
            self._values = [str(cell).strip(" `") for cell in cells]

    def problems(self) -> Iterator[tuple[str, dict[str, str | int]]]:
        said = dict(zip(self.names, self._values, strict=False))
        if not said.get(_COUNT, "").isdecimal():
            yield "statement_cut", {}
            return
        if int(said[_COUNT]) != self._count:
            yield "total_count_differs", {"said": int(said[_COUNT]), "count": self._count}
        for field, header in self._headers.items():
            name = _TOTALS.get(header, "")
            if name not in said:
                continue
            try:
                total = fen(said[name])
            except InvalidValueError:
                yield "statement_cut", {}
                return
            if total != self._sums[field]:
                yield "total_differs", {"said": yuan(total), "amount": yuan(self._sums[field])}
