"""Calls that are written ahead: what a client with a ledger does around each bill.

Loaded by the first call of such a client.
"""

import time

from nontax.delivery.content import FORM, bill_as_printed, content_of
from nontax.delivery.states import DUPLICATES, Answer
from nontax.delivery.store import Claim, Content, Known, Refused
from nontax.errors import (
    AccessTokenError,
    AccountError,
    ConflictError,
    InDoubtError,
    InvalidRequestError,
    LedgerError,
    NontaxError,
    NotSentError,
    QuotaError,
    SystemBusyError,
    WeChatError,
)
from nontax.outcomes import InsertedBill, Outcome
from nontax.report import refusal_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from nontax import _core
    from nontax.interfaces import T
    from nontax.ledger import Ledger

# How often a bill that another run has under way is looked at.
LOOK_EVERY = 0.05
_OF_ALL_BILLS = (AccessTokenError, AccountError, QuotaError)
_OTHERS = "another run of this ledger has it under way"


def answer_of(
    inserted: InsertedBill | None, error: BaseException | None, transfers: int = 0
) -> Answer:
    """What the client has said of a call, as the store keeps it."""
    if inserted is not None:
        return Answer(
            "inserted", 0, "", "", "", 0, 0, transfers, inserted.code, inserted.openid or ""
        )
    if isinstance(error, WeChatError):
        stops_run = isinstance(error, _OF_ALL_BILLS) or (
            isinstance(error, SystemBusyError) and error.outcome != "in_doubt"
        )
        return Answer(
            error.outcome, error.errcode, error.errmsg, error.rid or "",
            http_status=error.http_status or 0, transfers=transfers, stops_run=stops_run,
        )  # fmt: skip
    if isinstance(error, InDoubtError):
        return Answer(
            "in_doubt", reason=error.reason, curl_code=error.curl_code,
            http_status=error.http_status or 0, transfers=transfers,
        )  # fmt: skip
    if isinstance(error, NotSentError):
        return Answer("not_sent", reason=error.reason, curl_code=error.curl_code,
                      transfers=transfers)  # fmt: skip
    if isinstance(error, NontaxError) and error.outcome == "not_sent":
        return Answer("not_sent", reason=type(error).__name__, transfers=transfers)
    return Answer("in_doubt", reason=type(error).__name__, transfers=transfers)


def answer_of_raised(raised: BaseException) -> Answer:
    """The same of what a call has raised, which may be a signal handler's exception."""
    error: BaseException | None = raised
    while error is not None and not isinstance(error, NontaxError):
        error = error.__cause__ or error.__context__
    return answer_of(None, error or raised)


def error_of(answer: Known | Refused) -> NontaxError | None:
    """What the caller gets of a bill that the ledger does not let be sent; None: it is inserted."""
    error: NontaxError
    if isinstance(answer, Refused):
        return conflict_of(answer)
    if answer.state == "inserted":
        return None
    if answer.state == "in_doubt":
        error = InDoubtError(reason=f"an earlier attempt is in doubt: {answer.reason}")
    elif answer.state == "sending":
        error = InDoubtError(reason=_OTHERS, timed_out=True)
    elif answer.state == "rejected":
        error = refusal_of(answer.errcode, answer.errmsg, answer.rid)
        if answer.errcode not in DUPLICATES:
            error.add_note("nontax: this is kept of an earlier attempt; nothing was sent now")
    else:
        words = {"withdrawn": "was withdrawn", "held": "waits for the citizen's authorisation"}
        why = words.get(answer.state, f"is {answer.state} in the ledger")
        error = InvalidRequestError(
            problems=[("order_id", f"{why}: have it sent by Ledger.deliver()")]
        )
    error.from_ledger = True
    return error


def conflict_of(refused: Refused, keeper: str = "ledger") -> ConflictError:
    """The error of a bill that is known with other content. keeper: what the store is called."""
    kept = refused.known.content
    if refused.same_number:
        problems = [
            (
                "billing_code",
                f"is that of order {kept.order_id}, which is {refused.known.state}: the same "
                "printed number is not sent twice",
            )
        ]
    else:
        problems = [
            (name, f"differs from what the {keeper} has of this order: {refused.why}")
            for name in refused.fields
        ]
    return ConflictError(
        problems=problems,
        fields=["billing_no", "billing_code"] if refused.same_number else refused.fields,
        kept={
            name: value for name, value in kept._asdict().items() if name not in ("extra", "shape")
        },
    )


