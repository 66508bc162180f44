"""Django's asynchronous views under uvicorn: one client for all requests, real HTTP, real ASGI."""

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from bills import bill
from processes import Child, Talk

from nontax.sandbox import Sandbox, faults

VIEWS = 50


def serve(talk: Talk) -> None:
    """A Django project with three views, served by uvicorn until it is asked to end."""
    import json
    import os
    import socket
    import threading
    import warnings
    from typing import Any

    # Not of this package: what Django, asgiref and uvicorn use of old.
    warnings.simplefilter("default")
    warnings.filterwarnings("error", module="nontax")
    warnings.filterwarnings("error", category=ResourceWarning)

    import django
    import uvicorn
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
    from django.urls import path

    import nontax

    client = talk.client()

    async def insert(request: HttpRequest) -> JsonResponse:
        one = json.loads(request.body)
        try:
            inserted = await client.ainsert_bill(one)
        except nontax.NontaxError as error:
            return JsonResponse({"error": type(error).__name__, "outcome": error.outcome})
        return JsonResponse({"code": inserted.code})

    async def insert_many(request: HttpRequest) -> StreamingHttpResponse:
        many = json.loads(request.body)

        async def lines() -> Any:
            async with client.ainsert_bills(many, concurrency=4) as outcomes:
                async for outcome in outcomes:
                    yield json.dumps([outcome.index, outcome.outcome]) + "\n"

        return StreamingHttpResponse(lines())

    def insert_sync(request: HttpRequest) -> JsonResponse:
        return JsonResponse({"code": client.insert_bill(json.loads(request.body)).code})

    async def state(request: HttpRequest) -> JsonResponse:
        threads, files = threading.active_count(), len(os.listdir("/dev/fd"))
        return JsonResponse({"threads": threads, "files": files})

    async def stop(request: HttpRequest) -> JsonResponse:
        server.should_exit = True
        return JsonResponse({})

    settings.configure(
        ROOT_URLCONF=(
            path("insert", insert),
            path("insert_many", insert_many),
            path("insert_sync", insert_sync),
            path("state", state),
            path("stop", stop),
        ),
        ALLOWED_HOSTS=["127.0.0.1"],
        SECRET_KEY="of no use",
        MIDDLEWARE=[],
    )
    django.setup()
    sock = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        get_asgi_application(), loop=talk.setup["loop"], lifespan="off", log_level="warning"
    )
    server = uvicorn.Server(config)
    talk.tell(port=sock.getsockname()[1])
    server.run(sockets=[sock])
    talk.tell(ended=True)


class Site:
    """The other end."""

    def __init__(self, port: int) -> None:
        self._port = port

    def post(self, path: str, body: Any = None) -> Any:
        """The answer's JSON, or the JSON of its lines."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request("POST", f"/{path}", json.dumps(body))
            reply = connection.getresponse()
            text = reply.read().decode()
            assert reply.status == 200, text
        finally:
            connection.close()
        lines = [json.loads(line) for line in text.splitlines()]
        return lines if path == "insert_many" else lines[0]

    def post_and_leave(self, path: str, body: Any) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        connection.request("POST", f"/{path}", json.dumps(body))
        return connection


@pytest.fixture(params=["asyncio", "uvloop"])
def site(request: pytest.FixtureRequest, any_sandbox: Sandbox, certificates: Any) -> Iterator[Site]:
    with Child(
        serve,
        loop=request.param,
        client={
            "access_token": any_sandbox.access_token,
            "base_url": any_sandbox.base_url,
            "ca_file": str(certificates.ca_file),
        },
    ) as child:
        site = Site(child.hear()["port"])
        yield site
        assert site.post("stop") == {}
        told, stderr = child.finish()
        assert told == [{"ended": True}]
        assert stderr == ""


def test_fifty_views_at_once(site: Site, any_sandbox: Sandbox) -> None:
    waves = 3
    bills = [bill() for _ in range(VIEWS * waves)]
    for one in bills[::10]:
        any_sandbox.reject(one["order_id"])
    before = site.post("state")
    with ThreadPoolExecutor(VIEWS) as pool:
        answers = list(pool.map(lambda one: site.post("insert", one), bills))
    for place, answer in enumerate(answers):
        if place % 10:
            assert answer == {"code": any_sandbox.bills[bills[place]["order_id"]].code}
        else:
            assert answer == {"error": "BillStateError", "outcome": "rejected"}
    assert len(any_sandbox.requests) == VIEWS * waves
    after = site.post("state")
    # Django has one for each request, and they take a moment to end; none is for a call of ours.
    while after["threads"] >= before["threads"] + 10:
        after = site.post("state")
    # There are kept connections, and requests whose end the server has not seen yet.
    assert after["files"] < before["files"] + VIEWS * 2


def test_views_of_every_kind_at_once(site: Site, any_sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(12) as pool:
        single = [pool.submit(site.post, "insert", bill()) for _ in range(20)]
        sync = [pool.submit(site.post, "insert_sync", bill()) for _ in range(5)]
        many = [pool.submit(site.post, "insert_many", [bill() for _ in range(8)]) for _ in range(3)]
        codes = {one.result()["code"] for one in [*single, *sync]}
        assert len(codes) == 25
        for one in many:
            assert sorted(one.result()) == [[index, "inserted"] for index in range(8)]
    assert len(any_sandbox.bills) == len(any_sandbox.requests) == 25 + 24


def test_a_browser_that_leaves(site: Site, any_sandbox: Sandbox) -> None:
    """Django then cancels the view: the transfer ends, the others go on, nothing is sent twice."""
    any_sandbox.inject(faults.NeverAnswer(taken=True))
    connection = site.post_and_leave("insert", bill("left"))
    any_sandbox.wait_for_requests(1)
    connection.close()
    # Its connection to the sandbox ends with it.
    any_sandbox.wait_for_requests(1, finished=True)
    assert "code" in site.post("insert", bill("after"))
    assert [request.order_id for request in any_sandbox.requests] == ["left", "after"]
