"""The sandbox's accounts: tokens, AppSecrets, IP lists, quotas, request ids, and the clock."""

import calendar
import re
import time
from typing import Any

import pytest
from test_sandbox_flow import WeChat, encode, sandbox, wechat

from nontax.sandbox import Account, Sandbox, faults
from nontax.sandbox.errcodes import RefusalError
from nontax.sandbox.interfaces import INTERFACES

__all__ = ["sandbox", "wechat"]

TOKEN, STABLE = "/cgi-bin/token", "/cgi-bin/stable_token"
CLEAR, CLEAR_V2 = "/cgi-bin/clear_quota", "/cgi-bin/clear_quota/v2"
SETURL = "/card/invoice/seturl"


def credential(account: Account, **changes: Any) -> dict[str, Any]:
    fields = {"grant_type": "client_credential", "appid": account.appid, "secret": account.secret}
    return {name: value for name, value in (fields | changes).items() if value is not None}


def fetch_plain(wechat: WeChat, account: Account, **changes: Any) -> dict[str, Any]:
    pairs = credential(account, **changes).items()
    query = "&".join(f"{name}={value}" for name, value in pairs)
    return wechat.call(TOKEN, None, method="GET", query=query)


def fetch_stable(wechat: WeChat, account: Account, **changes: Any) -> dict[str, Any]:
    return wechat.call(STABLE, credential(account, **changes))


def errcode(wechat: WeChat, token: str) -> Any:
    """What seturl answers to a bureau's token."""
    return wechat.call(SETURL, {}, token=token)["errcode"]


# Accounts


def test_no_repr_shows_a_secret(sandbox: Sandbox, wechat: WeChat) -> None:
    fetch_stable(wechat, sandbox.unit)
    ticket = wechat.ticket()
    wechat.request_order("A1", ticket=ticket)
    things = [sandbox, sandbox.unit, sandbox.orders, sandbox.requests, sandbox.clock]
    shown = repr([*things, sandbox.accounts])
    assert sandbox.unit.appid in shown
    for text in (*sandbox.unit.confidential(), ticket, sandbox.bureau.access_token):
        assert text not in shown


def test_secrets_are_masked_in_records_and_log_lines() -> None:
    lines: list[str] = []
    with Sandbox(log=lines.append) as sandbox:
        wechat = WeChat(sandbox)
        unit, ticket = sandbox.unit, wechat.ticket()
        fetch_plain(wechat, unit)
        sandbox.wait_for_requests(2, finished=True)  # a line may come later than its answer
        for text in (unit.secret, ticket, sandbox.bureau.push_token):
            wechat.call(f"/x/{text}", {"order_id": text})
        sandbox.wait_for_requests(5, finished=True)
    assert [line[9:] for line in lines[2:]] == ["POST '/x/***' order_id='***' errcode=40066"] * 3
    assert "secret=***" in sandbox.requests[1].query
    assert unit.secret not in sandbox.requests[1].query
    assert sandbox.requests[1].parameters["secret"] == unit.secret


def test_more_accounts(sandbox: Sandbox, wechat: WeChat) -> None:
    account = sandbox.add_account("third", roles=("bureau",), appid="wx1", secret="s")
    assert sandbox.accounts["wx1"] is account
    assert len(sandbox.accounts) == 3
    assert fetch_stable(wechat, account)["access_token"] == account.stable_token
    with pytest.raises(ValueError, match="AppID"):
        sandbox.add_account("fourth", roles=("unit",), appid="wx1")
    with pytest.raises(ValueError, match="roles"):
        sandbox.add_account("fourth", roles=("bank",))  # type: ignore[arg-type]


def test_push_settings_are_checked(sandbox: Sandbox) -> None:
    for url in ("ftp://x/", "x", "http://x/票", "http:///x", "http://x:99999/", "http://x:0/"):
        with pytest.raises(ValueError, match=r"push_url|[Pp]ort"):
            sandbox.unit.push_url = url
    assert sandbox.unit.push_url is None
    with pytest.raises(ValueError, match="push_format"):
        sandbox.unit.push_format = "yaml"  # type: ignore[assignment]
    for key in ("short", "!" * 43, "票" * 43):
        with pytest.raises(ValueError, match="push_aes_key"):
            sandbox.unit.push_aes_key = key


