"""What the server may do to a client: the faults with their weights, and one request's play."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

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

# These exist on HTTP/2 only, and are asked for beside those above.
HTTP2_HEAD_FAULTS = {
    "head-rst-stream": 8,
    "head-refused-stream": 6,
    "head-http11-required": 4,
    "head-goaway": 4,
    "body-rst-stream": 6,
    "body-goaway": 4,
}

# Asked after each reply, for the time until the next request.
IDLE_FAULTS = {
    "idle-close": 5,
    "idle-drop": 5,
    "idle-reset": 4,
    "idle-half-close": 3,
    "idle-half-close-takes": 2,
    "idle-bytes": 4,
}

# Asked for each request whose body has come. The play says whether the bill is taken.
REPLY_FAULTS = {
    # No reply at all.
    "close": 6,
    "drop": 6,
    "reset": 6,
    "half-close": 4,
    "silence": 1.5,
    # A whole reply, but when?
    "late": 1.5,
    "drip": 3,
    "drip-late": 1,
    # A reply that ends too early, in one of five ways.
    "cut": 14,
    # A reply with something before, behind or around it.
    "length-too-long": 3,
    "length-too-short": 3,
    "chunked": 4,
    "chunked-wrong": 4,
    "until-close": 4,
    "until-drop": 4,
    "twice": 3,
    "garbage": 3,
    "status-line-wrong": 2,
    "informational": 5,
    # A reply that is another one than WeChat's.
    "json-odd": 10,
    "redirect": 5,
    "status": 6,
    # What WeChat answers when it does not insert.
    "minus-one": 6,
    "busy": 12,
    "token-refused-for-nothing": 2,
    "errcode": 10,
    "errcode-of-account": 0.5,  # ends a bulk run
    "quota": 1,
}

HTTP2_REPLY_FAULTS = {
    "rst-stream": 12,
    "refused-stream": 6,
    "http11-required": 4,
    "goaway": 6,
    "goaway-refused": 6,
}
# They are a matter of HTTP/1.1's framing.
HTTP1_ONLY = {"chunked", "chunked-wrong", "until-close", "until-drop", "twice", "status-line-wrong"}

TOKEN_REFUSED = (40001, 40014, 42001)
BUSY = (72036, 72054)
QUOTA = 45011
# Refusals that concern one bill alone; the last is in no public table.
ERRCODES = (
    *(40073, 40078, 40080, 40101, 41011, 41012, 47001, 72013, 72015, 72018, 72031, 72035, 72038),
    *(72040, 72041, 72042, 72043, 72047, 72048, 72049, 72050, 72056, 72082, 61450, 72089, 987654),
)
ERRCODES_OF_ACCOUNT = (45009, 48001, 40164)
ENDINGS = ("close", "drop", "reset", "half-close", "stall")
STATUSES = (400, 403, 404, 408, 413, 429, 500, 502, 503, 504)


def draw(rng: Random, share: float, *tables: Mapping[str, float]) -> str:
    """Draw a fault with probability `share`, else ""."""
    if rng.random() >= share:
        return ""
    names = [name for table in tables for name in table]
    weights = [weight for table in tables for weight in table.values()]
    return rng.choices(names, weights)[0]


@dataclass(slots=True)
class Play:
    """What becomes of one request whose body has come.

    fault: its name; "" for none. takes: whether the bill is taken. errcode: what the reply says,
    None if it says none. said: whether the reply's text goes out to its end. whole: whether it does
    so at once, and in a message without a flaw. text: the reply's body. status: its HTTP status.
    ending: how the connection ends, where the fault leaves that open. place: where something
    happens, as a share of the whole.
    """

    fault: str
    takes: bool
    errcode: int | None
    text: bytes
    said: bool = True
    whole: bool = True
    status: int = 200
    ending: str = "close"
    place: float = 0.5


def answer(errcode: int, **fields: object) -> bytes:
    message = "ok" if errcode == 0 else "no, hint: [chaos] rid: 61725984-6126f6f9-040f19c4"
    return json.dumps({"errcode": errcode, "errmsg": message, **fields}).encode()


def refusal(fault: str, errcode: int) -> Play:
    return Play(fault, False, errcode, answer(errcode))


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
        answer(0, code=7, openid=openid),
        answer(0, code="", openid=openid),
        answer(0, code=None, openid=None),
        good + b" " * 2_000_000,
    ]


def choose(rng: Random, share: float, http2: bool, code: str, openid: str) -> Play:
    """The play for one request with a current token."""
    good = answer(0, code=code, openid=openid)
    play = Play("", True, 0, good)
    if http2:
        table = {name: n for name, n in REPLY_FAULTS.items() if name not in HTTP1_ONLY}
        play.fault = draw(rng, share, table, HTTP2_REPLY_FAULTS)
    else:
        play.fault = draw(rng, share, REPLY_FAULTS)
    takes = rng.random() < 0.5
    play.ending = rng.choice(ENDINGS)
    play.place = rng.random()
    match play.fault:
        case "minus-one":
            return Play(play.fault, takes, -1, answer(-1))
        case "busy":
            return refusal(play.fault, rng.choice(BUSY))
        case "token-refused-for-nothing":
            return refusal(play.fault, rng.choice(TOKEN_REFUSED))
        case "errcode":
            return refusal(play.fault, rng.choice(ERRCODES))
        case "errcode-of-account":
            return refusal(play.fault, rng.choice(ERRCODES_OF_ACCOUNT))
        case "quota":
            return refusal(play.fault, QUOTA)
        case "json-odd":
            odd = rng.choice(_odd_texts(code, openid))
            # Whoever reads an insertion out of it must not be lied to.
            return Play(play.fault, takes or b"openid" in odd, None, odd, whole=False)
        case "status" | "redirect":
            status = rng.choice((301, 302, 303, 307, 308) if play.fault == "redirect" else STATUSES)
            return Play(play.fault, takes, None, b"<html>", whole=False, status=status)
        case "close" | "drop" | "reset" | "half-close" | "silence" | "rst-stream":
            return _unsaid(play, takes)
        case "http11-required":
            return _unsaid(play, takes)
        case "refused-stream" | "goaway-refused":
            # By the rules of HTTP/2 these say that the request was not processed.
            return _unsaid(play, False)
        case "garbage":
            return _unsaid(play, takes)
        case "status-line-wrong":
            return _unsaid(play, True)
        case "cut":
            # What is cut may also have been a refusal.
            if not takes:
                errcode = rng.choice((*BUSY, *TOKEN_REFUSED, 72018))
                play = Play("cut", False, errcode, answer(errcode), ending=play.ending)
                play.place = rng.random()
            play.said = play.whole = False
        case "length-too-short" | "chunked-wrong":
            play.said = play.whole = False
        case "late" | "drip-late" | "length-too-long" | "until-drop" | "twice":
            play.whole = False
    return play


def _unsaid(play: Play, takes: bool) -> Play:
    play.takes = takes
    play.errcode = None
    play.said = play.whole = False
    return play
