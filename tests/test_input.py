"""What is handed in: everything that is wrong is told at once, and nothing of it is sent."""

import collections
import contextlib
import datetime as dt
import enum
import itertools
import json
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType, SimpleNamespace
from typing import Any, SupportsIndex
from zoneinfo import ZoneInfo

import pytest
from bills import BILL_FIELDS, SHAPES, Index, bill
from hypothesis import example, given
from hypothesis import strategies as st
from marks import shown

import nontax
from nontax.sandbox import Sandbox

TOP_FIELDS = ("order_id", "card_id", "appid")
PLACES = {
    "sample": "card_ext.user_card.invoice_user_data.",
    "table": "card_ext.user_card.",
    "flat": "",
}
CHINA = ZoneInfo("Asia/Shanghai")
MOMENT = dt.datetime(2017, 11, 20, 17, 22, 4, tzinfo=CHINA)
NUMBER = (
    "must be a string, not a number (as a number it would lose leading zeros): "
    "read the column as text (pandas: dtype=str)"
)
Refused = Callable[[Any], list[nontax.Problem]]
Sent = Callable[[Any], dict[str, Any]]


@pytest.fixture
def refused(sandbox: Sandbox, client: nontax.Client) -> Refused:
    """Hands in what must be refused, and returns its problems."""

    def refuse(given: Any) -> list[nontax.Problem]:
        with pytest.raises(nontax.InvalidRequestError) as caught:
            client.insert_bill(given)
        error = caught.value
        assert error.outcome == "not_sent"
        assert error.problems
        assert sandbox.connections == 0
        for path, message in error.problems:
            assert path in str(error)
            assert message in str(error)
        return error.problems

    return refuse


@pytest.fixture
def sent(sandbox: Sandbox, client: nontax.Client) -> Sent:
    """Hands in what is in order, and returns the bill's six fields as they arrived."""

    def send(given: Any) -> dict[str, Any]:
        client.insert_bill(given)
        user_card = sandbox.requests[-1].json["card_ext"]["user_card"]
        fields: dict[str, Any] = user_card.get("invoice_user_data", user_card)
        return fields

    return send


def place_of(name: str, shape: str) -> str:
    return name if name in TOP_FIELDS else PLACES[shape] + name


def inner(given: dict[str, Any], shape: str, name: str = "fee") -> dict[str, Any]:
    """The dict of a bill that the field stands in."""
    if shape == "flat" or name in TOP_FIELDS:
        return given
    user_card: dict[str, Any] = given["card_ext"]["user_card"]
    return user_card["invoice_user_data"] if shape == "sample" else user_card


# Missing, empty, unknown, misplaced


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", [*TOP_FIELDS, *BILL_FIELDS])
def test_a_missing_field(refused: Refused, shape: str, name: str) -> None:
    given = bill(shape=shape)
    del inner(given, shape, name)[name]
    assert refused(given) == [(place_of(name, shape), "is missing")]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "name", ["order_id", "card_id", "appid", "title", "billing_no", "billing_code"]
)
@pytest.mark.parametrize(
    ("text", "problem"), [("", "is empty"), (" \t\r\n", "is blank"), ("\u3000\xa0", "is blank")]
)
def test_an_empty_field(refused: Refused, shape: str, name: str, text: str, problem: str) -> None:
    assert refused(bill(shape=shape, **{name: text})) == [(place_of(name, shape), problem)]


@pytest.mark.parametrize("shape", SHAPES)
def test_all_problems_at_once(refused: Refused, shape: str) -> None:
    given = bill(shape=shape, order_id="", fee=1.5, title=None, billing_time="yesterday")
    fields = inner(given, shape)
    fields["billing_number"] = "1"
    fields["billing_No"] = fields.pop("billing_no")
    del fields["s_pdf_media_id"], given["appid"]
    problems = dict(refused(given))
    assert problems.keys() == {
        "order_id",
        "appid",
        *(
            PLACES[shape] + name
            for name in (
                "fee",
                "title",
                "billing_time",
                "billing_no",
                "billing_No",
                "billing_number",
                "s_pdf_media_id",
            )
        ),
    }
    assert "did you mean billing_no?" in problems[PLACES[shape] + "billing_No"]
    assert problems["appid"] == "is missing"


