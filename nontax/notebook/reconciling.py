"""`reconcile`: the report of a reconciliation, which shows itself, as a frame and as a plot."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import nontax.reconciliation
from nontax.notebook import frames, page
from nontax.notebook.listed import SHOWN, Bills, Source, source_of
from nontax.notebook.sending import ledger_of
from nontax.notebook.words import Words
from nontax.reconciliation import as_html, tables
from nontax.reconciliation.carried import read_carried
from nontax.reconciliation.facts import facts, title
from nontax.reconciliation.rows import LIST, OUT
from nontax.reconciliation.words import Words as ReportWords
from nontax.sheets import BillList, MissingExtra, mask_name, yuan

if TYPE_CHECKING:
    from nontax.client import Client

_TIMES = ("billing_time", "business_time")
# Fonts with Chinese characters, of which matplotlib brings none.
_CHINESE = re.compile("CJK|Source Han|YaHei|SimHei|SimSun|PingFang|WenQuanYi|Heiti|Kaiti")


class Report(nontax.reconciliation.Report):
    """A `nontax.reconciliation.Report` that a notebook can show.

    frame: the list as a frame, in its order and with its index, with a column `reconciled`: what
    became of each row ("matched", "missing" …; "" outside the period, and for rows with problems).
    """

    _listed: BillList
    _source: Source
    _carried: Any
    _library: str | None
    _lang: str | None

    @classmethod
    def _of(cls, report: nontax.reconciliation.Report, **more: Any) -> "Report":
        made = cls.__new__(cls)
        made.__dict__.update(report.__dict__)
        made.__dict__.update({f"_{name}": value for name, value in more.items()})
        return made

    @property
    def frame(self) -> Any:
        """See the class."""
        found = dict(self._classes_of_rows())
        if self._source.is_frame:
            names = [found.get(row, "") for row in range(1, len(self._source.given) + 1)]
            return frames.with_columns(self._source.given, {"reconciled": names})
        made = Bills(self._source, self._listed, [], [], library=self._library, lang=self._lang)
        return frames.with_columns(made.frame, {"reconciled": list(found.values())})

    def _classes_of_rows(self) -> Iterator[tuple[int, str]]:
        special = {row.list_row: row.name for row in self.differences()}
        carried: Mapping[str, object] = (
            read_carried(self._carried, self.fields)[LIST] if self._carried else {}
        )
        field = next((name for name in _TIMES if name in self._listed.fields), "")
        for batch in self._listed.batches():
            times = self.period.dates(batch[field] if field else [0] * len(batch))
            columns = (batch.rows, self.period.scopes(times), batch.keys(self.fields.key))
            for row, scope, key in zip(*columns, strict=True):
                usual = "" if scope == OUT and key not in carried else "matched"
                yield row, special.get(row, usual)

    @property
    def difference_frame(self) -> Any:
        """All rows that are not just matched, as a frame; without payers' names."""
        rows = list(self.differences())
        columns: dict[str, Sequence[object]] = {
            "class": [row.name for row in rows],
            "open": ["yes" if row.open else "no" for row in rows],
            "order_id": [row.order_id for row in rows],
            "billing_no": [row.billing_no for row in rows],
            "billing_code": [row.billing_code for row in rows],
            "list_row": [str(row.list_row or "") for row in rows],
            "list_yuan": [_yuan(row.list_fen) for row in rows],
            "other_yuan": [_yuan(row.other_fen) for row in rows],
            "fields": [", ".join(row.fields) for row in rows],
            "state": [row.state for row in rows],
            "day": [row.day for row in rows],
            "explained": [row.explained.note if row.explained else "" for row in rows],
        }
        return frames.make(columns, self._library)

    def _words(self) -> ReportWords:
        return ReportWords(Words(self._lang).lang, ledger=self.ledger)

    def _repr_html_(self) -> str:
        words = self._words()
        parts = ["<dl>"]
        found = facts(self, words)
        for name, value in found:
            kind = ("good" if self.ok else "bad") if (name, value) == found[-1] else ""
            parts.append(page.fact(name, value, kind))
        parts.append("</dl>")
        parts += as_html.html_table(tables.totals(self, words), words)
        parts += as_html.html_table(tables.classes(self, words), words)
        parts += as_html.html_chart(self, words)
        rows = tables.differences(self, words, mask_name)
        rows = rows._replace(
            columns=rows.columns[: rows.main], rows=(row[: rows.main] for row in rows.rows)
        )
        parts += as_html.html_table(rows, words, most=SHOWN)
        return page.page(title(self, words), words.lang, parts)

    def plot(self, by: str = "class", *, ax: Any = None) -> Any:
        """Draw bars with matplotlib; returns its Axes.

        by: "class": the open differences of each class; "day", "unit", "point" or "card": the
        list's rows, matched and open. ax: the Axes to draw on; None: of a new figure.
        """
        try:
            from matplotlib import font_manager, pyplot
        except ImportError:
            raise MissingExtra("matplotlib", "matplotlib", "plot") from None
        fonts = sorted({font.name for font in font_manager.fontManager.ttflist})
        chinese = [name for name in fonts if _CHINESE.search(name)]
        words = self._words() if chinese else ReportWords("en", ledger=self.ledger)
        text = {"family": ["DejaVu Sans", *chinese]}
        names, bars = self._bars(by, words)
        size = (7, max(2.0, 1.2 + 0.25 * len(names)))
        axes = pyplot.subplots(figsize=size)[1] if ax is None else ax
        left = [0] * len(names)
        for label, colour, values in bars:
            axes.barh(names, values, left=left, color=colour, label=label)
            left = [one + more for one, more in zip(left, values, strict=True)]
        axes.invert_yaxis()
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.tick_params(axis="y", labelfontfamily=text["family"])
        axes.set_xlabel(words("Rows, list") if by != "class" else words("Open"), **text)
        axes.set_title(title(self, words), **text)
        if len(bars) > 1:
            axes.legend(prop=text)
        return axes

    def _bars(
        self, by: str, words: ReportWords
    ) -> tuple[list[str], list[tuple[str, str, list[int]]]]:
        if by == "class":
            counts = self.open
            bars = [(words("Open"), "#d98200", list(counts.values()))]
            return [words.name(name) for name in counts], bars
        lines = self.by(by)
        return [line.value or words("(not stated)") for line in lines], [
            (words("Matched rows"), "#2e9e5b", [line.matched.list.rows for line in lines]),
            (words("Open rows"), "#d98200", [max(s.rows for s in line.open) for line in lines]),
        ]


