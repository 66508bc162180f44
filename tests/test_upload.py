"""Uploading a PDF: from whatever a caller has, under its own name, without holding it twice."""

import bz2
import contextlib
import gzip
import io
import os
import stat
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import pytest
from marks import ASAN
from processes import Child, Talk
from servers import RawServer, Wire, json_reply

import nontax
from nontax.sandbox import Pdf, Sandbox, faults

PDF = b"%PDF-1.7\n" + bytes(range(256)) * 300 + b"\r\n--boundary\r\n%%EOF\n"
MEGABYTES = 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "票据 0001.pdf"
    path.write_bytes(PDF)
    return path


def uploaded(sandbox: Sandbox, client: nontax.Client, pdf: Any, **more: Any) -> Pdf:
    s_media_id = client.upload_pdf(pdf, **more).s_media_id
    return sandbox.pdfs[s_media_id]


# --- the wire -------------------------------------------------------------------------------------


def test_the_request(sandbox: Sandbox, client: nontax.Client, path: Path) -> None:
    client.upload_pdf(path)
    (request,) = sandbox.requests
    assert (request.method, request.path) == ("POST", "/card/invoice/platform/setpdf")
    kind, _, boundary = request.headers["content-type"].partition("; boundary=")
    assert kind == "multipart/form-data"
    assert "expect" not in request.headers
    assert "transfer-encoding" not in request.headers
    assert int(request.headers["content-length"]) == len(request.body)
    head, _, rest = request.body.partition(b"\r\n\r\n")
    assert head.decode().split("\r\n") == [
        f"--{boundary}",
        'Content-Disposition: form-data; name="pdf"; filename="票据 0001.pdf"',
        "Content-Type: application/pdf",
    ]
    assert rest == PDF + f"\r\n--{boundary}--\r\n".encode()
    assert len(boundary) > 30


def test_a_boundary_is_not_to_be_foreseen(sandbox: Sandbox) -> None:
    for _ in range(2):
        nontax.Client(access_token=sandbox.access_token, base_url=sandbox.base_url).upload_pdf(PDF)
    first, second = (request.headers["content-type"] for request in sandbox.requests)
    assert first != second


def test_over_tls(tls_sandbox: Sandbox, tls_client: nontax.Client, path: Path) -> None:
    pdf = uploaded(tls_sandbox, tls_client, path)
    assert (pdf.filename, pdf.content) == (path.name, PDF)


@pytest.mark.parametrize("size", [1, 16_384, 65_536, 1_000_003])
@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_sizes(
    sandbox: Sandbox, client: nontax.Client, tmp_path: Path, kind: str, size: int
) -> None:
    content = b"%PDF-" + os.urandom(size)
    (tmp_path / "a").write_bytes(content)
    pdf = uploaded(sandbox, client, content if kind == "bytes" else tmp_path / "a")
    assert pdf.content == content


# --- what it takes --------------------------------------------------------------------------------


class FsPath(os.PathLike[Any]):
    def __init__(self, path: Any) -> None:
        self.path = path

    def __fspath__(self) -> Any:
        return self.path


