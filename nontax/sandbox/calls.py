"""What an interface is given to answer."""

from dataclasses import dataclass
from typing import Any

from .accounts import Account


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an interface that the checks shared by all have let through.

    account: whose access token or AppSecret it carried. payload: what it says, by field.
    number: of the request.
    """

    account: Account
    payload: Any
    number: int