# The clock


def test_the_clock_goes_forward_only(sandbox: Sandbox) -> None:
    before = sandbox.clock.time()
    sandbox.clock.advance(86400.5)
    assert 86400 <= sandbox.clock.time() - before < 86500
    for seconds in (-1, float("nan")):
        with pytest.raises(ValueError, match="advanced"):
            sandbox.clock.advance(seconds)


# /cgi-bin/token


def test_a_token(sandbox: Sandbox, wechat: WeChat) -> None:
    reply = fetch_plain(wechat, sandbox.bureau)
    assert list(reply) == ["access_token", "expires_in"]
    assert reply["expires_in"] == 7200
    assert reply["access_token"] == sandbox.bureau.access_token
    assert errcode(wechat, reply["access_token"]) == 0
    assert [request.errcode for request in sandbox.requests] == [0, 0]


def test_a_token_expires(sandbox: Sandbox, wechat: WeChat) -> None:
    token = fetch_plain(wechat, sandbox.bureau)["access_token"]
    sandbox.clock.advance(7190)
    assert errcode(wechat, token) == 0
    sandbox.clock.advance(10)
    assert errcode(wechat, token) == 42001


def test_a_superseded_token_works_for_five_minutes(sandbox: Sandbox, wechat: WeChat) -> None:
    first = sandbox.bureau.access_token
    second = fetch_plain(wechat, sandbox.bureau)["access_token"]
    assert first != second
    sandbox.clock.advance(290)
    assert (errcode(wechat, first), errcode(wechat, second)) == (0, 0)
    third = fetch_plain(wechat, sandbox.bureau)["access_token"]
    sandbox.clock.advance(10)
    assert errcode(wechat, first) == 40001
    assert (errcode(wechat, second), errcode(wechat, third)) == (0, 0)


@pytest.mark.parametrize("fetch", [fetch_plain, fetch_stable])
@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"appid": None}, 41002),
        ({"secret": None}, 41004),
        ({"appid": "wx0"}, 40013),
        ({"secret": "0" * 32}, 40001),
        ({"secret": "short"}, 40125),
        ({"grant_type": None}, 40002),
        ({"grant_type": "password"}, 40002),
    ],
)
def test_token_requests_are_refused(
    sandbox: Sandbox, wechat: WeChat, fetch: Any, changes: dict[str, Any], wanted: int
) -> None:
    reply = fetch(wechat, sandbox.bureau, **changes)
    assert list(reply) == ["errcode", "errmsg"]
    assert reply["errcode"] == wanted
    assert sandbox.bureau.stable_token is None


def test_wrong_methods_for_tokens(sandbox: Sandbox, wechat: WeChat) -> None:
    assert wechat.call(TOKEN, credential(sandbox.bureau))["errcode"] == 43001
    assert wechat.call(STABLE, None, method="GET")["errcode"] == 43002


# /cgi-bin/stable_token


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"appid=x", {"Content-Type": "application/x-www-form-urlencoded"}),
        (b"", {"Content-Type": "application/json"}),
        (b"[]", {"Content-Type": "application/json"}),
    ],
)
def test_a_body_that_is_not_json_has_no_appid(
    wechat: WeChat, body: bytes, headers: dict[str, str]
) -> None:
    assert wechat.call(STABLE, body, headers=headers)["errcode"] == 41002


def test_the_stable_token_stays_the_same(sandbox: Sandbox, wechat: WeChat) -> None:
    reply = fetch_stable(wechat, sandbox.bureau)
    assert list(reply) == ["access_token", "expires_in"]
    assert reply["expires_in"] == 7200
    assert errcode(wechat, reply["access_token"]) == 0
    sandbox.clock.advance(6800)
    again = fetch_stable(wechat, sandbox.bureau, force_refresh=False)
    assert again["access_token"] == reply["access_token"]
    assert 300 <= again["expires_in"] <= 400


