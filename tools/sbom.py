"""Writes a wheel's bill of materials into it (CycloneDX 1.6, PEP 770): usage: sbom.py WHEEL.

What is linked in stands in tools/bundled.sha256; scanners find it by the names (purl, CPE) here.
"""

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

LIST = Path(__file__).with_name("bundled.sha256")
# Of each source archive: the names under which faults of it are published, and its licence.
LINKED_IN = {
    "openssl": ("cpe:2.3:a:openssl:openssl:{}:*:*:*:*:*:*:*", "Apache-2.0"),
    "curl": ("cpe:2.3:a:haxx:libcurl:{}:*:*:*:*:*:*:*", "curl"),
    "cjson": ("cpe:2.3:a:davegamble:cjson:{}:*:*:*:*:*:*:*", "MIT"),
}


def sources() -> dict[str, tuple[str, str]]:
    """Return version and SHA-256 of each source archive that is linked in."""
    found = re.findall(
        r"^(\w{64})  \S+/(\w+)_([\d.]+)\.orig\.tar\.gz$", LIST.read_text("utf-8"), re.MULTILINE
    )
    return {name: (version, checksum) for checksum, name, version in found}


def materials(wheel: Path) -> dict[str, object]:
    """Make the document of a wheel, the same for the same wheel."""
    _, version, *tags = wheel.stem.split("-")
    components = []
    for name, (found, checksum) in sorted(sources().items()):
        cpe, license_id = LINKED_IN[name]
        components.append(
            {
                "type": "library",
                "bom-ref": f"pkg:generic/{name}@{found}",
                "name": name,
                "version": found,
                "scope": "required",
                "hashes": [{"alg": "SHA-256", "content": checksum}],
                "licenses": [{"license": {"id": license_id}}],
                "cpe": cpe.format(found),
                "purl": f"pkg:generic/{name}@{found}?checksum=sha256:{checksum}",
                "properties": [{"name": "nontax:linked", "value": "static"}],
            }
        )
    itself = f"pkg:pypi/nontax@{version}"
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": itself,
                "name": "nontax",
                "version": version,
                "licenses": [{"license": {"id": "MIT"}}],
                "purl": itself,
                "properties": [{"name": "nontax:wheel", "value": "-".join(tags)}],
            }
        },
        "components": components,
        "dependencies": [
            {"ref": itself, "dependsOn": [part["bom-ref"] for part in components]},
            {"ref": components[1]["bom-ref"], "dependsOn": [components[2]["bom-ref"]]},
        ],
    }


def put_in(wheel: Path) -> None:
    """Write the document into the wheel, whose RECORD is made anew."""
    document = json.dumps(materials(wheel), indent=1, ensure_ascii=False) + "\n"
    tool = [sys.executable, "-m", "wheel"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*tool, "unpack", "-d", folder, wheel], check=True, capture_output=True)
        [tree] = Path(folder).iterdir()
        [info] = tree.glob("*.dist-info")
        (info / "sboms").mkdir()
        (info / "sboms" / "nontax.cdx.json").write_text(document, "utf-8")
        wheel.unlink()
        subprocess.run([*tool, "pack", "-d", wheel.parent, tree], check=True, capture_output=True)
    if not wheel.exists():
        raise SystemExit(f"{wheel.name} came out under another name")


def main() -> None:
    """Put the document in, and say what is in it."""
    wheel = Path(sys.argv[1])
    put_in(wheel)
    parts = ", ".join(f"{name} {version}" for name, (version, _) in sorted(sources().items()))
    checksum = hashlib.sha256(wheel.read_bytes()).hexdigest()
    print(f"sbom    {parts}; the wheel's sha256 is {checksum}")


if __name__ == "__main__":
    main()
