"""Many PDFs to WeChat, a few at once: one outcome for each, in the order in which they came."""

import time

from nontax.errors import (
    AccessTokenError,
    AccountError,
    InvalidRequestError,
    NontaxError,
    NotSentError,
    QuotaError,
    TLSError,
)
from nontax.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
    from typing import Any

    from nontax.pdf import PdfLike
    from nontax.results import UploadedPdf

    Pdfs = Mapping[Any, PdfLike] | Iterable[PdfLike]

MINUTE_QUOTA = 45011
TRIES = 5  # of one file, each after the pause for the minute's quota


class UploadOutcome(Record):
    """What became of one PDF of `Client.upload_pdfs`.

    key: the PDF's key in a mapping, else its place in the iterable, from 0. pdf: the very object
    that came in. uploaded: the `UploadedPdf`, or None. error: the exception that `upload_pdf` would
    have raised, or None.
    """

    __slots__ = ("key", "pdf", "uploaded", "error")  # noqa: RUF023  (in the order of their meaning)

    key: "Any"
    pdf: "Any"
    uploaded: "UploadedPdf | None"
    error: Exception | None


def items_of(pdfs: "Pdfs") -> "Iterator[tuple[Any, PdfLike]]":
    """Pairs of key and PDF."""
    if isinstance(pdfs, str | bytes | bytearray | memoryview) or hasattr(pdfs, "read"):
        raise TypeError("pdfs must be an iterable or a mapping of PDFs; one is for upload_pdf")
    items = getattr(pdfs, "items", None)
    return iter(items() if callable(items) else enumerate(pdfs))


class _Uploads:
    """What the uploads of one call have in common."""

    def __init__(self) -> None:
        self.stopped_by: NontaxError | None = None  # what every further one would meet, too

    def settle(
        self, key: "Any", pdf: "Any", uploaded: "UploadedPdf | None", error: Exception | None
    ) -> UploadOutcome:
        if isinstance(error, NontaxError) and self.stopped_by is None and _stops(error):
            self.stopped_by = error
        return UploadOutcome(key, pdf, uploaded, error)

    def not_tried(self, key: "Any", pdf: "Any") -> UploadOutcome:
        assert self.stopped_by is not None
        error = NotSentError(
            reason=f"an upload before it met what every one would meet: {self.stopped_by.reason}"
        )
        error.interface = "setpdf"
        error.__cause__ = self.stopped_by
        return UploadOutcome(key, pdf, None, error)


def _stops(error: NontaxError) -> bool:
    if isinstance(error, InvalidRequestError):
        return any(problem.path in ("access_token", "token_source") for problem in error.problems)
    return isinstance(error, AccessTokenError | AccountError | QuotaError | TLSError)


def _seconds_to_the_next_minute() -> float:
    return 60 - time.time() % 60 + 0.5


def _is_to_wait(error: Exception, tries: int) -> bool:
    return isinstance(error, QuotaError) and error.errcode == MINUTE_QUOTA and tries < TRIES


def upload_all(
    upload: "Callable[[PdfLike], UploadedPdf]", pdfs: "Pdfs", concurrency: int
) -> "Iterator[UploadOutcome]":
    return _upload_all(upload, items_of(pdfs), concurrency)


def _upload_all(
    upload: "Callable[[PdfLike], UploadedPdf]",
    items: "Iterator[tuple[Any, PdfLike]]",
    concurrency: int,
) -> "Iterator[UploadOutcome]":
    # Threads and not a run: a run's calls are bills.
    from collections import deque
    from concurrent.futures import Future, ThreadPoolExecutor
    from threading import Event

    uploads, ended = _Uploads(), Event()

    def try_one(key: "Any", pdf: "Any") -> UploadOutcome:
        for tries in range(1, TRIES + 1):
            if uploads.stopped_by is not None:
                break
            try:
                return uploads.settle(key, pdf, upload(pdf), None)
            except Exception as error:
                if not _is_to_wait(error, tries):
                    return uploads.settle(key, pdf, None, error)
            if ended.wait(_seconds_to_the_next_minute()):
                break
        return uploads.not_tried(key, pdf)

    waiting: deque[Future[UploadOutcome]] = deque()
    failure: Exception | None = None
    pool = ThreadPoolExecutor(concurrency, "nontax-upload")
    try:
        while failure is None:
            try:
                key, pdf = next(items)
            except StopIteration:
                break
            except Exception as error:  # the iterable's own: after what is under way
                failure = error
                break
            waiting.append(pool.submit(try_one, key, pdf))
            if len(waiting) > concurrency:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        if failure is not None:
            raise failure
    finally:
        ended.set()
        pool.shutdown(wait=False, cancel_futures=True)


async def aupload_all(
    upload: "Callable[[PdfLike], Awaitable[UploadedPdf]]",
    items: "Iterator[tuple[Any, PdfLike]]",
    concurrency: int,
) -> "AsyncIterator[UploadOutcome]":
    import asyncio
    from collections import deque

    uploads = _Uploads()

    async def try_one(key: "Any", pdf: "Any") -> UploadOutcome:
        for tries in range(1, TRIES + 1):
            if uploads.stopped_by is not None:
                break
            try:
                return uploads.settle(key, pdf, await upload(pdf), None)
            except Exception as error:
                if not _is_to_wait(error, tries):
                    return uploads.settle(key, pdf, None, error)
            await asyncio.sleep(_seconds_to_the_next_minute())
        return uploads.not_tried(key, pdf)

    waiting: deque[asyncio.Task[UploadOutcome]] = deque()
    failure: Exception | None = None
    try:
        while failure is None:
            try:
                key, pdf = next(items)
            except StopIteration:
                break
            except Exception as error:
                failure = error
                break
            waiting.append(asyncio.create_task(try_one(key, pdf)))
            if len(waiting) >= concurrency:
                yield await waiting[0]
                waiting.popleft()
        while waiting:
            yield await waiting[0]
            waiting.popleft()
        if failure is not None:
            raise failure
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
