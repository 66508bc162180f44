"""The errors and results themselves: what they say, and that they survive pickling and copying."""

import copy
import inspect
import pickle
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest
from bills import bill
from processes import Talk, run

import nontax
from nontax.sandbox import Sandbox, faults

RID = "61725984-6126f6f9-040f19c4"

BUSY_ERROR = nontax.SystemBusyError(errcode=-1, errmsg="system error")
ERRORS: list[nontax.NontaxError] = [
    nontax.InvalidRequestError(problems=[("fee", "is missing")]),
    nontax.InvalidRequestError(problems=[("", "is no bill"), ("票.标题", "is empty")]),
    nontax.ConflictError(problems=[("fee", "differs")], fields=["fee"], kept={"fee": 1}),
    nontax.LedgerError(reason="the disk is full"),
    nontax.NotSentError(reason="refused", curl_code=7),
    nontax.NotSentError(reason="slow", timed_out=True),
    nontax.TLSError(reason="expired", curl_code=60),
    nontax.InDoubtError(reason="cut off", curl_code=56, http_status=200),
    nontax.InDoubtError(reason="slow", timed_out=True),
    nontax.WeChatError(errcode=12345),
    nontax.AccessTokenError(errcode=40001, errmsg=f"无效 rid: {RID}", rid=RID, http_status=200),
    nontax.AccountError(errcode=48001, errmsg="api unauthorized", rid=RID),
    nontax.QuotaError(errcode=45009),
    nontax.ParameterError(errcode=72031, errmsg="order_id is empty"),
    nontax.NotAuthorizedError(errcode=72038),
    nontax.DuplicateBillError(errcode=72056),
    nontax.BillStateError(errcode=72035),
    nontax.SystemBusyError(errcode=72054),
    BUSY_ERROR,
]
each_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
RESULTS = [
    nontax.InsertedBill(code="682000661927", openid="oA1"),
    nontax.InsertedBill(code="682000661927", openid="oA1", extra={"unionid": "u", "a": [1, {}]}),
    nontax.errcode(40001),
    nontax.errcode(-1),
    nontax.errcode(12345),
    nontax.errcode(10**30),
]
COPIES: list[Callable[[Any], Any]] = [
    copy.copy,
    copy.deepcopy,
    *(
        lambda value, protocol=protocol: pickle.loads(pickle.dumps(value, protocol))
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    ),
]


def test_every_class_is_tried() -> None:
    classes = {
        value
        for value in vars(nontax).values()
        if isinstance(value, type) and issubclass(value, nontax.NontaxError)
    }
    assert classes - {nontax.NontaxError} == {type(error) for error in ERRORS}
    assert {cls.__name__ for cls in classes} <= set(nontax.__all__)


# Copies


@each_error
@pytest.mark.parametrize("duplicate", COPIES)
def test_errors_survive_copying(error: nontax.NontaxError, duplicate: Callable[[Any], Any]) -> None:
    other = duplicate(error)
    assert other is not error
    assert type(other) is type(error)
    assert vars(other) == vars(error)
    assert (str(other), repr(other)) == (str(error), repr(error))


@each_error
def test_what_was_added_survives_too(error: nontax.NontaxError) -> None:
    other = copy.copy(error)
    other.add_note("row 17")
    other.row = 17  # type: ignore[attr-defined]
    third = pickle.loads(pickle.dumps(other))
    assert third.__notes__ == ["row 17"]
    assert third.row == 17
    assert "row 17" in "".join(traceback.format_exception(third))


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: repr(result)[:40])
@pytest.mark.parametrize("duplicate", COPIES)
def test_results_survive_copying(result: object, duplicate: Callable[[Any], Any]) -> None:
    other = duplicate(result)
    assert type(other) is type(result)
    assert other == result
    assert hash(other) == hash(result)
    assert repr(other) == repr(result)


def insert_elsewhere(base_url: str, token: str, given: dict[str, Any]) -> nontax.InsertedBill:
    with nontax.Client(access_token=token, base_url=base_url) as client:
        return client.insert_bill(given)


