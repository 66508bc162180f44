"""`make chaos`: many bills through every mode against the failing server.

The exit status is 1 if the books do not balance. The books of each run stay in build/chaos/MODE.
"""

import argparse
import secrets
import shutil
import sys
import time
from pathlib import Path

from chaos import books, driver
from chaos.run import Plan, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument(
        "--seed", default=secrets.token_hex(4), help="of an earlier run, for its choices"
    )
    parser.add_argument("--bills", type=int, default=100_000, help="over all modes")
    parser.add_argument("--mode", choices=driver.MODES, action="append", help="all unless given")
    parser.add_argument("--http", choices=("1", "2", "mix"), default="mix", help="what is offered")
    parser.add_argument("--faults", type=float, default=0.15, help="share of requests with one")
    parser.add_argument("--interrupts", type=float, default=3.0, help="Ctrl-C a second")
    parser.add_argument("--kills", type=float, default=0.2, help="of the server, a second")
    parser.add_argument("--forks", type=float, default=0.002, help="share of bills with one")
    parser.add_argument("--quota", type=int, default=1, help="pauses of a bulk run at most")
    parser.add_argument("--folder", type=Path, default=Path("build/chaos"))
    options = parser.parse_args()
    modes = options.mode or driver.MODES
    print(f"seed {options.seed}", flush=True)
    total = books.Report()
    for mode in modes:
        folder = options.folder / mode
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        plan = Plan(
            mode=mode,
            bills=options.bills // len(modes),
            seed=options.seed,
            http=options.http,
            faults=options.faults,
            interrupts=options.interrupts,
            kills=options.kills,
            forks=options.forks,
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
    print(books.text(total))
    print(f"violations: {len(total.violations)} (seed {options.seed})")
    return 1 if total.violations else 0


if __name__ == "__main__":
    sys.exit(main())
