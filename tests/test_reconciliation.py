"""Reconciliation: planted differences give exactly the plan; both sides tie, or no report."""

import json
import pickle
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reconciling import ALL, DAY, LISTS, NOON, Fields, bill, red, side

from nontax.reconciliation import (
    CarriedError,
    ExplanationError,
    NoCommonKeyError,
    PeriodError,
    Report,
    Sum,
    TieError,
    explain,
    match,
)
from nontax.reconciliation.explain import read_explanations
from nontax.reconciliation.period import period
from nontax.reconciliation.ranges import Gap, Range
from nontax.reconciliation.rows import OTHER
from nontax.reconciliation.run import compare

NEAR = NOON + 12 * 3600 - 60


def reconciled(
    ones: Sequence[Fields],
    others: Sequence[Fields],
    day: str = DAY,
    big: bool = False,
    **options: Any,
) -> Report:
    return compare(side(ones, big=big), side(others, OTHER), period(day), **options)


def found(report: Report) -> Counter[tuple[str, ...]]:
    return Counter((row.name, row.detail, ",".join(row.fields)) for row in report.differences())


@pytest.mark.parametrize("name", LISTS)
def test_a_planted_difference(name: str) -> None:
    ones, others, expected = LISTS[name](10)
    # Beside rows that are as they should be, read from both ends, and with each side held.
    usual = [bill(1), bill(2)]
    for step in (1, -1):
        for big in (False, True):
            report = reconciled((usual + ones)[::step], (usual + others)[::step], big=big)
            assert found(report) == Counter(expected)
            assert report.classes["matched"].list.rows >= 2


