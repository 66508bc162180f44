"""What can be set on the sandbox's page: faults, and where and how events are pushed."""

from urllib.parse import parse_qs

from . import faults
from .accounts import Account
from .markup import Html, element, input_field, joined
from .traffic import Traffic
from .world import World

FAULTS_PATH = "/sandbox/faults"
PUSHES_PATH = "/sandbox/pushes"

_EXAMPLES = (
    "Errcode(45011)",
    "Errcode(-1, taken=True)",
    "Delay(2)",
    "NeverAnswer()",
    'Close("body", taken=True)',
    "Reply(cut_after=40)",
    'Errcode(72054, times=3, skip=10, path="/nontax/insertbill")',
)


def set_faults(traffic: Traffic, body: bytes) -> None:
    """What the form asks for; without a fault, all are forgotten. Raises ValueError."""
    text = _fields(body).get("fault", "")
    if text:
        fault, due = faults.parse(text)
        traffic.inject(fault, **due)
    else:
        traffic.behave()


def set_pushes(world: World, body: bytes) -> None:
    """Where an account's events go, and how. Raises ValueError."""
    fields = _fields(body)
    account = world.accounts.get(fields.get("appid", ""))
    if account is None:
        raise ValueError("there is no account with this AppID")
    key = fields.get("aes_key") or account.push_aes_key
    if fields.get("mode") == "safe" and key is None:
        raise ValueError("the safe mode needs an EncodingAESKey")
    account.push_aes_key = key if fields.get("mode") == "safe" else None
    account.push_url = fields.get("url") or None
    account.push_format = "json" if fields.get("format") == "json" else "xml"
    account.push_token = fields.get("token") or account.push_token


def fault_forms(traffic: Traffic) -> Html:
    """A form for the next fault, and a button that forgets those still due."""
    options = joined((element("option", value=example) for example in _EXAMPLES), "")
    due = traffic.faults_left()
    add = joined(
        (
            input_field(
                "text", "fault", list="faults", placeholder=_EXAMPLES[0], required="required"
            ),
            element("datalist", options, id="faults"),
            element("button", "下一请求出错 Inject", type="submit"),
        )
    )
    forget = element("button", f"取消 Forget ({due})", type="submit")
    pieces = [element("form", add, method="post", action=FAULTS_PATH, class_="row")]
    if due:
        pieces.append(element("form", forget, method="post", action=FAULTS_PATH, class_="row"))
    return joined(pieces)


def push_forms(world: World) -> Html:
    """A form for each account. Token and key are never shown, and stay if nothing is typed."""
    return joined(_push_form(account) for account in world.accounts.all().values())


def _push_form(account: Account) -> Html:
    safe = account.push_aes_key is not None
    pieces = (
        element("span", account.name),
        input_field("hidden", "appid", account.appid),
        input_field("text", "url", account.push_url or "", placeholder="URL"),
        input_field("password", "token", placeholder="Token", autocomplete="off"),
        _choice("mode", {"plain": "明文 plain", "safe": "安全 safe"}, "safe" if safe else "plain"),
        input_field("password", "aes_key", placeholder="EncodingAESKey", autocomplete="off"),
        _choice("format", {"xml": "XML", "json": "JSON"}, account.push_format),
        element("button", "保存 Save", type="submit"),
    )
    return element("form", joined(pieces), method="post", action=PUSHES_PATH, class_="row")


def _choice(name: str, options: dict[str, str], chosen: str) -> Html:
    entries = (
        element("option", text, value=value, selected="selected" if value == chosen else "")
        for value, text in options.items()
    )
    return element("select", joined(entries, ""), name=name)


def _fields(body: bytes) -> dict[str, str]:
    pairs = parse_qs(body.decode("utf-8", "replace"))
    return {name: values[-1].strip() for name, values in pairs.items()}