class OnlyRead:
    """As little of a file as there can be."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self._content.read(size)


def member(tmp_path: Path) -> IO[bytes]:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.pdf", PDF)
    return zipfile.ZipFile(tmp_path / "a.zip").open("a.pdf")


def spooled() -> IO[bytes]:
    file = tempfile.SpooledTemporaryFile()  # noqa: SIM115  (the test closes it)
    file.write(PDF)
    file.seek(0)
    return file


def piped() -> IO[bytes]:
    reader, writer = os.pipe()

    def write() -> None:
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(PDF)

    threading.Thread(target=write).start()
    return os.fdopen(reader, "rb")


def compressed(tmp_path: Path, module: Any) -> IO[bytes]:
    # Its descriptor is that of the compressed file, which is not what it reads.
    with module.open(tmp_path / "a.gz", "wb") as file:
        file.write(PDF)
    opened: IO[bytes] = module.open(tmp_path / "a.gz")
    return opened


def moved(path: Path) -> IO[bytes]:
    longer = path.with_name("longer")
    longer.write_bytes(b"before" + PDF)
    file = longer.open("rb")
    file.seek(6)
    return file


def unflushed(tmp_path: Path) -> IO[bytes]:
    file = (tmp_path / "new").open("w+b")
    file.write(PDF)
    file.seek(0)
    return file


SOURCES: dict[str, tuple[Callable[[Path, Path], Any], str]] = {
    "path": (lambda path, _: path, "票据 0001.pdf"),
    "str": (lambda path, _: str(path), "票据 0001.pdf"),
    "pathlike": (lambda path, _: FsPath(str(path)), "票据 0001.pdf"),
    "bytes path": (lambda path, _: FsPath(os.fsencode(path)), "票据 0001.pdf"),
    "bytes": (lambda *_: PDF, "bill.pdf"),
    "bytearray": (lambda *_: bytearray(PDF), "bill.pdf"),
    "memoryview": (lambda *_: memoryview(b"x" + PDF)[1:], "bill.pdf"),
    "strided": (lambda *_: memoryview(b"".join(b"%c-" % byte for byte in PDF))[::2], "bill.pdf"),
    "file": (lambda path, _: path.open("rb"), "票据 0001.pdf"),
    "raw file": (lambda path, _: path.open("rb", buffering=0), "票据 0001.pdf"),
    "file for update": (lambda path, _: path.open("r+b"), "票据 0001.pdf"),
    "moved file": (lambda path, _: moved(path), "longer"),
    "unflushed": (lambda _, tmp_path: unflushed(tmp_path), "new"),
    "BytesIO": (lambda *_: io.BytesIO(PDF), "bill.pdf"),
    "moved BytesIO": (lambda *_: seeked(io.BytesIO(b"before" + PDF)), "bill.pdf"),
    "spooled": (lambda *_: spooled(), "bill.pdf"),
    "zip": (lambda _, tmp_path: member(tmp_path), "a.pdf"),
    "gzip": (lambda _, tmp_path: compressed(tmp_path, gzip), "a.gz"),
    "bz2": (lambda _, tmp_path: compressed(tmp_path, bz2), "bill.pdf"),
    "pipe": (lambda *_: piped(), "bill.pdf"),
    "read only": (lambda *_: OnlyRead(PDF), "bill.pdf"),
}


def seeked(file: io.BytesIO) -> io.BytesIO:
    file.seek(6)
    return file


@pytest.mark.parametrize("kind", SOURCES)
def test_sources(
    sandbox: Sandbox, client: nontax.Client, path: Path, tmp_path: Path, kind: str
) -> None:
    make, name = SOURCES[kind]
    source = make(path, tmp_path)
    try:
        pdf = uploaded(sandbox, client, source)
    finally:
        if hasattr(source, "close"):
            # A caller's file stays open.
            assert not source.closed
            source.close()
    assert pdf.content == PDF
    if kind not in ("gzip", "bz2", "zip"):
        assert pdf.filename == name


def open_files() -> int:
    count = 0
    for descriptor in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):
            count += stat.S_ISREG(os.fstat(int(descriptor)).st_mode)
    return count


def test_what_it_opens_it_closes(client: nontax.Client, path: Path) -> None:
    before = open_files()
    for source in (path, io.BytesIO(PDF), b"none", io.BytesIO(b"none"), io.StringIO(), "/none"):
        with contextlib.suppress(nontax.InvalidRequestError, TypeError, OSError):
            client.upload_pdf(source)  # type: ignore[arg-type]
    assert open_files() == before


def test_two_uploads_from_one_file(sandbox: Sandbox, client: nontax.Client, path: Path) -> None:
    with path.open("rb") as file:
        for _ in range(2):
            file.seek(0)
            assert uploaded(sandbox, client, file).content == PDF


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "票据.pdf",
        "a b.pdf",
        "🧾.pdf",
        "x" * 500,
        "a;b=c.pdf",
        "a%22b.pdf",
        "a'b.pdf",
        "..",
        "a/b.pdf",
    ],
)
def test_names_arrive_intact(sandbox: Sandbox, client: nontax.Client, name: str) -> None:
    assert uploaded(sandbox, client, PDF, filename=name).filename == name


@pytest.mark.parametrize(
    "name", ['a"b.pdf', 'a"; name="media', "a\r\nX: y.pdf", "a\nb", "a\\", 'a\\"']
)
def test_names_that_could_break_out_of_their_quotes(
    sandbox: Sandbox, client: nontax.Client, name: str
) -> None:
    # As browsers do (WHATWG): what would end the name is percent-encoded.
    client.upload_pdf(PDF, filename=name)
    (request,) = sandbox.requests
    head = request.body.partition(b"\r\n\r\n")[0].decode()
    _, disposition, kind = head.split("\r\n")
    written = name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
    assert disposition == f'Content-Disposition: form-data; name="pdf"; filename="{written}"'
    assert kind == "Content-Type: application/pdf"


@pytest.mark.parametrize("name", ["", "\udcff.pdf", "a\0b.pdf"])
def test_names_that_cannot_be_sent(sandbox: Sandbox, client: nontax.Client, name: str) -> None:
    with pytest.raises(nontax.InvalidRequestError) as caught:
        client.upload_pdf(PDF, filename=name)
    assert [path for path, _ in caught.value.problems] == ["filename"]
    assert caught.value.interface == "setpdf"
    assert sandbox.requests == ()


def test_a_name_on_disk_that_is_no_text(
    sandbox: Sandbox, client: nontax.Client, tmp_path: Path
) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xfe.pdf"
    with open(name, "wb") as file:
        file.write(PDF)
    assert uploaded(sandbox, client, FsPath(name)).filename == "��.pdf"
    assert uploaded(sandbox, client, os.fsdecode(name)).filename == "��.pdf"
    with open(os.fsdecode(name), "rb") as file:
        assert uploaded(sandbox, client, file).filename == "��.pdf"


# --- what it refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"", b"%PDF", b"PDF-1.7", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"<html>", b" " * 1024 + PDF],
    ids=lambda content: repr(content[:8]),
)
@pytest.mark.parametrize("kind", ["bytes", "file", "BytesIO"])
def test_what_is_no_pdf(
    sandbox: Sandbox, client: nontax.Client, tmp_path: Path, kind: str, content: bytes
) -> None:
    (tmp_path / "a.pdf").write_bytes(content)
    sources: dict[str, Any] = {
        "bytes": content,
        "file": tmp_path / "a.pdf",
        "BytesIO": io.BytesIO(content),
    }
    with pytest.raises(nontax.InvalidRequestError) as caught:
        client.upload_pdf(sources[kind])
    ((path, message),) = caught.value.problems
    assert path == "pdf"
    if content.startswith(b"PK"):
        assert "as an OFD file is: WeChat takes PDF only" in message
    else:
        assert message in ("is empty", "is not a PDF: it does not begin with %PDF-")
    assert caught.value.interface == "setpdf"
    assert sandbox.requests == ()


def test_a_mark_that_is_not_at_the_very_beginning(sandbox: Sandbox, client: nontax.Client) -> None:
    content = b"\xef\xbb\xbf\r\n" + PDF
    assert uploaded(sandbox, client, content).content == content


@pytest.mark.parametrize(
    "wrong",
    [None, 7, True, 1.5, ["a"], object(), io.StringIO("%PDF-"), {"pdf": b""}, Path],
    ids=lambda wrong: type(wrong).__name__,
)
def test_what_is_no_file_at_all(sandbox: Sandbox, client: nontax.Client, wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"^pdf must be "):
        client.upload_pdf(wrong)
    assert sandbox.requests == ()


def test_a_file_that_is_open_for_text(sandbox: Sandbox, client: nontax.Client, path: Path) -> None:
    with path.open(encoding="latin-1") as file:
        with pytest.raises(TypeError, match="not text"):
            client.upload_pdf(file)  # type: ignore[arg-type]
    assert sandbox.requests == ()


def test_files_that_cannot_be_read(sandbox: Sandbox, client: nontax.Client, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        client.upload_pdf(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        client.upload_pdf(tmp_path)
    with pytest.raises(ValueError, match="null"):
        client.upload_pdf("a\0b")
    closed = (tmp_path / "closed").open("w+b")
    closed.close()
    with pytest.raises(ValueError, match="closed"):
        client.upload_pdf(closed)
    with (tmp_path / "write").open("wb") as file:
        with pytest.raises((OSError, ValueError, TypeError)):
            client.upload_pdf(file)
    assert sandbox.requests == ()


@pytest.mark.parametrize("name", [7, b"a.pdf", Path("a.pdf")])
def test_a_file_name_that_is_no_text(sandbox: Sandbox, client: nontax.Client, name: Any) -> None:
    with pytest.raises((TypeError, nontax.InvalidRequestError)):
        client.upload_pdf(PDF, filename=name)
    assert sandbox.requests == ()


# --- when things go wrong -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [faults.Close("body", taken=True), faults.Errcode(-1), faults.Reply(502, body=b"<html>")],
    ids=lambda fault: type(fault).__name__,
)
def test_an_upload_is_never_repeated(
    sandbox: Sandbox, client: nontax.Client, path: Path, fault: faults.Fault
) -> None:
    sandbox.inject(fault)
    with pytest.raises(nontax.NontaxError) as caught:
        client.upload_pdf(path)
    assert caught.value.outcome == "in_doubt"
    assert caught.value.interface == "setpdf"
    assert "bill may" not in str(caught.value)
    assert len(sandbox.requests) == 1


def test_a_kept_connection_that_has_died(
    sandbox: Sandbox, client: nontax.Client, path: Path
) -> None:
    client.upload_pdf(path)
    sandbox.close_idle_connections()
    client.upload_pdf(path)
    assert [request.body == sandbox.requests[0].body for request in sandbox.requests] == [True] * 2


def test_a_refused_token_sends_the_same_file_again(sandbox: Sandbox, path: Path) -> None:
    old = sandbox.access_token
    sandbox.renew_access_token()
    client = nontax.Client(
        token_source=lambda stale: old if stale is None else sandbox.access_token,
        base_url=sandbox.base_url,
    )
    for source in (path, PDF, io.BytesIO(PDF), path.open("rb")):
        pdf = uploaded(sandbox, client, source)
        assert pdf.content == PDF
        if isinstance(source, io.BufferedReader):
            source.close()
    assert len(sandbox.requests) == 8


def test_a_file_that_shrinks_while_it_is_sent(tmp_path: Path) -> None:
    # More than any socket's buffers hold.
    large = tmp_path / "large.pdf"
    large.write_bytes(b"%PDF-1.7\n")
    os.truncate(large, 64_000_000)
    begun, go_on = threading.Event(), threading.Event()

    def behave(wire: Wire) -> None:
        wire.more()
        begun.set()
        go_on.wait()
        wire.wait_for_end()

    with RawServer(behave) as server, ThreadPoolExecutor(1) as pool:
        client = nontax.Client(access_token="t", base_url=server.base_url)
        call = pool.submit(client.upload_pdf, large)
        begun.wait()
        os.truncate(large, 10)
        go_on.set()
        error = call.exception()
    assert type(error) is nontax.InDoubtError
    assert not error.timed_out


def test_a_file_that_its_owner_closes_while_it_is_sent(tmp_path: Path) -> None:
    """Its number becomes another file's, of which nothing may go out."""
    size = 16_000_000  # More than any socket's buffers hold.
    given, other = tmp_path / "given.pdf", tmp_path / "other"
    given.write_bytes(b"%PDF-1.7\n" + b"g" * size)
    other.write_bytes(b"o" * 2 * size)
    begun, go_on = threading.Event(), threading.Event()
    bodies: list[bytes] = []

    def behave(wire: Wire) -> None:
        wire.more()
        begun.set()
        go_on.wait()
        bodies.append(wire.read_request()[1])
        wire.send(json_reply(b'{"errcode":0,"errmsg":"ok","s_media_id":"1"}'))

    with RawServer(behave) as server, ThreadPoolExecutor(1) as pool:
        client = nontax.Client(access_token="t", base_url=server.base_url)
        file = given.open("rb")
        call = pool.submit(client.upload_pdf, file)
        begun.wait()
        number = file.fileno()
        file.close()
        taker = other.open("rb")
        go_on.set()
        with taker:
            assert taker.fileno() == number
            assert call.result().s_media_id == "1"
    assert bodies[0].count(b"g") >= size
    assert b"oo" not in bodies[0]


