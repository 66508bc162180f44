"""The tests that every store passes. A store that does is one; for pytest, subclass it:

    class TestMyStore(StoreContract):
        @pytest.fixture
        def harness(self) -> Harness:
            return MyHarness()

What it shows: no bill is sent twice unless a person has signed it, none is lost, and neither needs
the store's code to be right: the keys of the database forbid it.
"""

from typing import NamedTuple, Protocol
from zlib import crc32

from nontax.delivery.states import Answer
from nontax.delivery.store import Content, Key, Known, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from nontax.delivery.states import State
    from nontax.delivery.store import Claim, Store


class Harness(Protocol):
    """What the tests need besides the store itself."""

    proves: bool
    """Whether the store can prove that an attempt was not handed over (`handed_over`)."""

    def open(self) -> "Store":
        """Another owner of the same rows; the first call makes an empty store."""

    def kill(self, store: "Store") -> None:
        """The owner dies without a word, as by kill -9."""

    def put_attempt(self, key: Key, slot: object, signed: object) -> None:
        """Insert an attempt of a known bill, past all rules but the database's own.

        Raises `refused` if the database does not take it.
        """

    refused: type[Exception]
    """What the database raises for a row that its keys forbid."""


def content(order_id: str = "A1", **changes: "Any") -> Content:
    """A bill. Each order has a printed number of its own unless `billing_code` is given."""
    fields: dict[str, object] = {
        "appid": "wx0123456789abcdef",
        "order_id": order_id,
        "card_id": "pCard",
        "fee": 1200,
        "title": "张三",
        "billing_time": 1_700_000_000,
        "billing_no": "11010123",
        "billing_code": f"{crc32(order_id.encode()):010}",
    }
    return Content(**(fields | changes))  # type: ignore[arg-type]


class _Case(NamedTuple):
    """What one answer of a first attempt must come to."""

    answer: Answer
    state: "State"
    may_go_again: bool


_FIRST = (
    _Case(Answer("inserted", code="C1", openid="o1"), "inserted", False),
    _Case(Answer("rejected", 40073), "rejected", True),
    _Case(Answer("rejected", 72038), "rejected", True),
    _Case(Answer("rejected", 72056), "rejected", False),
    _Case(Answer("rejected", 72018), "rejected", False),
    _Case(Answer("rejected", 72042), "rejected", False),
    _Case(Answer("rejected", 72035), "rejected", False),
    _Case(Answer("rejected", 72036), "waiting", True),
    _Case(Answer("rejected", 45011), "waiting", True),
    _Case(Answer("rejected", 45009, stops_run=True), "waiting", True),
    _Case(Answer("not_sent", reason="no connection"), "waiting", True),
    _Case(Answer("in_doubt", reason="timeout"), "in_doubt", False),
    _Case(Answer("in_doubt", -1), "in_doubt", False),
)

# What a signed resend's answer must come to; and, with a condition that is met, to what else.
RESEND: "tuple[tuple[Answer, State, bool], ...]" = (
    (Answer("inserted", code="C9", openid="o9"), "inserted", False),
    (Answer("rejected", 72056), "inserted", True),
    (Answer("rejected", 72018), "inserted", True),
    (Answer("rejected", 72042), "inserted", True),
    (Answer("rejected", 72035), "in_doubt", False),
    (Answer("rejected", 72036), "in_doubt", False),
    (Answer("rejected", 72054), "in_doubt", False),
    (Answer("in_doubt", -1), "in_doubt", False),
    (Answer("in_doubt", reason="timeout"), "in_doubt", False),
    (Answer("rejected", 72038), "in_doubt", False),
    (Answer("rejected", 72013), "in_doubt", False),
    (Answer("rejected", 72050), "in_doubt", False),
    (Answer("rejected", 40001, stops_run=True), "in_doubt", False),
    (Answer("not_sent", reason="no connection"), "in_doubt", False),
)
_SHOWN = (72035, 72038, 72013, 72050)


