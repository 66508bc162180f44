"""Says when what a wheel or a bundle brings along has a newer release.

usage: outdated.py [--offline FOLDER]   (FOLDER: Debian's indices, already downloaded)

It asks Debian's indices, as curl and OpenSSL reach Debian within days: OpenSSL's branch with long
support from stable and its security updates, all other sources from unstable, the packages of a
bundle from stable. Exit status 1 if anything is outdated.
"""

import argparse
import lzma
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
MIRROR = "http://deb.debian.org/"
STABLE = "trixie"
ENTRY = re.compile(r"^\w{64}  \S+/([^/_]+)_([^/]+?)(?:\.orig\.tar\.gz|_(amd64|arm64|all)\.deb)$")

Versions = dict[str, str]


def read_index(path: str, folder: Path | None) -> Versions:
    """Return the newest version of each package of a Debian index."""
    name = path.replace("/", "_")
    if folder is None:
        with urllib.request.urlopen(MIRROR + path, timeout=60) as reply:
            packed = reply.read()
    else:
        packed = (folder / name).read_bytes()
    found: Versions = {}
    for stanza in lzma.decompress(packed).decode("utf-8").split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version): (\S+)$", stanza, re.MULTILINE))
        if fields and is_newer(fields["Version"], found.get(fields["Package"], "")):
            found[fields["Package"]] = fields["Version"]
    return found


def is_newer(one: str, other: str) -> bool:
    """Whether Debian's rules put the first version behind the second."""
    if not other:
        return True
    if one == other:
        return False
    done = subprocess.run(["dpkg", "--compare-versions", one, "gt", other], check=False)
    return done.returncode == 0


def upstream(version: str) -> str:
    """The version without Debian's own parts."""
    return re.sub(r"^\d+:|[-+~].*$", "", version)


def entries(file: str) -> list[tuple[str, str, str]]:
    """Return name, version and architecture ("" for a source) of what a list of ours names."""
    path = HERE / file
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [(m[1], m[2], m[3] or "") for m in map(ENTRY.match, lines) if m]


def main() -> int:
    """Print a line for each thing that is outdated."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--offline", type=Path, metavar="FOLDER")
    folder = parser.parse_args().offline
    suites = {"stable": STABLE, "unstable": "sid"}
    sources = {
        name: read_index(f"debian/dists/{suite}/main/source/Sources.xz", folder)
        for name, suite in suites.items()
    }
    security = read_index(f"debian-security/dists/{STABLE}-security/main/source/Sources.xz", folder)
    late = []
    for name, version, architecture in entries("bundled.sha256"):
        if architecture:
            continue  # the old C library is old on purpose
        where = "stable" if name == "openssl" else "unstable"
        newest = sources[where].get(name, "")
        if where == "stable" and is_newer(security.get(name, "0"), newest):
            newest = security[name]
        if is_newer(upstream(newest), version):
            late.append(f"wheel   {name} {version}: Debian {where} has {upstream(newest)}")
    bundle = entries("bundle.sha256")
    for architecture in sorted({one for _, _, one in bundle} - {"all"}):
        packages = read_index(
            f"debian/dists/{STABLE}/main/binary-{architecture}/Packages.xz", folder
        )
        for name, version, of in bundle:
            newest = packages.get(name, "")
            if of in (architecture, "all") and is_newer(re.sub(r"^\d+:", "", newest), version):
                late.append(f"bundle  {name} {version} ({of}): Debian stable has {newest}")
    print("\n".join(late) or "nothing is outdated")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
