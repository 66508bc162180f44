"""Measures nontax against libcurl alone and against other clients; prints and saves the report."""

import argparse
import importlib.util
import json
import os
import platform
import resource
import shlex
import signal
import ssl
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from contestants import CONTESTANTS, Cost, Job, new_body
from picture import draw
from report import DEPTHS, MANY, RUNS, TITLES, Report, as_json, table
from server import (
    SLOW,
    SLOW_BILLS_PER_SECOND,
    Server,
    cpu_seconds,
    forget_environment,
    nginx_version,
    running_nginx,
)

import nontax
from nontax.sandbox import Sandbox
from nontax.sandbox.certificates import make_certificates

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "benchmarks"
# Where `make pytest-wheel` installs it.
TRIED = HERE.parent / "build" / "pytest-wheel" / "venv"
WHEEL = Path(sysconfig.get_path("purelib", vars={"base": str(TRIED)}))
# The C programs: source, what it is linked with, how the body is given.
BARE = {
    "bare-easy": ("bare_easy.c", "libcurl", "callback"),
    "bare-easy-fields": ("bare_easy.c", "libcurl", "fields"),
    "bare-multi": ("bare_multi.c", "libcurl", "callback"),
    "bare-multi-fields": ("bare_multi.c", "libcurl", "fields"),
    "floor": ("floor.c", "libcurl openssl", "fields"),
    "floor-many": ("floor.c", "libcurl openssl", "fields"),
}
MODULES = ("nontax", "pycurl", "requests", "httpx", "aiohttp", "httpr", "pyreqwest")
PARTS = ("runs", "depths", "first-bills", "imports", "memory", "second-thread", "gil")
IN_FLIGHT = {name: in_flight for in_flight, names in TITLES.items() for name in names}
IN_FLIGHT |= dict.fromkeys(RUNS, MANY)
Say = Callable[[str], None]
# As long as WeChat's, and of characters that need no encoding.
TOKEN = "ACCESS_TOKEN_of_the_finance_bureau_" * 4
WARM_UP = 200
IMPORT_ROUNDS = 15
QUIET = 0.05  # the share of all cores that others may take


