"""What the server may do to a client: faults with their weights, and the reply to a request."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from chaos import errcodes

# Weights are shares among the faults of the same table. Each table is asked at its own point.

# Asked for each connection, before and in the TLS handshake.
CONNECTION_FAULTS = {
    "accept-close": 3,
    "accept-reset": 3,
    "accept-half-close": 1,
    "hello-close": 2,
    "hello-reset": 2,
    "hello-garbage": 0.3,  # looks like a server without TLS, which ends a bulk run
    "hello-stall": 0.5,
    "handshake-close": 3,
    "handshake-drop": 3,
    "handshake-reset": 3,
    "handshake-half-close": 1,
}

# Asked for each request when its head is there. None of them takes the bill.
HEAD_FAULTS = {
    "head-close": 3,
    "head-drop": 3,
    "head-reset": 3,
    "head-half-close": 2,
    "head-stall": 0.3,
    "body-close": 3,
    "body-drop": 3,
    "body-reset": 3,
    "body-half-close": 2,
    "body-stall": 0.3,
    "early-refusal": 3,
    "early-status": 3,
}

# Asked after each reply that leaves nothing to be answered, for the time until the next request.
IDLE_FAULTS = {
    "idle-close": 5,
    "idle-drop": 5,
    "idle-reset": 4,
    "idle-half-close": 3,
    "idle-half-close-takes": 2,
    "idle-bytes": 4,
}

# Asked for each request whose body has come. The reply says whether the bill is taken.
REPLY_FAULTS = {
    # No reply at all.
    "close": 5,
    "drop": 5,
    "reset": 4,
    "half-close": 4,
    "silence": 1.5,
    # A whole reply, but when?
    "late": 1.5,
    "drip": 3,
    "drip-late": 1,
    # A reply that ends too early: anywhere, or where only the end's own sign is missing.
    "cut": 14,
    # A reply with something before, behind or around it.
    "length-too-long": 3,
    "length-too-short": 3,
    "chunked": 4,
    "chunked-wrong": 4,
    "until-close": 4,
    "until-drop": 4,
    "twice": 3,
    # A whole reply, and in one TLS record with its end the beginning of what nobody has asked for.
    "surplus-success": 4,
    "surplus-refusal": 4,
    "surplus-line-break": 3,
    "surplus-farewell": 3,
    "garbage": 3,
    "status-line-wrong": 2,
    "informational": 5,
    "farewell": 4,
    # A reply that is another one than WeChat's.
    "json-odd": 10,
    "redirect": 5,
    "status": 6,
    # What WeChat answers when it does not insert.
    "minus-one": 6,
    "busy": 12,
    "token-refused-for-nothing": 2,
    "errcode": 12,
    "errcode-of-account": 0.5,  # ends a bulk run
    "quota": 1,
}

# A client that gets the whole of these has no reason to doubt.
FLAWLESS = {
    *("surplus-success", "surplus-refusal", "surplus-line-break", "surplus-farewell"),
    *("", "drip", "chunked", "until-close", "informational", "farewell"),
    *("minus-one", "busy", "token-refused", "token-refused-for-nothing"),
    *("errcode", "errcode-of-account", "quota", "not-a-bill"),
}

ENDINGS = ("close", "drop", "reset", "half-close", "stall")
STATUSES = (400, 403, 404, 408, 413, 429, 500, 502, 503, 504)


class Deck:
    """A table of faults that deals each of them a few times, in an order of its seed, and then at
    random. Only that way even a short run meets what is rare.
    """

    def __init__(
        self,
        seed: str,
        share: float,
        table: Mapping[str, float],
        *,
        rounds: int = 1,
        every: int = 4,
    ) -> None:
        """share: how many get a fault, once each was dealt `rounds` times, to one of `every`."""
        self._share = share if table else 0
        self._names, self._weights = list(table), list(table.values())
        self._every = every
        rng = Random(f"{seed}/deck")
        self._first = [name for _ in range(rounds) for name in rng.sample(self._names, len(table))]

    def deal(self, number: int, rng: Random) -> str:
        """The fault for what is the `number`-th of its kind, from 0; "" for none."""
        turn, between = divmod(number, self._every)
        if self._share and not between and turn < len(self._first):
            return self._first[turn]
        return self.draw(rng)

    def draw(self, rng: Random) -> str:
        if rng.random() >= self._share:
            return ""
        return rng.choices(self._names, self._weights)[0]


@dataclass(slots=True)
class Reply:
    """What becomes of one request whose body has come.

    fault: its name; "" for none. takes: whether the bill is taken. errcode: what the reply's text
    says, None if it says none. text: the reply's body. status: its HTTP status. ending: how the
    connection ends, where the fault leaves that open. place: where something happens, as a share of
    the whole. openid: what the text says, if it says one. number: of the request in the journal.
    out: whether that answer has gone out to its end; None if nobody can know. met: whether the
    client can have met the fault.
    """

    fault: str
    takes: bool
    errcode: int | None
    text: bytes
    status: int = 200
    ending: str = "close"
    place: float = 0.5
    openid: str | None = None
    number: int = 0
    out: bool | None = False
    met: bool = False


def answer(errcode: int, **fields: object) -> bytes:
    message = "ok" if errcode == 0 else "no, hint: [chaos] rid: 61725984-6126f6f9-040f19c4"
    return json.dumps({"errcode": errcode, "errmsg": message, **fields}).encode()


def refusal(fault: str, errcode: int) -> Reply:
    return Reply(fault, False, errcode, answer(errcode))


def _odd_texts(code: str, openid: str) -> list[bytes]:
    good = answer(0, code=code, openid=openid)
    return [
        b"",
        b"null",
        b"{}",
        b"[" + good + b"]",
        b"[" * 5000,
        good[:-1],
        good[: len(good) // 2],
        good + good,
        good.replace(b'"ok"', b'"\xff\xfe"'),
        good.replace(b'"errcode": 0, ', b""),
        good.replace(b'"errcode": 0', b'"errcode": true'),
        good.replace(b'"errcode": 0', b'"errcode": 0.5'),
        good.replace(b'"errcode": 0', b'"errcode": 1e400'),
        answer(0),
        answer(0, code=code),
        answer(0, openid=openid),
        answer(0, code=int(code), openid=openid),
        answer(0, code=code, openid=None),
        answer(0, code="", openid=openid),
        answer(0, code=None, openid=None),
        good + b" " * 2_000_000,
    ]


def choose(rng: Random, fault: str, code: str, openid: str) -> Reply:
    """The reply for one request with a current token."""
    good = answer(0, code=code, openid=openid)
    reply = Reply(fault, True, 0, good, openid=openid)
    takes = rng.random() < 0.5
    reply.ending = rng.choice(ENDINGS)
    reply.place = rng.random()
    match fault:
        case "minus-one":
            return Reply(fault, takes, -1, answer(-1))
        case "busy":
            return refusal(fault, rng.choice(errcodes.BUSY))
        case "token-refused-for-nothing":
            return refusal(fault, rng.choice(errcodes.TOKEN_REFUSED))
        case "errcode":
            return refusal(fault, errcodes.of_a_bill(rng))
        case "errcode-of-account":
            return refusal(fault, rng.choice(errcodes.OF_THE_ACCOUNT))
        case "quota":
            return refusal(fault, errcodes.QUOTA)
        case "json-odd":
            odd = rng.choice(_odd_texts(code, openid))
            # Whoever reads an insertion out of it must not be lied to. With a code it may be one.
            said = openid if openid.encode() in odd else None
            return Reply(fault, takes or b'"code"' in odd, None, odd, openid=said)
        case "status" | "redirect":
            status = rng.choice((301, 302, 303, 307, 308) if fault == "redirect" else STATUSES)
            return Reply(fault, takes, None, b"<html>", status=status)
        case "close" | "drop" | "reset" | "half-close" | "silence" | "garbage":
            reply.takes, reply.errcode = takes, None
        case "status-line-wrong":
            reply.errcode = None
        case "cut" if not takes:
            # What is cut may also have been a refusal.
            errcode = rng.choice((*errcodes.BUSY, *errcodes.TOKEN_REFUSED, 72018))
            reply.takes, reply.errcode, reply.text = False, errcode, answer(errcode)
    return reply
