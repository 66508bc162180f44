"""Workbooks as Excel 97 writes them: BIFF8 records in a compound file."""

import struct
from collections.abc import Sequence

_SECTOR = 512
_END, _FREE, _FAT = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD


def xls(rows: Sequence[Sequence[str | float | None]], name: str = "Sheet1") -> bytes:
    """Make a workbook with one worksheet. rows: cells that are texts, numbers or empty."""
    cells = b"".join(
        _cell(row, column, value)
        for row, values in enumerate(rows)
        for column, value in enumerate(values)
        if value is not None
    )
    sheet = _begin(0x0010) + cells + _record(0x000A)
    title = struct.pack("<BB", len(name), 1) + name.encode("utf-16-le")
    begin, end = _begin(0x0005) + _record(0x0042, struct.pack("<H", 1200)), _record(0x000A)
    length = len(begin) + 4 + 6 + len(title) + len(end)
    bound = _record(0x0085, struct.pack("<IH", length, 0) + title)
    return compound({"Workbook": begin + bound + end + sheet})


def _record(kind: int, content: bytes = b"") -> bytes:
    return struct.pack("<HH", kind, len(content)) + content


def _begin(kind: int) -> bytes:
    return _record(0x0809, struct.pack("<HHHHII", 0x0600, kind, 0, 1997, 0, 6))


def _cell(row: int, column: int, value: str | float) -> bytes:
    place = struct.pack("<HHH", row, column, 0)
    if isinstance(value, str):
        text = struct.pack("<HB", len(value), 1) + value.encode("utf-16-le")
        return _record(0x0204, place + text)
    return _record(0x0203, place + struct.pack("<d", value))


def compound(streams: dict[str, bytes]) -> bytes:
    """Make a compound file (OLE 2). Streams shorter than 4096 bytes are filled up with zeros."""
    padded = {
        name: content.ljust(max(4096, -(-len(content) // _SECTOR) * _SECTOR), b"\0")
        for name, content in streams.items()
    }
    directory_sectors = -(-(1 + len(padded)) // 4)
    sectors = [len(content) // _SECTOR for content in padded.values()]
    # One sector of the allocation table stands for 128 sectors: enough for a test.
    table = [_FAT, *_chain(1, directory_sectors)]
    entries = [_entry("Root Entry", 5, _END, 0, child=1)]
    for place, (name, content) in enumerate(padded.items(), 1):
        following = place + 1 if place < len(padded) else _FREE
        entries.append(_entry(name, 2, len(table), len(content), right=following))
        table += _chain(len(table), sectors[place - 1])
    assert len(table) <= 128
    table += [_FREE] * (128 - len(table))
    header = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16)
    header += struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    header += struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, _END, 0, _END, 0)
    header += struct.pack("<109I", 0, *[_FREE] * 108)
    directory = b"".join(entries).ljust(directory_sectors * _SECTOR, b"\0")
    return header + struct.pack("<128I", *table) + directory + b"".join(padded.values())


def _chain(start: int, length: int) -> list[int]:
    return [*range(start + 1, start + length), _END]


def _entry(
    name: str, kind: int, start: int, size: int, child: int = _FREE, right: int = _FREE
) -> bytes:
    text = (name + "\0").encode("utf-16-le")
    entry = text.ljust(64, b"\0") + struct.pack("<HBB", len(text), kind, 1)
    entry += struct.pack("<III", _FREE, right, child) + bytes(36)
    return entry + struct.pack("<IQ", start, size)
