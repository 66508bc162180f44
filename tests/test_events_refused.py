"""What the reader of pushes refuses, keeps secret, and survives."""

import base64
import copy
import json
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import Talk, run
from pushes import (
    AES_KEY,
    APPID,
    AUTHORIZATION,
    NONCE,
    NOW,
    RAW_KEY,
    STATUS,
    TOKEN,
    encrypt,
    encrypt_raw,
    make_json,
    make_plain_reader,
    make_query,
    make_safe_reader,
    make_xml,
    pad,
    read,
    read_encrypted,
    read_fields,
    sign,
)

from nontax.events import (
    AuthorizationEvent,
    Event,
    EventError,
    EventReader,
    InvalidEventError,
    OtherEvent,
    UntrustedEventError,
)

# --- not from WeChat, or not of now ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["signature", "timestamp", "nonce"])
@pytest.mark.parametrize("value", [None, "", "0" * 40, "张三", "\udc80", NONCE + "0", " " + NONCE])
def test_a_query_that_is_not_signed(name: str, value: str | None) -> None:
    query = make_query() | {"echostr": "123"}
    del query[name]
    if value is not None:
        query[name] = value
    for ask in (
        lambda: make_plain_reader().read(query, make_json(AUTHORIZATION)),
        lambda: make_plain_reader().echo(query),
        lambda: make_safe_reader().echo(query),
    ):
        with pytest.raises(UntrustedEventError, match=r"signature|timestamp|nonce"):
            ask()


def test_a_signature_with_another_token() -> None:
    query = make_query() | {"signature": sign(str(NOW), NONCE, token="other")}
    with pytest.raises(UntrustedEventError, match="signature is wrong"):
        make_plain_reader().read(query, make_json(AUTHORIZATION))


@pytest.mark.parametrize("drift", [-300, 0, 300])
def test_a_time_within_max_age(drift: int) -> None:
    reader = make_plain_reader(clock=lambda: NOW + drift)
    assert isinstance(reader.read(make_query(), make_json(AUTHORIZATION)), AuthorizationEvent)


@pytest.mark.parametrize(("drift", "words"), [(-301, "in the future"), (301, "301 seconds ago")])
def test_a_time_beyond_max_age(drift: int, words: str) -> None:
    reader = make_plain_reader(clock=lambda: NOW + drift)
    with pytest.raises(UntrustedEventError, match=words):
        reader.read(make_query(), make_json(AUTHORIZATION))
    with pytest.raises(UntrustedEventError, match=words):
        reader.echo(make_query() | {"echostr": "123"})


def test_without_max_age_every_time_is_right() -> None:
    reader = make_plain_reader(max_age=None)
    query = make_query(timestamp="1")
    body = make_json(AUTHORIZATION | {"CreateTime": "1"})
    assert isinstance(reader.read(query, body), AuthorizationEvent)


@pytest.mark.parametrize("lag", [-600, 600])
def test_a_plain_push_of_about_the_signed_time(lag: int) -> None:
    body = make_json(AUTHORIZATION | {"CreateTime": NOW + lag})
    assert isinstance(read(body), AuthorizationEvent)


@pytest.mark.parametrize("fields", [AUTHORIZATION, STATUS, {"MsgType": "text"}])
@pytest.mark.parametrize("lag", [-601, 601])
def test_a_plain_push_of_another_time(fields: dict[str, str], lag: int) -> None:
    body = make_json(fields | {"CreateTime": NOW + lag})
    with pytest.raises(UntrustedEventError, match="10 minutes apart"):
        read(body)
    # In safe mode the signature covers the message.
    assert read_encrypted(encrypt(body)).create_time == NOW + lag


def test_an_old_body_is_not_taken_when_time_and_nonce_change_places() -> None:
    """The signature does not say which of its parts is the time."""
    later = str(NOW + 90 * 24 * 3600)
    swapped = make_query(nonce=later) | {"timestamp": later, "nonce": str(NOW)}
    reader = make_plain_reader(clock=lambda: int(later))
    with pytest.raises(UntrustedEventError, match="10 minutes apart"):
        reader.read(swapped, make_json(AUTHORIZATION))


def test_a_stranger_does_not_learn_about_the_time() -> None:
    query = make_query(timestamp="1") | {"signature": "0" * 40}
    with pytest.raises(UntrustedEventError, match="signature is wrong"):
        make_plain_reader().read(query, make_json(AUTHORIZATION))


