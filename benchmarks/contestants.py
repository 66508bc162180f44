"""One contestant in a process of its own: it inserts bills in its way and prints what that cost.

`python contestants.py NAME JOB`: JOB is a `Job` as JSON, the answer is a `Cost` as JSON. Libraries
are imported only by who uses them, so that the memory is that of one contestant alone.
"""

import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from httpr import Client as HttprClient
    from pycurl import Curl
    from pyreqwest.client import BaseClientBuilder

    from nontax import Client

PATH = "/nontax/insertbill"


@dataclass(frozen=True)
class Job:
    """What to do: first `warm_up` bills that do not count, then `bills` that do."""

    base_url: str
    token: str
    ca_file: str
    agent: str
    server_pid: int
    warm_up: int
    bills: int
    in_flight: int

    @property
    def url(self) -> str:
        return f"{self.base_url}{PATH}?access_token={self.token}"

    @property
    def headers(self) -> dict[str, str]:
        return {
            "User-Agent": self.agent,
            "Accept": "*/*",
            "Content-Type": "application/json",
        }


@dataclass(frozen=True)
class Cost:
    """What the bills took: seconds of wall, client's and server's CPU time; peak memory in all."""

    bills: int
    wall: float
    cpu: float
    server_cpu: float
    peak_kib: int
    version: str

    @property
    def cpu_us(self) -> float:
        return self.cpu / self.bills * 1e6

    @property
    def per_second(self) -> float:
        return self.bills / self.wall


class Meter:
    """The clocks between `start` and `stop`."""

    def __init__(self, server_pid: int) -> None:
        self._schedstat = Path(f"/proc/{server_pid}/schedstat")
        self.wall = self.cpu = self.server_cpu = 0.0

    def _read(self) -> tuple[float, float, float]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        server_ns = int(self._schedstat.read_text().split()[0])
        return time.monotonic(), used.ru_utime + used.ru_stime, server_ns / 1e9

    def start(self) -> None:
        self._begin = self._read()

    def stop(self) -> None:
        end = self._read()
        self.wall, self.cpu, self.server_cpu = (
            after - before for after, before in zip(end, self._begin, strict=True)
        )


def peak_kib() -> int:
    """Peak memory. Not ru_maxrss: that one begins with the memory of whoever started us."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def version(package: str) -> str:
    from importlib import metadata

    return metadata.version(package)


def new_bill() -> dict[str, object]:
    """The sample of WeChat's page, made anew each time as a program would make it."""
    return {
        "order_id": "1512354784",
        "card_id": "pjZ8Yt1XGILfi-FUsewpnnolGgZk",
        "appid": "wxf8b4f85f3a794e77",
        "card_ext": {
            "user_card": {
                "invoice_user_data": {
                    "fee": 1234,
                    "title": "张三",
                    "billing_time": 1480342498,
                    "billing_no": "00000001",
                    "billing_code": "20171201",
                    "s_pdf_media_id": "875215254123541236",
                }
            }
        },
    }


def new_body() -> bytes:
    return json.dumps(new_bill(), ensure_ascii=False, separators=(",", ":")).encode()


def check(status: int, body: bytes | str) -> str:
    """Read the reply as its receiver would, and return the bill's code."""
    reply = json.loads(body)
    if status != 200 or reply["errcode"] != 0:
        raise RuntimeError(f"HTTP {status}: {body!r}")
    return str(reply["code"])


# How bills are handed to a function that inserts one


def one_at_a_time(job: Job, meter: Meter, insert: Callable[[], object]) -> None:
    for _ in range(job.warm_up):
        insert()
    meter.start()
    for _ in range(job.bills):
        insert()
    meter.stop()


def in_threads(job: Job, meter: Meter, inserters: list[Callable[[], object]]) -> None:
    """One thread for each inserter; they share the work."""
    from concurrent.futures import ThreadPoolExecutor

    def run(count: int) -> None:
        left = iter(range(count))

        def work(insert: Callable[[], object]) -> None:
            for _ in left:
                insert()

        for _ in pool.map(work, inserters):
            pass

    with ThreadPoolExecutor(len(inserters)) as pool:
        run(job.warm_up)
        meter.start()
        run(job.bills)
        meter.stop()


async def in_tasks(job: Job, meter: Meter, insert: Callable[[], Awaitable[object]]) -> None:
    import asyncio

    async def run(count: int) -> None:
        left = iter(range(count))

        async def work() -> None:
            for _ in left:
                await insert()

        await asyncio.gather(*(work() for _ in range(job.in_flight)))

    await run(job.warm_up)
    meter.start()
    await run(job.bills)
    meter.stop()


# The contestants: each returns the version of what it has used


def nontax_client(job: Job) -> "Client":
    import nontax

    return nontax.Client(access_token=job.token, base_url=job.base_url, ca_file=job.ca_file)