def test_problems_read_well() -> None:
    client = nontax.Client(access_token="token")
    with pytest.raises(nontax.InvalidRequestError) as caught:
        client.insert_bill(bill(fee=12.5))
    assert str(caught.value) == (
        "nothing was sent: card_ext.user_card.invoice_user_data.fee must be an integer, "
        "the amount in fen: 12.34 yuan is 1234, not 12.34; "
        'nontax.fen("12.34") converts yuan to fen'
    )
    with pytest.raises(ValueError, match=r"nothing was sent, 4 problems:\n  order_id is missing\n"):
        client.insert_bill({})


@pytest.mark.parametrize(
    "given",
    [{}, {"order_id": "1", "card_id": "2", "appid": "3"}, MappingProxyType({})],
    ids=["empty", "top", "empty-proxy"],
)
def test_nothing_of_the_bill(refused: Refused, given: Mapping[str, Any]) -> None:
    missing = [name for name in (*TOP_FIELDS, "card_ext") if name not in given]
    assert refused(given) == [(name, "is missing") for name in missing]


@pytest.mark.parametrize("path", ["card_ext", "card_ext.user_card"])
@pytest.mark.parametrize("value", [None, "x", 5, [], [1], True, 1.5])
def test_what_must_be_an_object(refused: Refused, path: str, value: object) -> None:
    given = bill()
    if path == "card_ext":
        given["card_ext"] = value
    else:
        given["card_ext"]["user_card"] = value
    [(where, message)] = refused(given)
    assert where == path
    assert message.startswith("must be an object, not ")


def test_empty_wrappers(refused: Refused) -> None:
    given = bill()
    given["card_ext"]["user_card"]["invoice_user_data"] = {}
    assert refused(given) == [(PLACES["sample"] + name, "is missing") for name in BILL_FIELDS]
    given["card_ext"]["user_card"] = {}
    assert refused(given) == [("card_ext.user_card.invoice_user_data", "is missing")]
    given["card_ext"] = {}
    assert refused(given) == [("card_ext.user_card", "is missing")]


def test_both_nestings_at_once(refused: Refused) -> None:
    given = bill()
    user_card = given["card_ext"]["user_card"]
    user_card |= user_card["invoice_user_data"]
    problems = dict(refused(given))
    assert problems == {
        f"card_ext.user_card.{name}": f"is in the wrong place: it belongs at "
        f"card_ext.user_card.invoice_user_data.{name}"
        for name in BILL_FIELDS
    }


def test_nested_and_flat_at_once(refused: Refused) -> None:
    given = bill() | bill(shape="flat")
    assert {path for path, _ in refused(given)} == set(BILL_FIELDS)


def test_a_nested_field_of_a_flat_bill(refused: Refused) -> None:
    given = bill(shape="flat") | {"user_card": {}}
    [(path, message)] = refused(given)
    assert path == "user_card"
    assert "wrong place" in message


def test_one_wrapper_too_many(refused: Refused) -> None:
    problems = dict(refused({"info": bill()}))
    assert problems.keys() == {"info", *TOP_FIELDS, "card_ext"}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["nonce_str", "", "Fee ", "s-pdf-media-id", "票", "x" * 10_000])
def test_an_unknown_field(refused: Refused, shape: str, name: str) -> None:
    given = bill(shape=shape)
    inner(given, shape)[name] = "1"
    [(path, message)] = refused(given)
    assert path.startswith(PLACES[shape] + (name[:20] or '""'))
    assert len(path) < 256
    assert message.startswith("is not a field of this interface")
    assert ("did you mean" in message) == (name in ("Fee ", "s-pdf-media-id"))


@pytest.mark.parametrize(
    "given",
    [
        *(None, [], [("order_id", "1")], (), "{}", 5, 1.5, True),
        *(b"{}", object(), {1}, bytearray(), Decimal(1), bill, dict, range(3)),
    ],
    ids=shown,
)
def test_what_is_no_mapping(refused: Refused, given: object) -> None:
    name = type(given).__qualname__
    article = "an" if name[0] in "aeio" else "a"
    message = f"must be an object with fields, not {article} {name}: give a dict"
    assert refused(given) == [("", message)]


def test_a_problem_of_the_whole_has_a_subject(client: nontax.Client) -> None:
    with pytest.raises(nontax.InvalidRequestError) as told:
        client.insert_bill(None)  # type: ignore[arg-type]
    assert str(told.value) == (
        "nothing was sent: the payload must be an object with fields, not a NoneType: give a dict"
    )


def test_a_row_of_a_database(refused: Refused) -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.row_factory = sqlite3.Row
        row = connection.execute("SELECT '1' AS order_id, 5 AS fee").fetchone()
    assert refused(row) == [("", "must be an object with fields, not a Row: give a dict")]
    assert refused(dict(row)) != refused({})


