"""What was measured: as numbers, as a table for the terminal, as JSON, and against the goals."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

from contestants import Cost

MANY = 16
# The first of each group is the base of its ratios. "(fields)": libcurl is given the body as a
# whole, and may send a bill twice. "wheel": nontax's wheel, with the libcurl that is in it.
TITLES = {
    1: {
        "bare-easy": "C, curl_easy_perform",
        "bare-easy-fields": "C, easy (fields)",
        "floor": "C, OpenSSL, no libcurl",
        "nontax": "nontax, insert_bill",
        "nontax-wheel": "nontax's wheel",
        "pycurl": "pycurl",
        "pyreqwest": "pyreqwest",
        "httpr": "httpr",
        "requests": "requests, Session",
        "httpx": "httpx, Client",
    },
    MANY: {
        "bare-multi": "C, curl multi and epoll",
        "bare-multi-fields": "C, multi (fields)",
        "floor-many": "C, OpenSSL, no libcurl",
        "nontax-bulk": "nontax, insert_bills",
        "nontax-bulk-kept": "the same, outcomes kept",
        "nontax-wheel-bulk": "nontax's wheel, bulk",
        "nontax-async": "nontax, ainsert_bill",
        "pycurl-multi": "pycurl, CurlMulti",
        "pyreqwest-async": "pyreqwest, Client",
        "aiohttp": "aiohttp",
        "httpr-threads": "httpr, 16 threads",
        "httpx-async": "httpx, AsyncClient",
        "requests-threads": "requests, 16 threads",
    },
}
# Runs of 16 bills and of 4,000, of one client: what beginning a run costs.
RUNS = ("nontax-runs-16", "nontax-runs-4000")
# How many bills nontax-bulk has in flight, to see what more of them cost.
DEPTHS = (1, 4, 16, 64, 256)
HEADINGS = {1: "One bill at a time", MANY: f"{MANY} bills in flight"}


@dataclass(frozen=True)
class Spread:
    """A median with the smallest and the largest value."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int = 0) -> str:
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}-{self.high:.{digits}f})"


def ratio(
    costs: list[Cost] | None, bases: list[Cost] | None, value: Callable[[Cost], float]
) -> Spread | None:
    if not costs or not bases:
        return None
    return Spread.of([value(one) / value(base) for one, base in zip(costs, bases, strict=True)])


@dataclass
class Report:
    """Everything that one run of the benchmarks has measured.

    costs: by contestant, one for each round, with client and server on one core: CPU time is
        measured there, as wake-ups hide it on two.
    speeds: the same with a core for each: bills per second.
    depths, bare_depths: of nontax-bulk and bare-multi, by bills in flight, on one core.
    foreign: by round, the share of all cores that went to other processes.
    imports_ms: by module ("pass": none), one for each round.
    memory_kib: peak memory by number of bills.
    second_thread: pairs of rates, beside a bulk run and alone.
    first_bills_ms: CPU time of a new client's first bills from eight threads.
    gil_us: CPU time for which a bulk run holds the GIL for each bill.
    notes: what was left out, and why.
    """

    machine: dict[str, str]
    settings: dict[str, object]
    costs: dict[str, list[Cost]] = field(default_factory=dict)
    speeds: dict[str, list[Cost]] = field(default_factory=dict)
    depths: dict[int, list[Cost]] = field(default_factory=dict)
    bare_depths: dict[int, list[Cost]] = field(default_factory=dict)
    foreign: list[float] = field(default_factory=list)
    imports_ms: dict[str, list[float]] = field(default_factory=dict)
    memory_kib: dict[int, int] = field(default_factory=dict)
    second_thread: list[tuple[float, float]] = field(default_factory=list)
    first_bills_ms: list[float] = field(default_factory=list)
    gil_us: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def cpu_us(self, name: str) -> Spread:
        return Spread.of([cost.cpu_us for cost in self.costs[name]])

    def per_second(self, name: str) -> Spread:
        return Spread.of([cost.per_second for cost in self.speeds[name]])

    def server_busy(self, name: str) -> float:
        return statistics.median(cost.server_cpu / cost.wall for cost in self.speeds[name])

    def peak_mb(self, name: str) -> float:
        return max(cost.peak_kib for cost in self.costs[name]) / 1024

    def cpu_ratio(self, name: str, base: str) -> Spread | None:
        """One contestant's CPU time per bill as a multiple of another's, round by round."""
        return ratio(self.costs.get(name), self.costs.get(base), lambda cost: cost.cpu_us)

    def speed_ratio(self, name: str, base: str) -> Spread | None:
        return ratio(self.speeds.get(name), self.speeds.get(base), lambda cost: cost.per_second)

    def import_ms(self, name: str) -> list[float]:
        """CPU time that `import NAME` adds to the start of Python, round by round."""
        pairs = zip(self.imports_ms[name], self.imports_ms["pass"], strict=True)
        return [one - nothing for one, nothing in pairs]


@dataclass(frozen=True)
class Goal:
    """A goal, and how it went. measured is None where it was not measured.

    bare: what the C program alone reaches there, which is where libcurl ends.
    """

    text: str
    limit: float
    at_most: bool
    measured: Spread | None
    bare: Spread | None = None

    @property
    def met(self) -> bool | None:
        if self.measured is None:
            return None
        value = self.measured.median
        return value <= self.limit if self.at_most else value >= self.limit