def nontax_version() -> str:
    from nontax import _core

    curl, tls, cjson = _core.libraries()
    return f"{_core.version} (libcurl {curl}, {tls}, cJSON {cjson})"


def nontax_bills(job: Job) -> Iterator[dict[str, object]]:
    return (new_bill() for _ in range(job.warm_up + job.bills))


def nontax_one(job: Job, meter: Meter) -> str:
    client = nontax_client(job)
    one_at_a_time(job, meter, lambda: client.insert_bill(new_bill()))
    return nontax_version()


def nontax_bulk(keep: int) -> Callable[[Job, Meter], str]:
    """A bulk run that remembers so many outcomes with their bills."""

    def contest(job: Job, meter: Meter) -> str:
        meter.start()
        client = nontax_client(job)
        run = client.insert_bills(nontax_bills(job), concurrency=job.in_flight, keep=keep)
        for number, outcome in enumerate(run, 1):
            if outcome.outcome != "inserted":
                raise RuntimeError(repr(outcome))
            if number == job.warm_up:
                meter.start()
        meter.stop()
        return nontax_version()

    return contest


def nontax_runs(size: int) -> Callable[[Job, Meter], str]:
    """One client, the same bills in runs of `size`."""

    def contest(job: Job, meter: Meter) -> str:
        client = nontax_client(job)

        def insert(bills: int) -> None:
            for start in range(0, bills, size):
                count = min(size, bills - start)
                run = client.insert_bills(
                    (new_bill() for _ in range(count)), concurrency=job.in_flight
                )
                for outcome in run:
                    if outcome.outcome != "inserted":
                        raise RuntimeError(repr(outcome))

        insert(job.warm_up)
        meter.start()
        insert(job.bills)
        meter.stop()
        return nontax_version()

    return contest


def nontax_async(job: Job, meter: Meter) -> str:
    import asyncio

    async def main() -> None:
        client = nontax_client(job)
        await in_tasks(job, meter, lambda: client.ainsert_bill(new_bill()))

    asyncio.run(main())
    return nontax_version()


def pycurl_handle(job: Job) -> "Curl":
    import pycurl

    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, job.url)
    curl.setopt(pycurl.CAINFO, job.ca_file)
    curl.setopt(pycurl.POST, 1)
    curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    headers = [f"{name}: {value}" for name, value in job.headers.items()]
    curl.setopt(pycurl.HTTPHEADER, [*headers, "Expect:"])
    return curl


def pycurl_one(job: Job, meter: Meter) -> str:
    import pycurl

    curl = pycurl_handle(job)

    def insert() -> str:
        reply = BytesIO()
        curl.setopt(pycurl.POSTFIELDS, new_body())
        curl.setopt(pycurl.WRITEDATA, reply)
        curl.perform()
        return check(curl.getinfo(pycurl.RESPONSE_CODE), reply.getvalue())

    one_at_a_time(job, meter, insert)
    return str(pycurl.version)


def pycurl_multi(job: Job, meter: Meter) -> str:
    """As pycurl's own example of many transfers: a multi handle, and select()."""
    import pycurl

    multi = pycurl.CurlMulti()
    replies: dict[object, BytesIO] = {}

    def begin(curl: "Curl") -> None:
        replies[curl] = BytesIO()
        curl.setopt(pycurl.POSTFIELDS, new_body())
        curl.setopt(pycurl.WRITEDATA, replies[curl])
        multi.add_handle(curl)

    def run(bills: int, handles: "list[Curl]") -> None:
        begun = min(bills, len(handles))
        for curl in handles[:begun]:
            begin(curl)
        ended = 0
        while ended < bills:
            multi.perform()
            _, done, failed = multi.info_read()
            if failed:
                raise RuntimeError(failed[0][2])
            for curl in done:
                multi.remove_handle(curl)
                check(curl.getinfo(pycurl.RESPONSE_CODE), replies[curl].getvalue())
                ended += 1
                if begun < bills:
                    begun += 1
                    begin(curl)
            if not done:
                multi.select(1.0)

    handles = [pycurl_handle(job) for _ in range(job.in_flight)]
    run(job.warm_up, handles)
    meter.start()
    run(job.bills, handles)
    meter.stop()
    return str(pycurl.version)


def requests_inserter(job: Job) -> Callable[[], str]:
    import requests
    from urllib3.util import SKIP_HEADER

    session = requests.Session()
    session.verify = job.ca_file
    session.headers.clear()
    # Without this, urllib3 adds a header that the others do not send.
    session.headers.update(job.headers | {"Accept-Encoding": SKIP_HEADER})

    def insert() -> str:
        reply = session.post(job.url, data=new_body())
        return check(reply.status_code, reply.content)

    return insert


def requests_version() -> str:
    return f"{version('requests')} (urllib3 {version('urllib3')})"


def requests_one(job: Job, meter: Meter) -> str:
    one_at_a_time(job, meter, requests_inserter(job))
    return requests_version()