def test_two_stable_tokens_work_in_the_last_five_minutes(sandbox: Sandbox, wechat: WeChat) -> None:
    old = fetch_stable(wechat, sandbox.bureau)["access_token"]
    sandbox.clock.advance(6950)
    reply = fetch_stable(wechat, sandbox.bureau)
    assert reply["access_token"] != old
    assert reply["expires_in"] == 7200
    assert fetch_stable(wechat, sandbox.bureau)["access_token"] == reply["access_token"]
    sandbox.clock.advance(290)
    assert errcode(wechat, old) == 0
    sandbox.clock.advance(10)
    assert errcode(wechat, old) == 40001
    assert errcode(wechat, reply["access_token"]) == 0


def test_an_expired_stable_token_is_replaced(sandbox: Sandbox, wechat: WeChat) -> None:
    old = fetch_stable(wechat, sandbox.bureau)["access_token"]
    sandbox.clock.advance(7200)
    assert errcode(wechat, old) == 42001
    new = fetch_stable(wechat, sandbox.bureau)["access_token"]
    assert (errcode(wechat, old), errcode(wechat, new)) == (42001, 0)


def test_stable_tokens_can_be_spoilt(sandbox: Sandbox, wechat: WeChat) -> None:
    first = fetch_stable(wechat, sandbox.bureau)["access_token"]
    sandbox.bureau.expire_stable_token()
    assert errcode(wechat, first) == 42001
    second = fetch_stable(wechat, sandbox.bureau)["access_token"]
    sandbox.bureau.renew_stable_token()
    assert errcode(wechat, second) == 40001
    third = fetch_stable(wechat, sandbox.bureau)["access_token"]
    assert third == sandbox.bureau.stable_token
    assert len({first, second, third}) == 3


def test_a_forced_token_ends_the_one_before_at_once(sandbox: Sandbox, wechat: WeChat) -> None:
    old = fetch_stable(wechat, sandbox.bureau)["access_token"]
    new = fetch_stable(wechat, sandbox.bureau, force_refresh=True)["access_token"]
    assert (errcode(wechat, old), errcode(wechat, new)) == (40001, 0)
    # Nothing is refreshed within 30 seconds.
    sandbox.clock.advance(25)
    assert fetch_stable(wechat, sandbox.bureau, force_refresh=True)["access_token"] == new
    sandbox.clock.advance(5)
    assert fetch_stable(wechat, sandbox.bureau, force_refresh=True)["access_token"] != new


def test_forcing_ends_an_overlap(sandbox: Sandbox, wechat: WeChat) -> None:
    old = fetch_stable(wechat, sandbox.bureau)["access_token"]
    sandbox.clock.advance(7000)
    fetch_stable(wechat, sandbox.bureau)
    assert errcode(wechat, old) == 0
    fetch_stable(wechat, sandbox.bureau, force_refresh=True)
    assert errcode(wechat, old) == 40001


def test_forcing_works_20_times_a_day(sandbox: Sandbox, wechat: WeChat) -> None:
    to_midnight(sandbox)
    replies = []
    for _ in range(21):
        replies.append(fetch_stable(wechat, sandbox.bureau, force_refresh=True))
        sandbox.clock.advance(30)
    assert len({reply["access_token"] for reply in replies[:20]}) == 20
    assert replies[20]["errcode"] == 45009
    assert fetch_stable(wechat, sandbox.bureau)["access_token"] == replies[19]["access_token"]
    to_midnight(sandbox)
    assert "access_token" in fetch_stable(wechat, sandbox.bureau, force_refresh=True)


def test_force_refresh_is_a_boolean(sandbox: Sandbox, wechat: WeChat) -> None:
    assert fetch_stable(wechat, sandbox.bureau, force_refresh="true")["errcode"] == 40097


