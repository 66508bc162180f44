"""What kept connections, resumed TLS sessions and bills in flight are worth on a link of 40 ms.
nontax resumes sessions with libcurl 8.12 and newer.

Two network namespaces are joined by a pair of TUN devices; every packet is held for half the round
trip on its way. The machine's own network is not touched, and both namespaces are gone as soon as
the processes in them are, however they end.
"""

import fcntl
import importlib.util
import json
import os
import select
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from contestants import PATH, new_bill, new_body
from report import MANY
from server import find_nginx, forget_environment, running_nginx

import nontax

ROUND_TRIP = 0.040
NEAR, FAR = "198.18.0.1", "198.18.0.2"  # a range that is set aside for benchmarks
PROTOCOLS = ("TLSv1.2", "TLSv1.3")
BILLS = 15
TUN = "/dev/net/tun"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


# The link


def make_end(address: str, peer: str) -> int:
    """Make a TUN device in this namespace; return its descriptor."""
    name = "nontax0"
    descriptor = os.open(TUN, os.O_RDWR)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TUN | IFF_NO_PI))
    for line in (
        "link set lo up",
        f"address add {address} peer {peer} dev {name}",
        f"link set {name} up",
    ):
        subprocess.run(["ip", *line.split()], check=True)
    return descriptor


def carry(one: int, other: int, ending: int) -> None:
    """Carry packets between two devices, half a round trip late, until `ending` is readable."""
    waiting: dict[int, deque[tuple[float, bytes]]] = {one: deque(), other: deque()}
    while True:
        dues = [queue[0][0] for queue in waiting.values() if queue]
        timeout = max(0.0, min(dues) - time.monotonic()) if dues else None
        ready, _, _ = select.select([one, other, ending], [], [], timeout)
        if ending in ready:
            return
        for source in ready:
            packet = os.read(source, 65536)
            target = other if source == one else one
            waiting[target].append((time.monotonic() + ROUND_TRIP / 2, packet))
        for target, queue in waiting.items():
            while queue and queue[0][0] <= time.monotonic():
                os.write(target, queue.popleft()[1])


def far_end(near_device: int) -> None:
    """In the far namespace: serve, and carry the packets, until the near end has gone."""
    device = make_end(FAR, NEAR)
    with ExitStack() as stack:
        servers = {}
        for protocol in PROTOCOLS:
            server = stack.enter_context(running_nginx(FAR, protocol, logging=True))
            servers[protocol] = (server.base_url, server.ca_file, str(server.log))
        print(json.dumps(servers), flush=True)
        carry(near_device, device, sys.stdin.fileno())


# The ways of inserting bills


@dataclass(frozen=True)
class Place:
    """A server at the far end. log: connection number and "r" (resumed) or "." for each reply."""

    base_url: str
    ca_file: str
    log: Path

    def client(self) -> nontax.Client:
        return nontax.Client(access_token="T", base_url=self.base_url, ca_file=self.ca_file)

    def connections(self) -> dict[str, bool]:
        """All connections that have brought a reply; True for a resumed TLS session."""
        lines = map(str.split, self.log.read_text().splitlines())
        return {number: resumed == "r" for number, resumed in lines}


def each(insert: Callable[[], object]) -> list[float]:
    """Milliseconds of each of some bills, inserted one after the other."""
    times = []
    for _ in range(BILLS):
        began = time.monotonic()
        insert()
        times.append((time.monotonic() - began) * 1e3)
    return times


def new_clients(place: Place) -> list[float]:
    def insert() -> None:
        with place.client() as client:
            client.insert_bill(new_bill())

    return each(insert)


def closed_client(place: Place) -> list[float]:
    client = place.client()

    def insert() -> None:
        client.insert_bill(new_bill())
        client.close()

    return each(insert)


def kept_client(place: Place) -> list[float]:
    with place.client() as client:
        return each(lambda: client.insert_bill(new_bill()))


def bulk(place: Place) -> list[float]:
    count = BILLS * MANY
    began = time.monotonic()
    with place.client() as client:
        outcomes = client.insert_bills((new_bill() for _ in range(count)), concurrency=MANY)
        if any(outcome.outcome != "inserted" for outcome in outcomes):
            raise RuntimeError("a bill was not inserted")
    return [(time.monotonic() - began) * 1e3 / count]


def requests_post(place: Place) -> list[float]:
    import requests

    def insert() -> None:
        reply = requests.post(place.base_url + PATH, data=new_body(), verify=place.ca_file)
        reply.raise_for_status()

    return each(insert)


def requests_session(place: Place) -> list[float]:
    import requests

    with requests.Session() as session:
        session.verify = place.ca_file
        return each(lambda: session.post(place.base_url + PATH, data=new_body()).json())


def ways() -> Iterator[tuple[str, Callable[[Place], list[float]]]]:
    if importlib.util.find_spec("requests"):
        yield "requests.post", requests_post
        yield "requests.Session", requests_session
    yield "nontax, a new client for each bill", new_clients
    yield "nontax, one client, closed each time", closed_client
    yield "nontax, one client", kept_client
    yield f"nontax, insert_bills, {MANY} in flight", bulk


def near_end() -> None:
    """In the near namespace: insert bills in every way and print what each takes."""
    device = make_end(NEAR, FAR)
    command = ["unshare", "--net", sys.executable, __file__, "far", str(device)]
    # In a session of its own: Ctrl-C is for the near end alone, the end of input for this one.
    with subprocess.Popen(
        command,
        pass_fds=[device],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as far:
        assert far.stdin
        assert far.stdout
        try:
            servers = json.loads(far.stdout.readline() or "{}")
            for protocol, (base_url, ca_file, log) in servers.items():
                measure(protocol, Place(base_url, ca_file, Path(log)))
        finally:
            far.stdin.close()


def measure(protocol: str, place: Place) -> None:
    began = time.monotonic()
    host, port = place.base_url.removeprefix("https://").split(":")
    socket.create_connection((host, int(port))).close()
    took = (time.monotonic() - began) * 1e3
    print(f"\n{protocol}; a TCP connection takes {took:.1f} ms")
    print(f"{'':<38} {'ms/bill':>8} {'bills':>6} {'connections':>12} {'resumed':>8}")
    for title, way in ways():
        known = place.connections()
        times = way(place)
        made = {
            number: resumed
            for number, resumed in place.connections().items()
            if number not in known
        }
        count = BILLS * MANY if way is bulk else BILLS
        print(
            f"{title:<38} {statistics.median(times):>8.1f} {count:>6} {len(made):>12} "
            f"{sum(made.values()):>8}"
        )


def main() -> None:
    find_nginx()
    forget_environment()
    for program, package in (("unshare", "util-linux"), ("ip", "iproute2")):
        if shutil.which(program) is None:
            raise SystemExit(f"The slow link needs {program}:\n    sudo apt install {package}")
    if not os.access(TUN, os.R_OK | os.W_OK):
        raise SystemExit(f"This machine does not allow a slow link: there is no usable {TUN}.")
    unshare = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    tried = subprocess.run([*unshare, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        raise SystemExit(f"This machine does not allow a slow link: {tried.stderr.strip()}")
    near = subprocess.Popen([*unshare, sys.executable, __file__, "near"])
    try:
        status = near.wait()
    finally:
        near.terminate()
        near.wait()
    sys.exit(status)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if sys.argv[1:2] == ["near"]:
            near_end()
        elif sys.argv[1:2] == ["far"]:
            far_end(int(sys.argv[2]))
        else:
            main()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
