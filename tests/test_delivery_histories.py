"""All histories of two owners, explored to the end; and random longer ones of more bills."""

import os
from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from histories import KEYS, Limits, ViolationError, World, explore
from hypothesis import given, settings

from nontax.delivery import memory, states
from nontax.delivery.memory import MemoryStore

# `make crash` explores these, too: minutes each.
WIDE = [
    (("A1",), Limits()),
    (("A1", "A2"), Limits(attempts=1, resends=1, words=0, refusals=0, deaths=1, pauses=0)),
    (("A1", "A2"), Limits(attempts=2, resends=0, words=0, refusals=1, deaths=1, pauses=0)),
]


@pytest.mark.skipif("WIDE_HISTORIES" not in os.environ, reason="only in make crash")
@pytest.mark.parametrize(("orders", "limits"), WIDE)
def test_all_wide_histories(orders: tuple[str, ...], limits: Limits) -> None:
    print(orders, limits, explore(World(limits, orders)))


@pytest.mark.parametrize(
    ("orders", "limits"),
    [
        # One bill: every order of two attempts, a resend, a person's word, a refusal, and a death;
        # then an owner that is given up while it lives.
        (("A1",), Limits(pauses=0, refusals=0)),
        (("A1",), Limits(pauses=0, words=0)),
        (("A1",), Limits(attempts=1, deaths=0)),
        # Two bills, whose attempts get into each other's way.
        (("A1", "A2"), Limits(attempts=1, resends=0, words=0, refusals=1, deaths=1, pauses=0)),
    ],
    ids=["one bill, a word", "one bill, a refusal", "one bill, owner lives", "two bills"],
)
def test_all_histories(orders: tuple[str, ...], limits: Limits) -> None:
    assert explore(World(limits, orders)) > 1000


def _with_all_doubt_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryStore, "handed_over", lambda self, claims: None)


def _with_every_refusal_freeing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(memory, "settle", lambda *args, **named: _freed(states.settle(*args, **named)))


def _freed(settlement: states.Settlement) -> states.Settlement:
    doubtful = settlement.state == "in_doubt"
    return settlement._replace(state="waiting", event="returned") if doubtful else settlement


@pytest.mark.parametrize(
    "break_rule",
    [_with_all_doubt_forgotten, _with_every_refusal_freeing],
    ids=["what was handed over is forgotten", "a timeout is taken for a refusal"],
)
def test_a_broken_rule_is_found(
    break_rule: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_rule(monkeypatch)
    with pytest.raises((ViolationError, memory.IntegrityError)):
        explore(World(Limits(words=0, pauses=0), ("A1",)))


@given(st.data())
@settings(max_examples=60)
def test_random_long_histories(data: st.DataObject) -> None:
    limits = Limits(attempts=9, resends=3, words=2, refusals=3, deaths=1, pauses=1)
    world = World(limits)
    for _ in range(data.draw(st.integers(5, 60))):
        moves = list(world.moves())
        if not moves:
            break
        world = data.draw(st.sampled_from(moves))
        world.check()
    assert set(KEYS.values()) == set(world.rows.bills)
