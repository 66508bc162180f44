"""What the logger `nontax` is told: retries, tokens, pauses, hosts; at INFO and WARNING.

    logging.basicConfig(level=logging.INFO)

No line has a credential, a name, an openid or a part of a payload in it: the core notes constants
and numbers. The module logging is never imported from here: whoever wants a log has done that.
"""

import sys


def _write(warning: bool, message: str, *values: object) -> None:
    logging = sys.modules.get("logging")
    if logging is None:
        return
    try:
        logger = logging.getLogger("nontax")
        if not logger.handlers:
            # Or else Python prints warnings of those who have set up no logging.
            logger.addHandler(logging.NullHandler())
        logger.log(logging.WARNING if warning else logging.INFO, message, *values)
    except Exception:
        # A handler that fails must not cost the outcome of a bill.
        return


class Notes:
    """Writes what one client's core notes.

    account: the AppID, if it is known.
    """

    __slots__ = ("_account",)

    def __init__(self, account: str | None = None) -> None:
        self._account = account or "nontax"

    def forced(self) -> None:
        """Forced mode of stable_token is about to be used."""
        _write(
            True,
            "%s: WeChat refuses the newest access token: forcing a new one, which ends the token "
            "of all processes of this account",
            self._account,
        )

    def __call__(
        self,
        kind: str,
        interface: str,
        host: str,
        reason: str,
        errcode: int,
        repeats: int,
        seconds: float,
    ) -> None:
        """One note; see nontax_note in nontax.h."""
        why = reason or f"errcode {errcode}"
        what = "ticket" if interface == "getticket" else "access token"
        who = self._account
        if kind == "retry":
            _write(
                False,
                "%s: %s: %s; repeat %d in %.1f s",
                *(who, interface, why, repeats + 1, seconds),
            )
        elif kind == "token_refused":
            _write(
                True,
                "%s: %s: WeChat refuses the access token (errcode %d); asking for a newer one",
                *(who, interface, errcode),
            )
        elif kind == "pause":
            _write(
                True,
                "%s: %s: the quota of calls per minute is used up (errcode %d); pausing for %.0f s",
                *(who, interface, errcode, seconds),
            )
        elif kind == "host_failed":
            _write(
                True,
                "%s: %s: nothing could be sent to %s: %s; trying the next host",
                *(who, interface, _name_of(host), why),
            )
        elif kind == "host_chosen":
            _write(False, "%s: %s answers; it is first for a while", who, _name_of(host))
        elif interface == "rid/get":
            return  # what it answers is no credential of its own
        elif kind == "fetched":
            _write(False, "%s: fetched the %s from %s", who, what, interface)
        elif kind == "not_fetched":
            _write(True, "%s: no %s from %s: %s", who, what, interface, why)


def _name_of(host: str) -> str:
    """The host of a base_url; a path may be private."""
    return host.split("/")[2]
