"""`nontax sandbox`: the same as `python -m nontax.sandbox`."""

from collections.abc import Sequence


def main(options: Sequence[str]) -> int:
    """Run the sandbox with its own options until it is ended; its exit status."""
    from nontax.sandbox.__main__ import main as run

    return run(options, prog="nontax sandbox")
