"""What can go wrong, each class a different reaction of the caller."""

# Imports no core at its beginning: `import nontax` must stay cheap, and work without it.

from nontax.problems import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    OutcomeName = Literal["inserted", "rejected", "not_sent", "in_doubt"]


def known(errcode: int) -> tuple[int, str, str, str, str]:
    # Not at the top: where there is no core, these classes can still be caught and unpickled.
    from nontax import _core

    return _core.errcode(errcode)


def rebuild(cls: type["NontaxError"], fields: dict[str, object]) -> "NontaxError":
    """Make an exception again from what it was pickled as."""
    error = cls.__new__(cls)
    Exception.__init__(error)
    error.__dict__.update(fields)
    return error


class NontaxError(Exception):
    """Base of all errors of this package.

    outcome: what became of the bill: "rejected", "not_sent" or "in_doubt". Never "inserted".
    interface: WeChat's name of the interface, such as "insertbill" (str).
    reason: what happened, in one line (str). The same cause gives the same text: there is no
        request id, time or count in it, so that it can be counted and grouped by.
    retry: whether sending the same again can help: "no", "yes", "later" or "after_token_refresh".
    advice: what to do, one sentence (str).
    appid: the account whose credentials were used (str), or None where it is not known.

    All errors can be pickled and copied. No text in them contains the access token.
    """

    outcome: "OutcomeName"
    interface: str = "insertbill"
    from_ledger: bool = False
    reason: str = ""
    retry: str = "no"
    advice: str = "See the message."
    appid: str | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return rebuild, (type(self), self.__dict__)

    def __repr__(self) -> str:
        try:
            return f"<{type(self).__name__}: {self}>"
        except AttributeError:  # a traceback with local variables may show one that is not made yet
            return f"<{type(self).__name__}>"


class InvalidRequestError(NontaxError, ValueError):
    """The bill, or the access token for it, breaks the interface's rules. Nothing was sent.

    problems: all that is wrong, as a list of `Problem`: (path, message) pairs, such as
        ("card_ext.user_card.invoice_user_data.fee", "is missing"), with `.id` and `.values` beside.
        The path is empty where the whole is meant. reason: the same in one line.
    """

    problems: list[Problem]
    advice = "Correct what `problems` lists, and send it again."

    def __init__(self, *, problems: "Sequence[tuple[str, str]]") -> None:
        super().__init__()
        self.outcome = "not_sent"
        self.problems = [
            problem if isinstance(problem, Problem) else Problem(*problem) for problem in problems
        ]
        self.reason = "; ".join(self._lines())

    def _lines(self) -> list[str]:
        return [f"{path or 'the payload'} {message}" for path, message in self.problems]

    def __str__(self) -> str:
        lines = self._lines()
        if len(lines) == 1:
            return f"nothing was sent: {lines[0]}"
        return "\n  ".join([f"nothing was sent, {len(lines)} problems:", *lines])


class ConflictError(InvalidRequestError):
    """The ledger or outbox knows the order with other content. Nothing was sent.

    fields: the names of the fields that differ (list of str). kept: what is kept of the order, or
        of the other order with the same printed number (dict of the bill's nine fields; what was
        pruned is "").
    """

    fields: "list[str]"
    kept: "dict[str, object]"

    def __init__(
        self,
        *,
        problems: "Sequence[tuple[str, str]]",
        fields: "Sequence[str]" = (),
        kept: "dict[str, object] | None" = None,
    ) -> None:
        super().__init__(problems=problems)
        self.fields = list(fields)
        self.kept = dict(kept or {})


class LedgerError(NontaxError):
    """The ledger cannot be used: its file, its disk, its server, or another process is in the way.

    reason: what is wrong, and what to do (str). outcome: "not_sent", unless a bill went out whose
    answer could be kept nowhere. outcomes: those that could be kept nowhere, the only trace of
    which is this list (list of `Outcome`); empty if all is kept.
    """

    reason: str
    outcomes: "list[object]"
    # The reason before its values stood in it, where it can be said in another language.
    sentence: str = ""
    values: "dict[str, str] | None" = None

    def __init__(
        self, *, reason: str, outcome: "OutcomeName" = "not_sent", outcomes: "Sequence[object]" = ()
    ) -> None:
        super().__init__()
        self.reason = reason
        self.outcome = outcome
        self.outcomes = list(outcomes)
        self.advice = "Fix the ledger as the message says, then try again."

    def __str__(self) -> str:
        return self.reason


class NotSentError(NontaxError):
    """No byte of the bill left this process. It may be sent again.

    reason: what happened, in English. curl_code: libcurl's error number, or 0.
    timed_out: whether the time was over.
    """

    curl_code: int
    timed_out: bool
    retry = "yes"
    advice = "Nothing was sent: send it again."

    def __init__(self, *, reason: str, curl_code: int = 0, timed_out: bool = False) -> None:
        super().__init__()
        self.outcome = "not_sent"
        self.reason = reason
        self.curl_code = curl_code
        self.timed_out = timed_out

    def __str__(self) -> str:
        return f"nothing was sent: {self.reason}; sending it again is safe"


class TLSError(NotSentError):
    """The server's certificate or the TLS handshake failed. Nothing was sent.

    Sending again does not help: check `base_url`, `ca_file`, the proxy and the clock.
    """

    retry = "no"
    advice = "Check base_url, ca_file, the proxy and this machine's clock."

    def __str__(self) -> str:
        return (
            f"nothing was sent: {self.reason}; "
            "check base_url, ca_file, the proxy and this machine's clock"
        )