# Amounts


class MyInt(int):
    def __repr__(self) -> str:
        return "no number"

    __str__ = __repr__


Fen = enum.IntEnum("Fen", {"SMALL": 250})


@pytest.mark.parametrize(
    ("fee", "expected"),
    [
        (0, 0),
        (1, 1),
        (2**53 + 1, 9007199254740993),
        (10**15, 10**15),
        (2**63 - 1, 2**63 - 1),
        (MyInt(77), 77),
        (Fen.SMALL, 250),
        (Index(12), 12),
        (Index(2**62 + 1), 2**62 + 1),
    ],
    ids=shown,
)
def test_amounts(sandbox: Sandbox, sent: Sent, fee: SupportsIndex, expected: int) -> None:
    fields = sent(bill(fee=fee))
    assert type(fields["fee"]) is int
    assert fields["fee"] == expected
    assert b'"fee":%d,' % expected in sandbox.requests[0].body


@pytest.mark.parametrize(
    ("fee", "problem"),
    [
        (-1, "negative"),
        (-(2**70), "too large"),
        (2**63, "too large"),
        (10**30, "too large"),
        (10 ** (sys.get_int_max_str_digits() + 10), "too large"),
        (Index(10**30), "too large"),
        (12.0, "integer"),
        (12.34, "12.34 yuan is 1234"),
        (-0.0, "integer"),
        (1e300, "integer"),
        (float("nan"), "is NaN, the value of an empty cell"),
        (Decimal("12.00"), 'not a Decimal; nontax.fen("12.34") converts yuan to fen'),
        (float("inf"), "JSON can represent"),
        (float("-inf"), "JSON can represent"),
        (True, "a boolean"),
        (False, "a boolean"),
        ("123", "a string"),
        ("", "a string"),
        (None, "null"),
        ([123], "a list"),
        ({"fen": 123}, "an object"),
        (b"123", "not a bytes"),
        (Decimal("123"), "not a Decimal"),
        (Fraction(123), "not a Fraction"),
        (123 + 0j, "not a complex"),
        (MOMENT, "a time"),
        (Index("x"), "not an integer: it raised TypeError"),
        (Index(RuntimeError("x")), "not an integer: it raised RuntimeError"),
        (object(), "not an object"),
    ],
    ids=shown,
)
@pytest.mark.parametrize("shape", ["sample", "flat"])
def test_what_is_no_amount(refused: Refused, shape: str, fee: object, problem: str) -> None:
    [(path, message)] = refused(bill(shape=shape, fee=fee))
    assert path == PLACES[shape] + "fee"
    assert problem in message


# Text


class MyStr(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Colour(enum.StrEnum):
    RED = "红"


def test_subclasses_of_str(sent: Sent) -> None:
    given = bill(title=MyStr("票"), billing_no=Colour.RED)
    fields = sent({MyStr(name): value for name, value in given.items()})
    assert (fields["title"], fields["billing_no"]) == ("票", "红")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (5, NUMBER),
        (5.5, NUMBER),
        (float("nan"), "is NaN, the value of an empty cell: leave the bill out, or fill the cell"),
        (True, "must be a string, not a boolean"),
        (None, "must be a string, not null"),
        ([], "must be a string, not a list"),
        (("x",), "must be a string, not a list"),
        ({}, "must be a string, not an object"),
        (MOMENT, "must be a string, not a time"),
        (b"x", "must be a string, not a bytes"),
        ("a\0b", "contains a NUL character"),
        ("\0", "contains a NUL character"),
        ("\ud800", "contains an unpaired surrogate"),
        ("票\udfff票", "contains an unpaired surrogate"),
        ("\ud83d\ude00", "contains an unpaired surrogate"),
        (MyStr("a\0"), "contains a NUL character"),
    ],
    ids=shown,
)
@pytest.mark.parametrize("name", ["order_id", "title"])
@pytest.mark.parametrize("shape", ["table", "flat"])
def test_what_is_no_text(
    refused: Refused, shape: str, name: str, value: object, problem: str
) -> None:
    assert refused(bill(shape=shape, **{name: value})) == [(place_of(name, shape), problem)]


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("fee\0", "contains a NUL character"),
        ("\udc80", "contains an unpaired surrogate"),
        (5, "has a name that is not a string but the int 5"),
        (-(2**63), f"has a name that is not a string but the int {-(2**63)}"),
        (2**63, "has a name that is not a string but of type int"),
        (None, "has a name that is not a string but None"),
        (True, "has a name that is not a string but True"),
        (b"fee", "has a name that is not a string but of type bytes"),
        ((1, 2), "has a name that is not a string but of type tuple"),
        (MyInt(5), "has a name that is not a string but of type MyInt"),
    ],
    ids=shown,
)
def test_what_is_no_name(refused: Refused, key: object, problem: str) -> None:
    given: dict[Any, Any] = bill()
    given["card_ext"]["user_card"]["invoice_user_data"][key] = "1"
    assert refused(given) == [(PLACES["sample"] + '""', problem)]


