"""Find a bill by what people have of it: the order, or what is printed on it."""

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
