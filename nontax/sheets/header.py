"""Where the header is: in the first row, below a title, or in two rows with merged cells."""

from collections.abc import Sequence

from nontax.sheets.columns import KEYS, MONEY, is_statement, squeeze
from nontax.sheets.maps import Map
from nontax.sheets.resolve import field_of
from nontax.sheets.tables import Row


def find_header(head: Sequence[Row], mapping: Map) -> tuple[int, list[str]] | None:
    """Return the index of the header's last row in `head` and the headers; None if there is none.

    The row with the most fields wins, the upper one of two that are alike.
    """
    best: tuple[int, list[str]] | None = None
    most = 0
    above: list[str] = []
    for index, (_, cells) in enumerate(head):
        own = ["" if cell is None else " ".join(str(cell).split()) for cell in cells]
        for headers in (own, _merged(above, own, mapping)):
            score = _score(headers, mapping)
            if score > most:
                best, most = (index, _trimmed(headers)), score
        above = own
    return best


def _score(headers: Sequence[str], mapping: Map) -> int:
    statement = is_statement(headers)
    fields = {field_of(header, mapping, statement) for header in headers} - {""}
    # One field alone is a header if it is the only column, such as a list of orders.
    if len(fields) < 2 and len(list(filter(None, headers))) > 1:
        return 0
    telling = {*MONEY, "transaction_id", *(field for key in KEYS for field in key)}
    return len(fields) if fields & telling else 0


def _merged(above: Sequence[str], own: Sequence[str], mapping: Map) -> list[str]:
    """Join two rows to one header: 票据信息 above 票据代码, or 票据 above 代码."""
    width = max(len(above), len(own))
    uppers = [*above, *[""] * (width - len(above))]
    lowers = [*own, *[""] * (width - len(own))]
    headers = []
    group = ""
    for upper, lower in zip(uppers, lowers, strict=True):
        group = upper or group
        if not lower:
            headers.append(upper)
        elif field_of(lower, mapping) or not field_of(group + lower, mapping):
            headers.append(lower)
        else:
            headers.append(group + lower)
    return headers


def _trimmed(headers: list[str]) -> list[str]:
    width = max(place for place, header in enumerate(headers, 1) if header)
    return headers[:width]


def repeats(cells: Sequence[object], headers: Sequence[str]) -> bool:
    """Whether a row is the header again, as at the top of a printed page."""
    return all(
        not cell or squeeze(cell) == squeeze(header)
        for cell, header in zip(cells, headers, strict=False)
    )