# Times


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (1511169724, 1511169724),
        ("1511169724", "1511169724"),
        (MyInt(1511169724), 1511169724),
        (Index(1511169724), 1511169724),
        (1000000000, 1000000000),
        (9999999999, 9999999999),
        ("9999999999", "9999999999"),
        (MOMENT, 1511169724),
        (dt.datetime(2017, 11, 20, 9, 22, 4, 999_999, tzinfo=dt.UTC), 1511169724),
        (
            dt.datetime(2017, 11, 20, 15, 7, 4, tzinfo=dt.timezone(dt.timedelta(hours=5.75))),
            1511169724,
        ),
        (
            dt.datetime(2017, 11, 19, 21, 22, 4, tzinfo=dt.timezone(dt.timedelta(hours=-12))),
            1511169724,
        ),
        (
            dt.datetime(2017, 11, 20, 23, 22, 4, tzinfo=dt.timezone(dt.timedelta(hours=14))),
            1511169724,
        ),
    ],
    ids=shown,
)
def test_times(sent: Sent, time: object, expected: object) -> None:
    value = sent(bill(billing_time=time))["billing_time"]
    assert type(value) is type(expected)
    assert value == expected


class OddZone(dt.tzinfo):
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def utcoffset(self, _: dt.datetime | None) -> dt.timedelta | None:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]

    def dst(self, _: dt.datetime | None) -> None:
        return None

    def tzname(self, _: dt.datetime | None) -> None:
        return None


class Moment(dt.datetime):
    def timestamp(self) -> Any:
        return self.tzname()


NOON = dt.datetime(2017, 11, 20, 12)


@pytest.mark.parametrize(
    ("time", "problem"),
    [
        (NOON, "time zone"),
        (NOON.replace(tzinfo=OddZone(None)), "time zone"),
        (NOON.replace(tzinfo=OddZone(RuntimeError())), "not a time: it raised RuntimeError"),
        (NOON.replace(tzinfo=OddZone("8")), "not a time: it raised TypeError"),
        (NOON.replace(tzinfo=OddZone(dt.timedelta(days=3))), "not a time: it raised ValueError"),
        (NOON.replace(tzinfo=OddZone(dt.timedelta(minutes=486))), "offset +08:06, which no time"),
        (NOON.replace(tzinfo=OddZone(dt.timedelta(seconds=29143))), "offset +08:05:43, which no"),
        (NOON.replace(tzinfo=OddZone(dt.timedelta(hours=-12.25))), "offset -12:15, which no time"),
        (NOON.replace(tzinfo=OddZone(dt.timedelta(hours=14.25))), "offset +14:15, which no time"),
        (NOON.replace(tzinfo=OddZone(dt.timedelta(microseconds=1))), "which no time zone uses"),
        (Moment(2017, 1, 1, tzinfo=dt.UTC), "not a time: it raised TypeError"),
        (dt.datetime(1970, 1, 1, tzinfo=dt.UTC), "10 digits"),
        (dt.datetime(1969, 12, 31, tzinfo=dt.UTC), "10 digits"),
        (dt.datetime.min.replace(tzinfo=dt.UTC), "10 digits"),
        (dt.datetime.max.replace(tzinfo=dt.UTC), "10 digits"),
        (dt.date(2017, 11, 20), "not a date"),
        (dt.time(12, tzinfo=dt.UTC), "not a time"),
        (dt.timedelta(1), "not a timedelta"),
        (1511169724000, "milliseconds"),
        (1511169724.0, "10 digits"),
        (float("nan"), "is NaN"),
        (999999999, "10 digits"),
        (10**10, "10 digits"),
        (10**30, "10 digits"),
        (-1511169724, "10 digits"),
        (0, "10 digits"),
        ("", "is empty"),
        ("151116972", "10 digits"),
        ("15111697240", "10 digits"),
        ("0511169724", "10 digits"),
        (" 511169724", "begins with U+0020 (space)"),
        ("1511169724\n", "ends with U+000A (line feed)"),
        ("１５１１１６９７２４", "10 digits"),
        ("2017-11-20", "10 digits"),
        (True, "a boolean"),
        (None, "null"),
        ([], "a list"),
        (
            SimpleNamespace(utcoffset=lambda: dt.timedelta(), timestamp=lambda: float("nan")),
            "is NaT",
        ),
        (
            SimpleNamespace(utcoffset=lambda: dt.timedelta(), timestamp=lambda: 1e300),
            "10 digits",
        ),
        (SimpleNamespace(utcoffset=5, timestamp=5), "not a time: it raised TypeError"),
    ],
    ids=shown,
)
def test_what_is_no_time(refused: Refused, time: object, problem: str) -> None:
    [(path, message)] = refused(bill(billing_time=time))
    assert path == PLACES["sample"] + "billing_time"
    assert problem in message


