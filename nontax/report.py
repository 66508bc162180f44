"""How the core's report of a call becomes one exception, or a kept errcode the same one again."""

from nontax import errors
from nontax.errors import (
    InDoubtError,
    InvalidRequestError,
    NontaxError,
    NotSentError,
    TLSError,
    WeChatError,
    known,
    rebuild,
)
from nontax.problems import Problem, problem_of_core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nontax._core import Report
    from nontax.errors import OutcomeName

_CATEGORY_CLASSES: dict[str, type[WeChatError]] = {
    "access_token": errors.AccessTokenError,
    "account": errors.AccountError,
    "quota": errors.QuotaError,
    "parameter": errors.ParameterError,
    "not_authorized": errors.NotAuthorizedError,
    "duplicate": errors.DuplicateBillError,
    "state": errors.BillStateError,
    "busy": errors.SystemBusyError,
}


def refusal_of(
    errcode: int,
    errmsg: str,
    rid: str,
    *,
    http_status: int = 0,
    reply: str | None = None,
    takes_secret: bool = False,
) -> WeChatError:
    """Make the error of an errcode. takes_secret: it came from an interface with the AppSecret."""
    # 40001 has two meanings: from an interface that takes the AppSecret, that one is wrong.
    _, _, category, _, _ = known(errcode)
    if takes_secret and category == "access_token":
        category = "account"
    error = _CATEGORY_CLASSES.get(category, WeChatError)(
        errcode=errcode, errmsg=errmsg, rid=rid or None, http_status=http_status, reply=reply
    )
    if takes_secret and errcode == 40001:
        _, _, _, error.retry, error.advice = known(40125)
    return error


def _refusal(report: "Report") -> WeChatError:
    assert report.errcode is not None
    return refusal_of(
        report.errcode,
        report.errmsg,
        report.rid,
        http_status=report.http_status,
        reply=report.reply,
        takes_secret=report.takes_secret,
    )


def _of_this_call(source_error: NontaxError, outcome: "OutcomeName") -> NontaxError:
    """The token source's own exception, one for each of the calls that wait for the token."""
    fields: dict[str, object] = {
        name: list(value) if isinstance(value, list) else value
        for name, value in vars(source_error).items()
    }
    fields["outcome"] = outcome  # of this bill, whatever the token's own call came to
    error = rebuild(type(source_error), fields)
    error.__cause__ = source_error.__cause__
    error.__context__ = source_error.__context__
    error.__suppress_context__ = source_error.__suppress_context__
    return error.with_traceback(source_error.__traceback__)


def _error_of_source(report: "Report") -> NontaxError | None:
    """The source's error, where it says what became of the bill, or of how it was not sent."""
    source_error = report.source_error
    # A class of the caller's own may lack an outcome, or want arguments to be made again.
    if (
        isinstance(source_error, NontaxError)
        and type(source_error).__module__ == errors.__name__
        and getattr(source_error, "outcome", "in_doubt") != "in_doubt"
    ):
        error = _of_this_call(source_error, report.outcome)
        if report.errcode is not None and error.__context__ is None:
            # The newer token could not be had; why one was needed stands behind that.
            error.__context__ = _refusal(report)
        return error
    return None


def _error_of_call(report: "Report") -> NontaxError:
    error: NontaxError
    if report.source_error is not None and report.errcode is None:
        raised = type(report.source_error).__name__
        error = NotSentError(reason=f"the token source raised {raised}")
        error.__cause__ = report.source_error
    elif report.token_problem is not None and report.errcode is None:
        why = {"problem": report.token_problem}
        problem = Problem("access_token", report.token_problem, "token_unusable", why)
        error = InvalidRequestError(problems=[problem])
    elif report.cause == "payload":
        error = InvalidRequestError(problems=[problem_of_core(*each) for each in report.problems])
    elif report.errcode is not None and report.cause in ("answer", "later"):
        error = _refusal(report)
        error.__cause__ = report.source_error
        if report.token_problem is not None:
            error.add_note(f"nontax: the newer access token {report.token_problem}")
    elif report.outcome == "in_doubt":
        error = InDoubtError(
            reason=report.reason,
            curl_code=report.curl_code,
            http_status=report.http_status or None,
            timed_out=report.timed_out,
            read_only=report.read_only,
            reply=report.reply,
        )
    else:
        error = (TLSError if report.cause == "tls" else NotSentError)(
            reason=report.reason, curl_code=report.curl_code, timed_out=report.timed_out
        )
    if report.cause == "later":
        error.retry = "later"
        error.advice = "It was not processed: send it again in a minute."
    error.interface = report.interface
    return error


def make_error(report: "Report") -> NontaxError:
    """Make the one exception that says what became of a call; called by nontax._core.

    Both a source_error and a token_problem mean that this bill was not taken: either it was not
    sent, or it was refused with its first token.
    """
    error = _error_of_source(report) or _error_of_call(report)
    if error.appid is None:
        error.appid = report.appid
    return error
