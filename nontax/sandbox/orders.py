"""Orders: what a collecting unit asked a citizen to authorise, and what became of it."""

import secrets
from dataclasses import dataclass, replace
from typing import Literal

from .clock import Clock
from .errcodes import RefusalError

Status = Literal["never auth", "auth success", "reject insert"]
LINK_LIFETIME = 7200


@dataclass(frozen=True, slots=True)
class Order:
    """One order.

    Attributes:
        order_id: str.
        status: str as in section 5 of the reference: "never auth", "auth success" or
            "reject insert".
        appid: str, the collecting unit that called getbillauthurl; "" for an order that is known
            from `Sandbox.authorise`, `withdraw` or `reject` alone.
        s_pappid: str, the finance bureau it is meant for, or "".
        money: int, in fen, or None.
        source: str, "web" or "app", or "".
        redirect_url: str, where the citizen goes after authorising, or "".
        auth_time: int, Unix seconds of the authorisation, or None.
        reason, reason_url: str, why the unit rejected it and what the user can do, or "".
    """

    order_id: str
    status: Status = "never auth"
    appid: str = ""
    s_pappid: str = ""
    money: int | None = None
    source: str = ""
    redirect_url: str = ""
    auth_time: int | None = None
    reason: str = ""
    reason_url: str = ""


class Orders:
    """All orders and the links to their authorisation pages. The caller holds the world's lock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._orders: dict[str, Order] = {}
        self._links: dict[str, tuple[str, float]] = {}

    def get(self, order_id: str) -> Order | None:
        return self._orders.get(order_id)

    def all(self) -> dict[str, Order]:
        return dict(self._orders)

    def request(self, wanted: Order) -> str:
        """Note what a unit asks for and return the key of the authorisation page.

        The same request may be repeated until the citizen has authorised it, for a new link; any
        other use of its order_id raises RefusalError.
        """
        known = self._orders.get(wanted.order_id)
        if known is not None and known.status == "reject insert":
            raise RefusalError(72035)
        if known is not None and (
            known.status != "never auth"
            or (known.appid, known.s_pappid, known.money)
            not in (("", "", None), (wanted.appid, wanted.s_pappid, wanted.money))
        ):
            raise RefusalError(72056)
        self._orders[wanted.order_id] = wanted
        key = secrets.token_urlsafe(18)
        self._links[key] = (wanted.order_id, self._clock.time() + LINK_LIFETIME)
        return key

    def behind(self, key: str) -> tuple[Order | None, bool]:
        """The order behind a link, and whether the link is still good."""
        order_id, expires = self._links.get(key, ("", 0.0))
        return self._orders.get(order_id), self._clock.time() < expires

    def links(self) -> dict[str, str]:
        """The newest good link's key by order_id."""
        now = self._clock.time()
        return {order_id: key for key, (order_id, expires) in self._links.items() if now < expires}

    def set_status(
        self, order_id: str, status: Status, *, reason: str = "", reason_url: str = ""
    ) -> Order:
        """Raises ValueError if the order was rejected: that is final."""
        order = self._orders.get(order_id, Order(order_id))
        if order.status == "reject insert" and status != "reject insert":
            raise ValueError("the order was rejected, which is final: use a new order_id")
        if order.status == status:
            self._orders[order_id] = order
            return order
        auth_time = order.auth_time
        if status != "reject insert":
            auth_time = int(self._clock.time()) if status == "auth success" else None
        order = replace(
            order, status=status, auth_time=auth_time, reason=reason, reason_url=reason_url
        )
        self._orders[order_id] = order
        return order