def requests_threads(job: Job, meter: Meter) -> str:
    in_threads(job, meter, [requests_inserter(job) for _ in range(job.in_flight)])
    return requests_version()


def httpx_one(job: Job, meter: Meter) -> str:
    import ssl

    import httpx

    with httpx.Client(verify=ssl.create_default_context(cafile=job.ca_file)) as client:
        client.headers.clear()
        client.headers.update(job.headers)

        def insert() -> str:
            reply = client.post(job.url, content=new_body())
            return check(reply.status_code, reply.content)

        one_at_a_time(job, meter, insert)
    return version("httpx")


def httpx_async(job: Job, meter: Meter) -> str:
    import asyncio
    import ssl

    import httpx

    async def main() -> None:
        tls = ssl.create_default_context(cafile=job.ca_file)
        async with httpx.AsyncClient(verify=tls) as client:
            client.headers.clear()
            client.headers.update(job.headers)

            async def insert() -> str:
                reply = await client.post(job.url, content=new_body())
                return check(reply.status_code, reply.content)

            await in_tasks(job, meter, insert)

    asyncio.run(main())
    return version("httpx")


def aiohttp_async(job: Job, meter: Meter) -> str:
    import asyncio
    import ssl

    import aiohttp

    async def main() -> None:
        tls = ssl.create_default_context(cafile=job.ca_file)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, limit=job.in_flight),
            headers=job.headers,
            skip_auto_headers=["Accept-Encoding"],
        ) as session:

            async def insert() -> str:
                async with session.post(job.url, data=new_body()) as reply:
                    return check(reply.status, await reply.read())

            await in_tasks(job, meter, insert)

    asyncio.run(main())
    return version("aiohttp")


def httpr_client(job: Job) -> "HttprClient":
    import httpr

    return httpr.Client(headers=job.headers, ca_cert_file=job.ca_file, http1_only=True)


def httpr_one(job: Job, meter: Meter) -> str:
    client = httpr_client(job)

    def insert() -> str:
        reply = client.post(job.url, content=new_body())
        return check(reply.status_code, reply.content)

    one_at_a_time(job, meter, insert)
    return version("httpr")


def httpr_threads(job: Job, meter: Meter) -> str:
    client = httpr_client(job)

    def insert() -> str:
        reply = client.post(job.url, content=new_body())
        return check(reply.status_code, reply.content)

    in_threads(job, meter, [insert] * job.in_flight)
    return version("httpr")


B = TypeVar("B", bound="BaseClientBuilder")


def pyreqwest_builder(builder: B, job: Job) -> B:
    # Without these, it sends a header that the others do not send.
    builder = builder.gzip(False).brotli(False).zstd(False).deflate(False)
    builder = builder.add_root_certificate_pem(Path(job.ca_file).read_bytes()).http1_only()
    headed: B = builder.default_headers(job.headers)
    return headed


def pyreqwest_one(job: Job, meter: Meter) -> str:
    from pyreqwest.client import SyncClientBuilder

    with pyreqwest_builder(SyncClientBuilder(), job).build() as client:

        def insert() -> str:
            reply = client.post(job.url).body_bytes(new_body()).build().send()
            return check(reply.status, bytes(reply.bytes()))

        one_at_a_time(job, meter, insert)
    return version("pyreqwest")


def pyreqwest_async(job: Job, meter: Meter) -> str:
    import asyncio

    from pyreqwest.client import ClientBuilder

    async def main() -> None:
        async with pyreqwest_builder(ClientBuilder(), job).build() as client:

            async def insert() -> str:
                reply = await client.post(job.url).body_bytes(new_body()).build().send()
                return check(reply.status, bytes(await reply.bytes()))

            await in_tasks(job, meter, insert)

    asyncio.run(main())
    return version("pyreqwest")


CONTESTANTS = {
    "nontax": nontax_one,
    "nontax-bulk": nontax_bulk(0),
    "nontax-bulk-kept": nontax_bulk(100_000),
    "nontax-async": nontax_async,
    "nontax-runs-16": nontax_runs(16),
    "nontax-runs-4000": nontax_runs(4000),
    "pycurl": pycurl_one,
    "pycurl-multi": pycurl_multi,
    "requests": requests_one,
    "requests-threads": requests_threads,
    "httpx": httpx_one,
    "httpx-async": httpx_async,
    "aiohttp": aiohttp_async,
    "httpr": httpr_one,
    "httpr-threads": httpr_threads,
    "pyreqwest": pyreqwest_one,
    "pyreqwest-async": pyreqwest_async,
}


def main() -> None:
    name, text = sys.argv[1:]
    job = Job(**json.loads(text))
    meter = Meter(job.server_pid)
    version = CONTESTANTS[name](job, meter)
    cost = Cost(job.bills, meter.wall, meter.cpu, meter.server_cpu, peak_kib(), version)
    print(json.dumps(asdict(cost)))


if __name__ == "__main__":
    main()