def test_the_two_kinds_of_token_are_isolated(sandbox: Sandbox, wechat: WeChat) -> None:
    stable = fetch_stable(wechat, sandbox.bureau)["access_token"]
    plain = sandbox.bureau.access_token
    fetch_stable(wechat, sandbox.bureau, force_refresh=True)
    assert (errcode(wechat, plain), errcode(wechat, stable)) == (0, 40001)
    stable = sandbox.bureau.stable_token or ""
    fetch_plain(wechat, sandbox.bureau)
    sandbox.clock.advance(300)
    assert (errcode(wechat, plain), errcode(wechat, stable)) == (40001, 0)
    # And so are the accounts.
    fetch_plain(wechat, sandbox.unit)
    fetch_stable(wechat, sandbox.unit, force_refresh=True)
    assert errcode(wechat, stable) == 0


# IP lists


@pytest.mark.parametrize("fetch", [fetch_plain, fetch_stable])
def test_an_ip_list(sandbox: Sandbox, wechat: WeChat, fetch: Any) -> None:
    sandbox.bureau.ip_list = {"10.0.0.1"}
    reply = fetch(wechat, sandbox.bureau)
    assert reply["errcode"] == 40164
    assert re.fullmatch(
        r"invalid ip 127\.0\.0\.1 ipv6 ::ffff:127\.0\.0\.1, not in whitelist rid: [0-9a-f-]{26}",
        reply["errmsg"],
    )
    assert "access_token" in fetch(wechat, sandbox.unit)
    # Only who has the right token or AppSecret is told.
    assert errcode(wechat, sandbox.bureau.access_token) == 40164
    assert errcode(wechat, "another") == 40014
    assert fetch(wechat, sandbox.bureau, secret="x")["errcode"] == 40125
    secret = {"appid": sandbox.bureau.appid, "appsecret": sandbox.bureau.secret}
    assert wechat.call(CLEAR_V2, secret)["errcode"] == 40164
    sandbox.bureau.ip_list = {"10.0.0.1", "127.0.0.1"}
    assert "access_token" in fetch(wechat, sandbox.bureau)


def test_an_ip_list_counts_for_every_interface(sandbox: Sandbox, wechat: WeChat) -> None:
    sandbox.bureau.ip_list = sandbox.unit.ip_list = ["10.0.0.1"]
    for path, interface in INTERFACES.items():
        account = sandbox.unit if interface.role == "unit" else sandbox.bureau
        if not interface.secret:
            reply = wechat.call(path, {}, account, method=interface.method)
            assert reply["errcode"] == 40164, path
    assert not sandbox.bills


@pytest.mark.parametrize(
    ("entries", "listed"),
    [
        (["127.0.0.0/8"], True),
        (["127.0.0.1/24"], True),  # as WeChat's page writes a range
        (["10.0.0.0/8", "127.0.0.1"], True),
        (["127.0.1.0/24"], False),
        (["::/0"], False),
        ([], False),
    ],
)
def test_ranges_on_an_ip_list(
    sandbox: Sandbox, wechat: WeChat, entries: list[str], listed: bool
) -> None:
    sandbox.bureau.ip_list = entries
    wanted = 0 if listed else 40164
    assert errcode(wechat, sandbox.bureau.access_token) == wanted


def test_an_ipv4_address_that_comes_over_ipv6(sandbox: Sandbox) -> None:
    sandbox.bureau.ip_list = ["10.0.0.0/8"]
    sandbox.bureau.check_ip("::ffff:10.1.2.3")
    with pytest.raises(RefusalError, match=r"invalid ip 127.0.0.1 ipv6 ::ffff:127.0.0.1, not in"):
        sandbox.bureau.check_ip("::ffff:127.0.0.1")
    with pytest.raises(RefusalError, match=r"invalid ip ::1 ipv6 ::1, not in"):
        sandbox.bureau.check_ip("::1")


@pytest.mark.parametrize("entry", ["*", "127.0.0.1:80", "", "localhost", "127.0.0.1/33"])
def test_what_is_no_entry_of_an_ip_list(sandbox: Sandbox, entry: str) -> None:
    with pytest.raises(ValueError, match="neither an address nor a range"):
        sandbox.bureau.ip_list = ["10.0.0.1", entry]
    with pytest.raises(ValueError, match="collection"):
        sandbox.bureau.ip_list = "10.0.0.1"
    assert sandbox.bureau.ip_list is None