def test_errors_and_results_cross_processes(sandbox: Sandbox) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:

        def insert(given: dict[str, Any]) -> nontax.InsertedBill:
            where = (sandbox.base_url, sandbox.access_token)
            return pool.submit(insert_elsewhere, *where, given).result(30)

        assert insert(bill("1")).code == sandbox.bills["1"].code
        with pytest.raises(nontax.DuplicateBillError) as duplicate:
            insert(bill("1"))
        assert duplicate.value.errcode == 72056
        assert duplicate.value.rid
        with pytest.raises(nontax.InvalidRequestError) as invalid:
            insert(bill(fee=-1))
        assert len(invalid.value.problems) == 1
        sandbox.inject(faults.Close("body"))
        with pytest.raises(nontax.InDoubtError) as doubtful:
            insert(bill("2"))
        assert doubtful.value.reason


# Classes and attributes


def test_the_family() -> None:
    assert issubclass(nontax.NontaxError, Exception)
    assert issubclass(nontax.InvalidRequestError, ValueError)
    assert issubclass(nontax.TLSError, nontax.NotSentError)
    for cls in (nontax.NotSentError, nontax.InDoubtError, nontax.WeChatError):
        assert cls.__base__ is nontax.NontaxError
        # An alarm for a lost network must not swallow these.
        assert not issubclass(cls, OSError)
    direct = {type(error) for error in ERRORS if isinstance(error, nontax.WeChatError)}
    assert all(cls.__base__ is nontax.WeChatError for cls in direct - {nontax.WeChatError})


@each_error
def test_attributes_are_given_by_name(error: nontax.NontaxError) -> None:
    parameters = inspect.signature(type(error)).parameters.values()
    assert {parameter.kind for parameter in parameters} == {inspect.Parameter.KEYWORD_ONLY}
    with pytest.raises(TypeError):
        type(error)("something")
    assert error.args == ()


@each_error
def test_every_error_has_an_outcome(error: nontax.NontaxError) -> None:
    expected = "not_sent"
    if isinstance(error, nontax.WeChatError):
        expected = "rejected"
    if isinstance(error, nontax.InDoubtError) or error is BUSY_ERROR:
        expected = "in_doubt"
    assert error.outcome == expected


def test_what_is_not_given() -> None:
    error = nontax.WeChatError(errcode=12345)
    assert (error.errmsg, error.rid, error.http_status) == ("", None, None)
    lost = nontax.InDoubtError(reason="x")
    assert (lost.curl_code, lost.http_status, lost.timed_out) == (0, None, False)
    unsent = nontax.NotSentError(reason="x")
    assert (unsent.curl_code, unsent.timed_out) == (0, False)


@each_error
def test_every_error_says_what_to_do(error: nontax.NontaxError) -> None:
    assert error.retry in ("no", "yes", "later", "after_token_refresh")
    assert error.advice.endswith(".")
    assert "\n" not in error.reason
    assert error.reason


def test_what_helps() -> None:
    assert ERRORS[0].retry == "no"
    assert nontax.NotSentError(reason="x").retry == "yes"
    assert nontax.TLSError(reason="x").retry == "no"
    assert nontax.InDoubtError(reason="x").retry == "no"
    assert nontax.InDoubtError(reason="x", read_only=True).retry == "yes"
    assert nontax.NontaxError().retry == "no"
    assert "clock" in nontax.TLSError(reason="x").advice
    assert "problems" in ERRORS[0].advice


@pytest.mark.parametrize(
    ("errmsg", "reason"),
    [
        ("order never auth", "72038 ORDER_NEVER_AUTHORIZED: order never auth"),
        (f"order never auth rid: {RID}", "72038 ORDER_NEVER_AUTHORIZED: order never auth"),
        (f"order, rid: {RID}", "72038 ORDER_NEVER_AUTHORIZED: order"),
        (f"order hint: [MO0693er74] rid: {RID}", "72038 ORDER_NEVER_AUTHORIZED: order"),
        ("order hints: [ req_id: x ]", "72038 ORDER_NEVER_AUTHORIZED: order"),
        (f"rid: {RID}", "72038 ORDER_NEVER_AUTHORIZED"),
        ("", "72038 ORDER_NEVER_AUTHORIZED"),
    ],
)
def test_the_reason_is_the_same_for_the_same_cause(errmsg: str, reason: str) -> None:
    assert nontax.WeChatError(errcode=72038, errmsg=errmsg, rid=RID).reason == reason