Plan = tuple[list[Fields], list[Fields], Counter[tuple[str, ...]]]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Some differences, and the rows of both sides in any order."""
    names = draw(st.lists(st.sampled_from(sorted(LISTS)), max_size=12))
    ones: list[Fields] = [bill(1)]
    others: list[Fields] = []
    expected: Counter[tuple[str, ...]] = Counter({("missing", "", ""): 1})
    for number, name in enumerate(names, 1):
        mine, theirs, classes = LISTS[name](10 * number)
        ones += mine
        others += theirs
        expected.update(classes)
    return draw(st.permutations(ones)), draw(st.permutations(others)), expected


@given(plans(), st.booleans())
def test_planted_differences_give_the_plan_in_any_order(plan: Plan, big: bool) -> None:
    ones, others, expected = plan
    report = reconciled(ones, others, big=big)
    assert found(report) == expected
    for at, rows in enumerate((ones, others)):
        sums = [report.outside[at], *(both[at] for both in report.classes.values())]
        assert sum(total.rows for total in sums) == len(rows)
        assert sum(total.fen for total in sums) == sum(row["fee"] for row in rows)
        days = report.by("day")
        assert sum(line.sums[at].rows for line in days) == len(rows) - report.outside[at].rows


def test_a_side_that_streams_is_paired_slab_by_slab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match, "SLAB", 2)
    cases = [case(10 * number) for number, case in enumerate(LISTS.values(), 1)]
    few = [row for ones, _, _ in cases for row in ones]
    # The held side is the short one; the long one has more than a slab beside its differences.
    many = [row for _, others, _ in cases for row in others]
    many += [bill(n, billing_time=NOON - 90000) for n in range(1000, 1000 + 3 * len(few))]
    expected: Counter[tuple[str, ...]] = Counter()
    for _, _, classes in cases:
        expected.update(classes)
    for step in (1, -1):
        report = reconciled(few, many[::step])
        assert found(report) == expected
        assert report.outside[OTHER].rows == 3 * len(few) + 1


@given(plans())
def test_the_sides_may_be_exchanged(plan: Plan) -> None:
    ones, others = ([*rows, bill(5)] for rows in plan[:2])
    other_way = {
        "missing": "unexpected",
        "unexpected": "missing",
        "duplicate_list": "duplicate_ledger",
        "duplicate_ledger": "duplicate_list",
    }
    symmetric = {*other_way, "form_only", "other_order", "red_unpaired", "carried_over"}
    there = Counter(row.name for row in reconciled(ones, others).differences())
    back = Counter(row.name for row in reconciled(others, ones).differences())
    for name in symmetric:
        assert there[name] == back[other_way.get(name, name)], name


# Both sides tie, or there is no report


@pytest.mark.parametrize(
    ("kind", "wrong"), [("bill", Sum(2, 204)), ("bill", Sum(3, 203)), ("void", Sum(1, 0))]
)
@pytest.mark.parametrize("at", [0, 1])
def test_sums_that_do_not_tie_make_no_report(kind: str, wrong: Sum, at: int) -> None:
    rows = [bill(1), bill(2)]
    sides = (side(rows), side(rows, OTHER))
    totals = sides[at].totals()
    sides[at].totals = lambda: {**totals, kind: wrong}  # type: ignore[method-assign]
    with pytest.raises(TieError) as caught:
        compare(*sides, period(DAY))
    [line] = caught.value.lines
    assert line.startswith(("the list: it has", "the other: it has")[at])
    assert "the classes" in str(caught.value)


def test_a_row_that_gets_lost_makes_no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    from nontax.reconciliation import classes

    judge = classes.Judge.judge
    monkeypatch.setattr(classes.Judge, "judge", lambda *args: list(judge(*args))[1:])
    with pytest.raises(TieError, match="the list: it has 1 rows with 101 fen; the classes"):
        reconciled([bill(1)], [])


# Totals, groups, ranges


def test_issues_and_refunds_are_apart() -> None:
    ones = [bill(1), bill(2, kind="cancelled"), red(3, bill(2)), bill(4, kind="paper", fee=0)]
    # A red row may be written with either sign.
    ones[2]["fee"] = 102
    report = reconciled(ones, [bill(1)])
    assert report.totals["issues"] == ((2, 203), (1, 101))
    assert report.totals["refunds"] == ((1, -102), (0, 0))
    assert report.totals["else"] == ((1, 0), (0, 0))


def test_groups() -> None:
    there = [bill(n, unit_name="", point="", card_id=f"card{n % 2}") for n in (1, 2, 3)]
    fields = (*ALL, "card_id")
    one = side([bill(1), bill(2), bill(4)])
    report = compare(one, side(there, OTHER, fields=fields), period(DAY))
    points = {line.value: (line.sums, line.matched, line.open) for line in report.by("point")}
    assert points["窗口1"][0] == ((2, 205), (1, 101))
    assert points["窗口1"][1] == ((1, 101), (1, 101))
    assert points["窗口1"][2] == ((1, 104), (0, 0))
    assert points[""][0] == ((0, 0), (1, 103))
    # What the list does not state, the other side does.
    cards = {line.value: line.matched for line in report.by("card")}
    assert cards == {"": ((0, 0), (0, 0)), "card0": ((1, 102),) * 2, "card1": ((1, 101),) * 2}
    assert [line.value for line in report.by("day")] == [DAY]
    assert reconciled([bill(1, point="")], []).by("point") == []
    with pytest.raises(ValueError, match="not one of: unit, point, card, day"):
        report.by("week")


def test_number_ranges_and_gaps() -> None:
    numbers = ["0000000007", "0000000008", "0000000008", "0000000012", "A1", "9" * 20]
    rows = [bill(n, billing_code=code) for n, code in enumerate(numbers, 1)]
    rows.append(bill(7, billing_no="22020226", billing_code="007"))
    rows.append(bill(8, billing_code="0000000001", billing_time=NOON + 90000))  # outside
    report = reconciled(rows, [])
    fen = sum(100 + n for n in range(1, 7))
    assert report.ranges == [
        Range("11010126", "0000000007", "0000000012", 6, fen, 3, 1, 2),
        Range("22020226", "007", "007", 1, 107, 0, 0, 0),
    ]
    assert report.gaps == [Gap("11010126", "0000000009", "0000000011", 3)]


def test_a_red_row_is_shown_with_its_own_order_and_number() -> None:
    for big in (False, True):
        report = reconciled([bill(1), red(2, bill(1))], [bill(1)], big=big)
        [row] = report.differences()
        assert (row.name, row.key) == ("cancel_missing", "11010126 0000000002")
        assert (row.order_id, row.billing_code) == ("H00001", "0000000002")
        assert row.ref == "11010126 0000000001"


# The period


def test_the_business_day() -> None:
    usual = period("2026-11-29")
    assert usual.bounds == ("2026-11-29 00:00", "2026-11-30 00:00")
    assert period("2026-11-29", cutoff="17:30").bounds == ("2026-11-28 17:30", "2026-11-29 17:30")
    assert period("2026-11-29", cutoff="06:00").bounds == ("2026-11-29 06:00", "2026-11-30 06:00")
    assert period(start="2026-11-01", end="2026-11-30").bounds[1] == "2026-12-01 00:00"
    assert usual.scope(usual.start - 1) == usual.scope(usual.end) == "out"
    assert usual.scope(usual.start) == usual.scope(usual.end - 1801) == "in"
    assert usual.scope(usual.end - 1800) == "near"
    assert usual.scope(0) == "in"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"day": "29.11.2026"}, "not a date such as"),
        ({"day": DAY, "end": DAY}, "either a day, or"),
        ({"start": DAY}, "both the start and the end"),
        ({"start": DAY, "end": "2026-11-28"}, "before it begins"),
        ({"cutoff": "24:00"}, "not a time such as 17:30"),
        ({"grace": "1w"}, 'such as "30m"'),
    ],
)
def test_a_period_that_is_none(given: dict[str, str], said: str) -> None:
    with pytest.raises(PeriodError, match=said):
        period(**given)  # type: ignore[arg-type]


def test_a_date_alone_is_a_business_day() -> None:
    midnight = NOON - 12 * 3600
    dated = [bill(1, billing_time=midnight)]
    clocked = [bill(1, billing_time=NOON)]
    for cutoff in ("00:00", "06:00", "17:00"):
        report = compare(side(dated), side(clocked, OTHER), period(DAY, cutoff=cutoff))
        assert report.ok
        assert report.classes["matched"].list.rows == 1


def test_a_list_of_another_day_makes_no_report() -> None:
    with pytest.raises(
        PeriodError, match=r"no row of the list is .* they are of 2026-11-29 to"
    ) as info:
        reconciled([bill(1)], [], day="2026-11-28")
    again = pickle.loads(pickle.dumps(info.value))
    assert str(again) == str(info.value)
    assert "中没有 2026-11-28 的记录" in again.words("zh")
    assert reconciled([bill(1)], [], day="all").classes["missing"].list.rows == 1


# Carried over


def test_rows_carried_over_come_back_once(tmp_path: Path) -> None:
    late, lost, theirs = (bill(n, billing_time=NEAR) for n in (1, 2, 3))
    first = reconciled([late, lost], [theirs])
    assert found(first) == {("carried_over", "", ""): 3}
    assert first.ok
    file = tmp_path / "carried.jsonl"
    rows = list(first.carried())
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "title" not in rows[0]
    # The next day's lists: the other side has the late one; one still has no partner; the third
    # stands in a list that goes back to the day before.
    next_day = NEAR + 120
    ones = [bill(9, billing_time=next_day), {**theirs, "title": "王五"}]
    others = [bill(9, billing_time=next_day), {**late, "billing_time": next_day}, theirs]
    second = reconciled(ones, others, day="2026-11-30", carried=file)
    assert found(second) == {
        ("missing", "", ""): 1,
        ("field_mismatch", "", "billing_time"): 1,
        ("field_mismatch", "", "title"): 1,
    }
    assert second.read[0]["carried"] == Sum(2, 101 + 102)
    assert list(second.carried()) == []


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"side": "list"}', '{"side": "left", "order_id": "1", "fee": 1}']
)
def test_a_file_that_has_no_carried_rows(tmp_path: Path, line: str) -> None:
    (tmp_path / "carried.jsonl").write_text(line)
    with pytest.raises(CarriedError, match="line 1"):
        reconciled([], [], carried=tmp_path / "carried.jsonl")


# Explained


def test_what_is_explained_stays_visible_and_does_not_count(tmp_path: Path) -> None:
    file = tmp_path / "explained.jsonl"
    ones, others = [bill(1), bill(2)], [bill(1, fee=7)]
    first, second = reconciled(ones, others).differences()
    assert (first.name, second.name) == ("amount_mismatch", "missing")
    explain(file, first, by="赵经办", checked_by="钱复核", note="重开")
    explain(file, second, by="赵经办", note="已作废")
    report = reconciled(ones, others, explanations=read_explanations(file))
    assert report.ok
    assert len(report) == 2
    assert [row.explained.note for row in report.differences() if row.explained] == [
        "重开",
        "已作废",
    ]
    # With another amount, it is another difference.
    report = reconciled(ones, [bill(1, fee=8)], explanations=read_explanations(file))
    assert report.open == {"amount_mismatch": 1}
    assert report.explained == {"missing": 1}


def test_an_explanation_needs_two_people_and_a_note(tmp_path: Path) -> None:
    [row] = reconciled([bill(1)], []).differences()
    for by, checked_by, note in (("甲", "甲", "x"), ("", "", "x"), ("甲", "", " ")):
        with pytest.raises(ExplanationError):
            explain(tmp_path / "e", row, by=by, checked_by=checked_by, note=note)
    assert not (tmp_path / "e").exists()
    for line in ("{}", "[1]", "no", '{"key": 1}'):
        (tmp_path / "e").write_text(line)
        with pytest.raises(ExplanationError, match="line 1: this is no explanation"):
            list(read_explanations(tmp_path / "e"))


# Keys


def test_the_key() -> None:
    numbers = ("billing_no", "billing_code", "business_no", "billing_time")
    rows = [bill(1), bill(2)]
    by_number = compare(side(rows), side(rows, OTHER, fields=numbers), period(DAY))
    assert by_number.fields.key == ("billing_no", "billing_code")
    assert by_number.ok
    by_serial = reconciled(rows, [bill(1, order_id="x"), bill(2)], key="business_no")
    assert found(by_serial) == {("other_order", "", "order_id"): 1}
    with pytest.raises(NoCommonKeyError, match="no key in common"):
        compare(side(rows, fields=("order_id",)), side(rows, OTHER, fields=numbers), period(DAY))
    with pytest.raises(NoCommonKeyError, match="'billing' needs billing_no and billing_code"):
        compare(side(rows), side(rows, OTHER, fields=("order_id",)), period(DAY), key="billing")


def test_a_row_without_a_key() -> None:
    with pytest.raises(NoCommonKeyError, match="the list, row 3: there is no order_id"):
        reconciled([bill(1), bill(2, order_id="")], [])
    blank = {"kind": "blank_paper", "order_id": "", "billing_no": "", "billing_code": ""}
    report = reconciled([bill(1), bill(2, **blank), bill(3, **blank)], [bill(1)])
    assert found(report) == {("missing", "", ""): 2}
