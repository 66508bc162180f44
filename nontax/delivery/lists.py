"""A list of bills becomes waiting: all of it is checked before any of it is taken."""

import hashlib
import os
from collections.abc import Mapping

from nontax.delivery.content import FORM, content_of
from nontax.delivery.store import Content, Refused
from nontax.errors import ConflictError, InvalidRequestError
from nontax.journaled import conflict_of
from nontax.pdf import LOOK_AT, MARK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from nontax.client import Client
    from nontax.delivery.store import Store

PAGE = 500
# Problems that are listed; of a file of the wrong kind there would be as many as rows.
MOST = 100


def contents_of(client: "Client", bills: "Iterable[object]") -> list[Content]:
    """Check bills as `insert_bill` does; what would be sent of each.

    Raises InvalidRequestError with all problems, each with its bill's index in the path.
    """
    contents: list[Content] = []
    problems: list[tuple[str, str]] = []
    for index, bill in enumerate(bills):
        try:
            contents.append(content_of(client._core.body("insertbill", bill, FORM)))
        except InvalidRequestError as error:
            problems += [(f"[{index}].{path}", message) for path, message in error.problems]
    if problems:
        raise InvalidRequestError(problems=problems[:MOST])
    return contents


def take(
    store: "Store",
    client: "Client",
    bills: "Iterable[Mapping[str, object]]",
    *,
    again: bool,
    allow_same_number: bool,
    pdfs: "Iterable[str | os.PathLike[str] | None] | None" = None,
) -> None:
    """Hand a list in. See `nontax.Ledger.deliver`. pdfs: for a store that keeps their paths."""
    files: list[tuple[str, str]] | None = None
    if pdfs is not None:
        bills, files = list(bills), list(map(_pdf, pdfs))
        if len(bills) != len(files):
            raise ValueError(f"there are {len(bills)} bills and {len(files)} PDFs")
        pairs = zip(bills, files, strict=True)
        bills = [_with_id(bill) if file[0] else bill for bill, file in pairs]
    contents = contents_of(client, bills)
    refused: list[tuple[int, Refused]] = []
    for begin in range(0, len(contents), PAGE):
        end = begin + PAGE
        more: dict[str, Any] = {} if files is None else {"pdfs": files[begin:end]}
        answers = store.hand_in(
            contents[begin:end], again=again, allow_same_number=allow_same_number, **more
        )
        refused += [
            (begin + place, answer)
            for place, answer in enumerate(answers)
            if isinstance(answer, Refused)
        ]
    if refused:
        found = [(index, conflict_of(one)) for index, one in refused[:MOST]]
        raise ConflictError(
            problems=[
                (f"[{index}].{path}", message)
                for index, error in found
                for path, message in error.problems
            ],
            fields=found[0][1].fields,
            kept=found[0][1].kept,
        )


def _pdf(path: "str | os.PathLike[str] | None") -> tuple[str, str]:
    """Where a PDF is, and its SHA-256; "" and "" for none."""
    if path is None:
        return "", ""
    with open(path, "rb") as file:
        if MARK not in file.read(LOOK_AT):
            raise ValueError(f"{os.fspath(path)} is no PDF")
        file.seek(0)
        return os.path.abspath(path), hashlib.file_digest(file, "sha256").hexdigest()


def _with_id(bill: "Mapping[str, object]") -> "Mapping[str, object]":
    """The bill as it can be checked: the id of its upload is still to come."""
    for name in ("card_ext", "user_card", "invoice_user_data"):
        inner = bill.get(name)
        if isinstance(inner, Mapping):
            return {**bill, name: _with_id(inner)}
    return {"s_pdf_media_id": "later", **bill}
