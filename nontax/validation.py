"""Whether bills are in order, without a client, a credential or a network."""

from nontax import _core
from nontax.problems import Problem, problem_of_core
from nontax.settings import check_bills, check_extra
from nontax.values import order_id_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable
    from typing import TypeVar

    import nontax
    from nontax.settings import Extra

    T = TypeVar("T", bound=Hashable)


def validate_bill(bill: "nontax.Bill", *, extra: "Extra" = "refuse") -> list[Problem]:
    """Return all problems for which `insert_bill` would refuse a bill; none: an empty list.

    bill: as for `Client.insert_bill`. extra: as for `Client`.

    Nothing is sent, and nothing is needed to send it. What only WeChat can know (whether the order
    is authorised, the PDF uploaded, the bill already in the wallet) is not checked.
    """
    return _problems_of(bill, check_extra(extra), None)


def validate_bills(bills: "Iterable[nontax.Bill]", *, extra: "Extra" = "refuse") -> list[Problem]:
    """Return all problems of many bills, each with its bill's `index` and `order_id`.

    bills: as for `Client.insert_bills`; read once, to the end. extra: as for `Client`.

    Two bills with the same order_id, or with the same billing_no and billing_code, are a problem of
    the later one. Of one bill at most 100 problems are listed. Raises what the iterable raises.
    """
    check_bills(bills)
    mode = check_extra(extra)
    problems: list[Problem] = []
    orders: dict[str, int] = {}
    numbers: dict[tuple[str, str], int] = {}
    for index, bill in enumerate(bills):
        problems += _problems_of(bill, mode, index)
        order_id = order_id_of(bill)
        problems += _again(orders, order_id, index, order_id, "order_id", "order_again")
        number = _number_of(bill)
        problems += _again(numbers, number, index, order_id, "billing_code", "number_again")
    return problems


def _problems_of(bill: object, mode: int, index: int | None) -> list[Problem]:
    found = _core.check("insertbill", bill, mode)
    if not found:
        return []
    order_id = order_id_of(bill)
    return [problem_of_core(*each, index, order_id) for each in found]


def _number_of(bill: object) -> tuple[str, str] | None:
    """What is printed on a bill: its code and its number; None where there is none."""
    try:
        fields = bill
        if "card_ext" in bill:  # type: ignore[operator]
            user_card = bill["card_ext"]["user_card"]  # type: ignore[index]
            fields = user_card.get("invoice_user_data", user_card)
        number = (fields["billing_no"], fields["billing_code"])  # type: ignore[index]
    except Exception:
        return None
    return number if all(isinstance(part, str) for part in number) else None


AGAIN = {
    "order_again": "is the order of bill {first}, too: one order takes one bill",
    "number_again": "is, with billing_no, the printed number of bill {first}, too",
}


def _again(
    seen: "dict[T, int]",
    key: "T | None",
    index: int,
    order_id: str | None,
    path: str,
    id: str,
) -> list[Problem]:
    if key is None or (first := seen.setdefault(key, index)) == index:
        return []
    values = {"first": str(first)}
    return [Problem(path, AGAIN[id].format_map(values), id, values, index, order_id)]
