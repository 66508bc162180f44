"""The files of the core in layers: each uses only files of layers below its own.

The graph is drawn from the symbols of the objects that `make core` builds. And a call's state and
result have one owner: call.c.
"""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OBJECTS = ROOT / "build" / "gcc" / "core"

# From the top down.
LAYERS = (
    ("client", "driver", "run"),
    ("pool",),
    ("lane",),
    ("attempts",),
    ("call",),
    ("verdict",),
    ("reply",),
    ("http", "plain", "request", "twins"),
    (
        "body",
        "engine_epoll",
        "engine_poll",
        "fields",
        "json",
        "kept",
        "leaves",
        "print",
        "settings",
        "start",
    ),
    ("connections", "hosts", "payload", "problems", "process"),
    ("notes", "retry", "share", "text"),
    ("errcodes", "interfaces", "literals", "pace", "tls"),
    ("characters", "clock", "descriptors", "fork_lock", "memory"),
)

Graph = dict[str, set[str]]


def _symbols_of(path: Path) -> tuple[set[str], set[str]]:
    """The names that an object defines for others, and those that it wants from others."""
    printed = subprocess.run(
        ["nm", "--format=posix", path], capture_output=True, text=True, check=True
    ).stdout
    symbols = [line.split()[:2] for line in printed.splitlines()]
    defined = {name for name, kind in symbols if kind.isupper() and kind != "U"}
    return defined, {name for name, kind in symbols if kind == "U"}


def _graph() -> Graph:
    names = sorted(path.stem for path in (ROOT / "csrc" / "core").glob("*.c"))
    symbols = {name: _symbols_of(OBJECTS / f"{name}.o") for name in names}
    home = {symbol: name for name, (defined, _) in symbols.items() for symbol in defined}
    return {
        name: {home[symbol] for symbol in wanted if symbol in home} - {name}
        for name, (_, wanted) in symbols.items()
    }


def _wrong_arrows(graph: Graph, layers: tuple[tuple[str, ...], ...]) -> list[str]:
    depth = {name: number for number, layer in enumerate(layers) for name in layer}
    return [
        f"{user} -> {used}"
        for user, all_used in graph.items()
        for used in sorted(all_used)
        if depth[user] >= depth[used]
    ]


def test_every_file_of_the_core_has_its_layer() -> None:
    assert sorted(name for layer in LAYERS for name in layer) == sorted(_graph())


def test_arrows_point_downwards() -> None:
    graph = _graph()
    assert _wrong_arrows(graph, LAYERS) == []
    assert "lane" in graph["pool"]  # there are arrows


def test_an_upward_arrow_and_a_circle_are_found() -> None:
    layers = (("run", "driver"), ("pool",), ("lane",))
    assert _wrong_arrows({"run": {"pool", "lane"}, "pool": {"lane"}}, layers) == []
    assert _wrong_arrows({"pool": {"lane"}, "lane": {"pool"}}, layers) == ["lane -> pool"]
    assert _wrong_arrows({"run": {"driver"}}, layers) == ["run -> driver"]


def _writes_to_a_call(path: Path) -> str:
    """What the compiler says against a file when a call's state and result are const in it."""
    flags = subprocess.run(
        ["pkg-config", "--cflags", "libcurl", "libcjson"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    options = ["-std=c11", "-D_DEFAULT_SOURCE", '-DNONTAX_VERSION="0"', f"-I{ROOT}/csrc/core"]
    options += ["-Werror", "-DNX_WRITTEN_BY_CALL_C=const"]
    return subprocess.run(
        ["cc", "-fsyntax-only", *options, *flags, path], capture_output=True, text=True
    ).stderr


@pytest.mark.parametrize(
    "path", sorted((ROOT / "csrc" / "core").glob("*.c")), ids=lambda path: path.name
)
def test_only_call_c_writes_a_calls_state_and_result(path: Path) -> None:
    said = _writes_to_a_call(path)
    assert ("error" in said) == (path.name == "call.c"), said


@pytest.mark.parametrize(
    "statement",
    [
        "call->state = NX_CALL_FINISHED;",
        "call->result.attempts++;",
        "call->result = (nontax_result){0};",
        "nontax_result *result = &call->result; result->attempts = 1;",
        "call->result.reason[0] = 0;",
        '(void)strcpy(call->result.errmsg, "");',
    ],
)
def test_a_write_elsewhere_is_found(tmp_path: Path, statement: str) -> None:
    source = tmp_path / "elsewhere.c"
    begin = '#include <string.h>\n#include "call.h"\nvoid f(nontax_call *call);\n'
    source.write_text(f"{begin}void f(nontax_call *call) {{ {statement} }}\n", "utf-8")
    assert "error" in _writes_to_a_call(source)
