"""What to do where nontax._core, the compiled part, is missing or cannot be loaded."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def version() -> str:
    """The version that is installed; "unknown" in a source tree."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("nontax")
    except PackageNotFoundError:
        return "unknown"


def cure(problem: str) -> str:
    """Say why there is no core, and what to do.

    problem: what the import of nontax._core has raised (str).
    """
    built = sorted(HERE.glob("_core.*.so"))
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    if built and "No module named" not in problem:
        return (
            f"nontax's compiled part cannot be loaded: {problem}. It needs libcurl and cJSON "
            "(Debian, Ubuntu: apt install libcurl4 libcjson1); or install nontax again: "
            "pip install --force-reinstall nontax"
        )
    what = f"was built for another Python than this {python}" if built else "is missing"
    if (HERE.parent / "csrc").is_dir():
        return (
            f"nontax's compiled part {what} in {HERE}, which is a source tree. To use the nontax "
            "that you have installed, run Python in another folder. To use this one, build it: "
            "pip install -e ."
        )
    return (
        f"nontax's compiled part {what} in {HERE}. Install nontax again with this {python}: "
        f"{sys.executable} -m pip install --force-reinstall nontax"
    )
