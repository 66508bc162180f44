"""Compares the fields of two rows: equal, written differently, or different."""

import unicodedata
from typing import NamedTuple

from nontax.reconciliation.period import calendar_day, is_midnight
from nontax.reconciliation.rows import SEPARATOR, Row

# Middle dots in names of ethnic minorities, of which each input method has another one.
_DOTS = str.maketrans(dict.fromkeys("•‧∙⋅・‐‑", "·"))
NUMBER = ("billing_no", "billing_code")


def spelling(text: str) -> str:
    """The text without what only its writing makes: width, case, blanks, kinds of dots."""
    plain = unicodedata.normalize("NFKC", text).translate(_DOTS).casefold()
    return "".join(char for char in plain if not char.isspace() and char.isprintable())


class Fields(NamedTuple):
    """Which fields of a row stand where.

    key: the fields of the key. compared: those of `Row.text`, where the number (票据代码, 票据号码)
    comes first. shown: those of `Row.more`, by side, likewise. times: whether times are compared.
    statements: whether the rows of each side are payments and refunds, which have no numbers.
    """

    key: tuple[str, ...]
    compared: tuple[str, ...]
    shown: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    times: bool = True
    statements: tuple[bool, bool] = (False, False)

    @property
    def numbered(self) -> bool:
        """Whether both sides state the number of each row."""
        return self.key == NUMBER or self.compared[:2] == NUMBER

    def differing(self, one: bytes, two: bytes) -> tuple[list[str], list[str]]:
        """The fields of two texts that differ, and those that are only written differently.

        A field that one side does not state is not compared.
        """
        different: list[str] = []
        written: list[str] = []
        if one == two:
            return different, written
        pairs = zip(one.split(SEPARATOR), two.split(SEPARATOR), strict=True)
        for name, (first, second) in zip(self.compared, pairs, strict=True):
            if first == second or not first or not second:
                continue
            same = spelling(first.decode()) == spelling(second.decode())
            (written if same else different).append(name)
        return different, written

    def alike(self, one: bytes, two: bytes) -> bool:
        """Whether two lines say the same, though one may not state all that the other does."""
        mine, my_fee, my_time, _ = one.rsplit(SEPARATOR, 3)
        theirs, their_fee, their_time, _ = two.rsplit(SEPARATOR, 3)
        return (
            my_fee == their_fee
            and self.same_time(int(my_time), int(their_time))
            and not any(self.differing(mine, theirs))
        )

    def same_time(self, one: int, two: int) -> bool:
        """Whether two times agree. 0 is not stated, and midnight may stand for a date alone."""
        if one == two or not one or not two or not self.times:
            return True
        return (is_midnight(one) or is_midnight(two)) and calendar_day(one) == calendar_day(two)

    def values(self, row: Row) -> dict[str, str]:
        """The text fields of a row by name, without those that are empty."""
        found: dict[str, str] = {}
        for names, text in ((self.compared, row.text), (self.shown[row.side], row.more)):
            if names:
                found.update(zip(names, text.decode().split(SEPARATOR.decode()), strict=False))
        if self.key == NUMBER:
            code, _, number = own_key(row.key).partition(" ")
            found |= {"billing_no": code, "billing_code": number}
        elif len(self.key) == 1:
            found[self.key[0]] = row.own or own_key(row.key)
        return {name: value for name, value in found.items() if value}

    def number(self, row: Row) -> str:
        """The number of a row as "code number", "" if the side does not state it."""
        if self.key == NUMBER:
            return own_key(row.key)
        for names, text in ((self.compared, row.text), (self.shown[row.side], row.more)):
            if names[:2] == NUMBER and text:
                code, number = text.split(SEPARATOR, 2)[:2]
                return f"{code.decode()} {number.decode()}" if number else ""
        return ""

    def where_number(self, side: int) -> str:
        """Where the number of a row of a side begins: "key", "line", "more", or "" for nowhere."""
        if self.key == NUMBER:
            return "key"
        if self.compared[:2] == NUMBER:
            return "line"
        return "more" if self.shown[side][:2] == NUMBER else ""


def apart_key(kind: str, key: str) -> str:
    """The key of a row of another document than the bill itself, such as a red one."""
    return f"{kind}|{key}"


def own_key(key: str) -> str:
    """A key without the kind that `apart_key` put before it."""
    return key.rpartition("|")[2]