def _raises(
    kind: type[Exception],
    do: "Callable[..., object]",
    *args: object,
    **named: object,
) -> None:
    try:
        do(*args, **named)
    except kind:
        return
    raise AssertionError(f"{kind} was not raised for {args} {named}")


def _send(store: "Store", answer: Answer, bill: Content | None = None) -> "Claim":
    """Hand a bill in, reserve it, hand it over and settle it."""
    store.hand_in([bill or content()])
    (claim,) = store.reserve(1).claims
    store.handed_over([claim])
    store.settle([(claim, answer)])
    return claim


def _state(store: "Store", bill: Content | None = None) -> "State":
    known = store.look((bill or content()).key)
    assert known is not None
    return known.state


IN_DOUBT = Answer("in_doubt", reason="timeout")


class StoreContract:
    """See this file. Each test gets a `harness` of an empty store."""

    # Handing in and reserving

    def test_a_bill_waits_then_is_reserved_once(self, harness: Harness) -> None:
        store, other = harness.open(), harness.open()
        (known,) = store.hand_in([content()])
        assert isinstance(known, Known)
        assert known.state == "waiting"
        (claim,) = store.reserve(10).claims
        assert claim.content == content()
        assert (claim.number, claim.signed, claim.back_to) == (1, False, "waiting")
        assert store.reserve(10).claims == []
        assert other.reserve(10).claims == []
        assert _state(other) == "sending"

    def test_the_oldest_go_first_and_never_more_than_asked(self, harness: Harness) -> None:
        store = harness.open()
        store.hand_in([content(f"A{n}") for n in range(5)])
        first = [claim.key.order_id for claim in store.reserve(3).claims]
        assert first == ["A0", "A1", "A2"]
        assert [claim.key.order_id for claim in store.reserve(3).claims] == ["A3", "A4"]

    def test_a_repeat_of_a_list_changes_nothing(self, harness: Harness) -> None:
        store = harness.open()
        _send(store, Answer("inserted", code="C1", openid="o1"))
        (known,) = store.hand_in([content()])
        assert isinstance(known, Known)
        assert (known.state, known.code, known.openid) == ("inserted", "C1", "o1")
        assert store.reserve(10).claims == []

    def test_other_content_is_refused_and_named(self, harness: Harness) -> None:
        store = harness.open()
        _send(store, IN_DOUBT)
        (refused,) = store.hand_in([content(fee=9, title="李四")])
        assert isinstance(refused, Refused)
        assert refused.fields == ("fee", "title")
        assert refused.known.content == content()
        # The PDF's id is no content: an upload that was repeated is the same bill.
        (known,) = store.hand_in([content(s_pdf_media_id="other")])
        assert isinstance(known, Known)

    def test_a_waiting_bill_takes_new_content(self, harness: Harness) -> None:
        store = harness.open()
        store.hand_in([content()])
        store.hand_in([content(fee=9)])
        (claim,) = store.reserve(1).claims
        assert claim.content.fee == 9

    def test_the_same_number_under_another_order_is_refused(self, harness: Harness) -> None:
        store = harness.open()
        number = content().billing_code
        for answer in (IN_DOUBT, Answer("inserted", code="C1", openid="o1")):
            bill = content(f"N{answer.outcome}")
            _send(store, answer, bill)
            (refused,) = store.hand_in([content("B1", billing_code=bill.billing_code)])
            assert isinstance(refused, Refused)
            assert refused.same_number
            assert refused.known.key == bill.key
        assert store.look(content("B1").key) is None
        (known,) = store.hand_in(
            [content("B1", billing_code=bill.billing_code)], allow_same_number=True
        )
        assert isinstance(known, Known)
        (known,) = store.hand_in([content("B2", billing_code=number)])
        assert isinstance(known, Known)

    def test_not_authorised_is_sent_again_only_if_told_to(self, harness: Harness) -> None:
        store = harness.open()
        for code in (72038, 72049, 72053):
            bill = content(f"N{code}")
            _send(store, Answer("rejected", code), bill)
            store.hand_in([bill])
            assert _state(store, bill) == "rejected"
            store.hand_in([bill], again=True)
            assert _state(store, bill) == "waiting"
            (claim,) = store.reserve(1).claims
            store.settle([(claim, IN_DOUBT)])

    def test_what_becomes_of_a_first_attempt(self, harness: Harness) -> None:
        store = harness.open()
        for number, case in enumerate(_FIRST):
            bill = content(f"F{number}")
            _send(store, case.answer, bill)
            assert _state(store, bill) == case.state, case
            store.hand_in([bill], again=True)
            claims = store.reserve(1).claims
            assert bool(claims) == case.may_go_again, case
            store.settle([(claim, IN_DOUBT) for claim in claims])

    # Dead owners

    def test_a_dead_owners_bills_are_in_doubt(self, harness: Harness) -> None:
        owner, other = harness.open(), harness.open()
        owner.hand_in([content()])
        (claim,) = owner.reserve(1).claims
        owner.handed_over([claim])
        assert other.expire() == []
        assert _state(other) == "sending"
        harness.kill(owner)
        assert other.expire() == [content().key]
        assert _state(other) == "in_doubt"
        assert other.expire() == []
        assert other.reserve(1).claims == []

    def test_what_was_not_handed_over_goes_back(self, harness: Harness) -> None:
        owner, other = harness.open(), harness.open()
        owner.hand_in([content("A1"), content("A2"), content("A3")])
        claims = owner.reserve(3).claims
        owner.handed_over(claims[:1])
        harness.kill(owner)
        other.expire()
        unsent: State = "waiting" if harness.proves else "in_doubt"
        states = [_state(other, claim.content) for claim in claims]
        assert states == ["in_doubt", unsent, unsent]
        assert len(other.reserve(10).claims) == (2 if harness.proves else 0)

    def test_a_late_answer_of_the_last_attempt_heals(self, harness: Harness) -> None:
        for number, (answer, state) in enumerate(
            (
                (Answer("inserted", code="C1", openid="o1"), "inserted"),
                (Answer("rejected", 40073), "rejected"),
                (Answer("not_sent"), "waiting"),
                (IN_DOUBT, "in_doubt"),
            )
        ):
            bill = content(f"L{number}")
            owner, other = harness.open(), harness.open()
            owner.hand_in([bill])
            (claim,) = owner.reserve(1).claims
            owner.handed_over([claim])
            harness.kill(owner)
            other.expire()
            other.settle([(claim, answer)])
            assert _state(other, bill) == state, answer
            for left in other.reserve(1).claims:
                other.settle([(left, IN_DOUBT)])

    def test_an_older_attempts_answer_changes_nothing(self, harness: Harness) -> None:
        owner, other = harness.open(), harness.open()
        owner.hand_in([content()])
        (first,) = owner.reserve(1).claims
        owner.handed_over([first])
        harness.kill(owner)
        other.expire()
        second = other.resend(content().key, by="王")
        (settled,) = other.settle([(first, Answer("rejected", 40073))])
        assert (settled.applied, settled.state) == (False, "sending")
        (settled,) = other.settle([(first, Answer("inserted", code="C1", openid="o1"))])
        assert (settled.applied, settled.state) == (False, "sending")
        assert "C1" in " ".join(row.detail for row in other.evidence(content().key))
        other.settle([(second, Answer("inserted", code="C2", openid="o1"))])
        known = other.look(content().key)
        assert known is not None
        assert (known.state, known.code) == ("inserted", "C2")

    def test_an_answer_that_comes_twice_counts_once(self, harness: Harness) -> None:
        store = harness.open()
        claim = _send(store, Answer("inserted", code="C1", openid="o1"))
        (settled,) = store.settle([(claim, Answer("rejected", 40073))])
        assert not settled.applied
        known = store.look(content().key)
        assert known is not None
        assert (known.state, known.code) == ("inserted", "C1")

    def test_wechats_word_counts_more_than_a_persons(self, harness: Harness) -> None:
        owner, other = harness.open(), harness.open()
        owner.hand_in([content()])
        (claim,) = owner.reserve(1).claims
        owner.handed_over([claim])
        harness.kill(owner)
        other.expire()
        other.resolve(content().key, "not_taken", by="王", note="looked")
        assert _state(other) == "waiting"
        other.settle([(claim, Answer("inserted", code="C1", openid="o1"))])
        assert _state(other) == "inserted"
        assert other.reserve(1).claims == []
        _raises(harness.refused, harness.put_attempt, content().key, 0, 0)

    def test_an_owner_that_closes_leaves_nothing_open(self, harness: Harness) -> None:
        owner, other = harness.open(), harness.open()
        owner.hand_in([content("A1"), content("A2")])
        claims = owner.reserve(2).claims
        owner.handed_over(claims[:1])
        owner.close()
        assert "sending" not in other.counts()

    # Resends, persons, events

    def test_a_resend_is_signed_and_of_a_bill_in_doubt(self, harness: Harness) -> None:
        store = harness.open()
        store.hand_in([content()])
        _raises(ValueError, store.resend, content().key, by="王")
        (claim,) = store.reserve(1).claims
        _raises(ValueError, store.resend, content().key, by="王")
        store.settle([(claim, IN_DOUBT)])
        _raises(ValueError, store.resend, content().key, by="")
        again = store.resend(content().key, by="王", checked_by="李", note="asked")
        told = store.evidence(content().key)[-1]
        assert (told.who, told.checked_by, told.note) == ("王", "李", "asked")
        assert (again.number, again.signed, again.back_to) == (2, True, "in_doubt")
        assert _state(store) == "sending"
        row = store.attempts(content().key)[-1]
        assert (row.slot, row.signed, row.signed_by) == (1, True, "王")

    def test_what_a_resends_answer_settles(self, harness: Harness) -> None:
        store = harness.open()
        for number, (answer, state, code_unknown) in enumerate(RESEND):
            bill = content(f"R{number}")
            _send(store, IN_DOUBT, bill)
            claim = store.resend(bill.key, by="王")
            store.handed_over([claim])
            (settled,) = store.settle([(claim, answer)])
            assert settled.shown == (answer.errcode in _SHOWN), answer
            known = store.look(bill.key)
            assert known is not None
            assert (known.state, known.code_unknown) == (state, code_unknown), answer
            assert known.code == answer.code
            # Whatever it was: it cannot be sent again unless somebody signs once more.
            store.hand_in([bill], again=True)
            assert store.reserve(1).claims == []
            if state == "in_doubt":
                store.resend(bill.key, by="王")

    def test_conditions_of_a_resends_answer(self, harness: Harness) -> None:
        store = harness.open()
        number = content("R1").billing_code
        _send(store, IN_DOUBT, content("R1"))
        store.hand_in([content("R2", billing_code=number)], allow_same_number=True)
        store.withdraw(content("R2").key, by="王", note="another number")
        store.settle([(store.resend(content("R1").key, by="王"), Answer("rejected", 72042))])
        assert _state(store, content("R1")) == "in_doubt"
        _send(store, IN_DOUBT, content("R3"))
        store.note_rejection(content("R3").key)
        store.settle([(store.resend(content("R3").key, by="王"), Answer("rejected", 72035))])
        assert _state(store, content("R3")) == "rejected"

    def test_a_crash_inside_a_resend(self, harness: Harness) -> None:
        store = harness.open()
        _send(store, IN_DOUBT)
        for handed in (True, False):
            owner = harness.open()
            claim = owner.resend(content().key, by="王")
            if handed:
                owner.handed_over([claim])
            harness.kill(owner)
            store.expire()
            assert _state(store) == "in_doubt"
        assert store.reserve(1).claims == []
        store.settle([(store.resend(content().key, by="王"), Answer("rejected", 72056))])
        assert _state(store) == "inserted"

    def test_a_person_settles(self, harness: Harness) -> None:
        store = harness.open()
        key = content().key
        _send(store, IN_DOUBT)
        _raises(ValueError, store.resolve, key, "inserted", by="", note="seen")
        _raises(ValueError, store.resolve, key, "inserted", by="王", note="")
        _raises(ValueError, store.resolve, key, "perhaps", by="王", note="seen")
        assert _state(store) == "in_doubt"
        assert store.resolve(key, "not_taken", by="王", note="asked", checked_by="李") == "waiting"
        row = store.evidence(key)[-1]
        assert (row.who, row.checked_by, row.note) == ("王", "李", "asked")
        (claim,) = store.reserve(1).claims
        store.settle([(claim, IN_DOUBT)])
        assert store.resolve(key, "inserted", by="王", note="seen", code="C1") == "inserted"
        known = store.look(key)
        assert known is not None
        assert (known.code, known.code_unknown) == ("C1", False)
        _raises(ValueError, store.resolve, key, "not_taken", by="王", note="no")

    def test_withdrawing(self, harness: Harness) -> None:
        store = harness.open()
        store.hand_in([content()])
        _raises(ValueError, store.withdraw, content().key, by="", note="refund")
        store.withdraw(content().key, by="王", note="refund")
        assert _state(store) == "withdrawn"
        assert store.reserve(1).claims == []
        store.hand_in([content()])
        (claim,) = store.reserve(1).claims
        _raises(ValueError, store.withdraw, content().key, by="王", note="late")
        store.settle([(claim, IN_DOUBT)])
        _raises(ValueError, store.withdraw, content().key, by="王", note="late")

    def test_an_event_with_an_unknown_code(self, harness: Harness) -> None:
        store = harness.open()
        _send(store, Answer("inserted", code="C1", openid="o1"), content("E1"))
        assert store.observe("pCard", "C1") is None
        assert store.observe("pCard", "C2") is None
        _send(store, IN_DOUBT, content("E2"))
        assert store.observe("pOther", "C2") is None
        assert store.observe("pCard", "C2") == content("E2").key
        known = store.look(content("E2").key)
        assert known is not None
        assert (known.state, known.code, known.code_unknown) == ("inserted", "C2", False)
        _send(store, IN_DOUBT, content("E3"))
        _send(store, IN_DOUBT, content("E4"))
        assert store.observe("pCard", "C3") is None
        store.resolve(content("E3").key, "inserted", by="王", note="seen")
        assert store.observe("pCard", "C4") is None
        store.resolve(content("E4").key, "not_taken", by="王", note="seen")
        assert store.observe("pCard", "C4") == content("E3").key
        known = store.look(content("E3").key)
        assert known is not None
        assert (known.code, known.code_unknown) == ("C4", False)

    # What the database itself keeps

    def test_the_database_refuses_a_second_attempt(self, harness: Harness) -> None:
        store = harness.open()
        key = content().key
        store.hand_in([content()])
        (claim,) = store.reserve(1).claims
        for state in ("sending", "in_doubt", "inserted"):
            assert _state(store) == state
            for slot, signed in (
                (0, 0), (0, 1), (1, 0), (2, 0), (None, 0), (None, 1), ("", 0), ("", 1),
                (1, None), (1, ""), (0, None), (0, ""), (None, None), ("", ""),
            ):  # fmt: skip
                _raises(harness.refused, harness.put_attempt, key, slot, signed)
            if state == "sending":
                store.settle([(claim, IN_DOUBT)])
            elif state == "in_doubt":
                store.resolve(key, "inserted", by="王", note="seen")

    def test_two_rejections_are_two_attempts(self, harness: Harness) -> None:
        store = harness.open()
        for _ in range(3):
            _send(store, Answer("rejected", 40073))
        rows = store.attempts(content().key)
        assert [row.number for row in rows] == [1, 2, 3]
        assert [row.slot for row in rows] == [-row.id for row in rows]

    def test_counts(self, harness: Harness) -> None:
        store = harness.open()
        store.hand_in([content("A1"), content("A2"), content("A3")])
        store.reserve(1)
        assert store.counts() == {"sending": 1, "waiting": 2}
        assert store.waiting() == 2