# --- memory ---------------------------------------------------------------------------------------


def upload_and_measure(talk: Talk) -> None:
    """Upload a large PDF, and tell by how much that has raised the process's memory."""
    import io
    import re
    from pathlib import Path

    def peak() -> int:
        # Not ru_maxrss: in a process that another one has started, that begins with the other's.
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        assert found is not None
        return int(found[1]) // 1024

    client = talk.client()
    client.upload_pdf(b"%PDF-")  # what is needed once is there from here on
    path, kind = talk.setup["path"], talk.setup["kind"]
    client.upload_pdf(io.BytesIO(b"%PDF-"))
    before = peak()
    if kind == "path":
        client.upload_pdf(path)
    else:
        with open(path, "rb") as file:
            if kind == "file":
                client.upload_pdf(file)
            elif kind == "bytes":
                client.upload_pdf(file.read())
            else:
                client.upload_pdf(io.BytesIO(file.read()))
    talk.tell(megabytes=peak() - before)


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [("path", 0, 4), ("file", 0, 4), ("bytes", 18, 24), ("BytesIO", 18, 39)],
)
@pytest.mark.skipif(ASAN, reason="ASan's memory counts")
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_large_file_is_not_held_twice(
    sandbox: Sandbox, tmp_path: Path, kind: str, least: int, most: int
) -> None:
    path = tmp_path / "large.pdf"
    with path.open("wb") as file:
        file.write(b"%PDF-1.7\n")
        for _ in range(MEGABYTES):
            file.write(b"\0" * 1_000_000)
    settings = {"access_token": sandbox.access_token, "base_url": sandbox.base_url}
    with Child(upload_and_measure, client=settings, path=str(path), kind=kind) as child:
        told = child.hear()
        assert child.finish() == ([], "")
    # That the caller's own bytes show says that the others' would.
    assert least <= told["megabytes"] < most
    assert len(sandbox.requests[-1].body) > MEGABYTES * 1_000_000