def test_wrong_argument_types_are_the_caller_s_errors() -> None:
    reader = make_plain_reader()
    with pytest.raises(TypeError, match="body must be bytes"):
        reader.read(make_query(), "{}")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be a str, not list"):
        reader.read({"signature": ["0" * 40]}, b"{}")  # type: ignore[dict-item]


# --- the check of the URL -------------------------------------------------------------------------


@pytest.mark.parametrize("make_reader", [make_plain_reader, make_safe_reader])
def test_echo(make_reader: Callable[[], EventReader]) -> None:
    assert make_reader().echo(make_query() | {"echostr": "8236_+/=-z"}) == "8236_+/=-z"


@pytest.mark.parametrize("echostr", ["", "<script>", "a b", "a&b", "é", "1" * 257])
def test_echo_sends_back_no_markup(echostr: str) -> None:
    with pytest.raises(UntrustedEventError, match="echostr"):
        make_plain_reader().echo(make_query() | {"echostr": echostr})


def test_echo_needs_something_to_send_back() -> None:
    with pytest.raises(UntrustedEventError, match="no echostr"):
        make_plain_reader().echo(make_query())


# --- encrypted pushes -----------------------------------------------------------------------------


@pytest.mark.parametrize("message", [make_xml(AUTHORIZATION), make_json(AUTHORIZATION)])
@pytest.mark.parametrize("make_envelope", [make_xml, make_json])
@pytest.mark.parametrize("surplus", range(0, 33, 8))
def test_an_encrypted_push(
    message: bytes, make_envelope: Callable[[dict[str, str]], bytes], surplus: int
) -> None:
    encrypted = encrypt(message + b" " * surplus)
    envelope = make_envelope({"ToUserName": "gh_0123456789ab", "Encrypt": f" {encrypted}\n"})
    event = make_safe_reader().read(make_query(encrypted), envelope)
    assert event == read(message)


def test_beside_the_encrypted_part_nothing_is_believed() -> None:
    encrypted = encrypt(make_json(AUTHORIZATION))
    forged = AUTHORIZATION | {"SuccOrderId": "FORGED", "New": "FORGED"}
    event = make_safe_reader().read(
        make_query(encrypted), make_xml(forged | {"Encrypt": encrypted})
    )
    assert event == read_fields(AUTHORIZATION)


def test_a_plain_push_for_a_reader_with_a_key() -> None:
    query = make_query() | make_query("")
    for body in (make_json(AUTHORIZATION), make_json(AUTHORIZATION | {"Encrypt": ""})):
        with pytest.raises(UntrustedEventError, match="not encrypted"):
            make_safe_reader().read(query, body)


def test_an_encrypted_push_for_a_reader_without_a_key() -> None:
    encrypted = encrypt(make_json(AUTHORIZATION))
    query = make_query() | make_query(encrypted)
    for fields in ({}, AUTHORIZATION):
        with pytest.raises(InvalidEventError, match="give the reader aes_key"):
            make_plain_reader().read(query, make_json(fields | {"Encrypt": encrypted}))


def test_the_plain_signature_is_not_enough_for_an_encrypted_push() -> None:
    encrypted = encrypt(make_json(AUTHORIZATION))
    body = make_json({"Encrypt": encrypted})
    with pytest.raises(UntrustedEventError, match="no msg_signature"):
        make_safe_reader().read(make_query(), body)
    query = make_query() | {"msg_signature": sign(str(NOW), NONCE)}
    with pytest.raises(UntrustedEventError, match="msg_signature is wrong"):
        make_safe_reader().read(query, body)


def test_an_old_encrypted_push() -> None:
    encrypted = encrypt(make_json(AUTHORIZATION))
    reader = make_safe_reader(clock=lambda: NOW + 301)
    with pytest.raises(UntrustedEventError, match="seconds ago"):
        reader.read(make_query(encrypted), make_json({"Encrypt": encrypted}))


def test_the_signature_covers_the_encrypted_part() -> None:
    encrypted = encrypt(make_json(AUTHORIZATION))
    other = encrypt(make_json(AUTHORIZATION | {"SuccOrderId": "FORGED"}))
    with pytest.raises(UntrustedEventError, match="msg_signature is wrong"):
        make_safe_reader().read(make_query(encrypted), make_json({"Encrypt": other}))