def _yuan(fen: int | None) -> str:
    return "" if fen is None else yuan(fen)


def reconcile(
    listed: object,
    other: object,
    *,
    day: str | date | None = None,
    start: str | date | None = None,
    end: str | date | None = None,
    cutoff: str = "00:00",
    grace: str = "30m",
    key: str | None = None,
    carried: str | os.PathLike[str] | None = None,
    explained: str | os.PathLike[str] | None = None,
    map: str | os.PathLike[str] | Mapping[str, object] | None = None,
    unit: str | None = None,
    settle: float = 60.0,
    library: str | None = None,
    lang: str | None = None,
) -> Report:
    """Compare a list with a ledger or with another list, to the fen. Writes nothing.

    listed: what `read` returned, a path, a frame or an iterable of dicts. other: the same, or a
    client with a ledger, a `nontax.Ledger`, or the path of one. library, lang: as for `read`.
    Everything else, and what is raised: as for `nontax.reconcile`.
    """
    options = {"map": map, "unit": unit, "settle": settle}
    made = listed if isinstance(listed, Bills) else None
    source = made.source if made else source_of(listed, **options)
    opened = source.open(key=key)
    report = nontax.reconciliation.reconcile(
        opened,
        _other(other, key),
        day=day,
        start=start,
        end=end,
        cutoff=cutoff,
        grace=grace,
        key=key,
        carried=carried,
        explained=explained,
        **options,  # type: ignore[arg-type]
    )
    return Report._of(
        report,
        listed=opened,
        source=source,
        carried=carried,
        library=library or (made.library if made else None),
        lang=lang or (made.lang if made else None),
    )


def _other(other: Any, key: str | None) -> Any:
    if isinstance(other, Bills):
        return other.source.open(key=key)
    return ledger_of(_client(other)) if hasattr(other, "insert_bill") else other


def _client(other: Any) -> "Client":
    client: Client = other
    return client
