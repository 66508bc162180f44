"""What people have handed in, by public reports of this trade and its neighbours: before and after.

`python tests/test_inputs_of_people.py` prints the table.
"""

import asyncio
import datetime as dt
import io
import multiprocessing
import os
import pickle
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from bills import bill

import nontax
from nontax.sandbox import Sandbox

NOWHERE = "http://127.0.0.1:1"
PDF = b"%PDF-1.7\n%%EOF\n"


class Report(NamedTuple):
    """One input. before: what came of it. play: hands it in. after: a part of what is told now."""

    what: str
    before: str
    play: Callable[[], object]
    after: str


def pandas() -> Any:
    return pytest.importorskip("pandas")


def numpy() -> Any:
    return pytest.importorskip("numpy")


def flat(**changes: Any) -> Callable[[], object]:
    """Hands in a bill with these values; a function makes one when it is played."""

    def play() -> object:
        made = {name: value() if callable(value) else value for name, value in changes.items()}
        return insert(bill(shape="flat", **made))

    return play


def named(old: str, new: str) -> Callable[[], object]:
    def play() -> object:
        given = bill(shape="flat")
        given[new] = given.pop(old)
        return insert(given)

    return play


def insert(given: Any, **settings: Any) -> object:
    with nontax.Client(access_token="token", base_url=NOWHERE, **settings) as client:
        return client.insert_bill(given)


def upload(pdf: Any) -> object:
    with nontax.Client(access_token="token", base_url=NOWHERE) as client:
        return client.upload_pdf(pdf)


def with_token(token: Any) -> Callable[[], object]:
    return lambda: nontax.Client(access_token=token)


def from_source(source: Any) -> object:
    with nontax.Client(token_source=source, base_url=NOWHERE) as client:
        return client.insert_bill(bill())


def half_a_credential() -> object:
    os.environ["NONTAX_SECRET"] = "another-accounts-secret"
    try:
        return nontax.Client(appid="wx1")
    finally:
        del os.environ["NONTAX_SECRET"]


def pool_map() -> object:
    client = nontax.Client(access_token="token", base_url=NOWHERE)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.map(client.insert_bill, [bill()])


def pytz_time() -> dt.datetime:
    """What datetime(…, tzinfo=pytz.timezone("Asia/Shanghai")) gives."""
    zone = dt.timezone(dt.timedelta(hours=8, minutes=6), "LMT")
    return dt.datetime(2026, 11, 30, 9, 15, tzinfo=zone)


def read_file() -> io.BytesIO:
    file = io.BytesIO(PDF)
    file.read()
    return file


class AsyncUpload:
    """Of a web framework, with nothing open behind it."""

    async def read(self) -> bytes:
        return PDF


async def async_source(_: str | None) -> str:
    return "token"


SENT = "sent as it was"
FEN = 'nontax.fen("12.34") converts yuan to fen'
TIME = 'nontax.billing_time("2026-11-30 09:15:00") converts times'
GIVE_STR = "which JSON does not have; give a str or an int"

