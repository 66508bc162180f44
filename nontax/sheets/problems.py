"""What can be wrong with a list, as an id and values, and the sentences for both languages."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nontax.errors import NontaxError
from nontax.language import words
from nontax.values import MESSAGES

Values = Mapping[str, str | int]

# English is the message's id for gettext. {field} is replaced by the field's name in the language.
SENTENCES = {
    # the file
    "no_file": "the file does not exist",
    "not_a_file": "this is a folder, not a file",
    "cannot_read": "the file cannot be read: {reason}",
    "unknown_format": (
        "the name ends with {suffix}: give .csv, .tsv, .txt, .xlsx, .xlsm, .xls, .ods or .jsonl"
    ),
    "unknown_output": "the name ends with {suffix}: give .csv, .tsv, .xlsx or .jsonl",
    "empty_file": "the file is empty",
    "just_changed": (
        "the file was changed {seconds} s ago and may still be written: wait until the export has "
        "finished, or give --settle 0"
    ),
    "changed_while_read": "the file was changed while it was read: wait, and read it again",
    "no_line_end": (
        "the last line has no line end, so the end of the file may be missing: copy or export it "
        "again"
    ),
    "open_quote": (
        "a quotation mark is opened and never closed, so the end of the file may be missing: "
        "copy or export it again"
    ),
    "not_text": ("the file is neither UTF-8 nor GB18030 text: save it as UTF-8, or as a workbook"),
    "mixed_encoding": (
        "the header is {encoding}, but from byte {offset} on the file is not: save it again as "
        "UTF-8"
    ),
    "zero_byte": "the file contains zero bytes, so part of it may be missing: copy it again",
    "damaged_workbook": "the workbook cannot be read: {reason}",
    "encrypted_workbook": "the workbook is encrypted: save it without a password",
    "not_a_workbook": (
        "the file is not a workbook, although its name ends with {suffix}: open it in a "
        "spreadsheet program and save it as .xlsx"
    ),
    "several_sheets": "several worksheets have a known header: name one of {sheets} with --sheet",
    "no_such_sheet": "there is no worksheet {sheet}; the file has {sheets}",
    "bad_json": "the line is not a JSON object: {reason}",
    "not_a_list": "{type} is no list: give a path, a frame or an iterable of dicts",
    "not_a_dict": "the row is a {type}, not a dict",
    # the header
    "unknown_header": (
        "no header was recognised in the first {count} rows: name the columns in a map file (--map)"
    ),
    "ambiguous_column": (
        "the columns {headers} could each be {field}: say in a map file (--map) which one it is"
    ),
    "double_column": (
        "the column {header} occurs twice: rename one of the two, or remove it from the file"
    ),
    "missing_column": "there is no column for {field} (such as {example})",
    "unit_unknown": (
        "the header does not say whether amounts are in yuan or fen: give --unit yuan or --unit fen"
    ),
    "unit_conflict": "the header says that amounts are in {header_unit}, not in {unit}",
    "key_unknown": (
        "rows cannot be told apart: there is no column for the order, for code and number, or for "
        "the business serial number; name one in a map file (--map)"
    ),
    "short_number": (
        "{value} has {count} digits, not 10: a spreadsheet has taken its leading zeros; export the "
        "list again with the column as text (if it is right, name the column in a map file, --map)"
    ),
    "key_missing": "there is no column {key}, which was given as the key; the file has {headers}",
    "statement_key": (
        "a WeChat statement has several order numbers: name the column with --key, such as "
        "--key 商户订单号"
    ),
    # map files
    "map_broken": "the map file cannot be read: {reason}",
    "map_unknown": "the map file has {name}, which is none of {known}",
    "map_no_column": "the map file names the column {header} for {field}, but the file has none",
    # totals
    "count_differs": "rows in the file: {count}; expected: {expected}",
    "amount_differs": "the amounts add up to {amount} yuan; expected: {expected} yuan",
    "total_differs": ("the total row says {said} yuan; the rows above it add up to {amount} yuan"),
    "total_unreadable": "the amount in the total row cannot be read",
    "total_count_differs": "rows according to the total row: {said}; above it: {count}",
    "too_many_problems": (
        "problems: {count}; only the first {kept} were kept, so they cannot be written to a file: "
        "correct the list first"
    ),
    "sidecar_broken": "the totals file {name} cannot be used: {reason}",
    "sha256_differs": "the file's SHA-256 is not the one in {name}: copy it again",
    "statement_cut": (
        "the statement has no totals at its end, so rows may be missing: download it again"
    ),
    "swapped_columns": (
        "the columns seem to be swapped: in {count} of {rows} rows the code (票据代码) has 10 "
        "digits and the number (票据号码) has 8, not 8 and 10; check the headers, or name both "
        "columns in a map file (--map)"
    ),
    # rows
    "cells_count": "cells in the row: {count}; in the header: {expected}",
    "missing_value": "{field} is empty",
    "number_in_id": (
        "{field} is a number ({value}), not a text: leading zeros and digits after the fifteenth "
        "may be lost; export the column as text"
    ),
    "number_column": (
        "{field} is a column of numbers, which lose leading zeros: read it as text (pandas: "
        "dtype=str)"
    ),
    "scientific_id": (
        "{field} is {value}: a spreadsheet has shortened it, and digits are lost; export the list "
        "again with the column as text"
    ),
    "decimal_id": "{field} is {value}: a spreadsheet has made a number of it; export it as text",
    "character_in_id": "{field} contains {character}",
    "character_in_text": "{field} contains {character}",
    "formula_error": "{field} is the spreadsheet error {value}",
    "not_text_cell": "{field} is a {type}, not a text",
    "amount_inexact": "{field} is the number {value}, which is not exact to the fen",
    "amount_not_fen": "{field} is {value}: an amount in fen is a whole number",
    "negative_amount": "{field} is negative in a normal bill ({value} yuan)",
    "dates_differ": "{field} names two different days in its two columns",
    "unknown_word": "{field} is {value}, which is unknown: say what it means in a map file (--map)",
    "number_code": (
        "{field} is the number {value}: systems number differently, so say what it means in a map "
        "file (--map)"
    ),
    "duplicate_order_id": "{field} is also in row {first}: one order takes one bill",
    "duplicate_billing_code": "{field}, with its code, is also in row {first}",
    "pdf_missing": "there is no PDF {name}",
    "pdf_unreadable": "the PDF {name} cannot be read: {reason}",
    "pdf_not_pdf": "the file {name} is not a PDF",
    "pdf_outside": "the PDF {name} lies outside of the PDF folder",
    "pdf_changed": "the PDF {name} was changed after it was checked",
    # notes: what was understood although it is written differently, or left out
    "normalised": "{field} was corrected in some rows ({count}), such as {was} to {now}",
    "normalised_hidden": (
        "{field} was corrected in some rows ({count}): blanks, invisible characters"
    ),
    "rows_empty": "empty rows left out: {count}",
    "rows_header": "repeated header rows left out: {count}",
    "rows_footer": "rows below the totals left out: {count}",
    "total_checked": "the total row was checked: {said} yuan ({what})",
    "total_count_checked": "the total row was checked: {said} rows",
    "total_empty": "the total row has neither an amount nor a count to check",
    "not_for_wallet": "rows not for the wallet ({kind}): {count}, {amount} yuan",
}

# What a total row may cover; {what} of "total_checked".
COVERED = {
    "all": "all rows",
    "since": "the rows since the last total",
    "bills": "normal bills",
    "net": "normal bills less red ones",
}

KINDS = {
    "bill": "normal e-bill",
    "red": "red bill",
    "cancelled": "reversed",
    "paper": "exchanged for paper",
    "red_paper": "red bill on paper",
    "blank_paper": "blank paper",
    "void": "void",
    "exchanged": "marked as exchanged",
}

FIELDS = {
    "order_id": "the order",
    "card_id": "the card",
    "appid": "the AppID",
    "billing_no": "the bill's code",
    "billing_code": "the bill's number",
    "check_code": "the check code",
    "business_no": "the business serial number",
    "related_no": "the related bill's code",
    "related_code": "the related bill's number",
    "card_code": "the card code",
    "transaction_id": "WeChat's order number",
    "refund_no": "the refund number",
    "openid": "the openid",
    "title": "the payer",
    "unit_name": "the collecting unit",
    "point": "the issuing point",
    "bill_type": "the bill kind",
    "data_type": "the data type",
    "status": "the status",
    "pdf": "the PDF",
    "s_pdf_media_id": "the media id of the PDF",
    "fee": "the amount",
    "refund": "the refunded amount",
    "billing_time": "the time of issue",
    "business_time": "the business time",
}

_WHERE = {
    "sheet": "worksheet {sheet}",
    "row": "row {row}",
    "column": "column {column}",
}

# nontax.values says of a value what is wrong with it; here its field stands before that.
FIELD_FIRST = "{field} {message}"

# Begins the id of what the core says of a bill; its sentence is in the values, as `template`.
OF_CORE = "core."

MISSING = {"missing": "{what} needs {library}: run pip install '{extra}'"}

ACTIONS = {
    "read_workbook": "reading a workbook",
    "read_frame": "reading a frame",
    "write_workbook": "writing a workbook",
    "make_frame": "making a frame",
    "plot": "drawing a plot",
}

UNITS = {"yuan": "yuan", "fen": "fen"}

_LABELS = {
    "field": FIELDS,
    "kind": KINDS,
    "what": COVERED,
    "unit": UNITS,
    "header_unit": UNITS,
}


class Problem(NamedTuple):
    """One thing that is wrong with a list, or that was understood in spite of it.

    id: a key of `SENTENCES` or of nontax.values.MESSAGES, or the core's id behind "core." (str).
    values: what stands in the sentence (dict of str to str or int); never a payer or an openid.
    file: its name. sheet: the worksheet, or "". row: as a spreadsheet program counts, from 1; 0
    means the whole file. column: its header, or "".
    """

    id: str
    values: Values = {}  # noqa: RUF012  (never changed)
    file: str = ""
    sheet: str = ""
    row: int = 0
    column: str = ""

    def words(self, lang: str = "en") -> str:
        """Say it in a sentence. lang: "en" or "zh"."""
        gettext = words(lang).gettext
        shown = {
            name: gettext(_LABELS[name].get(str(value), str(value))) if name in _LABELS else value
            for name, value in self.values.items()
        }
        if self.id in SENTENCES:
            return gettext(SENTENCES[self.id]).format_map(shown)
        template = str(shown.get("template", "")) or MESSAGES[self.id]
        message = gettext(template).format_map(shown)
        return gettext(FIELD_FIRST).format(field=shown["field"], message=message)

    def where(self, lang: str = "en") -> str:
        """Say where it is: file, worksheet, row and column. lang: "en" or "zh"."""
        gettext = words(lang).gettext
        parts = [self.file] if self.file else []
        parts += [
            gettext(text).format(**{name: getattr(self, name)})
            for name, text in _WHERE.items()
            if getattr(self, name)
        ]
        return gettext(", ").join(parts)

    def __str__(self) -> str:
        where = self.where()
        return f"{where}: {self.words()}" if where else self.words()


def translatable() -> list[str]:
    """List every sentence and word of this room that needs a Chinese text."""
    tables = (SENTENCES, COVERED, KINDS, FIELDS, UNITS, _WHERE, MISSING, ACTIONS, MESSAGES)
    return [
        FIELD_FIRST,
        ", ",
        "; ",
        "reason",
        *(text for table in tables for text in table.values()),
    ]


class SheetError(NontaxError, ValueError):
    """A list cannot be read at all. Nothing was sent.

    problems: what is wrong (list of `Problem`, at least one). map_toml: the map file to write where
    columns are not clear (str), else "".
    """

    problems: list[Problem]
    map_toml: str
    advice = "Correct the list, or say in a map file what its columns are, and read it again."

    def __init__(self, problems: Sequence[Problem], map_toml: str = "") -> None:
        super().__init__()
        self.outcome = "not_sent"
        self.problems = list(problems)
        self.map_toml = map_toml
        self.reason = "; ".join(found.words() for found in self.problems)

    def words(self, lang: str = "en") -> str:
        """Say it all, a problem a line. lang: "en" or "zh"."""
        lines = [
            ": ".join(filter(None, (found.where(lang), found.words(lang))))
            for found in self.problems
        ]
        return "\n".join([*lines, self.map_toml] if self.map_toml else lines)

    def __str__(self) -> str:
        return self.words()


class MissingExtra(NontaxError, ImportError):  # noqa: N818  (says what is missing)
    """A library that this needs is not installed. Nothing was sent.

    extra: what to install, such as "nontax[excel]" (str). library: its name (str).
    """

    advice = "Install what the message names."

    def __init__(self, library: str, extra: str, action: str) -> None:
        super().__init__()
        self.outcome = "not_sent"
        self.library = library
        self.extra = extra
        self.action = action

    def words(self, lang: str = "en") -> str:
        """Say it in a sentence. lang: "en" or "zh"."""
        gettext = words(lang).gettext
        what = gettext(ACTIONS[self.action])
        sentence = gettext(MISSING["missing"])
        return sentence.format(what=what, library=self.library, extra=self.extra)

    def __str__(self) -> str:
        return self.words()
