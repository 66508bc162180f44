"""Where WeChat pushes an account's events."""

import logging
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from nontax.contrib.django import conf, events
from nontax.events import EventReader, InvalidEventError, UntrustedEventError

_log = logging.getLogger("nontax.delivery")


def _reader(alias: str) -> EventReader:
    try:
        settings = conf.account(alias)
    except ImproperlyConfigured:
        raise Http404 from None
    given = settings.get("EVENTS")
    if not given:
        raise Http404
    more: dict[str, Any] = {}
    if given.get("AES_KEY"):
        more = {"aes_key": given["AES_KEY"], "appid": settings["APPID"]}
    return EventReader(token=given["TOKEN"], **more)


def _text(text: str, status: int = 200) -> HttpResponse:
    return HttpResponse(text, status=status, content_type="text/plain")


@method_decorator(
    [csrf_exempt, login_not_required, transaction.non_atomic_requests], name="dispatch"
)
class EventView(View):
    """`path("wechat/<slug:account>/", EventView.as_view())`; account: alias in the settings.

    "success" is answered when the event, and what it settles, is on disk; otherwise WeChat pushes
    it again, three times in all. A stranger's push gets 403.
    """

    http_method_names = ("get", "post")

    def get(self, request: HttpRequest, account: str) -> HttpResponse:
        """WeChat checks the URL."""
        try:
            return _text(_reader(account).echo(request.GET.dict()))
        except UntrustedEventError:
            return _text("forbidden", 403)

    def post(self, request: HttpRequest, account: str) -> HttpResponse:
        """WeChat pushes an event."""
        try:
            event = _reader(account).read(request.GET.dict(), request.body)
        except UntrustedEventError as error:
            _log.warning("a push for %s was refused: %s", account, error)
            return _text("forbidden", 403)
        except InvalidEventError as error:
            _log.error("an event of %s cannot be understood, and is lost: %s", account, error)
            return _text("success")
        events.take_event(conf.outbox().database, account, event)
        return _text("success")