REPORTS = [
    # amounts
    Report(
        "fee=Decimal('12.00')", f"{GIVE_STR}: a bill of 12 fen", flat(fee=Decimal("12.00")), FEN
    ),
    Report("fee=388.5", "12.34 yuan is 1234", flat(fee=388.5), FEN),
    Report("fee='388.50'", "not a string", flat(fee="388.50"), FEN),
    Report(
        "fee=float('nan')",
        "JSON can hold",
        flat(fee=float("nan")),
        "is NaN, the value of an empty cell",
    ),
    Report(
        "fee=pandas.NA",
        GIVE_STR,
        flat(fee=lambda: pandas().NA),
        "is NA, the value of an empty cell",
    ),
    Report("fee=numpy.float32(3)", GIVE_STR, flat(fee=lambda: numpy().float32(3)), FEN),
    Report("fen(0.29)", "no fen(): int(0.29 * 100) is 28", lambda: nontax.fen(0.29), "is a float"),  # type: ignore[arg-type]
    Report(
        "fen('388.505')", "no fen(): round() decided", lambda: nontax.fen("388.505"), "two decimals"
    ),
    Report(
        "fen('3.885E+02')",
        "no fen(): a rounded amount",
        lambda: nontax.fen("3.885E+02"),
        "with an exponent",
    ),
    # times
    Report(
        "'2023111506'", "Unix seconds of 2034", flat(billing_time="2023111506"), "looks like year"
    ),
    Report("'2026-11-30 09:15:00'", "10 digits", flat(billing_time="2026-11-30 09:15:00"), TIME),
    Report(
        "a datetime without zone",
        "give it one",
        flat(billing_time=dt.datetime(2026, 11, 30)),
        "UTC+8",
    ),
    Report(
        "pytz's +08:06", "six minutes off", flat(billing_time=pytz_time), "offset +08:06, which no"
    ),
    Report("a date", GIVE_STR, flat(billing_time=dt.date(2026, 11, 30)), TIME),
    Report(
        "pandas.NaT",
        "not a time",
        flat(billing_time=lambda: pandas().NaT),
        "is NaT, the value of an empty cell",
    ),
    Report(
        "numpy.datetime64",
        GIVE_STR,
        flat(billing_time=lambda: numpy().datetime64("2026-11-30")),
        TIME,
    ),
    Report(
        "1511169724.0, of a column with NaN", "10 digits", flat(billing_time=1511169724.0), TIME
    ),
    Report(
        "billing_time('2026-11-30')",
        "no billing_time(): midnight was made up",
        lambda: nontax.billing_time("2026-11-30"),
        "without a time",
    ),
    # texts
    Report("an id with CR LF", SENT, flat(order_id="H1\r\n"), "ends with U+000A (line feed)"),
    Report("an id with a tab", SENT, flat(order_id="H1\t"), "ends with U+0009 (tab)"),
    Report(
        "a name with U+00A0", SENT, flat(title="张三\u00a0"), "ends with U+00A0 (no-break space)"
    ),
    Report(
        "a name with U+3000",
        SENT,
        flat(title="\u3000张三"),
        "begins with U+3000 (ideographic space)",
    ),
    Report(
        "an id with U+200B", SENT, flat(billing_no="1\u200b"), "ends with U+200B (zero width space)"
    ),
    Report(
        "an id with U+FEFF", SENT, flat(order_id="\ufeffH1"), "begins with U+FEFF (byte order mark)"
    ),
    Report(
        "a BOM before the first column",
        "no field",
        named("order_id", "\ufefforder_id"),
        "did you mean order_id?",
    ),
    Report(
        "a column 'fee '",
        "no field; did you mean",
        named("fee", "fee "),
        "U+0020 (space) in its name",
    ),
    Report(
        "a column with CR", "no field", named("title", "title\r"), "U+000D (carriage return) in its"
    ),
    Report("a number as billing_no", "must be a string", flat(billing_no=11010123), "dtype=str"),
    Report(
        "title=float('nan')",
        "an empty cell?",
        flat(title=float("nan")),
        "is NaN, the value of an empty cell",
    ),
    Report(
        "title=pandas.NA",
        GIVE_STR,
        flat(title=lambda: pandas().NA),
        "is NA, the value of an empty cell",
    ),
    # files
    Report(
        "a file that was read", "is empty", lambda: upload(read_file()), "call its seek(0) first"
    ),
    Report("an OFD file", "is not a PDF", lambda: upload(b"PK\x03\x04"), "as an OFD file is"),
    Report(
        "an object with async read()", "not text", lambda: upload(AsyncUpload()), "read it first"
    ),
    # credentials
    Report(
        "appid=, and another's NONTAX_SECRET",
        "the two were paired",
        half_a_credential,
        "secret is missing",
    ),
    Report(
        "str(b'72_…')",
        "40001 from WeChat",
        with_token("b'72_abcdef'"),
        "the text of a bytes object",
    ),
    Report(
        "a token in quotes", "40001 from WeChat", with_token('"72_abcdef"'), "is enclosed in quotes"
    ),
    Report(
        "a JSON reply as token",
        "40001",
        with_token('{"access_token":"72_a"}'),
        "take its access_token",
    ),
    Report(
        "an async def source, blocking",
        "is not a str",
        lambda: from_source(async_source),
        "ainsert_bill",
    ),
    Report(
        "Pool.map(client.insert_bill, …)",
        "cannot pickle '_core.Client'",
        pool_map,
        "in each process",
    ),
]


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.what)
def test_it_is_told_what_is_wrong_and_what_to_do(report: Report) -> None:
    told = outcome_of(report)
    assert report.after in told
    assert "72_a" not in told


def outcome_of(report: Report) -> str:
    with pytest.raises((ValueError, TypeError, pickle.PicklingError, nontax.NontaxError)) as told:
        report.play()
    assert getattr(told.value, "outcome", "not_sent") == "not_sent"
    return str(told.value)


# What went wrong and goes through now


def test_a_row_with_more_columns(sandbox: Sandbox) -> None:
    """Before: `allow_extra` sent them to WeChat, names of patients and all."""
    row: Any = bill("H1", shape="flat") | {"科室": "内科", "备注": float("nan"), None: ["surplus"]}
    with nontax.Client(
        access_token=sandbox.access_token, base_url=sandbox.base_url, extra="ignore"
    ) as client:
        client.insert_bill(row)
    assert list(sandbox.bills) == ["H1"]
    assert "内科" not in sandbox.requests[0].body.decode()


def test_an_async_source_in_a_loop(sandbox: Sandbox) -> None:
    """Before: "access_token is not a str", and a coroutine that was never awaited."""

    async def source(_: str | None) -> str:
        await asyncio.sleep(0)
        return sandbox.access_token

    client = nontax.Client(token_source=source, base_url=sandbox.base_url)
    asyncio.run(client.ainsert_bill(bill("H1")))
    assert list(sandbox.bills) == ["H1"]


def test_one_bad_file_of_many(sandbox: Sandbox) -> None:
    """Before: a loop over upload_pdf that ended at the first bad one."""
    with nontax.Client(access_token=sandbox.access_token, base_url=sandbox.base_url) as client:
        outcomes = list(client.upload_pdfs({"H1": PDF, "H2": b"PK\x03\x04", "H3": PDF}))
    assert [(outcome.key, outcome.error is None) for outcome in outcomes] == [
        ("H1", True),
        ("H2", False),
        ("H3", True),
    ]


def test_a_list_is_checked_before_it_is_sent() -> None:
    """Before: a client with made-up credentials, and one problem a bill at a time."""
    rows = [bill(f"H{number}", shape="flat", fee="12.00") for number in range(3)]
    found = nontax.validate_bills(rows)
    assert [(each.index, each.order_id, each.id) for each in found] == [
        (number, f"H{number}", "not_fen") for number in range(3)
    ]


if __name__ == "__main__":
    for each in REPORTS:
        print(f"{each.what}\n    before: {each.before}\n    now:    {outcome_of(each)}")
