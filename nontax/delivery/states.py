"""What a bill's state may become, and by what: the one list of these rules.

The ledger, Django's outbox and the tests' model all read it from here. Nothing in this file knows
of SQL, of a clock or of a network.

| state | meaning |
|---|---|
| held | waits for the citizen's authorisation (outbox only) |
| waiting | somebody has asked for it to be sent |
| sending | an attempt is open: its answer is not known yet |
| inserted | it is in the wallet |
| rejected | WeChat answered with an errcode about this bill |
| not_sent | nothing of it left the machine, or WeChat answered that it took nothing |
| in_doubt | it may be in the wallet |
| withdrawn | a person has taken it back before it was sent |
"""

from typing import Literal, NamedTuple

State = Literal[
    "held", "waiting", "sending", "inserted", "rejected", "not_sent", "in_doubt", "withdrawn"
]
Event = Literal[
    "authorised",  # by an event, or by getauthdata when polled
    "withdraw",  # by a person; a held bill also when hold_days are over
    "hand_in",  # in a list or by enqueue; a person's retry
    "reserve",  # an attempt is written down
    "resend",  # an attempt that a person has signed is written down
    "inserted",  # the attempt's own answer
    "rejected",
    "in_doubt",
    "returned",  # it is proved that this attempt changed nothing
    "late_inserted",  # the last attempt's own answer, after its owner had been given up
    "late_rejected",
    "late_returned",
    "found_inserted",  # evidence
    "found_rejected",
    "found_not_taken",
    "restored",  # the store was put back from a backup: what can be sent may have been sent since
]


class Transition(NamedTuple):
    """One step: a bill in `before` to which `event` happens is in `after`."""

    before: State
    event: Event
    after: State


STATES: tuple[State, ...] = (
    "held",
    "waiting",
    "sending",
    "inserted",
    "rejected",
    "not_sent",
    "in_doubt",
    "withdrawn",
)

# Where an event has two ends, the attempt's `back_to` chooses.
TRANSITIONS: frozenset[Transition] = frozenset(
    Transition(*step)
    for step in (
        ("held", "authorised", "waiting"),
        ("held", "withdraw", "withdrawn"),
        ("waiting", "withdraw", "withdrawn"),
        ("rejected", "authorised", "waiting"),
        ("rejected", "hand_in", "waiting"),
        ("not_sent", "hand_in", "waiting"),
        ("withdrawn", "hand_in", "waiting"),
        ("waiting", "reserve", "sending"),
        ("rejected", "reserve", "sending"),
        ("not_sent", "reserve", "sending"),
        ("in_doubt", "resend", "sending"),
        ("sending", "inserted", "inserted"),
        ("sending", "rejected", "rejected"),
        ("sending", "in_doubt", "in_doubt"),
        ("sending", "returned", "waiting"),
        ("sending", "returned", "not_sent"),
        ("sending", "returned", "in_doubt"),
        ("in_doubt", "late_inserted", "inserted"),
        ("in_doubt", "late_rejected", "rejected"),
        ("in_doubt", "late_returned", "waiting"),
        ("in_doubt", "late_returned", "not_sent"),
        ("in_doubt", "late_returned", "in_doubt"),
        # A person had found it not taken, and was wrong: WeChat's word counts, and it is not sent.
        ("waiting", "late_inserted", "inserted"),
        ("not_sent", "late_inserted", "inserted"),
        ("withdrawn", "late_inserted", "inserted"),
        ("in_doubt", "found_inserted", "inserted"),
        ("in_doubt", "found_rejected", "rejected"),
        ("in_doubt", "found_not_taken", "waiting"),
        ("in_doubt", "found_not_taken", "not_sent"),
        ("waiting", "restored", "in_doubt"),
        ("not_sent", "restored", "in_doubt"),
        ("rejected", "restored", "in_doubt"),
        ("withdrawn", "restored", "in_doubt"),
    )
)
_STEPS: dict[tuple[State, Event], frozenset[State]] = {
    (before, event): frozenset(
        step.after for step in TRANSITIONS if (step.before, step.event) == (before, event)
    )
    for before, event, _ in TRANSITIONS
}


