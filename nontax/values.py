"""Exact values for a bill: amounts in fen, moments in Unix seconds. Exact, or a ValueError.

    nontax.fen("388.50")                          # 38850
    nontax.billing_time("2026-11-30 09:15:00")    # 1796001300

Nothing is rounded or guessed. Both functions are made for a row each of a file of a million rows:
the usual form of a value is looked at first. Without pandas, datetime or decimal being imported.
"""

from time import time as now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal
    from re import Match, Pattern
    from typing import SupportsIndex

CHINA = 8 * 3600  # the offset of all of China in seconds; no summer time since 1992
MAX_FEN = 2**63 - 1  # the core's limit

# WeChat takes Unix seconds of 10 digits.
FIRST_SECOND = 1_000_000_000
LAST_SECOND = 9_999_999_999

# By id, so that they can be said in another language, too.
MESSAGES = {
    "amount_empty": "is empty",
    "amount_nan": "is {text}, the value of an empty cell: leave the row out, or correct it",
    "amount_float": (
        "is a float, which cannot hold every amount exactly: read the column as text (pandas: "
        'dtype=str) and give that, such as nontax.fen("388.50"), or round it yourself: '
        'nontax.fen(format(amount, ".2f"))'
    ),
    "amount_integer": (
        "is an int, which may be yuan or fen: an amount in fen needs no nontax.fen; one in yuan is "
        "nontax.fen(str(amount))"
    ),
    "amount_type": 'is a {type}; give a str or a Decimal, such as "388.50"',
    "amount_decimals": "has more than two decimals: fen are the smallest unit",
    "amount_exponent": (
        "is written with an exponent, as spreadsheets shorten numbers: format the column as a "
        "number with two decimals, and export it again"
    ),
    "amount_grouping": "has a comma that separates no thousands: write 1234.50 or 1,234.50",
    "amount_point": "ends with a decimal point: was it cut off?",
    "amount_unit": "has a unit ({character}) with it: give the number alone, in yuan",
    "amount_character": "has the character {character} in it: an amount is digits, such as 388.50",
    "amount_range": "is too large for a 64-bit integer",
    "time_empty": "is empty",
    "time_nan": "is {text}, the value of an empty cell: leave the row out, or correct it",
    "time_float": (
        "is a float, which may be seconds or a spreadsheet's days: give a text such as "
        '"2026-11-30 09:15:00", a datetime or Unix seconds as an int'
    ),
    "time_type": 'is a {type}; give a text such as "2026-11-30 09:15:00", a datetime or an int',
    "time_date_only": (
        'is a date without a time: add the time of issue, such as "2026-11-30 09:15:00"'
    ),
    "time_clock_only": 'is a time without a date: join the two, such as "2026-11-30 09:15:00"',
    "time_hour_only": (
        "looks like year, month, day and hour, not Unix seconds: add minutes and seconds, such as "
        '"20261130091500"'
    ),
    "time_offset": (
        "has the UTC offset {offset}, which no time zone uses (pytz gives it to "
        "datetime(…, tzinfo=timezone(…)); use zoneinfo.ZoneInfo, or the zone's localize())"
    ),
    "time_form": (
        'has none of the forms that are known: write it as "2026-11-30 09:15:00", year first, '
        'with 24 hours; another zone than UTC+8 as "2026-11-30 01:15:00+00:00"'
    ),
    "time_no_such_day": "is a day or a time that does not exist",
    "time_range": "lies outside of 2001-09-09 to 2286-11-20, the Unix seconds of 10 digits",
}


class InvalidValueError(ValueError):
    """A value that cannot be converted exactly. Can be pickled; never shows the value itself.

    id: which problem it is, a key of `MESSAGES` (str). values: what stands in its message (dict).
    """

    id: str
    values: "dict[str, str]"

    def __init__(self, id: str, values: "Mapping[str, str] | None" = None) -> None:
        super().__init__(id, dict(values or {}))
        self.id = id
        self.values = dict(values or {})

    def __str__(self) -> str:
        return MESSAGES[self.id].format_map(self.values)


# What is in files, and on no screen.
_UNSEEN = {
    "\t": "tab",
    "\n": "line feed",
    "\r": "carriage return",
    " ": "space",
    "\u00a0": "no-break space",
    "\u00ad": "soft hyphen",
    "\u200b": "zero width space",
    "\u200c": "zero width non-joiner",
    "\u200d": "zero width joiner",
    "\u200e": "left-to-right mark",
    "\u200f": "right-to-left mark",
    "\u2060": "word joiner",
    "\u3000": "ideographic space",
    "\ufeff": "byte order mark",
}


