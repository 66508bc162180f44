"""What a report says of itself: its title, what was compared, and the result."""

from nontax.reconciliation.report import Report
from nontax.reconciliation.sides import Source
from nontax.reconciliation.words import KEYS, Words


def title(report: Report, words: Words) -> str:
    """The title."""
    if report.ledger:
        return words("Bills in card wallets: reconciliation report")
    return words("Two lists of bills: reconciliation report")


def result(report: Report, words: Words) -> str:
    """Whether anything is open. That the sums tie is a condition of any report."""
    if report.ok:
        return words("The sums tie, and nothing is open.")
    return words("The sums tie; open differences: {count}.", count=sum(report.open.values()))


def facts(report: Report, words: Words) -> list[tuple[str, str]]:
    """Names and values, in the order to be shown."""
    listed, other = report.sources
    return [
        (words("Period"), _period(report, words)),
        (words("List"), _source(listed, words)),
        (words("Ledger" if report.ledger else "Other list"), _source(other, words)),
        (words("Key"), words(KEYS[report.fields.key])),
        (words("Result"), result(report, words)),
    ]


def _period(report: Report, words: Words) -> str:
    period = report.period
    if period.all:
        return words("all rows, whatever their date")
    begin, end = period.bounds
    between = words("{start} to {end} (UTC+8)", start=begin, end=end)
    return f"{period.text}  |  {between}"


def _source(source: Source, words: Words) -> str:
    parts = [source.name]
    if source.digest:
        parts.append(f"SHA-256 {source.digest}")
    if source.upto:
        parts.append(words("up to bill id {upto}", upto=source.upto))
    return "  |  ".join(parts)
