"""What kind of row it is, by the words for its data type and its status. Never by a number.

Only a normal e-bill goes into a wallet.
"""

from collections.abc import Mapping

from nontax.sheets.cells import FlawError

# 数据类型 of the platforms.
DATA_TYPES = {
    "正常电子": "bill",
    "正常电子票据": "bill",
    "电子红票": "red",
    "换开纸质": "paper",
    "换开纸质票据": "paper",
    "换开纸质红票": "red_paper",
    "空白纸质": "blank_paper",
    "空白纸质票据": "blank_paper",
}

STATUSES = {
    "正常": "bill",
    "已开票": "bill",
    "已开具": "bill",
    "开票成功": "bill",
    "冲红": "cancelled",
    "已冲红": "cancelled",
    "红冲": "cancelled",
    "已红冲": "cancelled",
    "被冲红": "cancelled",
    "作废": "void",
    "已作废": "void",
    "换开": "exchanged",
    "已换开": "exchanged",
}

STATEMENT_STATUSES = {"SUCCESS": "bill", "REFUND": "red", "REVOKED": "red"}

# Rows of these kinds may be without an amount and without ids.
UNFILLED = {"blank_paper", "void"}


def meaning(field: str, word: str) -> str:
    """Return the kind that a word of a map file means: a kind, or a word known for the field.

    field: "data_type" or "status". Returns "" for an unknown word.
    """
    known = DATA_TYPES if field == "data_type" else {**STATUSES, **STATEMENT_STATUSES}
    return word if word in known.values() else known.get(word, "")


class Kinds:
    """Names the kind of rows. words: a map file's, by field. statement: WeChat Pay's words."""

    def __init__(self, words: Mapping[str, Mapping[str, str]], statement: bool) -> None:
        statuses = STATEMENT_STATUSES if statement else STATUSES
        self._tables = {"data_type": DATA_TYPES, "status": statuses}
        self._mapped = {
            field: {word: meaning(field, said) for word, said in table.items()}
            for field, table in words.items()
        }
        # By the words for data type and status (None: the file has no such column), and whether the
        # row names a related bill.
        self.known: dict[tuple[str | None, str | None, bool], str] = {}

    def learn(self, row: tuple[str | None, str | None, bool]) -> str:
        """Name the kind of a row, and keep it in `known`.

        Raises `FlawError` for a word without a meaning.
        """
        self.known[row] = kind = self._decide(*row)
        return kind

    def _decide(self, data_type: str | None, status: str | None, related: bool) -> str:
        if not data_type and not status and (data_type is not None or status is not None):
            raise FlawError("missing_value", field="status" if data_type is None else "data_type")
        of_type = self._meaning("data_type", data_type) if data_type else "bill"
        of_status = self._meaning("status", status) if status else "bill"
        if of_status == "void":
            return "void"
        if of_type != "bill":
            return of_type
        if of_status == "cancelled" and related and data_type is None:
            return "red"  # without a data type, only the related bill tells red from reversed
        return of_status

    def _meaning(self, field: str, word: str) -> str:
        mapped = self._mapped.get(field, {}).get(word)
        if mapped:
            return mapped
        known = self._tables[field].get(word)
        if known:
            return known
        number = word.removeprefix("-").isdecimal()
        raise FlawError("number_code" if number else "unknown_word", field=field, value=word)