def name_character(character: str) -> str:
    """Name one character by its code, such as "U+FEFF (byte order mark)"."""
    code = f"U+{ord(character):04X}"
    if character in _UNSEEN:
        return f"{code} ({_UNSEEN[character]})"
    return f"{code} ({character})" if character.isprintable() else code


# What Chinese keyboards type for the characters of a number or a time.
_HALF_WIDTH: "dict[int, str | int]" = {
    **{0xFF10 + digit: 0x30 + digit for digit in range(10)},
    **{ord(full): half for full, half in zip("．，－＋：／", ".,-+:/", strict=True)},
}

_EMPTY_CELLS = {"nan", "na", "<na>", "n/a", "#n/a", "nat", "null", "none", "inf", "-inf"}
_UNITS = "元圆块角分万亿¥￥$"


def _refuse_empty_cell(kind: str, text: str) -> None:
    if not text:
        raise InvalidValueError(f"{kind}_empty")
    if text.lower() in _EMPTY_CELLS:
        raise InvalidValueError(f"{kind}_nan", {"text": text})


# ---- amounts


def fen(amount: "str | Decimal") -> int:
    """Convert an amount in yuan to fen, exactly.

    amount: str, such as "388.50", "388.5", "388", ".5", "-5.00" or "1,234.50"; blanks around it
        are skipped, and digits may be full width. Or a Decimal of any precision.

    Returns an int. A negative amount stays negative (a bill's fee may not be).

    Raises `InvalidValueError`, a ValueError, for what is not exact to the fen, not unambiguous, or
    missing: a float, an int (is it yuan or fen?), NaN, None, "", "3.885E+02", "388.505", "388,50".
    """
    # Nine of ten amounts have two decimals.
    if type(amount) is str and amount[-3:-2] == ".":
        digits = amount.replace(".", "", 1)
        if digits.isdecimal() and digits.isascii() and len(digits) < 19:
            return int(digits)
    return _any_fen(amount)


def _any_fen(amount: object) -> int:
    if isinstance(amount, str):
        return _fen_of_text(amount.strip().translate(_HALF_WIDTH))
    type_name = type(amount).__name__
    if amount is None or type_name == "NAType":
        raise InvalidValueError("amount_nan", {"text": "None" if amount is None else "NA"})
    if isinstance(amount, float):
        if amount != amount or amount in (float("inf"), float("-inf")):
            raise InvalidValueError("amount_nan", {"text": repr(float(amount))})
        raise InvalidValueError("amount_float")
    if isinstance(amount, bool) or type_name == "bool":
        raise InvalidValueError("amount_type", {"type": "bool"})
    if hasattr(amount, "__index__"):
        raise InvalidValueError("amount_integer")
    if hasattr(amount, "as_tuple") and hasattr(amount, "adjusted"):
        return _fen_of_decimal(amount)  # type: ignore[arg-type]  # nothing else has both
    raise InvalidValueError("amount_type", {"type": type_name})


def _fen_of_text(text: str) -> int:
    _refuse_empty_cell("amount", text)
    unsigned = text[1:] if text[0] in "+-" else text
    whole, point, decimals = unsigned.partition(".")
    if "," in whole:
        first, *groups = whole.split(",")
        if not 1 <= len(first) <= 3 or any(len(group) != 3 for group in groups):
            raise InvalidValueError("amount_grouping")
        whole = first + "".join(groups)
    digits = whole + decimals
    if not (digits.isdecimal() and digits.isascii()):
        raise _not_an_amount(text, unsigned)
    if point and not decimals:
        raise InvalidValueError("amount_point")
    if decimals[2:].strip("0"):
        raise InvalidValueError("amount_decimals")
    digits = (whole + (decimals + "00")[:2]).lstrip("0")
    if len(digits) > 19 or (len(digits) == 19 and int(digits) > MAX_FEN):
        raise InvalidValueError("amount_range")
    value = int(digits or "0")
    return -value if text[0] == "-" else value


def _not_an_amount(text: str, unsigned: str) -> InvalidValueError:
    strange = [character for character in unsigned if character not in "0123456789.,"]
    unit = [character for character in strange if character in _UNITS]
    if unit:
        return InvalidValueError("amount_unit", {"character": name_character(unit[0])})
    if unsigned[:1].isdecimal() and strange[:1] in (["e"], ["E"]):
        return InvalidValueError("amount_exponent")
    if not strange:  # a second point, or a comma behind it
        strange = [character for character in reversed(unsigned) if character in ".,"]
    return InvalidValueError(
        "amount_character", {"character": name_character((strange or text)[0])}
    )


