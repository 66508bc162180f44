"""`read`: a list of bills, checked, with what is wrong in it."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from nontax.notebook import frames, page
from nontax.notebook.words import Words
from nontax.sheets import (
    INSERT,
    BillList,
    ListedBill,
    Problem,
    SheetError,
    check_bills,
    open_list,
    write_rejects,
    yuan,
)
from nontax.sheets.problems import KINDS
from nontax.sheets.records import is_frame

SHOWN = 20
_MEDIA = "s_pdf_media_id"
_TIMES = ("billing_time", "business_time")
_CHINA = timedelta(hours=8)
# The words of a list for what kind of row it is: 数据类型 and 状态.
_WORDS = {
    "red": ("电子红票", "正常"),
    "cancelled": ("正常电子", "已冲红"),
    "paper": ("换开纸质", "正常"),
    "red_paper": ("换开纸质红票", "正常"),
    "blank_paper": ("空白纸质", "正常"),
    "void": ("正常电子", "已作废"),
    "exchanged": ("正常电子", "已换开"),
}


class Source(NamedTuple):
    """Where a list comes from, and how it is opened, as often as wanted."""

    given: Any
    options: dict[str, Any]

    def open(self, **more: Any) -> BillList:
        """Open it; more: further options of `open_list`."""
        return open_list(self.given, **self.options, **more)

    @property
    def is_frame(self) -> bool:
        """Whether it is a frame, and no path and no iterable of dicts."""
        return is_frame(self.given)


def source_of(given: object, **options: Any) -> Source:
    """A source that stays as it is: a frame is copied, what can be gone through once is kept."""
    if is_frame(given):
        given = frames.copy(given)
    elif isinstance(given, Iterable) and not isinstance(given, str | os.PathLike | Sequence):
        given = list(given)
    return Source(given, options)


class Bills:
    """A list of bills that was read and checked; see `read`. It shows itself in a notebook.

    list: the `nontax.sheets.BillList`, with its columns, notes and totals. problems: all that is
    wrong (list of `nontax.sheets.Problem`). ready: the bills for the wallet that have no problem
    (list of `nontax.sheets.ListedBill`).
    """

    def __init__(
        self,
        source: Source,
        list: BillList,
        problems: "list[Problem]",
        ready: "list[ListedBill]",
        *,
        library: str | None,
        lang: str | None,
    ) -> None:
        self.source = source
        self.list = list
        self.problems = problems
        self.ready = ready
        self.library = library
        self.lang = lang
        self._frame: Any = None

    def __len__(self) -> int:
        return len(self.ready)

    @property
    def frame(self) -> Any:
        """The list as a frame, with a column `problem` ("" where there is none).

        Of a frame: your own, in its order and with its index. Of anything else: the rows that could
        be read, with the columns `row`, the fields that the list has (`fee_fen`: in fen; times in
        UTC+8), `data_type` and `status`; filtered, it can be given to `insert` or `reconcile`.
        """
        if self._frame is None:
            self._frame = self._make_frame()
        return self._frame

    def _make_frame(self) -> Any:
        words = Words(self.lang)
        said = self.reasons()
        if self.source.is_frame:
            rows: Sequence[int] = range(1, len(self.source.given) + 1)
            texts = [words("; ").join(said.get(row, ())) for row in rows]
            return frames.with_columns(self.source.given, {"problem": texts})
        columns = self._columns()
        columns["problem"] = [words("; ").join(said.get(row, ())) for row in columns["row"]]
        return frames.make(columns, self.library)

    def reasons(self) -> dict[int, list[str]]:
        """What is wrong with each row that has a problem, in the language of this list."""
        lang = Words(self.lang).lang
        said: dict[int, list[str]] = {}
        for problem in self.problems:
            texts = said.setdefault(problem.row, [])
            if (text := problem.words(lang)) not in texts:
                texts.append(text)
        return said

    def _columns(self) -> dict[str, Sequence[Any]]:
        rows: list[int] = []
        found: dict[str, list[Any]] = {}
        for batch in self.list.batches():
            rows += batch.rows
            for field, values in batch.columns.items():
                found.setdefault(field, []).extend(values)
        kinds = found.pop("kind", [])
        found.pop("pdf_file", None)
        columns: dict[str, Sequence[Any]] = {"row": rows}
        for field, values in found.items():
            if field in _TIMES:
                columns[field] = [_moment(seconds) for seconds in values]
            elif field not in ("data_type", "status"):
                columns["fee_fen" if field == "fee" else field] = values
        if {"data_type", "status"} & found.keys() or self.list.statement:
            words = [_WORDS.get(kind, ("正常电子", "正常")) for kind in kinds]
            columns["data_type"] = [word for word, _ in words]
            columns["status"] = [word for _, word in words]
        return columns

    @property
    def problem_frame(self) -> Any:
        """The problems as a frame: `row`, `column` and `problem`."""
        lang = Words(self.lang).lang
        columns: dict[str, Sequence[object]] = {
            "row": [problem.row for problem in self.problems],
            "column": [problem.column for problem in self.problems],
            "problem": [problem.words(lang) for problem in self.problems],
        }
        return frames.make(columns, self.library)

    def write_rejects(
        self, path: str | os.PathLike[str], reasons: Mapping[int, str] | None = None
    ) -> int:
        """Write the rows with problems to a file, with the list's columns and the reason.

        path: .xlsx, .csv, .tsv or .jsonl. reasons: further rows (row → why). Returns how many rows
        were written (int).
        """
        words = Words(self.lang)
        known = {problem.row for problem in self.list.problems}
        said = {
            row: words("; ").join(texts)
            for row, texts in self.reasons().items()
            if row and row not in known
        }
        return write_rejects(path, self.list, {**(reasons or {}), **said}, words.lang)

    def __repr__(self) -> str:
        name = self.list.name or self.list.format
        return f"<Bills of {name}: {len(self.ready)} ready, {len(self.problems)} problems>"

    def _repr_html_(self) -> str:
        words = Words(self.lang)
        amount = yuan(sum(_fee_of(listed) for listed in self.ready))
        summary = words(
            "{count} bills for the wallet, {amount} yuan; problems: {problems}.",
            count=len(self.ready),
            amount=amount,
            problems=len(self.problems),
        )
        parts = [page.line(summary, "bad" if self.problems else "good"), *self._about(words)]
        parts += self._totals(words)
        parts += _problems(words, "Problems", "Problem", self.problems)
        parts += _problems(words, "Notes", "Note", self.list.notes)
        return page.page(words("List of bills"), words.lang, parts)

    def _about(self, words: Words) -> Iterator[str]:
        if self.list.name:
            sheet, encoding = self.list.sheet, self.list.encoding
            yield page.line(" | ".join(filter(None, (self.list.name, sheet, encoding))), "note")
        if self.list.sha256:
            yield page.line(words("SHA-256 {digest}", digest=self.list.sha256), "note")

    def _totals(self, words: Words) -> Iterator[str]:
        headers = [words("Kind"), words("Rows"), words("Amount (yuan)")]
        yield page.table(
            "",
            headers,
            [
                (words(KINDS[kind]), count, yuan(fee))
                for kind, (count, fee) in self.list.totals.items()
            ],
        )


def _problems(words: Words, title: str, what: str, found: Sequence[Problem]) -> Iterator[str]:
    headers = [words("Row"), words("Column"), words(what)]
    rows = [(str(one.row or ""), one.column, one.words(words.lang)) for one in found[:SHOWN]]
    yield page.table(words(title), headers, rows)
    if len(found) > SHOWN:
        yield page.line(
            words("{shown} of {count} rows are shown.", shown=SHOWN, count=len(found)), "note"
        )


def _fee_of(listed: ListedBill) -> int:
    fee = listed.bill.get("fee", 0)
    return fee if isinstance(fee, int) else 0


def _moment(seconds: int) -> datetime | None:
    """The time in UTC+8, as lists have it: without a zone."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None) + _CHINA if seconds else None


