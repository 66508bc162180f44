"""Looks at a wheel that is to need nothing on the target: usage: inspect_wheel.py WHEEL [PATH].

PATH: of the machine that built it; it must not occur in the wheel.
"""

import io
import re
import sys
import zipfile
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

# The C library alone, in the parts that it had before they became one.
GLIBC = {"libc.so.6", "libpthread.so.0", "libdl.so.2", "libm.so.6"}
LOADERS = {"x86_64": "ld-linux-x86-64.so.2", "aarch64": "ld-linux-aarch64.so.1"}
# abi3, or without the GIL, for which there is no stable ABI.
NAME = re.compile(
    r"nontax-[^-]+-(cp311-abi3|cp3\d+-cp3\d+t)-(manylinux_2_(\d+)|musllinux_1_2)_(x86_64|aarch64)\.whl"
)
GLIBC_MINOR = 26  # as README.md says


def faults(wheel: Path, machine_path: str | None) -> list[str]:
    """Return what is wrong with a wheel, one sentence for each."""
    found = []
    name = NAME.fullmatch(wheel.name)
    if name is None:
        return [f"it should be for cp311-abi3 or without the GIL, and for Linux: {wheel.name}"]
    if int(name[3] or 0) > GLIBC_MINOR:
        found.append(f"it should be for an old glibc: {wheel.name}")
    with zipfile.ZipFile(wheel) as archive:
        files = {entry: archive.read(entry) for entry in archive.namelist()}
    licenses = {Path(entry).name for entry in files if "/licenses/" in entry}
    if missing := {"LICENSE", "openssl.txt", "curl.txt", "cjson.txt"} - licenses:
        found.append(f"licences are missing: {missing}")
    if machine_path:
        found += [
            f"{entry} holds the path {machine_path}"
            for entry, data in files.items()
            if machine_path.encode() in data
        ]
    libraries = [entry for entry in files if ".so" in entry]
    if len(libraries) != 1 or not libraries[0].startswith("nontax/_core."):
        return [*found, f"there should be one library in it: {libraries}"]
    elf = ELFFile(io.BytesIO(files[libraries[0]]))
    dynamic = elf.get_section_by_name(".dynamic")
    symbols = elf.get_section_by_name(".dynsym")
    assert isinstance(dynamic, DynamicSection)
    assert isinstance(symbols, SymbolTableSection)
    allowed = GLIBC | {LOADERS[name[4]]} if name[3] else {f"libc.musl-{name[4]}.so.1"}
    needed = {getattr(tag, "needed", "") for tag in dynamic.iter_tags("DT_NEEDED")}
    if needed - allowed:
        found.append(f"it needs {sorted(needed - allowed)}")
    if any(tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH") for tag in dynamic.iter_tags()):
        found.append("it has a search path for libraries")
    exported = [
        symbol.name
        for symbol in symbols.iter_symbols()
        if symbol["st_shndx"] != "SHN_UNDEF" and symbol["st_info"]["bind"] != "STB_LOCAL"
    ]
    # musl's own beginning and end of a library can be seen; the loader takes them from elsewhere.
    if set(exported) - ({"_init", "_fini"} if not name[3] else set()) != {"PyInit__core"}:
        found.append(f"it exports {exported}")
    return found


def main() -> int:
    """Print the faults; 1 if there are any."""
    wheel = Path(sys.argv[1])
    found = faults(wheel, sys.argv[2] if len(sys.argv) > 2 else None)
    for fault in found:
        print(f"{wheel.name}: {fault}", file=sys.stderr)
    if not found:
        print(f"made    {wheel.name} ({wheel.stat().st_size // 1024} kB)")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
