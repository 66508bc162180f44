"""The command line: `nontax`, or `python -m nontax`. `commands.py` lists its files."""

from nontax.cli.entry import main

__all__ = ["main"]