def compile_bare() -> None:
    """Compile the C programs, as fast as libnontax is compiled."""
    BUILD.mkdir(parents=True, exist_ok=True)
    for name, (source, libraries, _) in BARE.items():
        pkg_config = [os.environ.get("PKG_CONFIG", "pkg-config"), "--cflags", "--libs"]
        command = [*pkg_config, *libraries.split()]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.returncode != 0:
            packages = "libcurl4-openssl-dev libssl-dev"
            raise SystemExit(f"The benchmarks need {libraries}:\n    sudo apt install {packages}")
        compiler = shlex.split(os.environ.get("CC", "cc"))
        flags = ["-std=c11", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra", "-Werror", "-O2"]
        files = [str(HERE / "bare.c"), str(HERE / source)]
        options = shlex.split(found.stdout)
        subprocess.run([*compiler, *flags, *files, *options, "-o", str(BUILD / name)], check=True)
    shared = [*compiler, *flags, "-fPIC", "-shared", str(HERE / "gil.c"), "-ldl"]
    subprocess.run([*shared, "-o", str(BUILD / "gil.so")], check=True)


def run_contestant(name: str, job: Job) -> Cost:
    """Let one contestant run in a process of its own."""
    environment = dict(os.environ)
    if name in BARE:
        numbers = (job.server_pid, job.warm_up, job.bills, job.in_flight)
        texts = (job.url, job.ca_file, str(BUILD / "body.json"), job.agent)
        command = [str(BUILD / name), *texts, *map(str, numbers), BARE[name][2]]
    else:
        if name.startswith("nontax-wheel"):
            environment |= {"PYTHONPATH": str(WHEEL), "PYTHONSAFEPATH": "1"}
        way = name.replace("-wheel", "")
        command = [sys.executable, str(HERE / "contestants.py"), way, json.dumps(asdict(job))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise SystemExit(f"{name} failed")
    return Cost(**json.loads(done.stdout))


def check_same_request(names: list[str], job: Job) -> None:
    """See with the sandbox that all contestants send the same headers and the same bytes."""
    expected = None
    with TemporaryDirectory() as folder:
        made = make_certificates(folder)
        for name in names:
            with Sandbox(certfile=made.cert_file, keyfile=made.key_file) as sandbox:
                one = replace(
                    job,
                    base_url=sandbox.base_url,
                    token=sandbox.access_token,
                    ca_file=str(made.ca_file),
                    server_pid=os.getpid(),
                    warm_up=0,
                    bills=1,
                    in_flight=IN_FLIGHT[name],
                )
                run_contestant(name, one)
                (seen,) = sandbox.requests
            # httpr cannot be kept from asking for a compressed reply; nginx's has none.
            left_out = ("host", "accept-encoding") if name.startswith("httpr") else ("host",)
            headers = {key: value for key, value in seen.headers.items() if key not in left_out}
            request = (seen.method, seen.path, seen.query, headers, seen.body)
            expected = expected or request
            if request != expected:
                raise SystemExit(f"{name} sends another request:\n{request}\nnot\n{expected}")


def busy_seconds() -> float:
    """CPU time of all cores since the machine's start, but for idling."""
    user, nice, system, _idle, _wait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split()[1:9]
    )
    ticks = user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")


def our_seconds(server: Server) -> float:
    """CPU time of this process, of its ended children and of the server."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used) + cpu_seconds(server.pid)


def measure_rounds(
    report: Report, jobs: dict[str, Job], costs: dict[str, list[Cost]], server: Server, say: Say
) -> None:
    """Round after round, every contestant once, beginning with another one each time."""
    rounds = int(str(report.settings["rounds"]))
    seconds = float(str(report.settings["seconds"]))
    names = list(jobs)
    for name, job in jobs.items():
        say(f"trying {name}")
        trial = run_contestant(name, replace(job, bills=WARM_UP))
        jobs[name] = replace(job, bills=max(WARM_UP, int(trial.per_second * seconds)))
        costs[name] = []
    for number in range(rounds):
        began, busy, ours = time.monotonic(), busy_seconds(), our_seconds(server)
        shift = number % max(1, len(names))
        for name in names[shift:] + names[:shift]:
            say(f"round {number + 1} of {rounds}: {name}")
            costs[name].append(run_contestant(name, jobs[name]))
        took = (time.monotonic() - began) * (os.cpu_count() or 1)
        foreign = (busy_seconds() - busy) - (our_seconds(server) - ours)
        report.foreign.append(max(0.0, foreign / took))


def measure_costs(report: Report, names: list[str], job: Job, server: Server, say: Say) -> None:
    """CPU time with client and server on one core; then bills per second with a core for each."""
    jobs = {name: replace(job, in_flight=IN_FLIGHT[name]) for name in names}
    with placed(server, together=True):
        measure_rounds(report, dict(jobs), report.costs, server, say)
    many = {name: jobs[name] for name in names if name in TITLES[MANY]}
    if many and len(CORES) > 1:
        with placed(server, together=False):
            measure_rounds(report, many, report.speeds, server, say)


def measure_depths(report: Report, job: Job, server: Server, say: Say) -> None:
    """What more bills in flight cost each of them."""
    for number in range(int(str(report.settings["rounds"]))):
        for depth in DEPTHS:
            say(f"{depth} in flight, round {number + 1}")
            deep = replace(job, in_flight=depth, warm_up=max(WARM_UP, depth), bills=20_000)
            with placed(server, together=True):
                report.depths.setdefault(depth, []).append(run_contestant("nontax-bulk", deep))
                report.bare_depths.setdefault(depth, []).append(run_contestant("bare-multi", deep))


def measure_first_bills(report: Report, job: Job, server: Server, say: Say) -> None:
    command = [sys.executable, str(HERE / "first_bills.py"), json.dumps(asdict(job))]
    for number in range(int(str(report.settings["rounds"]))):
        say(f"first bills, round {number + 1}")
        with placed(server, together=True):
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        report.first_bills_ms.append(float(json.loads(done.stdout)))


def measure_gil(report: Report, job: Job, server: Server, say: Say) -> None:
    many = replace(job, in_flight=MANY, bills=20_000)
    command = [sys.executable, str(HERE / "gil.py"), json.dumps(asdict(many))]
    environment = dict(os.environ, LD_PRELOAD=str(BUILD / "gil.so"))
    for number in range(int(str(report.settings["rounds"]))):
        say(f"the GIL, round {number + 1}")
        with placed(server, together=False):
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
        report.gil_us.append(float(json.loads(done.stdout)))


def measure_imports(report: Report, say: Say) -> None:
    """Take the CPU time of fresh interpreters, in turn; the first of each is not counted."""
    modules = ["pass", *(name for name in MODULES if importlib.util.find_spec(name))]
    times: dict[str, list[float]] = {name: [] for name in modules}
    for number in range(IMPORT_ROUNDS + 1):
        say(f"imports, round {number} of {IMPORT_ROUNDS}")
        for name in modules:
            code = name if name == "pass" else f"import {name}"
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", code], check=True)
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds = used.ru_utime - before.ru_utime + used.ru_stime - before.ru_stime
            times[name].append(seconds * 1e3)
    report.imports_ms = {name: values[1:] for name, values in times.items()}


def measure_memory(report: Report, job: Job, most: int, say: Say) -> None:
    for count in (1000, most):
        say(f"memory with {count:,} bills")
        cost = run_contestant("nontax-bulk", replace(job, in_flight=MANY, bills=count))
        report.memory_kib[count] = cost.peak_kib


def measure_second_thread(report: Report, job: Job, say: Say) -> None:
    say("a second thread beside a bulk run")
    slow = replace(
        job,
        base_url=job.base_url + SLOW,
        in_flight=MANY,
        warm_up=0,
        bills=SLOW_BILLS_PER_SECOND * 2,
    )
    done = subprocess.run(
        [sys.executable, HERE / "second_thread.py", json.dumps(asdict(slow))],
        stdout=subprocess.PIPE,
        check=True,
    )
    report.second_thread = [(beside, alone) for beside, alone in json.loads(done.stdout)]


CORES = sorted(os.sched_getaffinity(0))


@contextmanager
def placed(server: Server, *, together: bool) -> Iterator[None]:
    """This process, its children and the server on one core; or the server on one of its own."""
    os.sched_setaffinity(0, CORES[:1])
    os.sched_setaffinity(server.pid, CORES[:1] if together else CORES[1:2])
    yield
    os.sched_setaffinity(0, CORES)


def write_bundle(server: Server) -> str:
    """A CA bundle as long as a real one, with the server's own authority at its end."""
    import certifi

    path = BUILD / "bundle.pem"
    path.write_text(Path(certifi.where()).read_text("utf-8") + Path(server.ca_file).read_text())
    return str(path)


def describe_machine() -> dict[str, str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(": ", 1)[1] for line in lines if line.startswith("model name")]
    return {
        "CPU": f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "placed": "CPU time: client and server on one core; bills/s: a core for each",
        "Python": f"{platform.python_version()}, {ssl.OPENSSL_VERSION}",
        "server": f"{nginx_version()}, TLS, loopback, HTTP/1.1",
    }


def progress(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def missing(name: str) -> str | None:
    """Why a contestant cannot run here; None: it can."""
    if name.startswith("nontax-wheel") and not (WHEEL / "nontax").is_dir():
        return "it is not built (make wheel pytest-wheel)"
    module = name.split("-", maxsplit=1)[0]
    if name in CONTESTANTS and importlib.util.find_spec(module) is None:
        return f"{module} is not installed"
    return None


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="rough numbers, in a minute")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        choices=[*IN_FLIGHT, *PARTS],
        help=f"measure only this; may be given again: {', '.join([*IN_FLIGHT, *PARTS])}",
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="for one contestant in a round")
    parser.add_argument("--memory-bills", type=int, default=1_000_000)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="for report.json and report.svg; a quick or partial report goes to build/benchmarks",
    )
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds, arguments.memory_bills = 3, 0.3, 50_000
    if arguments.output is None:
        arguments.output = BUILD if arguments.quick or arguments.only else HERE
    return arguments


