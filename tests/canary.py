"""What tests of secrets share: a token to be looked for, where to look, and who repeats it."""

import copy
import gc
import json
import pickle
import traceback
import types
from collections.abc import Callable, Iterator
from typing import Any

import nontax
import nontax.client
from nontax.sandbox import faults

# In pieces, so that no line of this file and no variable in it contains the canary.
_PIECES = ("Zeisig7c1f", "e05ba9d3", "Kanari46")

RID = "61725984-6126f6f9-040f19c4"
Insert = Callable[[Any], nontax.InsertedBill]


def core() -> str:
    """What to look for: a token that was cut off or encoded is a leak, too."""
    return "".join(_PIECES)


def token() -> str:
    return core() + "+/=%25&~"


def long_token() -> str:
    """As long as WeChat asks to be ready for."""
    return token() + "x" * 512


def raised_by(action: Callable[[], object]) -> BaseException:
    try:
        action()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def raised_for(insert: Insert, one: Any) -> BaseException:
    try:
        insert(one)
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def family(error: BaseException) -> list[BaseException]:
    """The exception and all that stand behind it."""
    found = [error]
    for one in found:
        for other in (one.__cause__, one.__context__):
            if other is not None and other not in found:
                found.append(other)
    return found


def shown(error: BaseException) -> str:
    """All that anybody, or anybody's crash reporter, could write down about an exception."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    texts = ["".join(report.format()), "".join(traceback.format_exception(error))]
    for one in family(error):
        copies = [one]
        if isinstance(one, nontax.NontaxError):
            pickles = [pickle.dumps(one, protocol) for protocol in range(6)]
            texts += [data.decode("latin-1") for data in pickles]
            texts += [repr(json.loads(json.dumps(vars(one), default=repr)))]
            copies += [copy.copy(one), copy.deepcopy(one), *map(pickle.loads, pickles)]
        for each in copies:
            notes = getattr(each, "__notes__", [])
            texts += [str(each), repr(each), f"{each}", repr(each.args), repr(vars(each))]
            texts += [repr(notes)]
    return "\n".join(texts)


def assert_clean(error: BaseException) -> None:
    # A plain `assert x not in y` would print both.
    found = shown(error).count(core())
    assert not found, f"{type(error).__name__} shows the token {found} times"


def assert_clean_record(inserted: nontax.InsertedBill) -> None:
    texts = [repr(inserted), repr(inserted.extra), inserted.code, str(inserted.openid)]
    texts += [pickle.dumps(inserted, protocol).decode("latin-1") for protocol in range(6)]
    found = sum(text.count(core()) for text in texts)
    assert not found, f"the inserted bill shows the token {found} times"


def everything_inside(thing: object) -> Iterator[object]:
    """What the garbage collector finds behind a thing, without types, modules and functions."""
    shared = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)
    seen: dict[int, object] = {}
    todo = [thing]
    while todo:
        one = todo.pop()
        if id(one) not in seen and not isinstance(one, shared):
            seen[id(one)] = one
            todo += gc.get_referents(one)
            yield one


ERRCODES = {
    nontax.WeChatError: 99999,
    nontax.AccessTokenError: 40001,
    nontax.AccountError: 40013,
    nontax.QuotaError: 45011,
    nontax.ParameterError: 40097,
    nontax.NotAuthorizedError: 72038,
    nontax.DuplicateBillError: 72056,
    nontax.BillStateError: 72035,
    nontax.SystemBusyError: 72054,
}


def echoing(echo: str, errcode: int) -> faults.Reply:
    """A reply that repeats the token wherever it can."""
    body = {
        "errcode": errcode,
        "errmsg": f"see https://api/?access_token={echo} and {echo}, rid: {RID}",
        "request": echo,
        f"about {echo}": {"deep": [echo, {echo: echo}]},
        "code": f"1{echo}",
        "openid": echo,
    }
    return faults.Reply(body=json.dumps(body).encode(), taken=False)


def in_doubt(echo: bytes) -> dict[str, faults.Close | faults.Reply]:
    """What leaves a bill in doubt, and repeats the token where it can."""
    location = {"Location": f"/x?access_token={echo.decode()}"}
    return {
        "closed": faults.Close("body", taken=True),
        "reset": faults.Close("body", reset=True),
        "page": faults.Reply(502, body=b"<html>" + echo),
        "text": faults.Reply(body=echo, headers={"Content-Type": echo.decode()}),
        "redirect": faults.Reply(302, location, echo),
        "no errcode": faults.Reply(body=b'{"errmsg": "%b", "%b": 1}' % (echo, echo)),
        "odd errcode": faults.Reply(body=b'{"errcode": "%b", "errmsg": "%b"}' % (echo, echo)),
        "two errcodes": faults.Reply(body=b'{"errcode": 0, "errcode": 1, "x": "%b"}' % echo),
        "no code": faults.Reply(body=b'{"errcode": 0, "openid": "%b"}' % echo),
        "odd code": faults.Reply(body=b'{"errcode": 0, "openid": "%b", "code": []}' % echo),
        "two codes": faults.Reply(
            body=b'{"errcode": 0, "openid": "o", "code": "%b", "code": "1%b"}' % (echo, echo)
        ),
        "nul": faults.Reply(body=b'{"errcode": 0, "openid": "o", "code": "%b\\u0000"}' % echo),
        "status": faults.Reply(500, body=b'{"errcode": 0, "code": "%b", "openid": "o"}' % echo),
        "cut": faults.Reply(body=b'{"errcode": 0, "code": "%b"' % echo, cut_after=90),
        "length": faults.Reply(body=b'{"errcode": 0, "code": "%b"}' % echo, length_delta=9),
        "too large": faults.Reply(body=echo * 1000, framing="endless"),
    }


class Unprintable:
    """Not a str, and shows itself to everybody who asks."""

    def __repr__(self) -> str:
        return token()

    __str__ = __repr__


BROKEN: dict[str, Callable[[], Any]] = {
    "newline": lambda: token() + "\n",
    "inner newline": lambda: token() + "\r\nHost: x",
    "blank": lambda: "  " + token(),
    "tab": lambda: token() + "\t" + token(),
    "non-ascii": lambda: token() + "票",
    "latin": lambda: token() + "\xe9",
    "surrogate": lambda: token() + "\udcff",
    "high surrogate": lambda: "\ud800" + token(),
    "nul": lambda: token() + "\0",
    "delete": lambda: token() + "\x7f",
    "bytes": lambda: token().encode(),
    "bytearray": lambda: bytearray(token().encode()),
    "list": lambda: [token()],
    "object": Unprintable,
}
IN_ENVIRONMENT = ["newline", "inner newline", "blank", "tab", "non-ascii", "latin", "surrogate"]
