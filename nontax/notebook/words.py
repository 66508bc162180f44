"""The words of what a notebook shows. Each is a message of `nontax.language`."""

from collections.abc import Iterator
from gettext import NullTranslations

from nontax.language import pick_language
from nontax.language import words as words_of
from nontax.reconciliation.words import STATES as OF_LEDGER

# What a row has come to: the ledger's states, and rows that no bill was made of.
OUTCOMES = {**OF_LEDGER, "not_for_wallet": "not for the wallet"}

_OWN = (
    "List of bills",
    "Insertion into card wallets",
    "{count} bills for the wallet, {amount} yuan; problems: {problems}.",
    "{inserted} of {count} bills are in card wallets; {now} were sent now.",
    "SHA-256 {digest}",
    "Interrupted. Run the cell again to go on: nothing is sent twice.",
    "Stopped: {reason}",
    "Bills wait to be sent. Run the cell again to go on: nothing is sent twice.",
    "Bills in doubt are not sent again by themselves: settle each with evidence (Ledger.resolve).",
    "{count} bills of earlier lists, which were waiting, were sent, too.",
    "Problems",
    "Notes",
    "Bills not in the wallet",
    "{shown} of {count} rows are shown.",
    "Row",
    "Rows",
    "Column",
    "Problem",
    "Note",
    "Outcome",
    "Reason",
    "Bills sent",
)


def translatable() -> Iterator[str]:
    """All messages of this room, those of others included."""
    yield from OUTCOMES.values()
    yield from _OWN


class Words:
    """The words in one language. lang: "zh", "en" or None: of the environment."""

    def __init__(self, lang: str | None) -> None:
        self.lang = pick_language(lang)
        self._gettext: NullTranslations = words_of(self.lang)

    def __call__(self, message: str, **values: object) -> str:
        """A message in this language."""
        return self._gettext.gettext(message).format_map(values)

    def translated(self, text: str) -> str:
        """A sentence of an error in this language, if it has one there."""
        return self._gettext.gettext(text) if text else ""