def main() -> None:
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    forget_environment()
    compile_bare()
    (BUILD / "body.json").write_bytes(new_body())
    wanted = arguments.only or [*IN_FLIGHT, *PARTS]
    if "runs" in wanted:
        wanted = [*wanted, *RUNS]
    reasons = {name: missing(name) for name in wanted}
    names = [name for name in IN_FLIGHT if name in wanted and not reasons[name]]
    report = Report(
        machine=describe_machine(),
        settings={"rounds": arguments.rounds, "seconds": arguments.seconds, "warm_up": WARM_UP},
        notes=[f"{name} is left out: {reason}" for name, reason in reasons.items() if reason],
    )
    with running_nginx() as server:
        agent = f"nontax/{nontax.__version__}"
        job = Job(server.base_url, TOKEN, server.ca_file, agent, server.pid, WARM_UP, 1, 1)
        check_same_request(names, job)
        job = replace(job, ca_file=write_bundle(server))
        measure_costs(report, names, job, server, progress)
        if "depths" in wanted:
            measure_depths(report, job, server, progress)
        if "first-bills" in wanted:
            measure_first_bills(report, job, server, progress)
        if "gil" in wanted:
            measure_gil(report, job, server, progress)
        if "imports" in wanted:
            measure_imports(report, progress)
        if "memory" in wanted:
            measure_memory(report, job, arguments.memory_bills, progress)
        if "second-thread" in wanted:
            with placed(server, together=False):
                measure_second_thread(report, job, progress)
    progress("")
    if report.foreign and max(report.foreign) > QUIET:
        report.notes.append("other processes were busy: of the bills per second, think little")
    for name, costs in report.costs.items():
        if costs[-1].version not in report.machine.values():
            report.machine[name] = costs[-1].version
    print("\n".join(table(report)))
    arguments.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(as_json(report), ensure_ascii=False, indent=1)
    (arguments.output / "report.json").write_text(text + "\n", "utf-8")
    (arguments.output / "report.svg").write_text(draw(report), "utf-8")
    print(f"saved as report.json and report.svg in {arguments.output}")


if __name__ == "__main__":
    main()