def read(
    source: object,
    *,
    map: str | os.PathLike[str] | Mapping[str, object] | None = None,
    unit: str | None = None,
    defaults: Mapping[str, str] | None = None,
    settle: float = 60.0,
    sheet: str | None = None,
    expect_count: int | None = None,
    expect_amount: str | Decimal | None = None,
    pdf_dir: str | os.PathLike[str] | None = None,
    pdf_name: str | None = None,
    library: str | None = None,
    lang: str | None = None,
) -> Bills:
    """Read a list of bills, and check each bill as `insert_bill` would. Nothing is sent.

    source: a path (CSV, TSV, Excel, ODS, JSONL), a frame (pandas, polars) or an iterable of dicts.
    defaults: values of fields that the list does not have, such as card_id and appid.
    library: "pandas" or "polars", for the frame of a file; None: the one that is imported.
    lang: "zh" or "en", of what is shown; None: as the environment says.
    Everything else: as for `nontax.sheets.open_list`.

    Problems are collected in `.problems`; raises `nontax.sheets.SheetError` where the file cannot
    be read as a list at all.
    """
    opened = source_of(
        source,
        map=map,
        unit=unit,
        settle=settle,
        sheet=sheet,
        expect_count=expect_count,
        expect_amount=expect_amount,
    )
    given = dict(defaults or {})
    pdfs = {"pdf_dir": pdf_dir, "pdf_name": pdf_name}
    if pdf_dir is not None:
        given.setdefault(_MEDIA, "later")  # WeChat names it when the PDF is uploaded
    listed, missing = _open(opened, [field for field in INSERT if field not in given], pdfs)
    wanted = [_MEDIA] if _MEDIA not in {*listed.fields, *given} else []
    problems = (
        [*missing, *check_bills(listed, given)]
        if not missing
        else [
            *missing,
            *listed.check().problems,
        ]
    )
    problems = [*(_missing(listed, field) for field in wanted), *problems]
    bad = {problem.row for problem in problems}
    ready = [] if 0 in bad else [one for one in listed.bills(given) if one.row not in bad]
    return Bills(opened, listed, problems, ready, library=library, lang=lang)


def _open(
    source: Source, require: Sequence[str], pdfs: Mapping[str, object]
) -> tuple[BillList, list[Problem]]:
    """Open a list for inserting; one that lacks columns for that, and what it lacks."""
    try:
        return source.open(require=require, **pdfs), []
    except SheetError as error:
        if any(problem.id != "missing_column" for problem in error.problems):
            raise
        return source.open(), error.problems


def _missing(listed: BillList, field: str) -> Problem:
    values = {"field": field, "example": field}
    return Problem("missing_column", values, listed.name, listed.sheet)
