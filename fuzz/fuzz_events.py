"""Any bytes as a push: the event reader answers with an event or an EventError. Needs atheris."""

import hashlib
import sys
from pathlib import Path

TOKEN = "fuzz"


def check(data: bytes) -> None:
    """Read the bytes as a push that is signed, in plain mode and in safe mode.

    Raises what the reader must not raise.
    """
    from nontax.events import EventError, EventReader

    plain = EventReader(token=TOKEN, max_age=None)
    safe = EventReader(token=TOKEN, aes_key="a" * 43, appid="wx0123456789abcdef", max_age=None)
    signature = hashlib.sha1("".join(sorted([TOKEN, "1", "2"])).encode()).hexdigest()
    query = {"signature": signature, "timestamp": "1", "nonce": "2"}
    for reader in (plain, safe):
        try:
            event = reader.read(query, data)
        except EventError:
            continue
        assert isinstance(event.key, str)
        assert TOKEN not in repr(event)


def main() -> None:
    """Fuzz, or with `--replay` only check the files of the folders that are named."""
    if sys.argv[1:2] == ["--replay"]:
        for folder in sys.argv[2:]:
            for path in sorted(Path(folder).iterdir()):
                check(path.read_bytes())
        return
    import atheris

    with atheris.instrument_imports(include=["nontax"]):
        import nontax.events  # noqa: F401
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
