"""Amounts and moments as people have them: exact, or a ValueError that says what to do."""

import datetime as dt
import pickle
import random
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from bills import SHAPES, bill
from hypothesis import given
from hypothesis import strategies as st
from marks import shown

import nontax
from nontax.values import MESSAGES, InvalidValueError, name_character

CHINA = ZoneInfo("Asia/Shanghai")


def problem_of(function: Any, value: Any) -> InvalidValueError:
    with pytest.raises(InvalidValueError) as caught:
        function(value)
    error = caught.value
    assert isinstance(error, ValueError)
    assert error.id in MESSAGES
    copied = pickle.loads(pickle.dumps(error))
    assert (copied.id, copied.values, str(copied)) == (error.id, error.values, str(error))
    return error


# ---- amounts

AMOUNTS: list[tuple[Any, int]] = [
    ("388.50", 38850),
    ("388.5", 38850),
    ("388", 38800),
    (".50", 50),
    (".5", 50),
    ("0.00", 0),
    ("0", 0),
    ("007.10", 710),
    ("388.5000", 38850),  # SQL Server's money
    ("-5.00", -500),
    ("+5", 500),
    ("1,234.50", 123450),
    ("1,234,567", 123456700),
    ("１２３４．５０", 123450),
    ("１，２３４．５０", 123450),
    (" 388.50 ", 38850),
    ("\u3000388.50\u00a0\r\n", 38850),
    ("0.29", 29),  # 28.999999999999996 as a float
    ("92233720368547758.07", 2**63 - 1),
    (Decimal("12.00"), 1200),
    (Decimal("12"), 1200),
    (Decimal("1E+2"), 10000),  # what normalize() makes of 100
    (Decimal("12.3400"), 1234),
    (Decimal("-0.01"), -1),
    (Decimal("0E-9999"), 0),
    (Decimal("92233720368547758.07"), 2**63 - 1),
]


@pytest.mark.parametrize(("amount", "fen"), AMOUNTS)
def test_an_amount_is_exact(amount: Any, fen: int) -> None:
    converted = nontax.fen(amount)
    assert converted == fen
    assert type(converted) is int


NO_AMOUNTS: list[tuple[Any, str, str]] = [
    (12.0, "amount_float", "nontax.fen"),
    (0.29, "amount_float", "dtype=str"),
    (12, "amount_integer", "nontax.fen(str(amount))"),
    (True, "amount_type", "is a bool"),
    (None, "amount_nan", "None"),
    (float("nan"), "amount_nan", "empty cell"),
    (float("inf"), "amount_nan", "inf"),
    (Decimal("NaN"), "amount_nan", "NaN"),
    (Decimal("sNaN"), "amount_nan", "sNaN"),
    (Decimal("-Infinity"), "amount_nan", "-Infinity"),
    (Decimal("12.345"), "amount_decimals", "two decimals"),
    (Decimal("1E-999999"), "amount_decimals", "two decimals"),
    (Decimal("1E+999999"), "amount_range", "too large"),
    (Decimal("92233720368547758.08"), "amount_range", "too large"),
    ("92233720368547758.08", "amount_range", "too large"),
    ("-92233720368547758.08", "amount_range", "too large"),
    ("9" * 5000, "amount_range", "too large"),
    ("", "amount_empty", "empty"),
    (" \u3000", "amount_empty", "empty"),
    ("nan", "amount_nan", "nan"),
    ("N/A", "amount_nan", "N/A"),
    ("<NA>", "amount_nan", "<NA>"),
    ("388.505", "amount_decimals", "two decimals"),
    ("3.885E+02", "amount_exponent", "exponent"),
    ("1e5", "amount_exponent", "exponent"),
    ("388,50", "amount_grouping", "1,234.50"),
    ("1,23,456.00", "amount_grouping", "1,234.50"),
    (",388.50", "amount_grouping", "1,234.50"),
    ("388.", "amount_point", "cut off"),
    (".", "amount_character", "U+002E"),
    ("388.50元", "amount_unit", "U+5143 (元)"),
    ("¥388.50", "amount_unit", "U+00A5 (¥)"),
    ("￥388.50", "amount_unit", "U+FFE5 (￥)"),
    ("1.2万", "amount_unit", "U+4E07 (万)"),
    ("388 .50", "amount_character", "U+0020 (space)"),
    ("38\u200b8.50", "amount_character", "U+200B (zero width space)"),
    ("\ufeff388.50", "amount_character", "U+FEFF (byte order mark)"),
    ("1.2.50", "amount_character", "U+002E"),
    ("(5.00)", "amount_character", "U+0028"),
    ("--5.00", "amount_character", "U+002D"),
    ("-", "amount_character", "U+002D"),
    ("1_000.00", "amount_character", "U+005F"),
    ("٣٨٨.٥٠", "amount_character", "U+0663"),
    ("张三", "amount_character", "U+5F20"),
    (b"388.50", "amount_type", "is a bytes"),
    (Fraction(1, 2), "amount_type", "is a Fraction"),
    (["388.50"], "amount_type", "is a list"),
]


