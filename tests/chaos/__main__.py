"""`make chaos`: many bills through every mode against the failing server.

The exit status is 1 if the journals disagree. Those of each run stay in build/chaos/MODE.
"""

import argparse
import dataclasses
import secrets
import shlex
import shutil
import sys
import time
from pathlib import Path

from chaos import comparison, driver, page
from chaos.run import Plan, run

DEFAULTS = {field.name: field.default for field in dataclasses.fields(Plan)}
RATES = {
    "faults": "share of requests with one",
    "interrupts": "Ctrl-C in a thousand bills",
    "kills": "of the server, in a thousand bills",
    "forks": "share of bills with one",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument(
        "--seed", default=secrets.token_hex(4), help="of an earlier run, for its choices"
    )
    parser.add_argument("--bills", type=int, default=100_000, help="over all modes")
    parser.add_argument("--mode", choices=driver.MODES, action="append", help="all unless given")
    for name, what in RATES.items():
        parser.add_argument(f"--{name}", type=float, default=DEFAULTS[name], help=what)
    parser.add_argument("--only", default="", help="these faults, and no pauses: names with commas")
    parser.add_argument("--quota", type=int, default=1, help="pauses of a bulk run at most")
    parser.add_argument("--page", type=Path, help="write a page about the run, as docs/chaos.md")
    parser.add_argument("--folder", type=Path, default=Path("build/chaos"))
    options = parser.parse_args()
    modes = options.mode or driver.MODES
    print(f"seed {options.seed}", flush=True)
    total = comparison.Report()
    reports: dict[str, comparison.Report] = {}
    for mode in modes:
        folder = options.folder / mode
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        plan = Plan(
            mode=mode,
            bills=options.bills // len(modes),
            seed=options.seed,
            **{name: getattr(options, name) for name in RATES},
            only=frozenset(filter(None, options.only.split(","))),
            quota=options.quota if mode in driver.BULK_MODES else 1_000_000,
        )
        start = time.monotonic()
        report = run(plan, folder)
        seconds = time.monotonic() - start
        counts = ", ".join(f"{count} {name}" for name, count in report.outcomes.most_common())
        print(f"{mode}: {plan.bills} bills in {seconds:.0f} s: {counts}", flush=True)
        for violation in report.violations:
            print(f"  VIOLATION {violation}", flush=True)
        total.add(report)
        reports[mode] = report
    print(comparison.text(total))
    if options.page:
        arguments = ["--seed", options.seed, "--bills", str(options.bills)]
        options.page.write_text(page.page(reports, options.bills, shlex.join(arguments)), "utf-8")
    print(f"violations: {len(total.violations)} (seed {options.seed})")
    return 1 if total.violations else 0


if __name__ == "__main__":
    sys.exit(main())