def known_of(answer: Known | Refused) -> InsertedBill:
    """The kept bill; raises what else is known."""
    error = error_of(answer)
    if error is not None:
        raise error
    assert isinstance(answer, Known)
    return inserted_of(answer)


def inserted_of(known: Known) -> InsertedBill:
    """The kept code. It is "" where WeChat has told that the bill is in, and not its code."""
    return InsertedBill(code=known.code, openid=known.openid or None)


class Journaled:
    """The single calls of one client, through one ledger."""

    def __init__(self, core: "_core.Client", ledger: "Ledger", timeout: float) -> None:
        self.core, self.ledger, self.timeout = core, ledger, timeout

    def insert(self, bill: object, access_token: str | None = None) -> InsertedBill:
        """`Client.insert_bill`, written ahead."""
        try:
            return self._insert(bill, access_token)
        finally:
            # A traceback that shows local variables must not show the token.
            del access_token

    def _insert(self, bill: object, access_token: str | None) -> InsertedBill:
        printed = self.core.body("insertbill", bill, FORM)
        content = content_of(printed)
        claim: object = None
        try:
            claim = self._open(content)
            if isinstance(claim, InsertedBill):
                return claim
            assert isinstance(claim, Claim)
            self.ledger.handed_over([claim])
            # Of the very text that is written down, whatever the mapping would say now.
            inserted = self.core.call(
                "insertbill", bill_as_printed(printed), access_token, None, InsertedBill._from_reply
            )
        except BaseException as raised:
            if isinstance(claim, Claim):
                self._close(bill, claim, answer_of_raised(raised), None, raised)
            raise
        finally:
            del access_token
        self._close(bill, claim, answer_of(inserted, None), inserted, None)
        return inserted

    def _open(self, content: Content) -> Claim | InsertedBill:
        """An attempt that is on disk, or what is kept of the bill. Raises what else is known."""
        until = time.monotonic() + self.timeout
        while True:
            (answer,) = self.ledger.open_attempts([content])
            if isinstance(answer, Claim):
                return answer
            if isinstance(answer, Refused) or answer.state != "sending":
                break
            if time.monotonic() > until:
                break
            time.sleep(LOOK_EVERY)
            self.ledger.expire()
        return known_of(answer)

    def _close(
        self,
        bill: object,
        claim: Claim,
        answer: Answer,
        inserted: InsertedBill | None,
        raised: BaseException | None,
    ) -> None:
        try:
            self.ledger.close_attempts([(claim, answer)])
        except LedgerError as error:
            raise self.with_outcome(error, bill, answer, inserted, raised) from error.__cause__

    @staticmethod
    def with_outcome(
        error: LedgerError,
        bill: object,
        answer: Answer,
        inserted: InsertedBill | None,
        raised: BaseException | None,
    ) -> LedgerError:
        """The ledger's error, with the outcome that could be kept nowhere."""
        told = raised if isinstance(raised, NontaxError) else None
        outcome = Outcome(0, bill, answer.outcome, inserted, told, 1, 0.0, False, False)
        # "inserted" is no outcome of an error: of the call it is not known any more.
        name = "in_doubt" if answer.outcome == "inserted" else answer.outcome
        return LedgerError(reason=str(error), outcome=name, outcomes=[outcome])  # type: ignore[arg-type]

    def change(self, what: "dict[str, str]", call: "Callable[[], T]") -> "T":
        """`update_bill_status` and `reject_bill`, written ahead. what: as `Ledger.open_change`."""
        change = self.ledger.open_change(**what)
        try:
            result = call()
        except BaseException as raised:
            self.ledger.close_change(change, answer_of_raised(raised))
            raise
        self.ledger.close_change(change, Answer("inserted"))
        return result
