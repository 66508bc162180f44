"""The words of reports. Each is a message of `nontax.language`: its English is its id."""

from collections.abc import Iterator

from nontax.language import words as words_of
from nontax.reconciliation import period

# {other} is how the side is called that the list is reconciled against.
SIDES = {"ledger": "the ledger", "list": "the other list"}

CLASSES = {
    "amount_mismatch": "amount differs",
    "in_doubt": "in doubt",
    "missing": "in the list, not in {other}",
    "unexpected": "in {other}, not in the list",
    "duplicate_list": "repeated in the list",
    "duplicate_ledger": "repeated in {other}",
    "other_order": "same number, other order",
    "field_mismatch": "other fields differ",
    "cancel_missing": "reversed, wallet not updated",
    "cancel_impossible": "reversed, wallet cannot be updated yet",
    "red_unpaired": "red bill without its original",
    "rejected": "rejected by WeChat",
    "not_authorised": "waits for authorisation",
    "expired_pdf": "PDF expired",
    "code_unknown": "in the wallet, card code unknown",
    "waiting": "waiting to be sent",
    "withdrawn": "withdrawn",
    "carried_over": "carried over",
    "cancelled": "reversed, wallet updated",
    "not_for_wallet": "not for the wallet",
    "form_only": "only written differently",
    "matched": "matched",
}
# Where no wallet is concerned.
_OF_LISTS = {
    "cancel_missing": "reversed on one side only",
    "cancelled": "reversed on both sides",
}

ADVICE = {
    "amount_mismatch": "Find out which amount is right; correct it at its source.",
    "in_doubt": "Settle it with evidence before anything is sent again.",
    "missing": "Find out why it is not in {other}; a bill that was never sent can be sent.",
    "unexpected": "Find out which list it belongs to, and who sent it.",
    "duplicate_list": "Have the duplicate removed at its source.",
    "duplicate_ledger": "Find out which of them is valid.",
    "other_order": "Find out which order the bill belongs to.",
    "field_mismatch": "Correct the fields at their source.",
    "cancel_missing": "Update the status in the wallet to reversed.",
    "cancel_impossible": "Settle or withdraw the original bill first.",
    "red_unpaired": "Find the original bill; add its code and number.",
    "rejected": "See WeChat's reason; correct the bill, then hand it in again.",
    "not_authorised": "Ask the citizen to authorise.",
    "expired_pdf": "Upload the PDF again.",
    "code_unknown": "Ask WeChat or wait for the event; without the code it cannot be updated.",
    "waiting": "Send it, or see why it is not sent.",
    "withdrawn": "Confirm that it is not to be sent.",
}
_ADVICE_OF_LISTS = {"cancel_missing": "Find out why only one side has reversed it."}

STATES = {
    "held": "held",
    "waiting": "waiting",
    "sending": "sending",
    "inserted": "inserted",
    "rejected": "rejected",
    "not_sent": "not sent",
    "in_doubt": "in doubt",
    "withdrawn": "withdrawn",
}
KINDS = {
    "bill": "e-bill",
    "red": "red bill",
    "cancelled": "reversed e-bill",
    "paper": "paper bill",
    "red_paper": "red paper bill",
    "blank_paper": "blank paper bill",
    "void": "void",
    "exchanged": "e-bill exchanged for paper",
}
FIELDS = {
    "fee": "amount",
    "order_id": "order",
    "billing_no": "bill code",
    "billing_code": "bill number",
    "business_no": "business serial number",
    "check_code": "check code",
    "card_id": "card",
    "appid": "AppID",
    "title": "payer",
    "billing_time": "issue time",
    "status": "status",
}
DETAILS = {"identical": "identical", "conflicting": "conflicting"}
TOTALS = {"issues": "Issues", "refunds": "Refunds (red bills)", "else": "Paper and void"}
DIMENSIONS = {"unit": "Unit", "point": "Issuing point", "card": "Card", "day": "Day"}
GROUPS = {
    "unit": "By unit",
    "point": "By issuing point",
    "card": "By card",
    "day": "By day",
}
KEYS = {
    ("order_id",): "order",
    ("billing_no", "billing_code"): "bill code and number",
    ("business_no",): "business serial number",
}

_COLUMNS = (
    "No.",
    "Class",
    "Detail",
    "Explained",
    "Order",
    "Bill code",
    "Bill number",
    "Business serial number",
    "Payer",
    "Payer ({other})",
    "Amount, list (yuan)",
    "Amount, {other} (yuan)",
    "Rows, list",
    "Rows, {other}",
    "Difference, rows",
    "Difference (yuan)",
    "Open",
    "Issue time, list",
    "Issue time, {other}",
    "Unit",
    "Issuing point",
    "Card",
    "Day",
    "Kind",
    "State",
    "What differs",
    "Refers to",
    "Row, list",
    "Row, {other}",
    "By",
    "Checked by",
    "At",
    "Item",
    "Table",
    "What to do",
    "First number",
    "Last number",
    "Bills",
    "Amount (yuan)",
    "Missing numbers",
    "Repeated numbers",
    "Not digits",
    "Matched rows",
    "Open rows",
)
_TEXTS = (
    "Bills in card wallets: reconciliation report",
    "Two lists of bills: reconciliation report",
    "Period",
    "all rows, whatever their date",
    "{start} to {end} (UTC+8)",
    "List",
    "Ledger",
    "Other list",
    "up to bill id {upto}",
    "Key",
    "Result",
    "The sums tie, and nothing is open.",
    "The sums tie; open differences: {count}.",
    "Totals",
    "Rows by class",
    "Open differences by class",
    "Read",
    "carried over from before",
    "outside the period",
    "Differences",
    "Number ranges",
    "Number gaps",
    "Summary",
    "Groups",
    "{shown} of {count} rows are shown; the others are in the Excel and CSV files.",
    "No rows.",
    "Prepared by",
    "Checked by",
    "Approved by",
    "Unit (seal)",
    "total",
    "(not stated)",
)


def translatable() -> Iterator[str]:
    """All messages of this room."""
    tables = (
        SIDES,
        CLASSES,
        _OF_LISTS,
        ADVICE,
        _ADVICE_OF_LISTS,
        STATES,
        KINDS,
        FIELDS,
        DETAILS,
        TOTALS,
        DIMENSIONS,
        GROUPS,
        KEYS,
        period.MESSAGES,
    )
    for table in tables:
        yield from table.values()
    yield from _COLUMNS
    yield from _TEXTS


class Words:
    """The words of one report in one language.

    lang: "zh" or "en". ledger: whether the other side is a ledger.
    """

    def __init__(self, lang: str, *, ledger: bool) -> None:
        self.lang = lang
        self._ledger = ledger
        self._gettext = words_of(lang).gettext
        self.other = self._gettext(SIDES["ledger" if ledger else "list"])

    def __call__(self, message: str, **values: object) -> str:
        """A message in this language."""
        return self._gettext(message).format_map({"other": self.other, **values})

    def name(self, name: str) -> str:
        """A class."""
        lists = {} if self._ledger else _OF_LISTS
        return self(lists.get(name, CLASSES[name]))

    def advice(self, name: str) -> str:
        """What to do about a class; "" where nothing is to be done."""
        lists = {} if self._ledger else _ADVICE_OF_LISTS
        found = lists.get(name) or ADVICE.get(name)
        return self(found) if found else ""

    def fields(self, names: tuple[str, ...]) -> str:
        """Fields, one after the other."""
        between = "、" if self.lang == "zh" else ", "
        return between.join(self(FIELDS[name]) for name in names)