@pytest.mark.parametrize(("amount", "id", "cure"), NO_AMOUNTS)
def test_what_is_no_amount_is_refused_with_the_cure(amount: Any, id: str, cure: str) -> None:
    error = problem_of(nontax.fen, amount)
    assert error.id == id
    assert cure in str(error)


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_every_amount_survives_every_way_of_writing_it(fen: int) -> None:
    sign, magnitude = "-" if fen < 0 else "", abs(fen)
    yuan, rest = divmod(magnitude, 100)
    assert nontax.fen(f"{sign}{yuan}.{rest:02}") == fen
    assert nontax.fen(f"{sign}{yuan:,}.{rest:02}") == fen
    assert nontax.fen(Decimal(f"{sign}{yuan}.{rest:02}00")) == fen


@given(st.text(alphabet="0123456789.,-+eE １．元\u200b", max_size=8))
def test_no_text_becomes_another_amount(text: str) -> None:
    try:
        converted = nontax.fen(text)
    except InvalidValueError:
        return
    plain = text.strip().translate(str.maketrans("１．", "1.")).replace(",", "")
    assert Decimal(plain) * 100 == converted


# ---- moments

NINE_FIFTEEN = 1796001300  # 2026-11-30 09:15:00 in China

MOMENTS: list[tuple[Any, int]] = [
    ("2026-11-30 09:15:00", NINE_FIFTEEN),
    ("2026-11-30T09:15:00", NINE_FIFTEEN),
    ("2026/11/30 09:15:00", NINE_FIFTEEN),
    ("2026.11.30 09:15:00", NINE_FIFTEEN),
    ("2026/11/30 9:15", NINE_FIFTEEN),
    ("2026-11-30 9:15:00", NINE_FIFTEEN),
    ("2026/1/5 9:05:07", 1767575107),
    ("2026-11-30 09:15:00.999", NINE_FIFTEEN),
    ("2026年11月30日 09:15:00", NINE_FIFTEEN),
    ("2026年11月30日9时15分", NINE_FIFTEEN),
    ("2026年11月30日 09时15分00秒", NINE_FIFTEEN),
    ("２０２６－１１－３０ ０９：１５：００", NINE_FIFTEEN),
    (" 2026-11-30  09:15:00\r\n", NINE_FIFTEEN),
    ("20261130091500", NINE_FIFTEEN),
    ("20261130091500123", NINE_FIFTEEN),
    (20261130091500, NINE_FIFTEEN),
    ("20210311093015123", 1615426215),
    ("2026-11-30T01:15:00Z", NINE_FIFTEEN),
    ("2026-11-30 01:15:00+00:00", NINE_FIFTEEN),
    ("2026-11-30 09:15:00 +0800", NINE_FIFTEEN),
    ("2026-11-30 09:15:00+08", NINE_FIFTEEN),
    ("2026-11-30 09:15:00 GMT+8", NINE_FIFTEEN),
    ("2026-11-30 01:15:00 UTC", NINE_FIFTEEN),
    ("2026-11-30 07:00:00+05:45", NINE_FIFTEEN),
    ("2026-11-29 21:45:00.000-03:30", NINE_FIFTEEN),
    (NINE_FIFTEEN, NINE_FIFTEEN),
    (str(NINE_FIFTEEN), NINE_FIFTEEN),
    (NINE_FIFTEEN * 1000 + 999, NINE_FIFTEEN),
    (str(NINE_FIFTEEN * 1000), NINE_FIFTEEN),
    (dt.datetime(2026, 11, 30, 9, 15), NINE_FIFTEEN),
    (dt.datetime(2026, 11, 30, 9, 15, 0, 999999), NINE_FIFTEEN),
    (dt.datetime(2026, 11, 30, 9, 15, tzinfo=CHINA), NINE_FIFTEEN),
    (dt.datetime(2026, 11, 30, 1, 15, tzinfo=dt.UTC), NINE_FIFTEEN),
    ("2024-02-29 00:00:00", 1709136000),
    ("2001-09-09 09:46:40", 1000000000),
]