def test_the_reason_of_a_lost_connection_has_no_time_in_it() -> None:
    """Or one cause would have many reasons."""
    reasons = set()
    for _ in range(3):
        with nontax.Client(access_token="t", base_url="http://127.0.0.1:1", retries=0) as client:
            with pytest.raises(nontax.NotSentError) as caught:
                client.insert_bill(bill())
        reasons.add(caught.value.reason)
    (reason,) = reasons
    assert "127.0.0.1" in reason
    assert " after " not in reason


def test_the_reason_of_an_invalid_request() -> None:
    assert ERRORS[0].reason == "fee is missing"
    assert ERRORS[1].reason == "the payload is no bill; 票.标题 is empty"


def test_what_came_is_not_printed() -> None:
    for error in (
        nontax.InDoubtError(reason="x", reply="<html>"),
        nontax.WeChatError(errcode=1, reply="<html>"),
    ):
        assert "<html>" not in str(error) + repr(error)
        assert pickle.loads(pickle.dumps(error)).reply == "<html>"


def test_problems_are_a_list_of_their_own() -> None:
    problems = [("fee", "is missing")]
    error = nontax.InvalidRequestError(problems=problems)
    problems.clear()
    assert error.problems == [("fee", "is missing")]


# What they say


def test_what_an_invalid_request_says() -> None:
    assert str(ERRORS[0]) == "nothing was sent: fee is missing"
    assert str(ERRORS[1]) == (
        "nothing was sent, 2 problems:\n  the payload is no bill\n  票.标题 is empty"
    )


def test_what_unsent_bills_say() -> None:
    assert str(nontax.NotSentError(reason="refused")) == (
        "nothing was sent: refused; sending it again is safe"
    )
    text = str(nontax.TLSError(reason="expired"))
    assert text.startswith("nothing was sent: expired; check base_url, ca_file")
    assert "again" not in text


def test_what_a_doubtful_bill_says() -> None:
    text = str(nontax.InDoubtError(reason="cut off"))
    assert text.startswith("the bill may or may not have been inserted: cut off; do not send it")


def test_what_a_refusal_says() -> None:
    error = nontax.NotAuthorizedError(errcode=72038, errmsg="order never auth", rid=RID)
    assert str(error) == (
        f"rejected: 72038 ORDER_NEVER_AUTHORIZED: order never auth [rid {RID}] | {error.advice}"
    )
    named = nontax.NotAuthorizedError(errcode=72038, errmsg=f"x rid: {RID}", rid=RID)
    assert str(named).count(RID) == 1
    unknown = nontax.WeChatError(errcode=12345, errmsg="?")
    assert str(unknown).startswith(
        "rejected: 12345 UNKNOWN: ? | This code is not in nontax's table"
    )
    assert "rejected" not in str(BUSY_ERROR)
    assert "in doubt: -1 SYSTEM_ERROR: system error | " in str(BUSY_ERROR)


@each_error
def test_repr_and_traceback(error: nontax.NontaxError) -> None:
    assert repr(error) == f"<{type(error).__name__}: {error}>"
    text = "".join(traceback.format_exception(error))
    assert text == f"nontax.errors.{type(error).__name__}: {error}\n"


# Error codes


def test_an_error_code() -> None:
    entry = nontax.errcode(40001)
    assert (entry.code, entry.name, entry.category, entry.retry) == (
        40001,
        "INVALID_CREDENTIAL",
        "access_token",
        "after_token_refresh",
    )
    assert entry.advice.startswith("Fetch a current access token")
    assert repr(entry).startswith("ErrorCode(code=40001, name='INVALID_CREDENTIAL', ")
    assert entry == nontax.errcode(40001)
    assert entry != nontax.errcode(40014)
    assert entry != 40001
    assert len({entry, nontax.errcode(40001), nontax.errcode(40014)}) == 2


@pytest.mark.parametrize("code", [1, 2**31, -(2**31), 2**63, 10**30, -(10**30)])
def test_an_unknown_error_code(code: int) -> None:
    entry = nontax.errcode(code)
    assert (entry.code, entry.name, entry.category, entry.retry) == (
        code,
        "UNKNOWN",
        "unknown",
        "no",
    )


def test_success_and_doubt_are_in_the_table() -> None:
    assert nontax.errcode(0).category == "success"
    assert (nontax.errcode(-1).category, nontax.errcode(-1).retry) == ("busy", "no")


