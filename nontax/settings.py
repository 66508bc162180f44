"""Checks of the settings that people give: here their names are known."""

import os

from nontax import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal, SupportsIndex, TypedDict

    Extra = Literal["refuse", "ignore", "send"]

    class RunSettings(TypedDict):
        concurrency: int
        rate: float
        keep: int
        never_waits: bool


BASE_URL = "https://api.weixin.qq.com"


def check_text(name: str, value: object) -> str:
    try:
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a str")
        if not value.isprintable():
            raise ValueError(f"{name} has a character that cannot be in it")
        return value
    finally:
        del value  # in a proxy's URL there may be a password


def check_path(name: str, value: "str | os.PathLike[str]") -> str:
    try:
        return check_text(name, os.fspath(value))
    except TypeError:
        raise TypeError(f"{name} must be a str or a path") from None


def _float_of(name: str, what: str, value: object) -> float:
    """Any number's, NumPy's and Fraction too; NaN if it is none that a float can hold."""
    is_number = hasattr(value, "__float__") or hasattr(value, "__index__")
    if isinstance(value, str | bytes | bool) or not is_number:
        raise TypeError(f"{name} must be a number of {what}")
    try:
        return float(value)  # type: ignore[arg-type]  # it was just looked at
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def check_seconds(name: str, value: object) -> float:
    seconds = _float_of(name, "seconds", value)
    if not 0.001 <= seconds <= 86_400:
        raise ValueError(f"{name} must be between a millisecond and a day")
    return seconds


def check_bills(bills: object) -> None:
    """Refuse what iterates over names in place of bills."""
    if isinstance(bills, dict) or hasattr(bills, "columns"):
        raise TypeError(
            "bills must be an iterable of bills; one bill is for insert_bill, and of a DataFrame "
            'take df.to_dict("records")'
        )


_EXTRA = ("refuse", "ignore", "send")  # in the order of the core's


def check_extra(extra: object) -> int:
    """What becomes of fields that the interface does not have, as the core numbers it."""
    if extra not in _EXTRA:
        raise ValueError('extra must be "refuse", "ignore" or "send"')
    return _EXTRA.index(extra)


def check_rate(rate: object) -> float:
    """How many bills a second; 0: as fast as WeChat answers."""
    if rate is None:
        return 0.0
    bills = _float_of("rate", "bills per second", rate)
    if not 0 < bills <= 1e6:
        raise ValueError("rate must be more than 0 and at most 1e6 bills per second")
    return bills


def check_choice(name: str, value: str, *choices: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str")
    if value not in choices:
        raise ValueError(f"{name} must be " + " or ".join(f'"{choice}"' for choice in choices))
    return value


def check_count(name: str, value: "SupportsIndex", lowest: int, highest: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int")
    count = value.__index__()
    if not lowest <= count <= highest:
        raise ValueError(f"{name} must be between {lowest} and {highest}")
    return count


MOST_KEPT = 1_000_000_000  # outcomes of a run: as good as all


def run_settings(
    bills: object,
    concurrency: "SupportsIndex",
    rate: object,
    minute_quota: str,
    keep: "SupportsIndex",
) -> "RunSettings":
    """What a run is begun with; raises TypeError or ValueError."""
    check_bills(bills)
    never_waits = check_choice("minute_quota", minute_quota, "pause", "outcome") == "outcome"
    return {
        "concurrency": check_count("concurrency", concurrency, 1, 1000),
        "rate": check_rate(rate),
        "keep": check_count("keep", keep, 0, MOST_KEPT),
        "never_waits": never_waits,
    }


def system_ca_file(ca_file: object, base_urls: tuple[str, ...]) -> str | None:
    """What a libcurl that was linked in is to trust; None: the system's libcurl knows itself."""
    if not _core.own_tls:
        return None
    from nontax.certificates import find_ca_file

    plain = all(url.lower().startswith("http:") for url in base_urls)
    return find_ca_file(needed=ca_file is None and not plain)


def base_urls_of(base_url: str | None, fallbacks: "Sequence[str] | None") -> tuple[str, ...]:
    """All hosts, in the order in which they are tried."""
    if fallbacks is None:
        fallbacks = ()
    if isinstance(fallbacks, str | bytes) or not hasattr(fallbacks, "__iter__"):
        raise TypeError("fallback_base_urls must be a sequence of URLs")
    first = check_text("base_url", BASE_URL if base_url is None else base_url)
    return (first, *(check_text("fallback_base_urls", url) for url in fallbacks))


def from_environment(name: str, taken: list[str]) -> str | None:
    """A setting that was not given; its name goes into `taken` if there is one."""
    variable = f"NONTAX_{name.upper()}"
    if os.environ.get(variable):
        taken.append(name)
    return os.environ.get(variable) or None


def ledger_from_environment() -> str | None:
    """The path of a ledger that was not given. Raises ValueError if it is not absolute."""
    path = os.environ.get("NONTAX_LEDGER") or None
    if path is not None and not os.path.isabs(path):
        # In another folder it would be another ledger, from which all is sent again.
        raise ValueError(f"NONTAX_LEDGER must be an absolute path, and is {path}")
    return path


def name_variable(error: ValueError, taken: list[str]) -> None:
    """Have the error name the variable, too, if what it is about was taken from one."""
    name, _, problem = str(error).partition(" ")
    if name in taken:
        error.args = (f"{name} (from NONTAX_{name.upper()}) {problem}",)