def _fen_of_decimal(amount: "Decimal") -> int:
    if not amount.is_finite():
        raise InvalidValueError("amount_nan", {"text": str(amount)})
    if not amount:
        return 0
    if amount.adjusted() > 17:  # before its digits are written out: 1E+999999 has a million
        raise InvalidValueError("amount_range")
    if amount.adjusted() < -2:
        raise InvalidValueError("amount_decimals")
    # Multiplication would round to the context's precision.
    numerator, denominator = amount.as_integer_ratio()
    value, rest = divmod(numerator * 100, denominator)
    if rest:
        raise InvalidValueError("amount_decimals")
    if abs(value) > MAX_FEN:
        raise InvalidValueError("amount_range")
    return value


# ---- moments


def billing_time(time: "str | datetime | SupportsIndex") -> int:
    """Convert the moment of a bill's issue to Unix seconds, exactly.

    time: str, year first: "2026-11-30 09:15:00", "2026/11/30 9:15", "2026-11-30T09:15:00.123",
        "2026年11月30日 09:15:00", "20261130091500", "20210311093015123" (with milliseconds);
        Unix seconds of 10 digits or milliseconds of 13, as str or int; a datetime, or what behaves
        like one (pandas.Timestamp, numpy.datetime64).

    It is UTC+8 unless the text or the datetime names another zone: "2026-11-30 01:15:00Z",
    "…+09:00". Fractions of a second are dropped; without seconds, it is the full minute.

    Returns an int, 1,000,000,000 to 9,999,999,999.

    Raises `InvalidValueError`, a ValueError, for all else: a date without a time, "2026111509" (a
    time to the hour), an offset that no zone has (pytz's +08:06), a float, NaN, NaT, None, "".
    """
    # "2026-11-30 09:15:00": what most systems write.
    if type(time) is str and len(time) == 19 and time[4::3] in ("-- ::", "--T::", "// ::"):
        digits = time[:4] + time[5:7] + time[8:10] + time[11:13] + time[14:16] + time[17:]
        if digits.isdecimal() and digits.isascii():
            return _moment_of_digits(digits, CHINA)
    return _any_moment(time)


def _any_moment(time: object) -> int:
    if isinstance(time, str):
        return _moment_of_text(time.strip().translate(_HALF_WIDTH))
    type_name = type(time).__name__
    if time is None or type_name in ("NAType", "NaTType"):
        raise InvalidValueError("time_nan", {"text": str(time).strip("<>")})
    if isinstance(time, float):
        if time != time:
            raise InvalidValueError("time_nan", {"text": "nan"})
        raise InvalidValueError("time_float")
    if isinstance(time, bool) or type_name == "bool":
        raise InvalidValueError("time_type", {"type": "bool"})
    if hasattr(time, "__index__"):
        return _moment_of_text(str(time.__index__()))
    if type_name == "datetime64":
        return _moment_of_text(str(time))
    if hasattr(time, "year") and hasattr(time, "hour"):
        return _moment_of_datetime(time)  # type: ignore[arg-type]
    if hasattr(time, "toordinal"):
        raise InvalidValueError("time_date_only")
    if hasattr(time, "hour"):
        raise InvalidValueError("time_clock_only")
    raise InvalidValueError("time_type", {"type": type_name})


def _moment_of_datetime(time: "datetime") -> int:
    offset = time.utcoffset()
    seconds = CHINA if offset is None else offset.days * 86400 + offset.seconds
    if offset is not None and offset.microseconds:
        seconds = 1  # none that a zone has
    return _moment(time.year, time.month, time.day, time.hour, time.minute, time.second, seconds)


def _moment_of_text(text: str) -> int:
    _refuse_empty_cell("time", text)
    if text.isdecimal() and text.isascii():
        return _moment_of_number(text)
    return _moment_of_form(text)