class TransitionError(Exception):
    """A step that the table does not have: a store has a fault."""


def step(before: State, event: Event, after: State | None = None) -> State:
    """The state after `event`. `after` chooses where there are several.

    Raises TransitionError if the table has no such step.
    """
    ends = _STEPS.get((before, event), frozenset())
    if after is None and len(ends) == 1:
        (after,) = ends
    if after is None or after not in ends:
        raise TransitionError(f"no step from {before} by {event} to {after}")
    return after


# WeChat's answers that mean more to a bill than "refused".
DUPLICATES = frozenset({72018, 72042, 72056})  # the order, or the printed number, was in before
ORDER_REPEATED = frozenset({72018, 72056})
NUMBER_REPEATED = 72042
ORDER_REJECTED = 72035  # by the collecting unit, for good
FINAL = DUPLICATES | {ORDER_REJECTED}  # a bill that was rejected so can never be sent again
NOT_AUTHORISED = frozenset({72038, 72049, 72053})
# The bill was not taken, and nothing is wrong with it.
BUSY = frozenset({72036, 72054, 45011})


class Attempt(NamedTuple):
    """What the rules need to know of an attempt.

    signed: whether a person has ordered this resend of a bill in doubt.
    back_to: the state to which the bill returns if the attempt is proved to have changed nothing:
        "waiting", "not_sent", or "in_doubt" for a signed one.
    """

    signed: bool
    back_to: State


class Answer(NamedTuple):
    """What became of one attempt, as the client reports it.

    outcome: "inserted", "rejected", "not_sent" or "in_doubt". errcode: WeChat's, or 0.
    stops_run: whether every other bill would meet the same: token, account, quota, network.
    """

    outcome: str
    errcode: int = 0
    errmsg: str = ""
    rid: str = ""
    reason: str = ""
    curl_code: int = 0
    http_status: int = 0
    transfers: int = 0
    code: str = ""
    openid: str = ""
    stops_run: bool = False


class Settlement(NamedTuple):
    """What an answer makes of its bill.

    event, state: the step. frees: "bill": WeChat is proved not to have the bill, it may be sent
    again; "attempt": only this attempt is proved to have changed nothing; "": neither.
    code_unknown: it is in the wallet, and its card code was not told.
    shown: a person has to decide; the answer must be shown.
    """

    event: Event
    state: State
    frees: Literal["", "attempt", "bill"] = ""
    code_unknown: bool = False
    shown: bool = False


def back_to(before: State) -> State:
    """Where a bill returns that was in `before` when its attempt was written down."""
    return before if before in ("waiting", "in_doubt") else "not_sent"


def settle(
    attempt: Attempt, answer: Answer, *, number_elsewhere: bool = False, we_rejected: bool = False
) -> Settlement:
    """What an attempt's own answer makes of its bill, which is sending or in doubt.

    number_elsewhere: another order of this store has the same printed number.
    we_rejected: our own reject_bill of this order lies before.
    Both count for signed attempts only.
    """
    if attempt.signed:
        return _settle_signed(answer, number_elsewhere, we_rejected)
    if answer.outcome == "inserted":
        return Settlement("inserted", "inserted", code_unknown=not answer.code)
    if answer.outcome == "rejected" and not (answer.errcode in BUSY or answer.stops_run):
        frees: Literal["", "bill"] = "" if answer.errcode in FINAL else "bill"
        return Settlement("rejected", "rejected", frees)
    if answer.outcome in ("rejected", "not_sent"):
        return Settlement("returned", attempt.back_to, "bill")
    return Settlement("in_doubt", "in_doubt")