@pytest.mark.parametrize("code", ["40001", 40001.0, None, b"1"])
def test_what_is_no_error_code(code: Any) -> None:
    with pytest.raises(TypeError):
        nontax.errcode(code)


# Subclasses


class Plain(nontax.InsertedBill):
    """One that names no slots of its own."""


class Slotted(nontax.InsertedBill):
    __slots__ = ()


class Card(nontax.BillCard):
    """One whose base has another constructor."""


@pytest.mark.parametrize(
    "result",
    [
        Plain(code="1", openid="2", extra={"unionid": "u"}),
        Slotted(code="1", openid="2", extra={"unionid": "u"}),
        Card(card_id="1", extra={"unionid": "u"}),
    ],
    ids=repr,
)
@pytest.mark.parametrize("duplicate", COPIES)
def test_a_subclass_of_a_result(result: Any, duplicate: Callable[[Any], Any]) -> None:
    other = duplicate(result)
    assert type(other) is type(result)
    assert other == result
    assert repr(other) == repr(result)
    assert repr(result).startswith(f"{type(result).__name__}(c")
    assert result.extra == {"unionid": "u"}
    with pytest.raises(AttributeError, match="immutable"):
        result.extra = {}


# Immutability


@pytest.mark.parametrize(
    ("value", "name"),
    [
        *((RESULTS[1], name) for name in ("code", "openid", "extra", "other")),
        *((RESULTS[2], name) for name in ("code", "name", "category", "retry", "advice", "other")),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_results_cannot_be_changed(value: object, name: str) -> None:
    before = repr(value)
    with pytest.raises(AttributeError):
        setattr(value, name, "x")
    with pytest.raises(AttributeError):
        delattr(value, name)
    assert repr(value) == before


def test_an_inserted_bill() -> None:
    plain, rich = RESULTS[:2]
    assert repr(plain) == "InsertedBill(code='682000661927', openid='oA1')"
    assert repr(rich).endswith("extra={'unionid': 'u', 'a': [1, {}]})")
    assert plain != rich
    assert plain != ("682000661927", "oA1")
    assert plain == nontax.InsertedBill(openid="oA1", code="682000661927")
    with pytest.raises(TypeError):
        nontax.InsertedBill("682000661927", "oA1")  # type: ignore[call-arg]
    match plain:
        case nontax.InsertedBill(code, openid):
            assert (code, openid) == ("682000661927", "oA1")
        case _:
            pytest.fail("it does not match")


def test_an_inserted_bill_keeps_its_own_extra_fields() -> None:
    extra: dict[str, object] = {"unionid": "u"}
    inserted = nontax.InsertedBill(code="1", openid="2", extra=extra)
    extra.clear()
    assert inserted.extra == {"unionid": "u"}


# --- where Python has no room for them ------------------------------------------------------------


def insert_near_the_limit(talk: Talk) -> None:
    """Insert each bill with one Python frame less to spare; tell what stands in the exceptions."""
    import sys

    import nontax

    client = talk.client()

    def insert(one: object, deeper: int) -> None:
        if deeper:
            insert(one, deeper - 1)
        else:
            client.insert_bill(one)  # type: ignore[arg-type]

    sys.setrecursionlimit(200)
    for deeper, one in enumerate(talk.setup["bills"], start=200 - len(talk.setup["bills"])):
        told = []
        error: BaseException | None = None
        try:
            insert(one, deeper)
        except (nontax.NontaxError, RecursionError) as raised:
            error = raised
        while error is not None:
            told.append(getattr(error, "outcome", ""))
            error = error.__context__
        talk.tell(order=one["order_id"], told=told)


def test_no_outcome_is_lost_near_the_recursion_limit(sandbox: Sandbox) -> None:
    bills = [bill() for _ in range(70)]
    sandbox.inject(faults.Errcode(72042), times=len(bills))
    settings = {"access_token": sandbox.access_token, "base_url": sandbox.base_url}
    told = {
        one["order"]: one["told"]
        for one in run(insert_near_the_limit, client=settings, bills=bills)
    }
    sent = {request.order_id for request in sandbox.requests}
    assert 0 < len(sent) < len(told) == len(bills)
    assert all({"rejected", "in_doubt"} & set(told[order]) for order in sent)
