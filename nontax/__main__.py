"""`python -m nontax --version`: which nontax this is, and which libraries are in it."""

import argparse
import sys


def versions() -> str:
    """Return one line for each of nontax, libcurl, its TLS library and cJSON.

    Raises ImportError, which says what to do, where there is no core.
    """
    from nontax import _core

    curl, tls, cjson = _core.libraries()
    lines = [
        f"nontax {_core.version}",
        f"libcurl {curl}",
        (tls or "no TLS").replace("/", " "),
        f"cJSON {cjson}",
    ]
    return "\n".join(lines)


def main() -> int:
    """Run the command; 0, 1 without a core, or argparse's own 2 for arguments it does not know."""
    parser = argparse.ArgumentParser(
        prog="python -m nontax",
        description="Puts fiscal e-bills into WeChat card wallets, from Python. "
        "To try it: python -m nontax.sandbox",
    )
    parser.add_argument(
        "--version", action="store_true", help="show the versions of nontax and its libraries"
    )
    if parser.parse_args().version:
        try:
            print(versions())
        except ImportError as error:
            print(error, file=sys.stderr)
            return 1
    else:
        parser.print_help()
    return 0


if __name__ == "__main__":
    sys.exit(main())