def test_the_first_blocks_cannot_be_moved_into_the_nonce() -> None:
    # Joined without separators, "y" and "zzz…" give the same as "yzz…z" and the rest.
    prefixes = (b"%016d" % number for number in range(10_000))
    hidden = next(
        encrypted
        for encrypted in (encrypt(b"{}", prefix=prefix) for prefix in prefixes)
        if encrypted.startswith("z")
    )
    signed = "z" * 64 + hidden
    query = make_query(signed, nonce="y")
    moved = query | {"nonce": "y" + "z" * 64}
    assert query["msg_signature"] == sign(hidden, moved["nonce"], moved["timestamp"])
    assert isinstance(read_encrypted(hidden), OtherEvent)
    with pytest.raises(UntrustedEventError, match="msg_signature is wrong"):
        make_safe_reader().read(moved, make_json({"Encrypt": hidden}))


CONTENT = b"0123456789abcdef" + b"\0\0\0\2{}" + APPID.encode()


@pytest.mark.parametrize(
    "encrypted",
    [
        encrypt(b"{}", appid="wx_another_account"),
        encrypt(b"{}", appid=APPID + "x"),
        encrypt(b"{}", appid=""),
        encrypt(b"{}", key=bytes(32)),
        encrypt_raw(CONTENT.ljust(64, b"\0")),
        encrypt_raw(CONTENT.ljust(64, b"\x21")),
        encrypt_raw(pad(CONTENT)[:-1] + b"\x01"),
        encrypt_raw(pad(CONTENT)[:-2] + b"\0" + pad(CONTENT)[-1:]),
        encrypt_raw(CONTENT.ljust(48, bytes([48 - len(CONTENT)]))),
        encrypt_raw(pad(b"0123456789abcdef" + b"\xff" * 4 + b"{}" + APPID.encode())),
        encrypt_raw(pad(b"0123456789abcdef" + b"\0\0\0\xff" + b"{}" + APPID.encode())),
        encrypt_raw(pad(b"0123456789abcdef")),
        encrypt_raw(pad(b"")),
        encrypt(b"{}")[:-4],
        encrypt(b"{}")[:-1],
        encrypt(b"{}") + "=",
        "*" + encrypt(b"{}"),
        "张三",
        "=",
        "AAAA",
    ],
)
def test_all_failures_of_decryption_look_alike(encrypted: str) -> None:
    with pytest.raises(UntrustedEventError) as caught:
        read_encrypted(encrypted)
    assert str(caught.value) == (
        "the push cannot be decrypted: check that aes_key and appid are this account's"
    )
    assert caught.value.__context__ is None


