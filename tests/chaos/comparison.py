"""Compares the server's journal with the clients', and lists where they disagree."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from chaos import journal
from chaos.journal import Line

# Only after one of these answers may a bill be sent again by itself: WeChat has not taken it. How
# often at most is the driver's `retries`; once for a token; ten times for the calls of a minute.
REPEATABLE = {
    **dict.fromkeys((40001, 40014, 42001), "token"),
    **dict.fromkeys((72036, 72054), "retry"),
    45011: "quota",
}
MOST = {"token": 1, "retry": 2, "quota": 10}

# How the driver itself ended a call that was under way.
BROKEN_OFF = ("KeyboardInterrupt", "CancelledError", "closed run")

OUTCOMES = ("inserted", "rejected", "not_sent", "in_doubt")

# Between the return of a call and the caller's next step lies a moment in which Python itself can
# raise KeyboardInterrupt; another lies before the call. Then the caller is told nothing. They are
# some microseconds long: more than a few are no accident.
SILENT_AT_MOST = 2
SILENT_SHARE = 0.01


@dataclass(slots=True)
class Report:
    """violations: one sentence each. All else is for information.

    unsaid: bills of which a Ctrl-C has said nothing; no outcome. faults: those that a client met,
    by where. needless: bills in doubt that need not have been. broken_off: those that are in doubt
    since the driver itself has ended the call.
    """

    violations: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    unsaid: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    needless: Counter[str] = field(default_factory=Counter)
    broken_off: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Report") -> None:
        self.violations += other.violations
        self.unsaid += other.unsaid
        for name in ("outcomes", "faults", "events", "needless", "broken_off"):
            getattr(self, name).update(getattr(other, name))


def compare(
    orders: Iterable[str], server: Iterable[Line], clients: Iterable[Line], *, seed: str = "?"
) -> Report:
    """Compare what the server wrote with what its clients wrote, for all bills handed in."""
    return _Comparison(seed).run(orders, server, clients)


class _Comparison:
    def __init__(self, seed: str) -> None:
        self.seed = seed
        self.report = Report()
        self.requests: dict[str, list[Line]] = defaultdict(list)
        self.outcomes: dict[str, list[Line]] = defaultdict(list)
        self.line_faults: dict[tuple[int, int], list[str]] = defaultdict(list)

    def run(self, orders: Iterable[str], server: Iterable[Line], clients: Iterable[Line]) -> Report:
        self._read_server(server)
        self._read_clients(clients)
        known = set()
        for order in orders:
            known.add(order)
            self._bill(order)
        for order in (self.requests.keys() | self.outcomes.keys()) - known:
            self._violation(order, "nobody has handed in this bill")
        interrupts = self.report.events["KeyboardInterrupt"]
        if self.report.unsaid > SILENT_AT_MOST + SILENT_SHARE * interrupts:
            self.report.violations.append(
                f"{self.report.unsaid} of {interrupts} interrupts say nothing of their bill "
                f"[seed {self.seed}]"
            )
        return self.report

    def _read_server(self, lines: Iterable[Line]) -> None:
        life = 0
        waiting: dict[int, Line] = {}
        for line in lines:
            match line["e"]:
                case "life":
                    life += 1
                    self.report.events["lives of the server"] += 1
                    if life > 1:
                        self.report.faults["server kill"] += 1
                    for request in waiting.values():
                        # It was killed before it could write what it had sent.
                        request["out"] = None
                    waiting = {}
                case "fault":
                    self.report.faults[f"{line['where']} {line['fault']}"] += 1
                    self.line_faults[life, line["line"]].append(line["fault"])
                case "request" | "part":
                    # Until it is known better nothing was said.
                    request = line | {"life": life, "out": False}
                    waiting[line["number"]] = request
                    self._read_request(request)
                case "answered":
                    request = waiting.pop(line["number"])
                    request |= {name: line[name] for name in ("out", "whole") if name in line}
                    if line.get("fault"):
                        self.report.faults[f"request {line['fault']}"] += 1
                case "token":
                    self.report.events["tokens"] += 1
                case "garbled":
                    self.report.violations.append(
                        f"what came is not a bill: {line['what']} [seed {self.seed}]"
                    )
                case "bug":
                    self.report.violations.append(
                        f"the server stumbled: {line['what']} [seed {self.seed}]"
                    )

    def _read_request(self, line: Line) -> None:
        if line["e"] == "request":
            self.report.events["requests that came whole"] += 1
            self.requests[line["order"]].append(line)
        elif line["order"] is not None:
            self.report.events["bodies that came in part"] += 1
            self.requests[line["order"]].append(line)
        else:
            self.report.events["bodies that came in part, of nobody knows which bill"] += 1

    def _read_clients(self, lines: Iterable[Line]) -> None:
        for line in lines:
            match line["e"]:
                case "outcome":
                    self.outcomes[line["order"]].append(line)
                    if line.get("how"):
                        self.report.events[line["how"]] += 1
                case "event":
                    self.report.events[line["what"]] += 1
                case "problem":
                    self.report.violations.append(f"{line['what']} [seed {self.seed}]")

    def _violation(self, order: str, what: str) -> None:
        met = []
        for request in self.requests[order]:
            faults = [*self.line_faults[request["life"], request["line"]], request.get("fault", "")]
            took = "took" if request.get("takes") else "took not"
            said = {True: "said", False: "did not say", None: "perhaps said"}[request["out"]]
            met.append(
                f"{'+'.join(filter(None, faults)) or 'no fault'}: {took}, {said} "
                f"{request['errcode']}"
            )
        told = [
            " ".join(str(line[k]) for k in ("outcome", "errcode", "reason") if line.get(k))
            for line in self.outcomes[order]
        ]
        self.report.violations.append(
            f"{order}: {what} | server: {'; '.join(met) or 'saw nothing'} | "
            f"client: {'; '.join(told) or 'nothing'} [seed {self.seed}]"
        )

    def _bill(self, order: str) -> None:
        told, requests = self.outcomes[order], self.requests[order]
        takes = [request for request in requests if request.get("takes")]
        if len(takes) > 1:
            self._violation(order, f"taken {len(takes)} times")
        self._repeats(order, requests)
        if len(told) != 1:
            self._violation(order, f"{len(told)} outcomes")
            return
        (line,) = told
        outcome = line["outcome"]
        if outcome == "unsaid":
            self.report.unsaid += 1
            if line["how"] != "KeyboardInterrupt":
                self._violation(order, f"a {line['how']} says nothing of its bill")
            return
        self.report.outcomes[outcome] += 1
        if outcome not in OUTCOMES:
            self._violation(order, f"no such outcome as {outcome}")
        elif outcome == "inserted":
            self._inserted(order, line, takes)
        elif outcome == "in_doubt":
            self._in_doubt(line, requests)
        else:
            if takes:
                self._violation(order, f"{outcome}, but taken")
            self._refused(order, line, requests)

    def _repeats(self, order: str, requests: list[Line]) -> None:
        expected = journal.digest(journal.bill(order))
        again: Counter[str] = Counter()
        for number, request in enumerate(requests):
            if request["e"] == "request" and request["content"] != expected:
                self._violation(order, f"attempt {number + 1} is not the bill that was handed in")
            if number + 1 == len(requests):
                break
            self.report.events["bills sent again"] += 1
            if not _may_be_repeated(request):
                self._violation(order, f"sent again while attempt {number + 1} was in doubt")
            again[REPEATABLE.get(request["errcode"], "retry")] += 1
        for why, count in again.items():
            if count > MOST[why]:
                self._violation(order, f"sent again {count} times ({why})")

    def _inserted(self, order: str, line: Line, takes: list[Line]) -> None:
        if not takes:
            self._violation(order, "inserted, but not taken")
        elif (line["code"], line["openid"]) != (takes[0]["code"], takes[0]["openid"]):
            self._violation(order, f"inserted with another bill's code {line['code']}")

    def _refused(self, order: str, line: Line, requests: list[Line]) -> None:
        """A bill that was not taken: is that what the server has said?"""
        if line["outcome"] == "rejected" and line["errcode"] == -1:
            self._violation(order, "-1 does not say that it was not taken")
        elif line["outcome"] == "rejected":
            if not requests or _said(requests[-1]) != line["errcode"]:
                self._violation(order, f"rejected with {line['errcode']}, which was not said last")
        elif requests and not _may_be_repeated(requests[-1]):
            self._violation(order, "not_sent, but some of it has come")

    def _in_doubt(self, line: Line, requests: list[Line]) -> None:
        """Count bills whose fate a client could have known."""
        if line["how"] in BROKEN_OFF:
            self.report.broken_off[line["how"]] += 1
            return
        if not requests:
            self.report.needless["nothing of it came to the server"] += 1
            return
        last = requests[-1]
        fault = last.get("fault") or "no fault"
        if last["out"] and last.get("whole") and last["errcode"] != -1:
            self.report.needless[f"a whole answer was sent ({fault})"] += 1


def _said(request: Line) -> int | None:
    """What the answer says, if it can have gone out."""
    errcode: int | None = None if request["out"] is False else request["errcode"]
    return errcode


def _may_be_repeated(request: Line) -> bool:
    return request["out"] is not False and request["errcode"] in REPEATABLE


def text(report: Report) -> str:
    """The report for people."""
    parts = [
        ("outcomes", report.outcomes),
        ("faults", report.faults),
        ("events", report.events),
        ("in doubt since the driver itself has ended the call", report.broken_off),
        ("in doubt, and need not have been", report.needless),
    ]
    lines = []
    for title, counts in parts:
        lines.append(f"{title}: {sum(counts.values())}" if title != "events" else "events")
        lines += [f"  {count:8}  {name}" for name, count in counts.most_common()]
    lines.append(f"bills of which Ctrl-C has said nothing: {report.unsaid}")
    return "\n".join(lines)
