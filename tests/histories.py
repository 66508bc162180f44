"""A world in which bills are delivered: owners that die, a wire, WeChat, a person who signs.

One node is one moment of one history. Its moves are all that can happen next. Whatever happens, the
invariants hold; a store that breaks a rule breaks one of them.
"""

from collections.abc import Iterator
from typing import NamedTuple

from nontax.delivery.contract import content
from nontax.delivery.memory import MemoryStore, Rows
from nontax.delivery.states import Answer
from nontax.delivery.store import Claim

ORDERS = ("A1", "A2")
KEYS = {order: content(order).key for order in ORDERS}
# States in which the store would let a bill be sent without anybody's signature.
UNSIGNED = ("waiting", "not_sent")


class Held(NamedTuple):
    """A claim in an owner's memory. phase: "written", "marked", "sent" or "answered"."""

    claim: Claim
    phase: str
    answer: Answer | None = None


class Limits(NamedTuple):
    """How often each thing may happen to one bill, or to one owner, so that there is an end."""

    attempts: int = 2
    resends: int = 1
    words: int = 1  # of a person who finds a bill not taken, rightly or not
    refusals: int = 1
    deaths: int = 1
    pauses: int = 1  # owners that are given up while they live, as by a lease


class ViolationError(AssertionError):
    """A history that must not be, told step by step."""


