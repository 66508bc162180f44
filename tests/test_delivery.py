"""The rules of delivery: the table of states, and the store in memory against the contract."""

from typing import Any

import pytest

from nontax.delivery import states
from nontax.delivery.contract import Harness, StoreContract, content
from nontax.delivery.memory import IntegrityError, MemoryStore, Rows
from nontax.delivery.states import Answer, Attempt, TransitionError, settle, step
from nontax.delivery.store import Claim, Key, Known, Refused, Store


class MemoryHarness:
    proves = True
    refused: type[Exception] = IntegrityError

    def __init__(self) -> None:
        self.rows = Rows()

    def open(self) -> Store:
        return MemoryStore(self.rows)

    def kill(self, store: Store) -> None:
        assert isinstance(store, MemoryStore)
        self.rows.alive.discard(store.owner)

    def put_attempt(self, key: Key, slot: object, signed: object) -> None:
        self.rows.insert_attempt(key, slot, signed, 0, "not_sent")  # type: ignore[arg-type]


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def harness(self) -> Harness:
        return MemoryHarness()


def test_every_step_is_between_states_and_every_state_is_reached() -> None:
    assert {s.before for s in states.TRANSITIONS} | {s.after for s in states.TRANSITIONS} == set(
        states.STATES
    )
    for state in set(states.STATES) - {"held"}:
        assert any(s.after == state for s in states.TRANSITIONS), state


def test_a_bill_in_the_wallet_never_moves() -> None:
    assert [s for s in states.TRANSITIONS if s.before == "inserted"] == []


def test_only_a_person_has_a_bill_in_doubt_sent() -> None:
    """No way leads from in_doubt to sending but a resend, and a person's word."""
    ways = {s for s in states.TRANSITIONS if s.before == "in_doubt"}
    assert {s.event for s in ways if s.after == "sending"} == {"resend"}
    assert {s.event for s in ways if s.after in ("waiting", "not_sent")} == {
        "found_not_taken",
        "late_returned",
    }


def test_a_step_that_the_table_lacks_is_an_error() -> None:
    with pytest.raises(TransitionError, match="no step from inserted by reserve"):
        step("inserted", "reserve")
    with pytest.raises(TransitionError):
        step("sending", "returned")  # one of three: it must be said which


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("outcome", ["inserted", "rejected", "not_sent", "in_doubt"])
def test_each_answer_is_a_step_of_the_table(signed: bool, outcome: str) -> None:
    codes = (0, -1, 40073, 45009, 72035, 72036, 72038, 72042, 72056)
    backs: tuple[states.State, ...] = ("in_doubt",) if signed else ("waiting", "not_sent")
    for back in backs:
        for code in codes:
            for stops_run in (False, True):
                settled = settle(Attempt(signed, back), Answer(outcome, code, stops_run=stops_run))
                assert step("sending", settled.event, settled.state) == settled.state


def test_trouble_of_the_account_is_no_rejection_of_the_bill() -> None:
    """A list that met the day's quota is sent on the next day, the bill that met it included."""
    refused = Answer("rejected", 45009, stops_run=True)
    assert settle(Attempt(False, "waiting"), refused).state == "waiting"
    assert settle(Attempt(False, "not_sent"), refused).state == "not_sent"
    assert settle(Attempt(True, "in_doubt"), refused).state == "in_doubt"


def test_why_a_bill_is_not_sent() -> None:
    assert states.may_send("waiting")
    assert states.may_send("rejected", 40073)
    assert "new order_id" in states.why_not("rejected", 72035, by="hand_in", again=True)
    assert "before (72056)" in states.why_not("rejected", 72056)
    assert "not authorised" in states.why_not("rejected", 72038, by="hand_in")
    assert states.may_send("rejected", 72038, by="hand_in", again=True)
    assert states.may_send("rejected", 72038, by="authorised")
    assert states.may_send("rejected", 72038)  # who calls insert_bill says so
    assert "settle it" in states.why_not("in_doubt", by="hand_in", again=True)


# A direct call: what a client with a journal needs


def _direct(store: MemoryStore, **changes: Any) -> Claim | Known | Refused:
    (answer,) = store.open_attempts([content(**changes)])
    return answer


def test_a_direct_call_goes_back_to_not_sent() -> None:
    store = MemoryStore()
    claim = _direct(store)
    assert isinstance(claim, Claim)
    assert claim.back_to == "not_sent"
    store.close_attempts([(claim, Answer("not_sent"))])
    assert store.counts() == {"not_sent": 1}
    assert store.reserve(1).claims == []  # resume sends what somebody has asked for
    again = _direct(store, fee=9)
    assert isinstance(again, Claim)
    assert again.content.fee == 9


def test_a_direct_call_of_a_bill_in_doubt_is_known() -> None:
    store = MemoryStore()
    claim = _direct(store)
    assert isinstance(claim, Claim)
    assert isinstance(_direct(store), Known)  # sending
    store.close_attempts([(claim, Answer("in_doubt", reason="timeout"))])
    known = _direct(store)
    assert isinstance(known, Known)
    assert (known.state, known.reason) == ("in_doubt", "timeout")
    refused = _direct(store, fee=9)
    assert isinstance(refused, Refused)
    assert refused.fields == ("fee",)
    assert store.resolve(content().key, "not_taken", by="王", note="asked") == "not_sent"
