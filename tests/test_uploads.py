"""Many PDFs, and files as web frameworks hand them in."""

import asyncio
import inspect
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from loops import Strict

import nontax
from nontax.sandbox import Sandbox, faults

PDF = b"%PDF-1.7\n%%EOF\n"
Upload = Callable[..., list[nontax.UploadOutcome]]


def content_of(sandbox: Sandbox, outcome: nontax.UploadOutcome) -> bytes:
    assert outcome.error is None
    assert outcome.uploaded is not None
    return sandbox.pdfs[outcome.uploaded.s_media_id].content


@pytest.fixture(params=["blocking", "asyncio"])
def upload(request: pytest.FixtureRequest, client: nontax.Client, run: Strict) -> Upload:
    """All outcomes, by the client's method or by its twin."""

    async def collect(pdfs: Any, settings: dict[str, Any]) -> list[nontax.UploadOutcome]:
        return [outcome async for outcome in client.aupload_pdfs(pdfs, **settings)]

    def upload_all(pdfs: Any, **settings: Any) -> list[nontax.UploadOutcome]:
        if request.param == "asyncio":
            return run(collect(pdfs, settings))
        return list(client.upload_pdfs(pdfs, **settings))

    return upload_all


# --- many -----------------------------------------------------------------------------------------


def test_one_outcome_each_in_order(sandbox: Sandbox, upload: Upload, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(PDF + b"a")
    (tmp_path / "b.ofd").write_bytes(b"PK\x03\x04 an OFD file")
    read_before = io.BytesIO(PDF)
    read_before.read()
    pdfs: list[Any] = [
        tmp_path / "a.pdf",
        tmp_path / "missing.pdf",
        PDF + b"b",
        tmp_path / "b.ofd",
        5,
        read_before,
        b"",
        io.BytesIO(PDF + b"c"),
    ]
    outcomes = upload(pdfs, concurrency=3)
    assert [outcome.key for outcome in outcomes] == list(range(8))
    assert [outcome.pdf for outcome in outcomes] == pdfs
    for place, end in ((0, b"a"), (2, b"b"), (7, b"c")):
        assert content_of(sandbox, outcomes[place]) == PDF + end
    errors = [outcomes[place].error for place in (1, 3, 4, 5, 6)]
    assert [type(error) for error in errors] == [
        FileNotFoundError,
        nontax.InvalidRequestError,
        TypeError,
        nontax.InvalidRequestError,
        nontax.InvalidRequestError,
    ]
    assert "as an OFD file is: WeChat takes PDF only" in str(errors[1])
    assert "call its seek(0) first" in str(errors[3])
    assert all(outcomes[place].uploaded is None for place in (1, 3, 4, 5, 6))
    assert len(sandbox.requests) == 3


def test_a_mapping_gives_the_keys(sandbox: Sandbox, upload: Upload) -> None:
    outcomes = upload({f"D{number}": PDF + b"%d" % number for number in range(20)})
    assert [outcome.key for outcome in outcomes] == [f"D{number}" for number in range(20)]
    for number, outcome in enumerate(outcomes):
        assert content_of(sandbox, outcome) == PDF + b"%d" % number


def test_none_at_all(upload: Upload) -> None:
    assert upload([]) == []


def test_a_refusal_of_one_is_one_outcome(sandbox: Sandbox, upload: Upload) -> None:
    sandbox.inject(faults.Errcode(40006), times=1)
    outcomes = upload([PDF] * 4, concurrency=1)
    [refused] = [outcome.error for outcome in outcomes if outcome.error]
    assert isinstance(refused, nontax.WeChatError)
    assert refused.errcode == 40006
    assert len(sandbox.requests) == 4


@pytest.mark.parametrize("errcode", [48001, 45009, 40164])
def test_what_each_would_meet_ends_the_run(sandbox: Sandbox, upload: Upload, errcode: int) -> None:
    sandbox.inject(faults.Errcode(errcode), times=1)
    outcomes = upload([PDF] * 50, concurrency=1)
    assert len(outcomes) == 50
    first, *others = [outcome.error for outcome in outcomes]
    assert isinstance(first, nontax.WeChatError)
    for error in others[1:]:
        assert isinstance(error, nontax.NotSentError)
        assert error.__cause__ is first
        assert str(errcode) in error.reason
        assert error.interface == "setpdf"
    assert len(sandbox.requests) <= 2


def test_the_minute_s_quota_is_waited_for(
    sandbox: Sandbox, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = []

    def pause() -> float:
        pauses.append(True)
        return 0.01

    monkeypatch.setattr("nontax.uploads._seconds_to_the_next_minute", pause)
    sandbox.inject(faults.Errcode(45011), times=1)
    outcomes = upload([PDF] * 3, concurrency=1)
    assert [outcome.error for outcome in outcomes] == [None] * 3
    assert len(pauses) == 1


def test_an_iterable_that_raises(sandbox: Sandbox, client: nontax.Client, run: Strict) -> None:
    def pdfs() -> Iterator[bytes]:
        yield PDF
        yield PDF
        raise LookupError("the list ends here")

    taken: list[nontax.UploadOutcome] = []

    def blocking() -> None:
        taken.extend(outcome for outcome in client.upload_pdfs(pdfs()))

    async def main() -> None:
        async for outcome in client.aupload_pdfs(pdfs()):
            taken.append(outcome)

    for call in (blocking, lambda: run(main())):
        with pytest.raises(LookupError, match="ends here"):
            call()
    assert [outcome.error for outcome in taken] == [None] * 4


def test_it_is_read_as_outcomes_are_asked_for(client: nontax.Client) -> None:
    given = []

    def pdfs() -> Iterator[bytes]:
        for number in range(100):
            given.append(number)
            yield PDF

    outcomes = client.upload_pdfs(pdfs(), concurrency=2)
    assert given == []
    next(outcomes)
    assert len(given) <= 4
    outcomes.close()  # type: ignore[attr-defined]


def test_a_loop_that_is_left(sandbox: Sandbox, client: nontax.Client, run: Strict) -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        outcomes = client.aupload_pdfs([PDF] * 20, concurrency=2)
        async for _ in outcomes:
            break
        await outcomes.aclose()  # type: ignore[attr-defined]
        assert asyncio.all_tasks() == before

    run(main())
    assert len(sandbox.requests) < 20


@pytest.mark.parametrize("wrong", [b"%PDF-", "a.pdf", io.BytesIO(PDF), bytearray(PDF), 5, None])
def test_what_is_no_list_of_pdfs(client: nontax.Client, wrong: Any) -> None:
    for call in (client.upload_pdfs, client.aupload_pdfs):
        with pytest.raises(TypeError):
            call(wrong)
    for concurrency in (0, 101, 1.5):
        with pytest.raises((TypeError, ValueError), match="concurrency"):
            client.upload_pdfs([], concurrency=concurrency)  # type: ignore[arg-type]


# --- files of web frameworks ----------------------------------------------------------------------


def rolled(content: bytes) -> Any:
    file = tempfile.SpooledTemporaryFile(max_size=1)  # noqa: SIM115  (the caller's)
    file.write(content)
    file.seek(0)
    return file


def of_starlette(content: bytes, **more: Any) -> Any:
    datastructures = pytest.importorskip("starlette.datastructures")
    return datastructures.UploadFile(io.BytesIO(content), filename="票 1.pdf", **more)


def of_starlette_on_disk(content: bytes) -> Any:
    datastructures = pytest.importorskip("starlette.datastructures")
    return datastructures.UploadFile(rolled(content), filename="票 1.pdf")


def of_django(content: bytes) -> Any:
    uploadedfile = pytest.importorskip("django.core.files.uploadedfile")
    return uploadedfile.InMemoryUploadedFile(
        io.BytesIO(content), "pdf", "票 1.pdf", "application/pdf", len(content), None
    )


def of_django_on_disk(content: bytes) -> Any:
    from django.conf import settings

    uploadedfile = pytest.importorskip("django.core.files.uploadedfile")
    if not settings.configured:
        settings.configure()
    file = uploadedfile.TemporaryUploadedFile("票 1.pdf", "application/pdf", len(content), None)
    file.write(content)
    file.seek(0)
    return file


def of_werkzeug(content: bytes) -> Any:
    datastructures = pytest.importorskip("werkzeug.datastructures")
    return datastructures.FileStorage(io.BytesIO(content), filename="票 1.pdf", name="field")


def of_aiohttp(content: bytes) -> Any:
    """Its FileField has no read()."""
    return SimpleNamespace(name="field", filename="票 1.pdf", file=io.BytesIO(content))


FRAMEWORKS: list[Callable[[bytes], Any]] = [
    of_starlette,
    of_starlette_on_disk,
    of_django,
    of_django_on_disk,
    of_werkzeug,
    of_aiohttp,
]


@pytest.mark.parametrize("make", FRAMEWORKS)
def test_an_uploaded_file(
    sandbox: Sandbox, client: nontax.Client, run: Strict, make: Callable[[bytes], Any]
) -> None:
    pdf = make(PDF)

    async def main() -> str:
        if inspect.iscoroutinefunction(getattr(pdf, "read", None)):
            await pdf.seek(0)
        else:
            getattr(pdf, "seek", getattr(pdf, "file", pdf).seek)(0)
        return (await client.aupload_pdf(pdf)).s_media_id

    for s_media_id in (client.upload_pdf(pdf).s_media_id, run(main())):
        assert sandbox.pdfs[s_media_id].content == PDF
        assert sandbox.pdfs[s_media_id].filename == "票 1.pdf"
    close(pdf)


def close(pdf: Any) -> None:
    getattr(pdf, "file", pdf).close()


@pytest.mark.parametrize("make", FRAMEWORKS)
def test_an_uploaded_file_that_was_read_before(
    sandbox: Sandbox, client: nontax.Client, run: Strict, make: Callable[[bytes], Any]
) -> None:
    pdf = make(PDF)
    if inspect.iscoroutinefunction(getattr(pdf, "read", None)):
        run(pdf.read())
    else:
        getattr(pdf, "read", getattr(pdf, "file", pdf).read)()
    with pytest.raises(nontax.InvalidRequestError) as caught:
        client.upload_pdf(pdf)
    [problem] = caught.value.problems
    assert problem == ("pdf", "was read before: call its seek(0) first")
    assert problem.id == "file_was_read"
    assert caught.value.interface == "setpdf"
    assert sandbox.requests == ()
    close(pdf)


def test_an_open_file_that_was_read_before(client: nontax.Client, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(PDF)
    with (tmp_path / "a.pdf").open("rb") as file:
        file.read()
        with pytest.raises(nontax.InvalidRequestError, match="call its seek"):
            client.upload_pdf(file)
        file.seek(0)
        assert client.upload_pdf(file).s_media_id
        file.seek(5)  # it was looked at
        with pytest.raises(nontax.InvalidRequestError, match="was read before"):
            client.upload_pdf(file)
    (tmp_path / "empty.pdf").touch()
    with (tmp_path / "empty.pdf").open("rb") as file:
        with pytest.raises(nontax.InvalidRequestError, match="is empty"):
            client.upload_pdf(file)


def test_a_file_that_is_only_read_in_a_loop(client: nontax.Client) -> None:
    class Remote:
        async def read(self, size: int = -1) -> bytes:
            return PDF

    with pytest.raises(TypeError, match=r"async read\(\): read it first"):
        client.upload_pdf(Remote())  # type: ignore[arg-type]