class World:
    """One moment. Copied for each move."""

    def __init__(self, limits: Limits, orders: tuple[str, ...] = ORDERS) -> None:
        self.limits = limits
        self.orders = orders
        self.rows = Rows()
        self.stores = [MemoryStore(self.rows), MemoryStore(self.rows)]
        self.running = [True, True]  # the process; whether it is given up is the store's to say
        self.held: list[list[Held]] = [[], []]
        # At WeChat's: what is on the wire, what has arrived, what was refused how often.
        self.wire: list[tuple[str, int]] = []
        self.wallet: dict[str, str] = {}
        self.refused = dict.fromkeys(orders, 0)
        self.resent = dict.fromkeys(orders, 0)
        self.words = dict.fromkeys(orders, 0)
        self.signed = set[str]()  # orders of which a person has said that they may go again
        self.deaths = self.pauses = 0
        self.steps: tuple[str, ...] = ()
        self.stores[0].hand_in([content(order) for order in orders])

    def clone(self, name: str) -> "World":
        other = World.__new__(World)
        other.__dict__.update(self.__dict__)
        other.rows = self.rows.clone()
        other.stores = []
        for store in self.stores:
            copy = MemoryStore.__new__(MemoryStore)
            copy.rows, copy.owner = other.rows, store.owner
            other.stores.append(copy)
        other.running = list(self.running)
        other.held = [list(held) for held in self.held]
        other.wire = list(self.wire)
        for table in ("wallet", "refused", "resent", "words"):
            setattr(other, table, dict(getattr(self, table)))
        other.signed = set(self.signed)
        other.steps = (*self.steps, name)
        return other

    def key(self) -> object:
        """Two moments with the same key have the same future."""
        bills = tuple(
            (known.state, known.code, known.code_unknown, known.errcode)
            for known in self.rows.bills.values()
        )
        attempts = tuple(
            (a.key.order_id, a.row.slot > 0, a.row.slot < 0, a.row.ended, a.row.outcome,
             a.owner, a.mark) for a in self.rows.attempts.values()
        )  # fmt: skip
        held = tuple(
            tuple((h.claim.attempt, h.phase, h.answer and h.answer[:2]) for h in mine)
            for mine in self.held
        )
        return (
            bills, attempts, held, tuple(self.running), frozenset(self.rows.alive),
            tuple(sorted(self.wire)), tuple(sorted(self.wallet)), tuple(self.refused.values()),
            tuple(self.resent.values()), tuple(self.words.values()), frozenset(self.signed),
            self.deaths, self.pauses,
        )  # fmt: skip

    def state(self, order: str) -> str:
        return self.rows.bills[KEYS[order]].state

    # What must always be true

    def check(self) -> None:
        for order in self.orders:
            state = self.state(order)
            known = self.rows.bills[KEYS[order]]
            on_the_wire = any(on == order for on, _ in self.wire)
            may_be_there = (order in self.wallet or on_the_wire) and order not in self.signed
            if state in UNSIGNED and may_be_there:
                raise ViolationError(f"{order} is {state} and may be in the wallet: {self.steps}")
            if state == "inserted" and order not in self.wallet:
                raise ViolationError(f"{order} is inserted and not in the wallet: {self.steps}")
            if state == "rejected" and may_be_there and known.errcode not in (72056, 72035):
                raise ViolationError(f"{order} is rejected and may be in the wallet: {self.steps}")
        if all(attempt.row.ended for attempt in self.rows.attempts.values()):
            return
        end = self.clone("all die")
        end.rows.alive.clear()
        MemoryStore(end.rows).expire()
        for order in end.orders:
            if end.state(order) == "sending":
                raise ViolationError(f"{order} stays sending after all have died: {self.steps}")

    # What can happen next

    def moves(self) -> "Iterator[World]":
        for number, store in enumerate(self.stores):
            if self.running[number]:
                yield from self._owner_moves(number, store)
        yield from self._wechat_moves()
        yield from self._person_moves()

    def _owner_moves(self, number: int, store: MemoryStore) -> "Iterator[World]":
        alive = store.owner in self.rows.alive
        if alive and not self.held[number] and "waiting" in map(self.state, self.orders):
            after = self.clone(f"{number} reserves")
            claims = after.stores[number].reserve(1).claims
            after.held[number] = [Held(claim, "written") for claim in claims]
            if claims[0].number <= self.limits.attempts:
                yield after
        for place, held in enumerate(self.held[number]):
            order = held.claim.key.order_id
            if held.phase == "written" and alive:
                after = self.clone(f"{number} marks {order}")
                after.stores[number].handed_over([held.claim])
                after.held[number][place] = held._replace(phase="marked")
                yield after
            elif held.phase == "marked" and alive:
                yield self._sends(number, place, held)
            if held.phase in ("written", "marked"):
                yield self._hears(number, place, held, Answer("not_sent"))
            if held.phase == "sent":
                yield self._hears(number, place, held, Answer("in_doubt", reason="timeout"))
            if held.phase == "answered":
                after = self.clone(f"{number} settles {order}: {held.answer}")
                assert held.answer is not None
                after.stores[number].settle([(held.claim, held.answer)])
                del after.held[number][place]
                yield after
        if self.deaths < self.limits.deaths:
            after = self.clone(f"{number} dies")
            after.rows.alive.discard(store.owner)
            after.running[number], after.held[number] = False, []
            after.deaths += 1
            yield after
        if alive and self.pauses < self.limits.pauses:
            after = self.clone(f"{number} is given up and lives")
            after.rows.alive.discard(store.owner)
            # Whoever may be given up while it lives can prove nothing: all counts as handed over.
            after.stores[number].handed_over(held.claim for held in after.held[number])
            after.pauses += 1
            yield after
        if alive and any(
            not a.row.ended and a.owner not in self.rows.alive for a in self.rows.attempts.values()
        ):
            after = self.clone(f"{number} gives up the dead one's")
            after.stores[number].expire()
            yield after

    def _sends(self, number: int, place: int, held: Held) -> "World":
        order = held.claim.key.order_id
        may_be_there = order in self.wallet or any(on == order for on, _ in self.wire)
        if may_be_there and not held.claim.signed and order not in self.signed:
            raise ViolationError(f"{order} goes out twice, and nobody has signed: {self.steps}")
        after = self.clone(f"{number} sends {order}")
        after.wire.append((order, held.claim.attempt))
        after.held[number][place] = held._replace(phase="sent")
        return after

    def _hears(self, number: int, place: int, held: Held, answer: Answer) -> "World":
        after = self.clone(f"{number} hears of {held.claim.key.order_id}: {answer.outcome}")
        after.held[number][place] = held._replace(phase="answered", answer=answer)
        return after

    def _wechat_moves(self) -> "Iterator[World]":
        for place, (order, attempt) in enumerate(self.wire):
            answers = [Answer("rejected", 72056)]
            if order not in self.wallet:
                answers = [Answer("inserted", code=f"C-{order}", openid="o")]
                if self.refused[order] < self.limits.refusals:
                    answers += [Answer("rejected", 40073), Answer("rejected", 72036)]
            for answer in answers:
                after = self.clone(f"WeChat: {order} {answer.outcome} {answer.errcode}")
                del after.wire[place]
                if answer.outcome == "inserted":
                    after.wallet[order] = answer.code
                after.refused[order] += answer.errcode in (40073, 72036)
                after._deliver(attempt, answer)
                yield after
            after = self.clone(f"{order} is lost on its way")
            del after.wire[place]
            yield after

    def _deliver(self, attempt: int, answer: Answer) -> None:
        """The answer reaches whoever still listens; else it is lost."""
        for mine in self.held:
            for place, held in enumerate(mine):
                if held.claim.attempt == attempt and held.phase == "sent":
                    mine[place] = held._replace(phase="answered", answer=answer)

    def _person_moves(self) -> "Iterator[World]":
        for number, store in enumerate(self.stores):
            if not self.running[number] or store.owner not in self.rows.alive:
                continue
            for order in self.orders:
                if self.state(order) != "in_doubt":
                    continue
                if self.resent[order] < self.limits.resends and not self.held[number]:
                    after = self.clone(f"a person at {number} has {order} resent")
                    claim = after.stores[number].resend(KEYS[order], by="王")
                    after.held[number] = [Held(claim, "written")]
                    after.resent[order] += 1
                    yield after
                if self.words[order] < self.limits.words:
                    after = self.clone(f"a person finds {order} not taken")
                    after.stores[number].resolve(KEYS[order], "not_taken", by="王", note="asked")
                    after.words[order] += 1
                    after.signed.add(order)
                    yield after
            break  # whose store a person uses makes no difference to what it says


def explore(start: World) -> int:
    """Every history from here to its end; how many different moments there are."""
    start.check()
    seen = {start.key()}
    todo = [start]
    while todo:
        for after in todo.pop().moves():
            key = after.key()
            if key not in seen:
                seen.add(key)
                after.check()
                todo.append(after)
    return len(seen)