class InDoubtError(NontaxError):
    """The bill went out, at least partly, and no usable answer came: it may be in the wallet.

    Do not send it again by itself. If it is sent again later, a `DuplicateBillError` means that
    this attempt has succeeded.

    reason: what happened, in English. curl_code: libcurl's error number, or 0.
    http_status: status of the reply, or None if there was none.
    timed_out: whether the time was over before an answer came.
    read_only: whether the interface changes nothing: then no bill is in doubt, and it may be called
        again.
    reply: what came in place of an answer, or of one that was cut off, as text (str); None if
        nothing came, or if it may have a credential in it (of an interface that hands one out).
        Bytes that cannot be shown are "\\xNN", credentials are "***", and it is cut off where it
        gets long; but what stands there as a `code` is all there: it may be the bill's card code.
        It may name the citizen, and is not part of str().
    """

    curl_code: int
    http_status: int | None
    timed_out: bool
    read_only: bool
    reply: str | None = None
    advice = "Check whether it was carried out before you send it again."

    def __init__(
        self,
        *,
        reason: str,
        curl_code: int = 0,
        http_status: int | None = None,
        timed_out: bool = False,
        read_only: bool = False,
        reply: str | None = None,
    ) -> None:
        super().__init__()
        self.outcome = "in_doubt"
        self.read_only = read_only
        if read_only:
            self.retry = "yes"
            self.advice = "Call it again: it changes nothing."
        self.reply = reply
        self.reason = reason
        self.curl_code = curl_code
        self.http_status = http_status
        self.timed_out = timed_out

    def __str__(self) -> str:
        if self.read_only:
            return (
                f"{self.interface} returned no usable answer: {self.reason}; "
                "calling it again is safe"
            )
        if self.interface != "insertbill":
            return (
                f"{self.interface} may or may not have been carried out: {self.reason}; do not "
                "call it again until you know"
            )
        return (
            f"the bill may or may not have been inserted: {self.reason}; do not send it again "
            "until you know (see docs/in-doubt.md)"
        )


def _reason(errcode: int, name: str, errmsg: str) -> str:
    """An errcode with WeChat's words, but for what names one request: "… hint: [x] rid: y"."""
    words = errmsg
    for begin in ("rid:", "hint:", "hints:"):
        words = words.partition(begin)[0]
    words = words.rstrip(" ,;")
    return f"{errcode} {name}: {words}" if words else f"{errcode} {name}"


class WeChatError(NontaxError):
    """WeChat answered with an errcode. The bill was not inserted (but see `SystemBusyError`).

    errcode: WeChat's number. name: its short name, "UNKNOWN" for a code that is not in nontax's
        table.
    errmsg: WeChat's words, with the access token masked. rid: WeChat's id of this request, or None.
    reason: errcode, name and WeChat's words without what is of this request alone.
    http_status: status of the reply. reply: the whole reply as `InDoubtError` has it, where there
        was more in it than errcode and errmsg; else None.
    """

    errcode: int
    name: str
    errmsg: str
    rid: str | None
    http_status: int | None
    reply: str | None = None
    _is_of_the_account = False  # then its message names the account

    def __init__(
        self,
        *,
        errcode: int,
        errmsg: str = "",
        rid: str | None = None,
        http_status: int | None = None,
        reply: str | None = None,
    ) -> None:
        super().__init__()
        self.outcome = "in_doubt" if errcode == -1 else "rejected"
        self.errcode = errcode
        _, self.name, _, self.retry, self.advice = known(errcode)
        self.errmsg = errmsg
        self.reason = _reason(errcode, self.name, errmsg)
        self.rid = rid
        self.http_status = http_status
        self.reply = reply

    def __str__(self) -> str:
        rid = f" [rid {self.rid}]" if self.rid and self.rid not in self.errmsg else ""
        account = f" (account {self.appid})" if self._is_of_the_account and self.appid else ""
        words = f"{self.errcode} {self.name}: {self.errmsg}{rid} | {self.advice}{account}"
        what = "" if self.interface == "insertbill" else f"{self.interface} "
        if self.outcome == "not_sent":
            return f"nothing was sent, no access token could be fetched: {what}rejected: {words}"
        if self.outcome == "rejected":
            return f"{what}rejected: {words}"
        return f"WeChat's answer leaves the {what.strip() or 'bill'} in doubt: {words}"


class AccessTokenError(WeChatError):
    """The access token is wrong, has ended, or was superseded by a newer one."""

    _is_of_the_account = True


class AccountError(WeChatError):
    """The account may not do this: AppID, AppSecret, IP list or permission."""

    _is_of_the_account = True


class QuotaError(WeChatError):
    """A limit of calls is reached: go on later."""

    _is_of_the_account = True


class ParameterError(WeChatError):
    """WeChat refuses a value, or the form of the request."""


class NotAuthorizedError(WeChatError):
    """The citizen has not authorised the order, or the authorisation has ended."""


_TWINS = {"order": "order_id", "number": "billing_no and billing_code"}


class DuplicateBillError(WeChatError):
    """The bill, or its order, was inserted before: treat it as delivered.

    But not where `same_as` is set: then another bill of the same run had the same order_id, or the
    same billing_no and billing_code. It is that one's index in the run (int), else None.
    """

    same_as: int | None = None

    def _is_twin_of(self, what: str, index: int) -> None:
        """Called by nontax._core: another bill of the run had the same order or number."""
        self.same_as = index
        self.retry = "no"
        self.advice = (
            f"The bill at index {index} of the same run has the same {_TWINS[what]}, and WeChat "
            "takes only one of them: compare the two before you treat this one as delivered."
        )


class BillStateError(WeChatError):
    """The bill, the order or the card is in a state that does not allow this."""


class SystemBusyError(WeChatError):
    """WeChat is busy. With errcode -1 the bill is in doubt; with any other code it was not taken.

    `outcome` tells the two apart.
    """
