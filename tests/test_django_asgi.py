"""The view of events under ASGI, with uvicorn: a synchronous view, and pushes do not queue up."""

import http.client
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from bills import bill
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path
from djangos import AES_KEY, nontax_of, outbox_in
from test_events_frameworks import check_query

from nontax.contrib.django import outbox
from nontax.contrib.django.models import Bill, Event
from nontax.contrib.django.views import EventView
from nontax.sandbox import Sandbox

PUSHES = 12
_all_are_here = threading.Barrier(PUSHES, timeout=30)


class _Meeting(EventView):
    """Each request waits until all are being served: one after the other, none would be."""

    def get(self, request: HttpRequest, account: str) -> HttpResponse:
        _all_are_here.wait()
        return super().get(request, account)


urlpatterns = [
    path("wechat/<slug:account>/", EventView.as_view()),
    path("meeting/<slug:account>/", _Meeting.as_view()),
]


@contextmanager
def _served() -> Iterator[int]:
    """The port of a server of this process's Django."""
    sock = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(get_asgi_application(), lifespan="off", log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        yield sock.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        sock.close()


@pytest.fixture
def port(tmp_path: Path, sandbox: Sandbox) -> Iterator[int]:
    with (
        outbox_in(tmp_path, nontax_of(sandbox, "outbox")),
        override_settings(ROOT_URLCONF=__name__),
        _served() as port,
    ):
        yield port


def _get(port: int, url: str) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=40)) as connection:
        connection.request("GET", url)
        reply = connection.getresponse()
        return reply.status, reply.read()


def test_a_push_settles_a_held_bill(port: int, sandbox: Sandbox) -> None:
    given: dict[str, Any] = bill("H1", appid=sandbox.unit.appid)
    outbox.enqueue(given, account="bureau", when="authorised", durable=False)
    sandbox.unit.push_aes_key = AES_KEY
    sandbox.unit.push_url = f"http://127.0.0.1:{port}/wechat/unit/"
    with sandbox.client(sandbox.unit) as unit:
        unit.get_bill_auth_url(s_pappid=sandbox.bureau.s_pappid, order_id="H1", money=1)
    sandbox.authorise("H1")
    sandbox.wait_for_pushes(1)
    assert Bill.objects.using("outbox").get().state == "waiting"
    assert Event.objects.using("outbox").count() == 1
    assert _get(port, f"/wechat/unit/?{check_query('other')}")[0] == 403


def test_requests_are_served_at_the_same_time(port: int, sandbox: Sandbox) -> None:
    url = f"/meeting/unit/?{check_query(sandbox.unit.push_token)}"
    with ThreadPoolExecutor(PUSHES) as pool:
        answers = list(pool.map(lambda _: _get(port, url), range(PUSHES)))
    assert set(answers) == {(200, b"4375120948345356")}