def _settle_signed(answer: Answer, number_elsewhere: bool, we_rejected: bool) -> Settlement:
    if answer.outcome == "inserted":
        return Settlement("inserted", "inserted", code_unknown=not answer.code)
    if answer.outcome == "not_sent":
        return Settlement("returned", "in_doubt", "attempt")
    if answer.outcome == "rejected":
        if answer.errcode in ORDER_REPEATED:
            return Settlement("inserted", "inserted", code_unknown=True)
        if answer.errcode == NUMBER_REPEATED and not number_elsewhere:
            return Settlement("inserted", "inserted", code_unknown=True)
        if answer.errcode == ORDER_REJECTED and we_rejected:
            return Settlement("rejected", "rejected")
        if answer.errcode in BUSY or answer.stops_run:
            return Settlement("returned", "in_doubt", "attempt")
        # Refused, which says nothing of the first attempt; what a person may conclude is theirs.
        return Settlement("returned", "in_doubt", "attempt", shown=True)
    return Settlement("in_doubt", "in_doubt")


def late(settlement: Settlement, state: State) -> Settlement | None:
    """The same for an attempt whose owner was given up: its bill's last attempt has answered.

    None: the answer is kept as evidence and changes nothing.
    """
    names: dict[str, Event] = {
        "inserted": "late_inserted",
        "rejected": "late_rejected",
        "returned": "late_returned",
    }
    event = names.get(settlement.event)
    if event is None or settlement.state not in _STEPS.get((state, event), ()):
        return None
    return settlement._replace(event=event)


def may_send(state: State, errcode: int = 0, *, by: Event = "reserve", again: bool = False) -> bool:
    """Whether a bill may be sent now ("reserve"), or become waiting ("hand_in", "authorised").

    errcode: of its last answer, if it is rejected. again: a person insists, although the last
    answer was that the citizen has not authorised the order.
    """
    return not why_not(state, errcode, by=by, again=again)


def why_not(state: State, errcode: int = 0, *, by: Event = "reserve", again: bool = False) -> str:
    """Why `may_send` is False, as a clause for a message; "" if it is True."""
    if state == "rejected" and errcode == ORDER_REJECTED:
        return "its order was rejected for good (72035): it needs a new order_id"
    if state == "rejected" and errcode in DUPLICATES:
        return f"WeChat has answered that it was inserted before ({errcode})"
    if state == "rejected" and errcode in NOT_AUTHORISED and by == "hand_in" and not again:
        return f"the citizen has not authorised its order ({errcode})"
    if (state, by) in _STEPS:
        return ""
    return {
        "held": "it waits for the citizen's authorisation",
        "waiting": "it is waiting already",
        "sending": "an attempt is under way",
        "inserted": "it is in the wallet",
        "in_doubt": "it may be in the wallet; settle it first",
        "withdrawn": "it was withdrawn; hand it in again",
    }.get(state, f"it is {state}")


class Evidence(NamedTuple):
    """A row of the table of what settles a bill in doubt.

    kind: where it comes from. settles: "yes", "no", "if" (a condition, in `to`) or "advice".
    """

    kind: str
    settles: Literal["yes", "no", "if", "person", "stop", "advice"]
    to: str


# For documents, the command line and the tests; `settle` does what the rows of a resend say.
EVIDENCE: tuple[Evidence, ...] = (
    Evidence("resend answers 0", "yes", "inserted, code known"),
    Evidence("resend answers 72056, 72018", "yes", "inserted, code unknown"),
    Evidence(
        "resend answers 72042",
        "if",
        "inserted, code unknown, if no other order of the store has this number; else stays",
    ),
    Evidence(
        "resend answers 72035",
        "if",
        "rejected, if our own reject_bill lies before; else stays",
    ),
    Evidence("resend answers 72036, 72054, -1, timeout", "no", "stays"),
    Evidence("resend answers 72038, 72013, 72050", "person", "stays, shown"),
    Evidence("resend meets token, quota, permission, network", "stop", "stays; resolve stops"),
    Evidence("event with an unknown card code", "yes", "inserted, code known"),
    Evidence("getauthdata, get_rid_info", "advice", "shown"),
    Evidence(
        "a person, with a note",
        "yes",
        "inserted, or not taken: waiting if it came from a list or the outbox, else not_sent",
    ),
)
