"""`python -m nontax`: the command line, the same as `nontax`."""

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


if __name__ == "__main__":
    from nontax.cli import main

    sys.exit(main())