def test_something_like_a_datetime(sent: Sent) -> None:
    like = SimpleNamespace(utcoffset=lambda: dt.timedelta(), timestamp=lambda: 1511169724)
    assert sent(bill(billing_time=like))["billing_time"] == 1511169724


# Mappings


class Row(Mapping[str, Any]):
    """A mapping that is no dict."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content

    def __getitem__(self, name: str) -> Any:
        return self.content[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def __len__(self) -> int:
        return len(self.content)


class MyDict(dict[str, Any]):
    pass


@pytest.mark.parametrize(
    "kind",
    [
        collections.OrderedDict,
        collections.ChainMap,
        collections.UserDict,
        MyDict,
        MappingProxyType,
        Row,
    ],
)
@pytest.mark.parametrize("shape", SHAPES)
def test_kinds_of_mappings(
    sandbox: Sandbox, client: nontax.Client, kind: Callable[[Any], Any], shape: str
) -> None:
    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return kind({name: convert(item) for name, item in value.items()})

    given = bill(shape=shape)
    client.insert_bill(convert(given))
    sent_shape = "table" if shape == "table" else "sample"
    fields = inner(given, shape)
    assert inner(sandbox.requests[0].json, sent_shape) == {
        name: fields[name] for name in BILL_FIELDS
    }


def test_what_is_handed_in_is_not_changed(client: nontax.Client) -> None:
    for shape in SHAPES:
        given = bill(shape=shape)
        before = json.dumps(given)
        client.insert_bill(given)
        assert json.dumps(given) == before


class Items(Row):
    """A mapping whose items() does as it likes."""

    def __init__(self, items: Callable[[], Any]) -> None:
        super().__init__({})
        self.items = items  # type: ignore[method-assign]


def raising(error: BaseException) -> Callable[[], Any]:
    def items() -> Any:
        raise error

    return items


def halfway(error: BaseException) -> Iterator[tuple[str, str]]:
    yield "order_id", "1"
    raise error


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        (raising(RuntimeError("x")), "cannot be read: it raised RuntimeError"),
        (raising(RecursionError()), "cannot be read: it raised RecursionError"),
        (raising(StopIteration()), "cannot be read: it raised StopIteration"),
        (lambda: halfway(KeyError("x")), "cannot be read: it raised KeyError"),
        (lambda: 5, "cannot be read: it raised TypeError"),
        (lambda: None, "cannot be read: it raised TypeError"),
        (lambda: [5], "cannot be read: its items() does not return pairs"),
        (lambda: ["ab"], "cannot be read: its items() does not return pairs"),
        (lambda: [("a", "b", "c")], "cannot be read: its items() does not return pairs"),
        (lambda: [()], "cannot be read: its items() does not return pairs"),
        (lambda _: [], "cannot be read: it raised TypeError"),
    ],
)
@pytest.mark.parametrize("place", ["", "card_ext", "card_ext.user_card.invoice_user_data"])
def test_mappings_that_cannot_be_read(
    refused: Refused, items: Callable[[], Any], problem: str, place: str
) -> None:
    given: Any = Items(items)
    for name in reversed(place.split(".") if place else []):
        given = {name: given}
    if place:
        given = bill() | given
    assert refused(given) == [(place, problem)]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), MemoryError()], ids=shown)
def test_what_is_no_fault_of_the_mapping(
    sandbox: Sandbox, client: nontax.Client, error: BaseException
) -> None:
    with pytest.raises(type(error)) as caught:
        client.insert_bill(Items(raising(error)))
    assert caught.value is error
    assert sandbox.connections == 0


class Evasive:
    """Raises for whatever it is asked."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Any:
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), MemoryError()], ids=shown)
def test_what_is_no_fault_of_an_attribute(
    sandbox: Sandbox, client: nontax.Client, error: BaseException
) -> None:
    with pytest.raises(type(error)) as caught:
        client.insert_bill(bill(title=Evasive(error)))
    assert caught.value is error
    assert sandbox.connections == 0


