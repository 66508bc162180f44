"""What WeChat's interface demands of each bill of a list, before anything is sent."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from nontax.sheets.listing import SENT, BillList, missing_column
from nontax.sheets.problems import OF_CORE, Problem

if TYPE_CHECKING:
    import nontax.problems

# Digits of a bill's code and number.
_CODE, _NUMBER = 8, 10
# The upload of the PDF gives it.
_LATER = "s_pdf_media_id"


def check_bills(bills: BillList, defaults: Mapping[str, str] | None = None) -> list[Problem]:
    """Read a list, and check its bills for the wallet as `insert_bill` would, offline.

    bills: what `open_list` returned, best with `require=INSERT`. defaults: values of fields that
    the list does not have, such as card_id and appid.

    Returns all problems: those of the list, and what the interface's rules say of its bills; an
    order or a printed number that comes twice is one, and a number that has lost its leading zeros,
    unless a map file names its column. Needs the C extension.
    """
    from nontax.validation import validate_bills

    given = dict(defaults or {})
    absent = [field for field in SENT if field not in {*bills.fields, *given, _LATER}]
    if absent:
        missing = [
            missing_column(field)._replace(file=bills.name, sheet=bills.sheet) for field in absent
        ]
        return [*missing, *bills.check().problems]
    given.setdefault(_LATER, "later")
    rows = array("Q")
    short: list[Problem] = []
    column = " + ".join(bills.columns.get("billing_code", ()))

    def each() -> Iterator[dict[str, object]]:
        for listed in bills.bills(given):
            rows.append(listed.row)
            number = str(listed.bill["billing_code"])
            if not bills.names_numbers and _has_lost_zeros(str(listed.bill["billing_no"]), number):
                values: dict[str, str | int] = {"value": number, "count": len(number)}
                short.append(
                    Problem("short_number", values, bills.name, bills.sheet, listed.row, column)
                )
            yield listed.bill

    found = [_problem(one, rows, bills) for one in validate_bills(each())]
    return sorted([*bills.problems, *short, *found], key=lambda problem: problem.row)


def _has_lost_zeros(code: str, number: str) -> bool:
    """Whether a bill's number is shorter than those that the Ministry of Finance gives.

    A spreadsheet program that saves a CSV file writes 104501 for 0000104501, as a text.
    """
    return len(number) < _NUMBER and number.isdecimal() and len(code) == _CODE and code.isdecimal()


def _problem(found: "nontax.problems.Problem", rows: Sequence[int], bills: BillList) -> Problem:
    """Say where in the list it is, what the core says of a bill."""
    from nontax._core import problem_messages

    field = found.path.rpartition(".")[2]
    values: dict[str, str | int] = {"field": field, **found.values}
    if "first" in values:
        values["first"] = rows[int(values["first"])]
        id = f"duplicate_{field}"
    else:
        id = f"{OF_CORE}{found.id}"
        values["template"] = problem_messages()[found.id]
    column = " + ".join(bills.columns.get(field, ()))
    return Problem(id, values, bills.name, bills.sheet, rows[found.index or 0], column)