# --- the reader's settings ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"token": ""}, "token"),
        ({"token": TOKEN + "\n"}, "token"),
        ({"token": None}, "token"),
        ({"token": TOKEN.encode()}, "token"),
        ({"aes_key": None}, "together"),
        ({"appid": None}, "together"),
        ({"aes_key": AES_KEY + "="}, "43"),
        ({"aes_key": AES_KEY[1:]}, "43"),
        ({"aes_key": AES_KEY[1:] + "!"}, "43"),
        ({"aes_key": AES_KEY.encode()}, "43"),
        ({"appid": ""}, "appid"),
        ({"appid": " " + APPID}, "appid"),
        ({"max_age": 0}, "max_age"),
        ({"max_age": float("nan")}, "max_age"),
        ({"max_age": float("inf")}, "max_age"),
        ({"max_age": 10**400}, "max_age"),
        ({"max_age": "300"}, "max_age"),
    ],
)
def test_settings_that_cannot_be_right(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        make_safe_reader(**changes)
    assert_no_secret(show_frames(caught.value))


def test_without_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    with pytest.raises(ImportError, match=r"pip install nontax\[events\]") as caught:
        make_safe_reader()
    assert_no_secret(show_frames(caught.value))
    assert isinstance(read_fields(AUTHORIZATION), AuthorizationEvent)


def test_nothing_is_imported_before_it_is_needed() -> None:
    code = """if True:
        import sys, nontax
        assert "nontax.events" not in sys.modules
        from nontax.events import EventReader
        EventReader(token="t")
        assert "cryptography" not in sys.modules
        EventReader(token="t", aes_key="A" * 43, appid="wx1")
        assert "cryptography" in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# --- secrets --------------------------------------------------------------------------------------


def show_frames(error: BaseException) -> str:
    """All that a crash report of the package's own frames could show."""
    lines = [repr(error), repr(error.args), *traceback.format_exception(error)]
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals["__name__"].startswith("nontax."):
            lines += map(repr, trace.tb_frame.f_locals.values())
        trace = trace.tb_next
    for other in (error.__cause__, error.__context__):
        if other is not None:
            lines.append(show_frames(other))
    return "\n".join(lines)


def assert_no_secret(text: str) -> None:
    for secret in (TOKEN, AES_KEY, AES_KEY[1:], repr(RAW_KEY)[2:-1], RAW_KEY.hex()):
        assert secret not in text


def make_failures() -> dict[str, Callable[[], object]]:
    encrypted = encrypt(make_json(AUTHORIZATION))
    unsigned = make_query() | {"signature": "0" * 40, "msg_signature": "0" * 40, "echostr": "1"}
    envelope = make_json({"Encrypt": encrypted})
    plain, safe = make_plain_reader(), make_safe_reader()
    late = make_safe_reader(clock=lambda: NOW + 999)
    return {
        "plain signature": lambda: plain.read(unsigned, b"{}"),
        "echo signature": lambda: safe.echo(unsigned),
        "encrypted signature": lambda: safe.read(unsigned, envelope),
        "no signature": lambda: safe.read({}, envelope),
        "late": lambda: late.read(make_query(encrypted), envelope),
        "broken envelope": lambda: safe.read(make_query(), b"<xml>"),
        "not encrypted": lambda: safe.read(make_query(), b"{}"),
        "not decrypted": lambda: read_encrypted("AAAA"),
        "another appid": lambda: read_encrypted(encrypt(b"{}", appid="wx1")),
        "broken message": lambda: read_encrypted(encrypt(make_xml(AUTHORIZATION)[:-1])),
        "another time": lambda: read(make_json(AUTHORIZATION | {"CreateTime": 1})),
        "no order": lambda: read_encrypted(encrypt(make_json(AUTHORIZATION | {"SuccOrderId": ""}))),
    }


@pytest.mark.parametrize("failure", make_failures())
def test_no_failure_shows_a_secret(failure: str) -> None:
    with pytest.raises(EventError) as caught:
        make_failures()[failure]()
    shown = show_frames(caught.value)
    assert "EventReader" in shown
    assert_no_secret(shown)
    if failure.endswith(" signature"):
        assert sign(str(NOW), NONCE) not in shown
        assert sign(str(NOW), NONCE, encrypt(make_json(AUTHORIZATION))) not in shown
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (type(caught.value), str(caught.value))


def press_in_a_reader(talk: Talk) -> None:
    """Ctrl-C at each place in turn where a reader is made, and where it reads."""
    import itertools
    from functools import partial
    from pathlib import Path

    from interrupts import ctrl_c_at

    import nontax.events
    from nontax.events import EventReader

    folder = str(Path(nontax.events.__file__).parent)
    given = talk.setup["reader"] | {"clock": lambda: talk.setup["now"]}
    for work in ("make", "read"):
        # Where a function begins, nothing of it has been done: what it was given can be seen.
        for place in itertools.count(2 if work == "make" else 1):
            make = partial(EventReader, **given)
            reader = make()
            read = partial(reader.read, talk.setup["query"], talk.setup["body"].encode())
            pressed = False
            try:
                with ctrl_c_at(place, folder):
                    make() if work == "make" else read()
            except KeyboardInterrupt as error:
                # Without this frame, which has the secrets themselves.
                error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
                pressed = True
                talk.tell_error(error)
            if not pressed:
                break


@pytest.mark.parametrize("kind", ["plain", "safe"])
def test_ctrl_c_anywhere_shows_no_secret(kind: str) -> None:
    reader, body, query = {"token": TOKEN}, make_json(AUTHORIZATION), make_query()
    if kind == "safe":
        encrypted = encrypt(body)
        reader |= {"aes_key": AES_KEY, "appid": APPID}
        body, query = make_json({"Encrypt": encrypted}), make_query(encrypted)
    told = run(press_in_a_reader, reader=reader, now=NOW, query=query, body=body.decode())
    assert {one["type"] for one in told} == {"KeyboardInterrupt"}
    assert len(told) > 30
    for one in told:
        assert_no_secret(json.dumps(one))


def test_an_error_keeps_nothing_of_the_body() -> None:
    for body in (b'{"A": "SECRET', b"<xml>SECRET", b"SECRET\xff", make_xml({"A": "SECRET\b"})[:-1]):
        with pytest.raises(InvalidEventError) as caught:
            read(body + b"update_invoice_status")
        error: BaseException = caught.value
        assert error.__context__ is None
        assert b"SECRET" not in pickle.dumps(error)


@pytest.mark.parametrize("make_reader", [make_plain_reader, make_safe_reader])
def test_a_reader_shows_and_gives_away_no_secret(make_reader: Callable[[], EventReader]) -> None:
    reader = make_reader()
    assert_no_secret(repr(reader) + str(reader) + f"{reader}")
    assert not hasattr(reader, "__dict__")
    for give_away in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secrets"):
            give_away(reader)


# --- anything at all ------------------------------------------------------------------------------

NAMES = st.sampled_from([*AUTHORIZATION, *STATUS, "AppId", "Encrypt", "MsgId"]) | st.text()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda parts: st.lists(parts) | st.dictionaries(NAMES, parts),
    max_leaves=10,
)
BODIES = st.one_of(
    st.binary(),
    st.text().map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.builds(
        lambda common, fields: json.dumps(common | fields).encode(),
        st.sampled_from([{}, AUTHORIZATION, STATUS]),
        st.dictionaries(NAMES, VALUES),
    ),
    st.builds(
        lambda common, fields, form: make_xml(common | fields, form),
        st.sampled_from([{}, AUTHORIZATION, STATUS]),
        st.dictionaries(NAMES, st.text(st.characters(exclude_categories=["Cs"]))),
        st.sampled_from(["<{0}><![CDATA[{1}]]></{0}>", "<{0}>{1}</{0}>", "<a><{0}>{1}</{0}></a>"]),
    ),
)