def test_an_attribute_that_cannot_be_read(refused: Refused) -> None:
    ((path, problem),) = refused(bill(title=Evasive(RuntimeError("x"))))
    assert path == "card_ext.user_card.invoice_user_data.title"
    assert problem == "must be a string, not an Evasive"


def test_a_mapping_that_is_read_only_once(sandbox: Sandbox, client: nontax.Client) -> None:
    versions = iter([bill("first"), bill("second")])
    client.insert_bill(Items(lambda: list(next(versions).items())))
    assert sandbox.requests[0].order_id == "first"
    assert next(versions)["order_id"] == "second"


def test_a_name_that_comes_twice(refused: Refused) -> None:
    for shape in ("flat", "table"):
        pairs = [*bill(shape=shape).items(), ("order_id", "other")]
        assert refused(Items(pairs.copy)) == [("order_id", "is given twice")]


def test_an_extra_name_that_comes_twice(sandbox: Sandbox, lenient: nontax.Client) -> None:
    pairs = [("extra", 1), *bill().items(), ("extra", 2), ("more", Items(lambda: [("a", 1)] * 2))]
    with pytest.raises(nontax.InvalidRequestError) as caught:
        lenient.insert_bill(Items(pairs.copy))
    assert caught.value.problems == [("extra", "is given twice"), ("more.a", "is given twice")]
    assert sandbox.connections == 0


def test_values_that_change_the_mapping_while_it_is_read(sent: Sent) -> None:
    class Wrecker:
        def __index__(self) -> int:
            for container in (fields, given):
                container.clear()
            return 7

    given = bill(fee=Wrecker())
    fields = inner(given, "sample")
    assert sent(given)["fee"] == 7
    assert not given


def test_a_list_that_changes_while_it_is_read(refused: Refused) -> None:
    class Wrecker:
        def __index__(self) -> int:
            values.clear()
            return 7

    values: list[Any] = [Wrecker(), "a", {"b": object()}]
    assert refused(bill(title=values)) == [
        (PLACES["sample"] + "title", "must be a string, not a list")
    ]


def test_a_dict_that_another_thread_changes(sandbox: Sandbox, client: nontax.Client) -> None:
    def change() -> None:
        for number in itertools.count():
            if done.is_set():
                return
            for name in range(number % 50):
                row[f"x{name}"] = {"y": [name] * 5}
            for name in range(number % 50):
                del row[f"x{name}"]

    row: dict[str, Any] = bill(title="")
    done = threading.Event()
    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300):
            with pytest.raises(nontax.InvalidRequestError) as caught:
                client.insert_bill(row)
            assert (PLACES["sample"] + "title", "is empty") in caught.value.problems
    finally:
        done.set()
        thread.join()
    assert sandbox.connections == 0


# Too deep, too wide, endless


def test_a_dict_that_contains_itself(refused: Refused) -> None:
    given: dict[str, Any] = bill()
    given["card_ext"] = given
    assert ("card_ext", "contains itself") in refused(given)
    values: list[Any] = []
    values.append(values)
    assert refused(bill(title=values)) == [
        (PLACES["sample"] + "title", "must be a string, not a list")
    ]
    found = nontax.validate_bill(bill() | {"more": {"loop": values}}, extra="send")
    assert found == [("more.loop.0", "contains itself")]


@pytest.mark.parametrize("depth", [70, 1000, 200_000])
@pytest.mark.parametrize("kind", ["dict", "list", "tuple"])
def test_very_deep_input(refused: Refused, depth: int, kind: str) -> None:
    wrap: Callable[[Any], Any] = {
        "dict": lambda value: {"a": value},
        "list": lambda value: [value],
        "tuple": lambda value: (value,),
    }[kind]
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    [(path, message)] = refused(bill(title=value))
    assert path == PLACES["sample"] + "title"
    assert message.startswith("must be a string, not ")
    [(path, message)] = nontax.validate_bill(bill() | {"more": value}, extra="send")
    assert path.startswith("more." + ".".join("a0"[kind != "dict"] for _ in range(60)))
    assert message == "is nested too deeply"


