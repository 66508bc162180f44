"""Each problem has a place, a message, an id and values; bills are checked before any is sent."""

import copy
import pickle
import subprocess
import sys
import unicodedata
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from bills import SHAPES, bill

import nontax
from nontax import _core
from nontax.problems import CURES
from nontax.sandbox import Sandbox
from nontax.validation import AGAIN
from nontax.values import name_character

MODES = ("refuse", "ignore", "send")


def test_a_problem_is_a_pair_and_more() -> None:
    [problem] = nontax.validate_bill(bill("D1", shape="flat", fee=Decimal("12.00")))
    path, message = problem
    assert problem == (path, message) == (problem.path, problem.message)
    assert path == "fee"
    assert message == (
        "must be an integer, the amount in fen, not a Decimal; "
        'nontax.fen("12.34") converts yuan to fen'
    )
    assert (problem.id, problem.values) == ("not_fen", {"kind": "a Decimal"})
    assert (problem.index, problem.order_id) == (None, "D1")
    assert str(problem) == f"order D1: fee {message}"
    assert "not_fen" in repr(problem)
    with pytest.raises(AttributeError, match="immutable"):
        problem.id = "other"
    for twin in (pickle.loads(pickle.dumps(problem)), copy.deepcopy(problem)):
        assert twin == problem
        assert vars(twin) == vars(problem)


def test_an_error_has_the_same_problems(client: nontax.Client) -> None:
    given = bill("D1", shape="flat", fee="1", title=" x")
    with pytest.raises(nontax.InvalidRequestError) as caught:
        client.insert_bill(given)
    found = caught.value.problems
    assert found == nontax.validate_bill(given)
    assert [(each.id, each.values) for each in found] == [
        ("not_fen", {"kind": "a string"}),
        ("begins_with", {"character": "U+0020 (space)"}),
    ]
    copied = pickle.loads(pickle.dumps(caught.value))
    assert [vars(each) for each in copied.problems] == [vars(each) for each in found]


async def awaited(_: str | None) -> str:
    return "token"


@pytest.mark.parametrize(
    ("settings", "given", "id"),
    [
        ({"token_source": lambda _: "b'72'"}, {}, "token_unusable"),
        ({"token_source": lambda _: 5}, {}, "token_unusable"),
        ({"token_source": awaited}, {}, "token_source_async"),
        ({"access_token": "token"}, {"pdf": b"PK\x03\x04"}, "zip_not_pdf"),
        ({"access_token": "token"}, {"pdf": b""}, "empty"),
        ({"access_token": "token"}, {"pdf": b"%PDF-", "filename": "\0"}, "has_nul"),
        ({"access_token": "token"}, {"pdf": b"%PDF-", "filename": "\ud800"}, "has_surrogate"),
    ],
)
def test_whatever_is_invalid_has_an_id(
    settings: dict[str, Any], given: dict[str, Any], id: str
) -> None:
    with nontax.Client(base_url="http://127.0.0.1:1", **settings) as client:
        with pytest.raises(nontax.InvalidRequestError) as caught:
            client.upload_pdf(**({"pdf": b"%PDF-"} | given))
    [problem] = caught.value.problems
    assert problem.id == id


def test_a_missing_token_has_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nontax.client._default", {})
    with pytest.raises(nontax.InvalidRequestError) as caught:
        nontax.insert_bill(bill())
    assert [problem.id for problem in caught.value.problems] == ["token_missing"]


def test_a_plain_pair_becomes_a_problem() -> None:
    [problem] = nontax.InvalidRequestError(problems=[("fee", "is odd")]).problems
    assert (problem, problem.id, problem.values) == (("fee", "is odd"), "", {})


def test_every_message_is_made_of_its_id_and_values() -> None:
    messages = _core.problem_messages()
    assert CURES.keys() <= messages.keys()
    assert not AGAIN.keys() & messages.keys()
    given = bill(shape="flat", fee=1.5, title=None, billing_time="2033111506", order_id="x\n")
    given["Card Id"] = given.pop("card_id")
    for problem in nontax.validate_bill(given):
        assert problem.message.startswith(messages[problem.id].format_map(problem.values))


def test_the_core_and_python_name_characters_alike() -> None:
    unseen = "\t\n\r \u00a0\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\u3000\ufeff\u2028\u0085"
    for character in unseen:
        [problem] = nontax.validate_bill(bill(title="x" + character))
        assert problem.values == {"character": name_character(character)}