def check_anything(ask: Callable[[], Event]) -> None:
    try:
        event = ask()
    except EventError:
        return
    assert pickle.loads(pickle.dumps(event)).key == event.key
    event.key.encode()
    if isinstance(event, AuthorizationEvent):
        assert event.order_id.strip() == event.order_id != ""


def damage(body: bytes, position: int, junk: bytes) -> bytes:
    position %= len(body) + 1
    return body[:position] + junk + body[position + len(junk) :]


@given(body=BODIES)
def test_any_signed_body_is_an_event_or_an_event_error(body: bytes) -> None:
    check_anything(lambda: read(body))
    check_anything(lambda: read_encrypted(encrypt(body)))
    check_anything(lambda: make_safe_reader().read(make_query(), body))


@given(
    body=st.sampled_from([make_xml(AUTHORIZATION), make_json(STATUS)]),
    position=st.integers(min_value=0),
    junk=st.binary(max_size=4),
)
@settings(max_examples=200)
def test_any_damaged_body_is_an_event_or_an_event_error(
    body: bytes, position: int, junk: bytes
) -> None:
    check_anything(lambda: read(damage(body, position, junk)))


@given(position=st.integers(min_value=0), junk=st.binary(min_size=1, max_size=40))
def test_any_damaged_cipher_text_is_an_event_or_an_event_error(position: int, junk: bytes) -> None:
    raw = damage(base64.b64decode(encrypt(make_json(AUTHORIZATION))), position, junk)
    check_anything(lambda: read_encrypted(base64.b64encode(raw).decode()))


@given(
    query=st.dictionaries(
        st.sampled_from(["signature", "msg_signature", "timestamp", "nonce", "echostr"]),
        st.text() | st.from_regex(r"[0-9a-f]{40}", fullmatch=True) | st.just(str(NOW)),
    )
)
def test_no_guessed_query_is_trusted(query: dict[str, str]) -> None:
    body = make_json({"Encrypt": encrypt(make_json(AUTHORIZATION))})
    for ask in (make_plain_reader().read, make_safe_reader().read):
        with pytest.raises(UntrustedEventError):
            ask(query, body)
    with pytest.raises(UntrustedEventError):
        make_plain_reader().echo(query)