@pytest.mark.parametrize(("time", "seconds"), MOMENTS)
def test_a_moment_is_exact(time: Any, seconds: int) -> None:
    converted = nontax.billing_time(time)
    assert converted == seconds
    assert type(converted) is int


PYTZ = dt.timezone(dt.timedelta(hours=8, minutes=6))  # its Asia/Shanghai, handed to datetime()
NO_MOMENTS: list[tuple[Any, str, str]] = [
    ("2026-11-30", "time_date_only", "without a time"),
    ("2026年11月30日", "time_date_only", "without a time"),
    ("20261130", "time_date_only", "without a time"),
    (20261130, "time_date_only", "without a time"),
    (dt.date(2026, 11, 30), "time_date_only", "without a time"),
    ("09:15:00", "time_clock_only", "without a date"),
    (dt.time(9, 15), "time_clock_only", "without a date"),
    ("2023111506", "time_hour_only", "minutes and seconds"),
    (2026113009, "time_hour_only", "minutes and seconds"),
    ("2026-11-30 09:15:00+08:06", "time_offset", "+08:06"),
    ("2026-11-30 09:15:00+08:05:43", "time_offset", "+08:05:43"),
    ("2026-11-30 09:15:00+15:00", "time_offset", "+15:00"),
    (dt.datetime(2026, 11, 30, 9, 15, tzinfo=PYTZ), "time_offset", "zoneinfo.ZoneInfo"),
    (None, "time_nan", "None"),
    (float("nan"), "time_nan", "empty cell"),
    ("NaT", "time_nan", "NaT"),
    ("nan", "time_nan", "nan"),
    ("", "time_empty", "empty"),
    (46356.385417, "time_float", "days"),
    (1796001300.0, "time_float", "int"),
    (True, "time_type", "bool"),
    (b"20261130091500", "time_type", "bytes"),
    ("30/11/2026 09:15:00", "time_form", "year first"),
    ("11-30-2026 09:15:00", "time_form", "year first"),
    ("2026-11-30 09:15:00 AM", "time_form", "24 hours"),
    ("2026-11-30 上午9:15", "time_form", "24 hours"),
    ("2026/11-30 09:15:00", "time_form", "year first"),
    ("26-11-30 09:15:00", "time_form", "year first"),
    ("2026-11-30 09:15:00 CST", "time_form", "another zone"),
    ("202611300915", "time_form", "2026-11-30"),
    ("46356.385417", "time_form", "2026-11-30"),
    ("2026-11-30 09:15:0x", "time_form", "2026-11-30"),
    (-NINE_FIFTEEN, "time_form", "2026-11-30"),
    ("2026-02-29 09:15:00", "time_no_such_day", "does not exist"),
    ("2026-13-01 09:15:00", "time_no_such_day", "does not exist"),
    ("2026-00-01 09:15:00", "time_no_such_day", "does not exist"),
    ("2026-11-00 09:15:00", "time_no_such_day", "does not exist"),
    ("2026-11-30 24:00:00", "time_no_such_day", "does not exist"),
    ("2026-11-30 09:60:00", "time_no_such_day", "does not exist"),
    ("2026-11-30 09:15:60", "time_no_such_day", "does not exist"),
    ("20261131091500", "time_no_such_day", "does not exist"),
    ("2001-09-09 09:46:39", "time_range", "2001-09-09"),
    ("1970-01-01 00:00:00", "time_range", "10 digits"),
    ("0999999999", "time_range", "10 digits"),
]


