"""What is known to go wrong with WeChat: each cause comes out with the advice that solves it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from bills import bill

import nontax
from nontax.sandbox import Account, Sandbox, faults

PDF = b"%PDF-1.7\n%%EOF\n"


@dataclass
class World:
    """A strict sandbox with an order that is ready to be inserted, and who takes part."""

    sandbox: Sandbox
    bureau: nontax.Client
    unit: nontax.Client
    card_id: str = ""
    count: int = 0

    def client(self, account: Account, **settings: Any) -> nontax.Client:
        return nontax.Client(
            access_token=account.access_token,
            base_url=self.sandbox.base_url,
            retries=0,
            **settings,
        )

    def order(self, *, s_pappid: str = "", authorise: bool = True) -> str:
        """A new order that the citizen has authorised."""
        self.count += 1
        order_id = f"order-{self.count}"
        self.unit.get_bill_auth_url(
            s_pappid=s_pappid or self.sandbox.bureau.s_pappid, order_id=order_id, money=123
        )
        if authorise:
            self.sandbox.authorise(order_id)
        return order_id

    def insert(self, order_id: str = "", **changes: Any) -> nontax.InsertedBill:
        """Insert a bill that is right in all that `changes` leaves."""
        if "s_pdf_media_id" not in changes:
            changes["s_pdf_media_id"] = self.bureau.upload_pdf(PDF).s_media_id
        if not self.card_id:
            self.card_id = self.bureau.create_bill_card(payee="p", logo_url="https://a").card_id
        right = {"card_id": self.card_id, "appid": self.sandbox.unit.appid}
        return self.bureau.insert_bill(bill(order_id or self.order(), **(right | changes)))


@pytest.fixture
def world() -> Iterator[World]:
    with Sandbox(orders="strict") as sandbox:
        with (
            nontax.Client(
                access_token=sandbox.bureau.access_token, base_url=sandbox.base_url, retries=0
            ) as bureau,
            nontax.Client(
                access_token=sandbox.unit.access_token, base_url=sandbox.base_url, retries=0
            ) as unit,
        ):
            yield World(sandbox, bureau, unit)


def raised(call: Callable[[], object]) -> nontax.NontaxError:
    with pytest.raises(nontax.NontaxError) as caught:
        call()
    return caught.value


def test_a_bill_that_is_right(world: World) -> None:
    inserted = world.insert()
    assert [there.code for there in world.sandbox.bills.values()] == [inserted.code]


# --- 72038 ----------------------------------------------------------------------------------------


def never_authorised(world: World) -> object:
    return world.insert(world.order(authorise=False))


def unknown_order(world: World) -> object:
    return world.insert("nobody has asked for it")


def withdrawn(world: World) -> object:
    order_id = world.order()
    world.sandbox.withdraw(order_id)
    return world.insert(order_id)


def another_bureaus_s_pappid(world: World) -> object:
    other = world.sandbox.add_account("other", roles=("bureau",))
    return world.insert(world.order(s_pappid=other.s_pappid))


def another_units_appid(world: World) -> object:
    return world.insert(appid="wxc0b84a53ed8e8d29")


def the_bureaus_own_appid(world: World) -> object:
    return world.insert(appid=world.sandbox.bureau.appid)


def s_pappid_as_appid(world: World) -> object:
    return world.insert(appid=world.sandbox.bureau.s_pappid)


def another_bureau_inserts(world: World) -> object:
    # getauthdata says "auth success", and the accounts do not match all the same.
    other = world.client(world.sandbox.add_account("other", roles=("bureau",)))
    order_id = world.order()
    status = world.unit.get_auth_data(s_pappid=world.sandbox.bureau.s_pappid, order_id=order_id)
    assert status.invoice_status == "auth success"
    card_id = other.create_bill_card(payee="p", logo_url="https://a").card_id
    media_id = other.upload_pdf(PDF).s_media_id
    return other.insert_bill(
        bill(order_id, card_id=card_id, appid=world.sandbox.unit.appid, s_pdf_media_id=media_id)
    )


def printed_code(world: World) -> None:
    world.insert()
    world.bureau.update_bill_status(
        card_id=world.card_id, code="144032009110", reimburse_status="INVOICE_REIMBURSE_CANCEL"
    )


# --- the others -----------------------------------------------------------------------------------


def media_id_of_nobody(world: World) -> object:
    return world.insert(s_pdf_media_id="75195574948725301")


def media_id_that_has_ended(world: World) -> object:
    media_id = world.bureau.upload_pdf(PDF).s_media_id
    order_id = world.order()
    world.sandbox.clock.advance(3 * 24 * 3600 + 1)
    world.sandbox.renew_access_token()
    world.bureau = world.client(world.sandbox.bureau)
    return world.insert(order_id, s_pdf_media_id=media_id)


def media_id_of_another_bureau(world: World) -> object:
    other = world.client(world.sandbox.add_account("other", roles=("bureau",)))
    return world.insert(s_pdf_media_id=other.upload_pdf(PDF).s_media_id)


def pdf_in_a_wallet(world: World) -> object:
    media_id = world.bureau.upload_pdf(PDF).s_media_id
    world.insert(s_pdf_media_id=media_id)
    return world.insert(s_pdf_media_id=media_id)


def same_code_and_number(world: World) -> object:
    world.insert(billing_no="11010122", billing_code="0000000001")
    return world.insert(billing_no="11010122", billing_code="0000000001")


def swapped_in_a_test(world: World) -> object:
    world.insert(billing_no="0000000001", billing_code="11010122")
    world.insert(billing_no="11010122", billing_code="0000000001")
    return world.insert(billing_no="0000000001", billing_code="11010122")


def same_order(world: World) -> object:
    order_id = world.order()
    world.insert(order_id)
    return world.insert(order_id)


def too_soon_after_the_card(world: World) -> object:
    world.sandbox.card_ready_after = 60
    return world.insert()


def token_replaced_elsewhere(world: World) -> object:
    world.sandbox.renew_access_token()
    return world.bureau.insert_bill(bill())


def token_that_has_ended(world: World) -> object:
    world.sandbox.expire_access_token()
    return world.bureau.insert_bill(bill())


def no_permission(world: World) -> object:
    world.sandbox.bureau.permissions.discard("/nontax/insertbill")
    return world.bureau.insert_bill(bill())


def the_units_token(world: World) -> object:
    return world.unit.insert_bill(bill())


def the_bureaus_token(world: World) -> object:
    return world.bureau.get_bill_auth_url(s_pappid="s", order_id="1", money=1, ticket="t")


def address_not_on_the_list(world: World) -> object:
    account = world.sandbox.bureau
    account.ip_list = ["192.0.2.1"]
    client = nontax.Client(
        appid=account.appid, secret=account.secret, base_url=world.sandbox.base_url
    )
    return client.insert_bill(bill())


def answered(errcode: int) -> Callable[[World], object]:
    """What the sandbox has no reason for."""

    def insert(world: World) -> object:
        world.sandbox.inject(faults.Errcode(errcode))
        return world.bureau.insert_bill(bill())

    insert.__name__ = f"answered_{errcode}"
    return insert


CASES: list[tuple[Callable[[World], object], int, type[nontax.WeChatError], list[str]]] = [
    (never_authorised, 72038, nontax.NotAuthorizedError, ["has not authorised"]),
    (unknown_order, 72038, nontax.NotAuthorizedError, ["order_id"]),
    (withdrawn, 72038, nontax.NotAuthorizedError, ["once it is authorised"]),
    (another_bureaus_s_pappid, 72038, nontax.NotAuthorizedError, ["s_pappid"]),
    (another_units_appid, 72038, nontax.NotAuthorizedError, ["appid", "belong together"]),
    (the_bureaus_own_appid, 72038, nontax.NotAuthorizedError, ["appid", "belong together"]),
    (s_pappid_as_appid, 72038, nontax.NotAuthorizedError, ["appid", "s_pappid"]),
    (another_bureau_inserts, 72038, nontax.NotAuthorizedError, ["bureau that inserts must be"]),
    (printed_code, 72038, nontax.NotAuthorizedError, ["card code", "not a code printed"]),
    (
        answered(72031),
        72031,
        nontax.ParameterError,
        ["name or value", "empty", "not an s_pappid", "genuine", "in no wallet yet"],
    ),
    (media_id_of_nobody, 72040, nontax.ParameterError, ["Upload the PDF again"]),
    (media_id_that_has_ended, 72040, nontax.ParameterError, ["three days"]),
    (media_id_of_another_bureau, 72040, nontax.ParameterError, ["Upload the PDF again"]),
    (answered(72040), 72040, nontax.ParameterError, ["genuine", "fits the bill's data"]),
    (answered(72082), 72082, nontax.ParameterError, ["genuine", "amount", "three days"]),
    (pdf_in_a_wallet, 72042, nontax.DuplicateBillError, ["already in a wallet"]),
    (same_code_and_number, 72042, nontax.DuplicateBillError, ["treat it as delivered"]),
    (swapped_in_a_test, 72042, nontax.DuplicateBillError, ["swapped"]),
    (same_order, 72056, nontax.DuplicateBillError, ["treat it as delivered", "new order_id"]),
    (too_soon_after_the_card, 40078, nontax.BillStateError, ["Wait a while"]),
    (answered(40078), 40078, nontax.BillStateError, ["card permission", "white list"]),
    (token_replaced_elsewhere, 40001, nontax.AccessTokenError, ["another process", "stable_token"]),
    (token_that_has_ended, 42001, nontax.AccessTokenError, ["fetch a current one"]),
    (no_permission, 48001, nontax.AccountError, ["no permission", "apply"]),
    (the_units_token, 48001, nontax.AccountError, ["right account", "finance bureau's"]),
    (the_bureaus_token, 48001, nontax.AccountError, ["right account", "collecting unit's"]),
    (answered(-1), -1, nontax.SystemBusyError, ["do not send it again", "check the bill's data"]),
    (address_not_on_the_list, 40164, nontax.AccountError, ["IP list", "this account's"]),
]


@pytest.mark.parametrize(
    ("cause", "errcode", "error", "words"), CASES, ids=[case[0].__name__ for case in CASES]
)
def test_the_advice(
    world: World,
    cause: Callable[[World], object],
    errcode: int,
    error: type[nontax.WeChatError],
    words: list[str],
) -> None:
    found = raised(lambda: cause(world))
    assert isinstance(found, nontax.WeChatError)
    assert (found.errcode, type(found)) == (errcode, error)
    for word in words:
        assert word in found.advice
    # What is printed has it, too, and what WeChat needs to find the request.
    assert found.advice in str(found)
    assert found.rid is not None
    assert found.rid in str(found)


@pytest.mark.parametrize("code", sorted({case[1] for case in CASES}))
def test_advice_is_plain_text(code: int) -> None:
    advice = nontax.errcode(code).advice
    assert advice.isascii()
    assert advice.endswith(".")
    assert "  " not in advice


def test_following_the_advice_helps(world: World) -> None:
    order_id = world.order(authorise=False)
    assert isinstance(raised(lambda: world.insert(order_id)), nontax.NotAuthorizedError)
    world.sandbox.authorise(order_id)
    world.insert(order_id)
    world.sandbox.card_ready_after = 60
    world.card_id = ""
    order_id = world.order()
    assert isinstance(raised(lambda: world.insert(order_id)), nontax.BillStateError)
    world.sandbox.clock.advance(61)
    world.insert(order_id)
    assert len(world.sandbox.bills) == 2


# --- causes of 72031 that never get as far --------------------------------------------------------


def without_a_number(one: dict[str, Any]) -> object:
    one["billing_code"] = ""
    return one


def with_a_blank_in_a_key(one: dict[str, Any]) -> object:
    one["order_id "] = one.pop("order_id")
    return one


def wrapped(one: dict[str, Any]) -> object:
    return {"info": one}


def misspelt(one: dict[str, Any]) -> object:
    one["s_pdf_mediaid"] = one.pop("s_pdf_media_id")
    return one


def as_text(one: dict[str, Any]) -> object:
    return str(one)


@pytest.mark.parametrize(
    ("spoil", "path"),
    [
        (without_a_number, "billing_code"),
        (with_a_blank_in_a_key, "order_id"),
        (wrapped, "info"),
        (misspelt, "s_pdf_mediaid"),
        (as_text, ""),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_wechat_would_refuse_is_not_sent(
    world: World, spoil: Callable[[dict[str, Any]], Any], path: str
) -> None:
    before = len(world.sandbox.requests)
    error = raised(lambda: world.bureau.insert_bill(spoil(bill(shape="flat"))))
    assert isinstance(error, nontax.InvalidRequestError)
    assert path in [where.strip() for where, _ in error.problems]
    assert len(world.sandbox.requests) == before
