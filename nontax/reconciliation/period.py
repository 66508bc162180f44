"""The period of a reconciliation: business days in UTC+8, with a cut-off and a grace."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from typing import NamedTuple

from nontax.errors import NontaxError
from nontax.language import words
from nontax.reconciliation.rows import DAY, IN, NEAR, OUT

CHINA = timezone(timedelta(hours=8), "UTC+8")
_OFFSET = 8 * 3600
_NOON = 12 * 3600
_GRACE = re.compile(r"(\d{1,4})\s*([dhm])")
_SECONDS = {"d": DAY, "h": 3600, "m": 60}


MESSAGES = {
    "day_or_days": "give either a day, or its start and end",
    "half": "give both the start and the end of the period",
    "backwards": "the period ends ({last}) before it begins ({first})",
    "time": "{value} is a time; the period is given in whole days",
    "date": "{value} is not a date such as 2026-11-30",
    "cutoff": "the cut-off {value} is not a time such as 17:30",
    "grace": 'the grace {value} is not one such as "30m", "2h", "1d" or "0"',
    "no_rows": (
        "no row of {name} is of the period {period}: they are of {first} to {last}; give that day, "
        'the first and the last one, or "all"'
    ),
}


class PeriodError(NontaxError, ValueError):
    """The period cannot be understood, or the list has no row of it.

    id: which problem it is, a key of `MESSAGES` (str). values: what stands in its message (dict).
    """

    id: str
    values: dict[str, str]

    def __init__(self, id: str, **values: str) -> None:
        super().__init__(id)
        self.outcome = "not_sent"
        self.id = id
        self.values = values
        self.reason = str(self)

    def words(self, lang: str = "en") -> str:
        """Say it in a sentence. lang: "en" or "zh"."""
        return words(lang).gettext(MESSAGES[self.id]).format_map(self.values)

    def __str__(self) -> str:
        return self.words()


class Period(NamedTuple):
    """From a first business day to a last one, both included.

    first, last: dates (ISO text), both "" for all rows whatever their date.
    start, end: Unix seconds; a row is in the period if start <= time < end.
    shift: seconds from midnight in UTC+8 to the begin of a business day (negative: the evening
    before). grace: seconds before the end in which a row without a partner is carried over.
    """

    first: str
    last: str
    start: int
    end: int
    shift: int
    grace: int

    @property
    def all(self) -> bool:
        """Whether it takes all rows, whatever their date."""
        return not self.first

    def scope(self, time: int) -> str:
        """Where a row with this time stands: IN, NEAR or OUT. A row without a time is in it."""
        if self.all or not time:
            return IN
        if not self.start <= time < self.end:
            return OUT
        return NEAR if time >= self.end - self.grace else IN

    def scopes(self, times: Sequence[int]) -> list[str]:
        """Where rows with these times stand."""
        first = self.scope(min(times))
        if first == self.scope(max(times)) != OUT:
            return [first] * len(times)
        if self.all:
            return [IN] * len(times)
        start, near, end = self.start, self.end - self.grace, self.end
        names = (OUT, IN, NEAR, OUT)
        return [
            names[(time >= start) + (time >= near) + (time >= end)] if time else IN
            for time in times
        ]

    @property
    def to_day(self) -> int:
        """What to add to a time so that whole days since 1970-01-01 are its business day."""
        return _OFFSET - self.shift

    def dates(self, times: Sequence[int]) -> Sequence[int]:
        """Times of which each may be a date alone: then a day is a business day."""
        if self.shift > 0 and all(is_midnight(time) for time in times if time):
            return [time and time + self.shift for time in times]
        return times

    @property
    def text(self) -> str:
        """The days, such as "2026-11-29" or "2026-11-01 – 2026-11-30"; "" for all."""
        return self.first if self.first == self.last else f"{self.first} – {self.last}"

    @property
    def bounds(self) -> tuple[str, str]:
        """Begin and end, to the minute, in UTC+8."""
        return _minute(self.start), _minute(self.end)


def period(
    day: str | date | None = None,
    start: str | date | None = None,
    end: str | date | None = None,
    *,
    cutoff: str = "00:00",
    grace: str = "30m",
    now: datetime | None = None,
) -> Period:
    """The period of one day, or from `start` to `end`; yesterday if nothing is given.

    day: a date, or "all" for all rows whatever their date. cutoff: when a business day ends,
    "HH:MM" in UTC+8: from noon on that very day, before noon on the next one; "00:00" is midnight
    after the day. grace: "30m", "2h", "1d" or "0".
    Raises PeriodError for what cannot be understood.
    """
    seconds = _grace(grace)
    shift = _shift(cutoff)
    if day is not None and (start is not None or end is not None):
        raise PeriodError("day_or_days")
    if day == "all":
        return Period("", "", 0, 0, shift, seconds)
    if day is None and start is None and end is None:
        today = (now or datetime.now(UTC)).astimezone(CHINA).date()
        day = today - timedelta(days=1)
    if day is not None:
        start = end = day
    if start is None or end is None:
        raise PeriodError("half")
    first, last = _date(start), _date(end)
    if last < first:
        raise PeriodError("backwards", first=str(first), last=str(last))
    begin = _midnight(first) + shift
    close = _midnight(last) + DAY + shift
    return Period(first.isoformat(), last.isoformat(), begin, close, shift, seconds)


def calendar_day(time: int) -> int:
    """The calendar day of a time in UTC+8, as days since 1970-01-01."""
    return (time + _OFFSET) // DAY


def is_midnight(time: int) -> bool:
    """Whether a time is 00:00:00 in UTC+8, as a date without a time is."""
    return (time + _OFFSET) % DAY == 0


def day_text(day: int) -> str:
    """The date of a number of days since 1970-01-01."""
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()


def time_text(time: int) -> str:
    """A time in UTC+8, "2026-11-30 09:15:00"; "" for 0."""
    if not time:
        return ""
    return datetime.fromtimestamp(time, CHINA).strftime("%Y-%m-%d %H:%M:%S")


def _minute(time: int) -> str:
    return time_text(time)[:16]


def _midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=CHINA).timestamp())


def _date(value: str | date) -> date:
    if isinstance(value, datetime):
        raise PeriodError("time", value=str(value))
    if isinstance(value, date):
        return value
    try:
        return datetime.strptime(value, "%Y-%m-%d").date()
    except ValueError:
        raise PeriodError("date", value=repr(value)) from None


def _shift(cutoff: str) -> int:
    found = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)", cutoff)
    if not found:
        raise PeriodError("cutoff", value=repr(cutoff))
    seconds = int(found[1]) * 3600 + int(found[2]) * 60
    return seconds - DAY if seconds >= _NOON else seconds


def _grace(text: str) -> int:
    if text == "0":
        return 0
    found = _GRACE.fullmatch(text)
    if not found:
        raise PeriodError("grace", value=repr(text))
    return int(found[1]) * _SECONDS[found[2]]