@pytest.mark.parametrize(("time", "id", "cure"), NO_MOMENTS)
def test_what_is_no_moment_is_refused_with_the_cure(time: Any, id: str, cure: str) -> None:
    error = problem_of(nontax.billing_time, time)
    assert error.id == id
    assert cure in str(error)


def test_numpy_and_pandas() -> None:
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    assert nontax.fen(numpy.str_("388.50")) == 38850
    assert problem_of(nontax.fen, numpy.float64(388.5)).id == "amount_float"
    assert problem_of(nontax.fen, numpy.float64("nan")).id == "amount_nan"
    assert problem_of(nontax.fen, numpy.int64(388)).id == "amount_integer"
    assert problem_of(nontax.fen, numpy.bool_(True)).values == {"type": "bool"}
    assert problem_of(nontax.fen, pandas.NA).id == "amount_nan"
    for time in (
        pandas.Timestamp("2026-11-30 09:15"),
        pandas.Timestamp("2026-11-30 01:15", tz="UTC"),
        numpy.datetime64("2026-11-30T09:15:00.123456789"),
        numpy.int64(NINE_FIFTEEN),
    ):
        assert nontax.billing_time(time) == NINE_FIFTEEN
    for empty in (pandas.NaT, pandas.NA, numpy.datetime64("NaT", "s")):
        assert problem_of(nontax.billing_time, empty).id == "time_nan"
    assert problem_of(nontax.billing_time, numpy.datetime64("2026-11-30")).id == "time_date_only"


def test_moments_are_those_of_datetime() -> None:
    seed = random.randrange(2**32)
    pick = random.Random(seed)
    for _ in range(3000):
        moment = dt.datetime.fromtimestamp(pick.randrange(10**9, 10**10), CHINA)
        offset = dt.timezone(dt.timedelta(minutes=15 * pick.randrange(-48, 57)))
        for written in (
            f"{moment:%Y-%m-%d %H:%M:%S}",
            f"{moment:%Y%m%d%H%M%S}",
            f"{moment.year}/{moment.month}/{moment.day} {moment.hour}:{moment:%M:%S}",
            moment.astimezone(offset),
            moment.astimezone(offset).isoformat(),
        ):
            assert nontax.billing_time(written) == moment.timestamp(), (seed, written)


def test_a_true_time_of_ten_digits_is_taken_when_it_has_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert problem_of(nontax.billing_time, 2033110709).id == "time_hour_only"
    monkeypatch.setattr("nontax.values.now", lambda: 2033110709.0)
    assert nontax.billing_time(2033110709) == 2033110709


def test_the_values_need_nothing_costly() -> None:
    program = (
        "import sys, nontax\n"
        "assert nontax.fen('388.50') == 38850\n"
        f"assert nontax.billing_time('2026-11-30 09:15:00') == {NINE_FIFTEEN}\n"
        "assert not {'re', 'datetime', 'decimal'} & set(sys.modules)\n"
    )
    root = str(Path(nontax.__file__).parent.parent)
    command = [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {root!r})\n" + program]
    subprocess.run(command, check=True)


def test_characters_are_named() -> None:
    assert name_character("\ufeff") == "U+FEFF (byte order mark)"
    assert name_character("\x00") == "U+0000"
    assert name_character("元") == "U+5143 (元)"
    assert name_character("\U0001f600") == "U+1F600 (\U0001f600)"


# ---- ids


class Broken(dict[str, Any]):
    def __getitem__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_order_of_a_bill(shape: str) -> None:
    assert nontax.order_id_of(bill("D1", shape=shape)) == "D1"
    assert nontax.order_id_of(MappingProxyType(bill("D1", shape=shape))) == "D1"


@pytest.mark.parametrize(
    "given",
    [None, 5, "order_id", [], {}, {"order_id": 5}, {"order_id": None}, Broken(order_id="D1")],
    ids=shown,
)
def test_what_has_no_order(given: Any) -> None:
    assert nontax.order_id_of(given) is None
