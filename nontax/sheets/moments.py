"""Cells to Unix seconds, a column at a time, or two: a day and a time of day."""

import unicodedata
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta

from nontax.sheets.cells import AROUND, Column, FlawError, is_empty
from nontax.values import FIRST_SECOND, LAST_SECOND, InvalidValueError, billing_time

_EPOCH = datetime(1970, 1, 1, 8)  # naive, as are the times of lists: UTC+8
_MIDNIGHT = " 00:00:00"


class TimeColumn(Column[int]):
    """Moments to Unix seconds.

    days: whether a date without a time of day will do, as its first second.
    """

    empty = 0

    def __init__(self, field: str, days: bool) -> None:
        super().__init__(field)
        self._days = days
        self._without_clock = 0
        self._with_clock = 0

    @property
    def dates_only(self) -> bool:
        """Whether no cell had a time of day."""
        return self._without_clock > 0 and not self._with_clock

    def convert_two(self, days: Sequence[object], clocks: Sequence[object]) -> list[int]:
        """Return a value for each pair of a day and a time of day."""
        texts = [f"{day} {clock}" for day, clock in zip(days, clocks, strict=True)]
        values = self._at_once(texts)
        self.flaws, self.empties = [], []
        return self._pairs(days, clocks) if values is None else values

    def _pairs(self, days: Sequence[object], clocks: Sequence[object]) -> list[int]:
        values = []
        for place, (day, clock) in enumerate(zip(days, clocks, strict=True)):
            try:
                moment = _join(day, clock)
            except (FlawError, InvalidValueError) as error:
                self._flaw(place, error.id, **error.values)
                values.append(self.empty)
                continue
            values.append(self._checked(place, moment))
        return values

    def _at_once(self, cells: Sequence[object]) -> list[int] | None:
        try:
            text = "".join(cells)  # type: ignore[arg-type]
        except TypeError:
            return None
        count = len(cells)
        # fromisoformat knows more forms than these, such as weeks.
        if len(text) != 19 * count or text.count("-") != 2 * count or "W" in text:
            return None
        if text.count(":") != 2 * count or text.count(" ") + text.count("T") != count:
            return None
        read = datetime.fromisoformat
        try:
            spans = [read(cell) - _EPOCH for cell in cells]  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return None
        values = [span.days * 86400 + span.seconds for span in spans]
        if min(values) < FIRST_SECOND or max(values) > LAST_SECOND:
            return None
        self._with_clock = 1
        return values

    def _one(self, cell: object) -> int:
        if isinstance(cell, date) and not isinstance(cell, datetime):
            return self._day(cell.isoformat())
        if isinstance(cell, datetime):
            cell = _whole_second(cell)
        text = cell.strip(AROUND) if isinstance(cell, str) else cell
        try:
            value = billing_time(text)  # type: ignore[arg-type]  # refuses what it does not know
        except InvalidValueError as error:
            if error.id != "time_date_only" or not isinstance(text, str):
                raise
            return self._day(unicodedata.normalize("NFKC", text))
        self._with_clock = 1
        return value

    def _day(self, text: str) -> int:
        if not self._days:
            raise InvalidValueError("time_date_only")
        if len(text) == 8 and text.isdecimal():
            text = f"{text[:4]}-{text[4:6]}-{text[6:]}"
        value = billing_time(text + _MIDNIGHT)
        self._without_clock += 1
        return value


def _whole_second(moment: datetime) -> datetime:
    # Spreadsheets keep times as parts of a day: 09:15:00 may be a few microseconds less.
    rest = timedelta(microseconds=1_000_000 - moment.microsecond)
    if moment.microsecond >= 999_000 and moment.replace(tzinfo=None) < datetime.max - rest:
        return moment + rest
    return moment


def _join(day: object, clock: object) -> object:
    """Join a day and a time of day; either may be a text or the spreadsheet's own."""
    if is_empty(day) or is_empty(clock):
        return clock if is_empty(day) else day
    first, second = _day_text(day), _clock_text(clock)
    if second[:4].isdecimal() and len(second) > 10:  # both columns have the day
        if second.split()[0].replace("/", "-") != first.replace("/", "-"):
            raise FlawError("dates_differ")
        return second
    return f"{first} {second}"


def _day_text(day: object) -> str:
    if isinstance(day, datetime):
        return day.date().isoformat()
    if isinstance(day, date):
        return day.isoformat()
    text = str(day).strip(AROUND).removesuffix(_MIDNIGHT)
    if len(text) == 8 and text.isdecimal():
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    return text


def _clock_text(clock: object) -> str:
    if isinstance(clock, datetime):
        return _whole_second(clock).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(clock, timedelta):
        if not timedelta(0) <= clock < timedelta(1):
            raise InvalidValueError("time_no_such_day")
        clock = (_EPOCH.replace(hour=0) + clock).time()
    if isinstance(clock, time):
        return clock.strftime("%H:%M:%S")
    text = str(clock).strip(AROUND)
    if len(text) == 6 and text.isdecimal():
        return f"{text[:2]}:{text[2:4]}:{text[4:]}"
    return text
