"""Find bills by what people have of them: the order, what is printed on them, the day."""

from typing import Any

from django.db.models import Q

# 票据代码 has 8 digits, 票据号码 has 10.
_CODE, _BOTH = 8, 18


def search(bills: Any, text: str) -> Any:
    """The bills that exactly this order, number, or code and number names; "": all.

    Each way has an index.
    """
    word = text.strip()
    if not word:
        return bills
    found = Q(order_id=word) | Q(billing_code=word)
    code, _, number = word.partition(" ")
    if not number and len(word) == _BOTH and word.isdecimal():
        code, number = word[:_CODE], word[_CODE:]
    if number:
        found |= Q(billing_no=code, billing_code=number.strip())
    return bills.filter(found)


def first_since(bills: Any, moment: Any) -> int:
    """The key from which on bills were handed in since then; the time itself has no index.

    Keys grow with time, so it is found by bisection; clocks that differ make it a little wrong.
    """
    low, high = 0, (bills.order_by("-pk").values_list("pk", flat=True).first() or 0) + 1
    while low < high:
        middle = (low + high) // 2
        later = bills.filter(pk__gte=middle).order_by("pk").values_list("pk", "created_at").first()
        if later is None or later[1] >= moment:
            high = middle
        else:
            low = later[0] + 1
    return low