def _moment_of_number(text: str) -> int:
    if len(text) == 10:
        if reads_as_hour(int(text)):
            raise InvalidValueError("time_hour_only")
        return _in_range(int(text))
    if len(text) == 13:
        return _in_range(int(text) // 1000)
    if len(text) in (14, 17):
        return _moment_of_digits(text[:14], CHINA)
    if len(text) == 8 and text[:2] in ("19", "20"):
        raise InvalidValueError("time_date_only")
    raise InvalidValueError("time_form")


def reads_as_hour(number: int) -> bool:
    """Whether 2026111509 is rather a time to the hour than Unix seconds, which it will be in 2034.

    number: int of 10 digits.
    """
    rest, hour = divmod(number, 100)
    rest, day = divmod(rest, 100)
    year, month = divmod(rest, 100)
    reads = 1990 <= year <= 2099 and 1 <= month <= 12 and 1 <= day <= 31 and hour <= 24
    return reads and number > now() + 86400


_FORMS: "list[Pattern[str]]" = []


def _forms() -> "list[Pattern[str]]":
    """Compile the forms: re costs more than all else here, and most files do without."""
    if not _FORMS:
        import re

        date = (
            r"(?P<year>[0-9]{4})(?:(?P<separator>[-/.])(?P<month>[0-9]{1,2})(?P=separator)"
            r"(?P<day>[0-9]{1,2})|年(?P<month_2>[0-9]{1,2})月(?P<day_2>[0-9]{1,2})日)"
        )
        clock = (
            r"(?P<hour>[0-9]{1,2})(?::(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})"
            r"(?:[.,][0-9]+)?)?|[时時](?P<minute_2>[0-9]{1,2})分(?:(?P<second_2>[0-9]{1,2})秒)?)"
        )
        zone = (
            r"(?P<zone>[Zz]|UTC|GMT|(?:UTC|GMT)?(?P<sign>[-+])(?P<hours>[0-9]{1,2})"
            r"(?::?(?P<minutes>[0-9]{2})(?::?(?P<seconds>[0-9]{2}))?)?)?"
        )
        written = (f"{date}(?: *| *[Tt] *){clock} *{zone}", date, clock)
        _FORMS.extend(re.compile(form) for form in written)
    return _FORMS


def _moment_of_form(text: str) -> int:
    whole, date, clock = _forms()
    found = whole.fullmatch(text)
    if found is None:
        if date.fullmatch(text):
            raise InvalidValueError("time_date_only")
        raise InvalidValueError("time_clock_only" if clock.fullmatch(text) else "time_form")
    parts = found.groupdict()
    return _moment(
        int(parts["year"]),
        int(parts["month"] or parts["month_2"]),
        int(parts["day"] or parts["day_2"]),
        int(parts["hour"]),
        int(parts["minute"] or parts["minute_2"]),
        int(parts["second"] or parts["second_2"] or "0"),
        _offset_of(found),
    )


def _offset_of(found: "Match[str]") -> int:
    if found["zone"] is None:
        return CHINA
    if found["sign"] is None:
        return 0
    seconds = int(found["hours"]) * 3600
    seconds += int(found["minutes"] or "0") * 60 + int(found["seconds"] or "0")
    return -seconds if found["sign"] == "-" else seconds


def is_offset(seconds: int) -> bool:
    """Whether a time zone has this offset from UTC, or had since 2001: quarters of an hour."""
    return seconds % 900 == 0 and -12 * 3600 <= seconds <= 14 * 3600


def _write_offset(seconds: int) -> str:
    hours, rest = divmod(abs(seconds), 3600)
    text = f"{'-' if seconds < 0 else '+'}{hours:02}:{rest // 60:02}"
    return f"{text}:{rest % 60:02}" if rest % 60 else text


def _moment_of_digits(digits: str, offset: int) -> int:
    date, clock = divmod(int(digits), 1_000_000)
    rest, day = divmod(date, 100)
    year, month = divmod(rest, 100)
    rest, second = divmod(clock, 100)
    hour, minute = divmod(rest, 100)
    return _moment(year, month, day, hour, minute, second, offset)


_DAYS = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_BEFORE = (0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)  # days, in a common year


def _moment(
    year: int, month: int, day: int, hour: int, minute: int, second: int, offset: int
) -> int:
    # datetime does the same, but is not imported with nontax.
    if not (1 <= month <= 12 and hour < 24 and minute < 60 and second < 60):
        raise InvalidValueError("time_no_such_day")
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not 1 <= day <= _DAYS[month] + (leap and month == 2):
        raise InvalidValueError("time_no_such_day")
    if offset != CHINA and not is_offset(offset):
        raise InvalidValueError("time_offset", {"offset": _write_offset(offset)})
    past = year - 1
    days = past * 365 + past // 4 - past // 100 + past // 400 - 719162  # to 1970
    days += _BEFORE[month] + (leap and month > 2) + day - 1
    return _in_range(days * 86400 + hour * 3600 + minute * 60 + second - offset)


def _in_range(seconds: int) -> int:
    if not FIRST_SECOND <= seconds <= LAST_SECOND:
        raise InvalidValueError("time_range")
    return seconds


# ---- ids


def order_id_of(bill: object) -> str | None:
    """Return the order_id of a bill in any of its three shapes, valid or not.

    bill: what is handed in as a bill. Returns a str, or None where there is none. Never raises an
    Exception, so that any message about a bill can name it.
    """
    try:
        order_id = bill["order_id"]  # type: ignore[index]
    except Exception:
        return None
    return order_id if isinstance(order_id, str) else None
