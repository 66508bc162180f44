"""A progress bar by tqdm, where there is tqdm and somebody to see it."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def progress(total: int, what: str, *, shown: bool) -> Iterator[Callable[[], object]]:
    """Yield what is to be called for each bill that is done."""
    bar = _bar(total, what) if shown and total else None
    if bar is None:
        yield lambda: None
        return
    try:
        yield bar.update
    finally:
        bar.close()


def _bar(total: int, what: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there are no widgets: then it is text
            from tqdm.auto import tqdm
    except ImportError:
        return None
    # A kernel's stderr is no terminal, and is shown; a file's reader wants no bar.
    hidden = False if "ipykernel" in sys.modules else None
    return tqdm(total=total, desc=what, unit="", disable=hidden)


def show(thing: object) -> None:
    """Show something below the cell that runs, or say it on stderr."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None:
        print(thing, file=sys.stderr)
        return
    from IPython.display import display

    display(thing)
