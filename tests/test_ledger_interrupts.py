"""Ctrl-C at every place in our code while bills are sent with a ledger: none is sent twice, none
that the server got is unknown, and none stays open."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from processes import Talk, run

from nontax.sandbox import Sandbox

STEP = 37  # from one place to the next
# `make crash` sets it: so many times, from another place on.
ROUNDS = int(os.environ.get("INTERRUPT_ROUNDS", "1"))


def press(talk: Talk) -> None:
    import itertools
    import sys
    import warnings
    from typing import Any

    from bills import bill
    from interrupts import ctrl_c_at

    import nontax

    def send(client: nontax.Client, bills: list[Any], told: list[Any]) -> None:
        if way == "bulk":
            for outcome in client.insert_bills(bills, concurrency=2):
                told.append(outcome.bill["order_id"])
        elif way == "single":
            for one in bills:
                client.insert_bill(one)
                told.append(one["order_id"])
        else:
            ledger = client.ledger
            assert ledger is not None
            ledger.deliver(
                client, bills, concurrency=2, progress=lambda one: told.append(one.key.order_id)
            )

    # A run that Ctrl-C has left says so in its finalizer, in which Ctrl-C may be pressed, too.
    warnings.simplefilter("ignore", RuntimeWarning)
    sys.unraisablehook = lambda _: None
    way, ended = talk.setup["way"], False
    for place in itertools.count(talk.setup["first"], talk.setup["step"]):
        if ended:
            break
        client = talk.client(ledger=f"{talk.setup['folder']}/{place}.db")
        # Each process begins to count anew, and all of them send to one server.
        bills = [bill(f"T{place}-{n}", billing_code=f"{place:06}{n:04}") for n in range(3)]
        told = list[Any]()
        try:
            with ctrl_c_at(place, nontax.__path__[0]):
                send(client, bills, told)
            ended = True
        except KeyboardInterrupt:
            pass
        ledger = client.ledger
        assert ledger is not None
        ledger.close()
        orders = [one["order_id"] for one in bills]
        kept = {one.order_id: one.state for one in ledger.bills()}
        talk.tell(place=place, orders=orders, told=told, kept=kept)


@pytest.mark.parametrize("way", ["bulk", "single", "deliver"])
def test_ctrl_c_anywhere(sandbox: Sandbox, tmp_path: Path, way: str) -> None:
    client = {"access_token": sandbox.access_token, "base_url": sandbox.base_url}
    told = [
        one
        for first in range(1, STEP, -(-STEP // ROUNDS))
        for one in run(press, client=client, folder=str(tmp_path), way=way, first=first, step=STEP)
    ]
    sent = Counter(
        json.loads(request.body)["order_id"]
        for request in sandbox.requests
        if request.path == "/nontax/insertbill" and request.body
    )
    assert max(sent.values()) == 1
    for one in told:
        kept: dict[str, Any] = one["kept"]
        for order in one["orders"]:
            state = kept.get(order, "")
            assert state != "sending", one
            if order in sent:
                assert state in ("inserted", "in_doubt"), one
            if order in one["told"]:
                assert state == "inserted", one
            if state == "inserted":
                assert order in sent, one
    assert len(told) > 5
    assert any(len(one["told"]) < 3 for one in told)