# Quotas


def to_midnight(sandbox: Sandbox) -> None:
    """Advance the clock to the beginning of the next day in Beijing."""
    sandbox.clock.advance(86400 - (sandbox.clock.time() + 8 * 3600) % 86400)
    sandbox.bureau.renew_access_token()


def quota(wechat: WeChat, path: object, account: Account) -> dict[str, Any]:
    return wechat.call("/cgi-bin/openapi/quota/get", {"cgi_path": path}, account)


def test_a_daily_quota(sandbox: Sandbox, wechat: WeChat) -> None:
    to_midnight(sandbox)
    sandbox.bureau.daily_quotas[SETURL] = 2
    token = sandbox.bureau.access_token
    assert [errcode(wechat, token) for _ in range(3)] == [0, 0, 45009]
    assert quota(wechat, SETURL, sandbox.bureau)["quota"] == {
        "daily_limit": 2,
        "used": 2,
        "remain": 0,
    }
    wechat.card()
    # Seven hours more are the same day, though not in UTC.
    sandbox.clock.advance(7000)
    assert errcode(wechat, token) == 45009
    to_midnight(sandbox)
    assert errcode(wechat, sandbox.bureau.access_token) == 0


def test_a_minute_quota(sandbox: Sandbox, wechat: WeChat) -> None:
    to_midnight(sandbox)
    sandbox.bureau.minute_quotas[SETURL] = 1
    token = sandbox.bureau.access_token
    assert errcode(wechat, token) == 0
    reply = wechat.call(SETURL, {}, token=token)
    assert reply["errcode"] == 45011
    assert reply["errmsg"].startswith("api minute-quota reach limit, must slower")
    sandbox.clock.advance(60)
    assert errcode(wechat, token) == 0
    reply = quota(wechat, SETURL, sandbox.bureau)
    assert reply["rate_limit"] == {"call_count": 1, "refresh_second": 60}
    assert reply["quota"]["used"] == 2


def test_the_documented_quotas(sandbox: Sandbox, wechat: WeChat) -> None:
    assert quota(wechat, TOKEN, sandbox.unit)["quota"]["daily_limit"] == 2000
    stable = quota(wechat, STABLE, sandbox.unit)
    assert stable["quota"]["daily_limit"] == 500_000
    assert stable["rate_limit"]["call_count"] == 10_000
    sandbox.unit.daily_quotas["/cgi-bin/ticket/getticket"] = 0
    reply = wechat.call(
        "/cgi-bin/ticket/getticket", None, sandbox.unit, method="GET", query="type=wx_card"
    )
    assert reply["errcode"] == 45009
    insert = quota(wechat, "/nontax/insertbill", sandbox.bureau)["quota"]
    assert insert["daily_limit"] == insert["remain"] > 100_000


@pytest.mark.parametrize(
    ("path", "wanted"), [("nontax/insertbill", 76021), (None, 76021), ("/nontax/insertbill", 76022)]
)
def test_quotas_that_cannot_be_had(
    sandbox: Sandbox, wechat: WeChat, path: object, wanted: int
) -> None:
    assert quota(wechat, path, sandbox.unit)["errcode"] == wanted


def test_quotas_can_be_cleared_ten_times_a_month(sandbox: Sandbox, wechat: WeChat) -> None:
    days = calendar.monthrange(*sandbox.clock.beijing()[:2])[1]
    # Into the first hours of the next month.
    for _ in range(days - sandbox.clock.beijing().tm_mday + 1):
        to_midnight(sandbox)
    assert sandbox.clock.beijing().tm_mday == 1
    bureau, payload = sandbox.bureau, {"appid": sandbox.bureau.appid}
    bureau.daily_quotas[SETURL] = 1
    for number in range(10):
        assert errcode(wechat, bureau.access_token) == 0
        assert errcode(wechat, bureau.access_token) == 45009
        if number % 2:
            secret = payload | {"appsecret": bureau.secret}
            assert wechat.call(CLEAR_V2, secret)["errcode"] == 0
        else:
            assert wechat.call(CLEAR, payload, bureau)["errcode"] == 0
    assert wechat.call(CLEAR, payload, bureau)["errcode"] == 48006
    for _ in range(31):
        to_midnight(sandbox)
    assert wechat.call(CLEAR, payload, bureau)["errcode"] == 0