def test_all_that_unicode_calls_blank_is_unseen() -> None:
    for code in range(1, 0x3001):
        character = chr(code)
        if character.isspace() or unicodedata.category(character) in ("Cc", "Zs", "Zl", "Zp"):
            [problem] = nontax.validate_bill(bill(title="x" + character))
            assert problem.id == "ends_with"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", MODES)
def test_a_good_bill_has_none(shape: str, mode: Any) -> None:
    assert nontax.validate_bill(bill(shape=shape), extra=mode) == []
    assert nontax.validate_bills([], extra=mode) == []
    assert nontax.validate_bills((bill(shape=shape) for _ in range(3)), extra=mode) == []


def test_many_bills() -> None:
    bills: list[Any] = [
        bill("A", shape="flat", billing_no="1", billing_code="2"),
        bill("B", fee=1.5, billing_no="1", billing_code="2"),
        bill("A", shape="table"),
        None,
        {"order_id": 5},
    ]
    found = nontax.validate_bills(bills)
    assert [(each.index, each.order_id, each.path.rpartition(".")[2], each.id) for each in found][
        :4
    ] == [
        (1, "B", "fee", "fen_fraction"),
        (1, "B", "billing_code", "number_again"),
        (2, "A", "order_id", "order_again"),
        (3, None, "", "not_fields"),
    ]
    assert found[2].values == {"first": "0"}
    assert str(found[2]) == (
        "bill 2, order A: order_id is the order of bill 0, too: one order takes one bill"
    )
    assert {each.index for each in found[4:]} == {4}


def test_what_is_no_list_of_bills() -> None:
    with pytest.raises(TypeError, match="one bill is for"):
        nontax.validate_bills(bill())  # type: ignore[arg-type]

    def broken() -> Any:
        yield bill()
        raise OSError("the file ends here")

    with pytest.raises(OSError, match="ends here"):
        nontax.validate_bills(broken())


def test_validating_needs_no_credential_and_no_network() -> None:
    root = str(Path(nontax.__file__).parent.parent)
    program = (
        f"import sys; sys.path.insert(0, {root!r})\n"
        "import socket; socket.socket = None\n"
        "import nontax\n"
        "print([problem.id for problem in nontax.validate_bill({})])\n"
    )
    command = [sys.executable, "-S", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={})
    assert done.stdout == "['missing', 'missing', 'missing', 'missing']\n"


# Fields that WeChat's page does not name


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_ignored_is_never_sent(sandbox: Sandbox, shape: str) -> None:
    with nontax.Client(
        access_token=sandbox.access_token, base_url=sandbox.base_url, extra="ignore"
    ) as client:
        plain: Any = bill(shape=shape)
        given: Any = copy.deepcopy(plain)
        for place in (given, given.get("card_ext", {}), given.get("card_ext", {}).get("user_card")):
            if place:
                # Whatever it is, and whatever it is called.
                place |= {"remark": float("nan"), "院区": object(), None: 1, "Fee_": b"\xff"}
        client.insert_bill(given)
        sent = sandbox.requests[-1].json
        assert set(sent) == {"order_id", "card_id", "appid", "card_ext"}
        client.insert_bill(bill(shape=shape) | {"remark": Decimal(1)})
        assert b"remark" not in sandbox.requests[-1].body
        user_card = sent["card_ext"]["user_card"]
        fields = user_card.get("invoice_user_data", user_card)
        assert len(fields) == 6
        assert "remark" in given  # the caller's own is never changed


@pytest.mark.parametrize("mode", ["ignore", "send"])
def test_another_spelling_is_no_extra_where_the_field_is_missing(mode: Any) -> None:
    given: Any = bill(shape="flat")
    given["\ufefforder_id"] = given.pop("order_id")
    first, second = nontax.validate_bill(given, extra=mode)
    assert first.values == {"character": "U+FEFF (byte order mark)", "name": "order_id"}
    assert first.message.endswith(
        'did you mean order_id? (read the file with encoding="utf-8-sig")'
    )
    assert second == ("order_id", "is missing")


@pytest.mark.parametrize("wrong", [True, None, "REFUSE", ["send"]])
def test_no_other_mode(wrong: Any) -> None:
    with pytest.raises(ValueError, match='extra must be "refuse", "ignore" or "send"'):
        nontax.validate_bill({}, extra=wrong)
    with pytest.raises(ValueError, match="extra must be"):
        nontax.validate_bills([], extra=wrong)
    with pytest.raises(ValueError, match="extra must be"):
        nontax.Client(access_token="token", extra=wrong)
