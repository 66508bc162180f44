"""The scripts of a release: what is linked into a wheel, and what of it has a newer release."""

import lzma
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.build

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "tools"
SBOM = runpy.run_path(str(TOOLS / "sbom.py"))
OUTDATED = runpy.run_path(str(TOOLS / "outdated.py"))


def test_the_bill_of_materials_names_all_that_is_linked_in() -> None:
    linked = SBOM["sources"]()
    document = SBOM["materials"](Path("nontax-0.1.0-cp311-abi3-manylinux_2_26_x86_64.whl"))
    parts = {part["name"]: part for part in document["components"]}
    assert set(parts) == set(linked) == set(SBOM["LINKED_IN"])
    for name, (version, checksum) in linked.items():
        assert parts[name]["version"] == version
        assert parts[name]["hashes"] == [{"alg": "SHA-256", "content": checksum}]
        assert f":{version}:" in parts[name]["cpe"]
    assert document["metadata"]["component"]["purl"] == "pkg:pypi/nontax@0.1.0"
    known = {part["bom-ref"] for part in document["components"]}
    assert known.issuperset(document["dependencies"][0]["dependsOn"])


def test_every_line_of_the_lists_is_understood() -> None:
    for file in ("bundled.sha256", "bundle.sha256"):
        lines = (TOOLS / file).read_text("utf-8").splitlines()
        assert len(OUTDATED["entries"](file)) == len([line for line in lines if line[:1] != "#"])
    for name, _, architecture in OUTDATED["entries"]("bundle.sha256"):
        other = {"amd64": "arm64", "arm64": "amd64"}[architecture]
        assert (name, other) in {(a, c) for a, _, c in OUTDATED["entries"]("bundle.sha256")}


def index(folder: Path, path: str, versions: dict[str, str]) -> None:
    text = "\n\n".join(f"Package: {name}\nVersion: {found}\n" for name, found in versions.items())
    (folder / path.replace("/", "_")).write_bytes(lzma.compress(text.encode()))


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="Debian's rules are dpkg's")
@pytest.mark.parametrize("newer", ["", "curl", "openssl", "libc6"])
def test_what_is_outdated_is_told(tmp_path: Path, newer: str) -> None:
    now = {
        name: version for name, version, kind in OUTDATED["entries"]("bundled.sha256") if not kind
    }
    debian = {name: f"{version}-1" for name, version in now.items()}
    bundle = {name: version for name, version, _ in OUTDATED["entries"]("bundle.sha256")}
    late = {"curl": "99.0-1", "openssl": "3.99.0-1~deb13u1", "libc6": "9.9-1", "": ""}[newer]
    stable = debian | ({newer: late} if newer == "openssl" else {})
    index(tmp_path, "debian/dists/trixie/main/source/Sources.xz", stable)
    unstable = debian | ({newer: late} if newer == "curl" else {}) | {"openssl": "4.0-1"}
    index(tmp_path, "debian/dists/sid/main/source/Sources.xz", unstable)
    index(tmp_path, "debian-security/dists/trixie-security/main/source/Sources.xz", {})
    for machine in ("amd64", "arm64"):
        packages = bundle | ({newer: late} if newer == "libc6" else {})
        index(tmp_path, f"debian/dists/trixie/main/binary-{machine}/Packages.xz", packages)
    done = subprocess.run(
        [sys.executable, TOOLS / "outdated.py", "--offline", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == bool(newer)
    if newer:
        assert all(re.search(rf"\b{newer}\b", line) for line in done.stdout.splitlines())
    else:
        assert done.stdout == "nothing is outdated\n"
