"""The files of the core in layers: each uses only files of layers below its own.

The graph is drawn from the symbols of the objects that `make core` builds.
"""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OBJECTS = ROOT / "build" / "gcc" / "core"

# From the top down.
LAYERS = (
    ("client", "driver", "run"),
    ("pool",),
    ("lane",),
    ("call",),
    ("http", "request", "twins"),
    ("body", "fields", "kept", "leaves", "reply", "settings", "start"),
    ("connections", "engine_epoll", "engine_poll", "hosts", "json", "problems", "process"),
    ("notes", "retry", "share", "text"),
    ("errcodes", "interfaces", "literals", "pace", "tls"),
    ("characters", "clock", "descriptors", "gate", "memory"),
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