def test_very_wide_input(refused: Refused) -> None:
    problems = refused(bill() | {f"x{number}": number for number in range(50_000)})
    assert len(problems) == 100
    assert problems[-1] == ("", "there are more problems than are listed here")
    given = bill() | {f"x{number}": number for number in range(300_000)}
    assert refused(given) == [("", "has too many values")]
    assert nontax.validate_bill(given, extra="ignore") == [("", "has too many values")]


def test_lists_that_unfold_without_end(refused: Refused) -> None:
    value: list[Any] = []
    for _ in range(40):
        value = [value, value]
    assert refused(bill(title=value)) == [("", "has too many values")]


def test_ten_megabytes_go_out_as_they_are(sent: Sent) -> None:
    title = "票" + 'ab"c\\\n\U0001f600' * 1_000_000
    assert len(title.encode()) > 10_000_000
    assert sent(bill(title=title, shape="flat"))["title"] == title


# Fields that WeChat's page does not name


@pytest.fixture
def lenient(sandbox: Sandbox) -> Iterator[nontax.Client]:
    """A client that sends what it does not know."""
    with nontax.Client(
        access_token=sandbox.access_token, base_url=sandbox.base_url, extra="send"
    ) as client:
        yield client


def with_extra(shape: str, extra: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A bill with further fields, and what should arrive."""
    fields = bill(shape="flat")
    outer = {name: fields[name] for name in TOP_FIELDS}
    bill_data = {name: fields[name] for name in BILL_FIELDS}
    if shape == "flat":
        nested = {"user_card": {"invoice_user_data": bill_data}}
        return fields | extra, outer | {"card_ext": nested} | extra
    wrapped = bill_data | extra
    user_card = {"invoice_user_data": wrapped} if shape == "sample" else wrapped
    given = outer | {"card_ext": {"user_card": user_card}}
    return given, given


EXTRA = {
    "nonce_str": "abc",
    "": "no name",
    "名称": "值",
    "number": 2**53 + 1,
    "huge": 10**40,
    "fraction": 0.1,
    "tiny": 5e-324,
    "large": 1.7976931348623157e308,
    "whole": 3.0,
    "yes": True,
    "none": None,
    "list": [1, [], {}, [[["x"]]]],
    "object": {"fee": 1, "": {"order_id": False}},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_extra_fields_go_out_as_they_are(
    sandbox: Sandbox, lenient: nontax.Client, shape: str
) -> None:
    given, expected = with_extra(shape, EXTRA)
    # The sandbox does not know them.
    with pytest.raises(nontax.ParameterError):
        lenient.insert_bill(given)
    assert sandbox.requests[0].json == expected
    assert json.dumps(sandbox.requests[0].json, sort_keys=True) == json.dumps(
        expected, sort_keys=True
    )


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (float("nan"), "is NaN, the value of an empty cell"),
        (Decimal("12.00"), "is a Decimal, which JSON cannot represent: give a str or an int"),
        ([float("inf")], "JSON can represent"),
        ({"a": "\ud800"}, "surrogate"),
        (["a\0"], "NUL"),
        ({"a\0": 1}, "NUL"),
        ({1: 2}, "not a string but the int 1"),
        ({1}, "is a set"),
        (MOMENT, "JSON can represent"),
    ],
    ids=shown,
)
def test_extra_fields_that_json_cannot_hold(
    sandbox: Sandbox, lenient: nontax.Client, value: object, problem: str
) -> None:
    if isinstance(value, dt.datetime):
        # A moment is written as an integer, wherever it stands.
        with pytest.raises(nontax.ParameterError):
            lenient.insert_bill(bill() | {"extra": value})
        assert sandbox.requests[0].json["extra"] == int(value.timestamp())
        return
    with pytest.raises(nontax.InvalidRequestError) as caught:
        lenient.insert_bill(bill() | {"extra": value})
    [(path, message)] = caught.value.problems
    assert path.startswith("extra")
    assert problem in message
    assert sandbox.connections == 0


def test_known_fields_are_not_extra(sandbox: Sandbox, lenient: nontax.Client) -> None:
    with pytest.raises(nontax.InvalidRequestError) as caught:
        lenient.insert_bill(bill(fee=None) | {"title": "x", "extra": 1})
    assert {path for path, _ in caught.value.problems} == {"title", PLACES["sample"] + "fee"}
    assert sandbox.connections == 0


# Anything at all

NAMES = [*TOP_FIELDS, *BILL_FIELDS, "card_ext", "user_card", "invoice_user_data", "nonce_str"]
CLEAN_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | CLEAN_TEXT,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(CLEAN_TEXT, inside, max_size=4),
    max_leaves=12,
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.decimals()
    | st.text(st.characters())
    | st.binary()
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.dates()
    | st.builds(Index, st.integers() | st.text() | st.just(ValueError()))
    | st.sampled_from([object(), NOON, Fen.SMALL, print, Ellipsis])
)
KEYS = st.sampled_from(NAMES) | st.text(st.characters()) | st.integers() | st.none()
JUNK = st.recursive(
    LEAVES,
    lambda inside: (
        st.lists(inside, max_size=4)
        | st.tuples(inside, inside)
        | st.sets(st.integers(), max_size=2)
        | st.dictionaries(KEYS, inside, max_size=6)
        | st.builds(Row, st.dictionaries(st.sampled_from(NAMES), inside, max_size=6))
        | st.builds(lambda items: Items(lambda: items), inside)
    ),
    max_leaves=20,
)


@pytest.fixture(scope="module")
def long_lived() -> Iterator[tuple[Sandbox, nontax.Client, nontax.Client]]:
    """For tests that send a great many bills: a strict client and one that allows extra fields."""
    with (
        Sandbox() as sandbox,
        nontax.Client(access_token=sandbox.access_token, base_url=sandbox.base_url) as strict,
        nontax.Client(
            access_token=sandbox.access_token, base_url=sandbox.base_url, extra="send"
        ) as lenient,
    ):
        yield sandbox, strict, lenient


LongLived = tuple[Sandbox, nontax.Client, nontax.Client]


@given(junk=JUNK)
def test_junk_is_never_sent(long_lived: LongLived, junk: Any) -> None:
    sandbox, *clients = long_lived
    before = len(sandbox.requests)
    for client in clients:
        with pytest.raises(nontax.InvalidRequestError) as caught:
            client.insert_bill(junk)
        assert 1 <= len(caught.value.problems) <= 100
        assert str(caught.value).encode()
    assert len(sandbox.requests) == before


@given(data=st.data(), shape=st.sampled_from(SHAPES))
def test_a_bill_with_one_odd_field(long_lived: LongLived, data: st.DataObject, shape: str) -> None:
    """Either it is refused, and the field is named, or it goes out as it is."""
    sandbox, client, _ = long_lived
    name = data.draw(st.sampled_from([*TOP_FIELDS, *BILL_FIELDS]))
    value = data.draw(
        JUNK | CLEAN_TEXT | st.integers(10**9, 10**10) | st.integers(2**53, 2**63 - 1)
    )
    before = len(sandbox.requests)
    problems: list[nontax.Problem] = []
    duplicate = False
    try:
        client.insert_bill(bill(shape=shape, **{name: value}))
    except nontax.InvalidRequestError as error:
        problems = error.problems
    except nontax.DuplicateBillError:
        duplicate = True
    assert len(sandbox.requests) == before + (not problems)
    assert all(path.startswith(place_of(name, shape)) for path, _ in problems)
    assert duplicate <= (name == "order_id")
    if not problems:
        sent_shape = "table" if shape == "table" else "sample"
        arrived = inner(sandbox.requests[-1].json, sent_shape, name)[name]
        if isinstance(value, dt.datetime):
            value = value.timestamp() // 1
        elif isinstance(value, Index):
            value = value.value
        assert arrived == value
        assert type(arrived) in (str, int)


@given(extra=st.dictionaries(CLEAN_TEXT, JSON, max_size=5), shape=st.sampled_from(SHAPES))
@example(extra={"card_ext": 1, "fee": 2}, shape="flat")
def test_any_json_in_extra_fields(long_lived: LongLived, extra: dict[str, Any], shape: str) -> None:
    sandbox, _, client = long_lived
    extra = {name: value for name, value in extra.items() if name not in NAMES}
    given, expected = with_extra(shape, extra)
    try:
        client.insert_bill(given)
    except nontax.ParameterError:
        assert extra
    assert json.dumps(sandbox.requests[-1].json, sort_keys=True) == json.dumps(
        expected, sort_keys=True
    )


def test_a_long_name_is_cut_between_two_characters(client: nontax.Client, sandbox: Sandbox) -> None:
    long = "非税收入财政电子票据收费项目金额合计人民币分整数类型包装对象"
    thing = type(long, (), {})()
    with pytest.raises(nontax.InvalidRequestError) as caught:
        client.insert_bill(bill(fee=thing))
    assert long[:20] in str(caught.value)
    outcomes = list(client.insert_bills([bill(), bill(fee=thing), bill()]))
    assert sorted(each.outcome for each in outcomes) == ["inserted", "inserted", "not_sent"]
