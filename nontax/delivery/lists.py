"""A list of bills becomes waiting: all of it is checked before any of it is taken."""

from nontax.delivery.content import content_of
from nontax.delivery.store import Content, Refused
from nontax.errors import ConflictError, InvalidRequestError
from nontax.journaled import conflict_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

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
            contents.append(content_of(client._core.body("insertbill", bill)))
        except InvalidRequestError as error:
            problems += [(f"[{index}].{path}", message) for path, message in error.problems]
    if problems:
        raise InvalidRequestError(problems=problems[:MOST])
    return contents


def take(
    store: "Store",
    client: "Client",
    bills: "Iterable[object]",
    *,
    again: bool,
    allow_same_number: bool,
) -> None:
    """Hand a list in. See `nontax.Ledger.deliver`."""
    contents = contents_of(client, bills)
    refused: list[tuple[int, Refused]] = []
    for begin in range(0, len(contents), PAGE):
        answers = store.hand_in(
            contents[begin : begin + PAGE], again=again, allow_same_number=allow_same_number
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