def goals(report: Report) -> list[Goal]:
    def at_most(
        text: str, limit: float, measured: Spread | None, bare: Spread | None = None
    ) -> Goal:
        return Goal(text, limit, True, measured, bare)

    def at_least(
        text: str, limit: float, measured: Spread | None, bare: Spread | None = None
    ) -> Goal:
        return Goal(text, limit, False, measured, bare)

    cpu, speed = report.cpu_ratio, report.speed_ratio
    imports = memory = thread = first = None
    if {"nontax", "pycurl"} <= report.imports_ms.keys():
        pairs = zip(report.import_ms("nontax"), report.import_ms("pycurl"), strict=True)
        imports = Spread.of([ours / theirs for ours, theirs in pairs])
    if len(report.memory_kib) > 1:
        few, *_, many = (report.memory_kib[count] for count in sorted(report.memory_kib))
        memory = Spread.of([(many - few) / 1024])
    if report.second_thread:
        thread = Spread.of([beside / alone for beside, alone in report.second_thread])
    if report.first_bills_ms:
        first = Spread.of(report.first_bills_ms)
    gil = Spread.of(report.gil_us) if report.gil_us else None
    most = f"{max(report.memory_kib, default=0):,}"
    deep, bare_deep = (
        ratio(depths.get(256), depths.get(MANY), lambda cost: cost.cpu_us)
        for depths in (report.depths, report.bare_depths)
    )
    bare = "bare-multi"
    return [
        at_most("one: CPU, x C", 1.15, cpu("nontax", "bare-easy")),
        at_most("bulk: CPU, x C", 1.1, cpu("nontax-bulk", bare)),
        at_most("one: CPU, our wheel x pycurl's", 0.75, cpu("nontax-wheel", "pycurl")),
        at_most("bulk: CPU, our wheel x pycurl's", 0.75, cpu("nontax-wheel-bulk", "pycurl-multi")),
        at_least("bulk: bills/s on two cores, x C", 0.9, speed("nontax-bulk", bare)),
        at_most("asyncio: CPU, x bulk", 1.3, cpu("nontax-async", "nontax-bulk")),
        at_most("runs of 16: CPU, x runs of 4,000", 2, cpu(*RUNS)),
        at_most("first bills from 8 threads, CPU ms", 40, first),
        at_most("256 in flight: CPU, x 16 in flight", 1.2, deep, bare_deep),
        at_most("bulk: GIL held for a bill, CPU us", 2, gil),
        at_most(f"bulk: {most} bills, MB over 1,000", 10, memory),
        at_least("bulk: speed left to a second thread", 0.9, thread),
        at_most("import, x pycurl", 1.3, imports),
        at_most(
            "one: CPU, x requests", 0.2, cpu("nontax", "requests"), cpu("bare-easy", "requests")
        ),
        at_least(
            "bulk: bills/s, x aiohttp",
            3,
            speed("nontax-bulk", "aiohttp"),
            speed(bare, "aiohttp"),
        ),
    ]


def as_json(report: Report) -> dict[str, object]:
    found = asdict(report)
    found["goals"] = [asdict(goal) | {"met": goal.met} for goal in goals(report)]
    return found


def table(report: Report) -> Iterator[str]:
    for name, value in report.machine.items():
        yield f"{name:<12} {value}"
    if report.foreign:
        share = Spread.of([100 * share for share in report.foreign])
        yield f"{'other load':<12} {share.text()} % of all cores, by round"
    for in_flight, titles in TITLES.items():
        names = [name for name in titles if name in report.costs]
        if not names:
            continue
        base = next(iter(titles))
        yield ""
        yield (
            f"{HEADINGS[in_flight]:<24} {'CPU us/bill':>18} {'x C':>18} {'peak MB':>8} "
            f"{'bills/s, two cores':>22} {'server busy':>11}"
        )
        for name in names:
            times = report.cpu_ratio(name, base)
            line = (
                f"{titles[name]:<24} {report.cpu_us(name).text():>18} "
                f"{times.text(2) if times else '':>18} {report.peak_mb(name):>8.1f}"
            )
            if name in report.speeds:
                line += f" {report.per_second(name).text():>22} {report.server_busy(name):>11.0%}"
            yield line
    for size, name in zip((16, 4000), RUNS, strict=True):
        if name in report.costs:
            yield f"{f'nontax, runs of {size:,}':<24} {report.cpu_us(name).text():>18}"
    for depth, costs in report.depths.items():
        ours, theirs = (
            Spread.of([cost.cpu_us for cost in each]).text()
            for each in (costs, report.bare_depths[depth])
        )
        yield f"{f'nontax, {depth} in flight':<24} {ours:>18} {f'C: {theirs}':>18}"
    if report.imports_ms:
        yield ""
        yield f"{'Import':<24} {'CPU ms':>18}"
        for name in report.imports_ms:
            if name != "pass":
                yield f"{name:<24} {Spread.of(report.import_ms(name)).text(1):>18}"
    if report.memory_kib:
        yield ""
        yield f"{'Bulk run, peak MB':<24}"
        for count, kib in report.memory_kib.items():
            yield f"{count:>11,} bills {kib / 1024:>25.1f}"
    yield ""
    yield f"{'Goals':<40} {'':>8} {'measured':>20} {'':<12} {'C alone':>8}"
    for goal in goals(report):
        word = {True: "met", False: "MISSED", None: "not measured"}[goal.met]
        limit = f"{'<=' if goal.at_most else '>='} {goal.limit:g}"
        found = goal.measured.text(2) if goal.measured else ""
        bare = f"{goal.bare.median:.2f}" if goal.bare else ""
        yield f"{goal.text:<40} {limit:>8} {found:>20} {word:<12} {bare:>8}".rstrip()
    for note in report.notes:
        yield f"note: {note}"