def test_clearing_refuses(sandbox: Sandbox, wechat: WeChat) -> None:
    bureau = sandbox.bureau
    assert wechat.call(CLEAR, {"appid": sandbox.unit.appid}, bureau)["errcode"] == 40013
    assert wechat.call(CLEAR, {}, bureau)["errcode"] == 41002
    assert wechat.call(CLEAR, [], bureau)["errcode"] == 47001
    assert wechat.call(CLEAR, {"appid": bureau.appid, "x": 1}, bureau)["errcode"] == 40097
    wrong = {"appid": bureau.appid, "appsecret": "x"}
    assert wechat.call(CLEAR_V2, wrong)["errcode"] == 40125
    assert wechat.call(CLEAR_V2, {"appid": bureau.appid})["errcode"] == 41004


# Request ids


def rid_of(reply: dict[str, Any]) -> str:
    rid = reply["errmsg"].rsplit("rid: ", 1)[1]
    assert isinstance(rid, str)
    return rid


def look_up(wechat: WeChat, rid: object, account: Account) -> dict[str, Any]:
    return wechat.call("/cgi-bin/openapi/rid/get", {"rid": rid}, account)


def test_a_rid_can_be_looked_up(sandbox: Sandbox, wechat: WeChat) -> None:
    token, before = sandbox.bureau.access_token, int(time.time())
    refused = wechat.call(SETURL, {"票": token}, sandbox.bureau)
    rid = rid_of(refused)
    found = look_up(wechat, rid, sandbox.bureau)["request"]
    assert before <= found["invoke_time"] <= time.time()
    assert f"{found['invoke_time']:08x}" <= rid[:8]
    assert 0 <= found["cost_in_ms"] < 60_000
    assert found["request_url"] == f"{sandbox.base_url}{SETURL}?access_token=***"
    assert found["request_body"] == '{"票": "***"}'
    assert rid in found["response_body"]
    assert token not in found["response_body"]
    assert found["client_ip"] == "127.0.0.1"
    assert sandbox.requests[0].rid == rid


def test_the_rid_of_a_fault_is_known_too(sandbox: Sandbox, wechat: WeChat) -> None:
    sandbox.inject(faults.Errcode(-1))
    rid = rid_of(wechat.call(SETURL, {}, sandbox.bureau))
    assert look_up(wechat, rid, sandbox.bureau)["errcode"] == 0


def test_rids_that_cannot_be_looked_up(sandbox: Sandbox, wechat: WeChat) -> None:
    rid = rid_of(wechat.call(SETURL, {"x": 1}, sandbox.bureau))
    for malformed in ("", "x", f"{rid} ", 1, None):
        assert look_up(wechat, malformed, sandbox.bureau)["errcode"] == 76002
    assert look_up(wechat, "-".join(["0" * 8] * 3), sandbox.bureau)["errcode"] == 76001
    assert look_up(wechat, rid, sandbox.unit)["errcode"] == 76003
    nobodys = rid_of(wechat.call(SETURL, {}))
    assert look_up(wechat, nobodys, sandbox.bureau)["errcode"] == 76003
    sandbox.clock.advance(7 * 86400)
    sandbox.bureau.renew_access_token()
    assert look_up(wechat, rid, sandbox.bureau)["errcode"] == 76001


def test_the_body_may_not_be_escaped_here_either(sandbox: Sandbox, wechat: WeChat) -> None:
    body = encode({"rid": "票"}).replace("票".encode(), b"\\u7968")
    reply = wechat.call("/cgi-bin/openapi/rid/get", body, sandbox.bureau)
    assert reply["errcode"] == 47002
