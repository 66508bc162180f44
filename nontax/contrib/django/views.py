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

from nontax.contrib.django import conf, events, forwarding
from nontax.events import EventReader, InvalidEventError, UntrustedEventError
from nontax.events.model import read_event
from nontax.events.reader import MAX_BODY

_log = logging.getLogger("nontax.delivery")


def _account(alias: str, key: str) -> "dict[str, Any]":
    """An account's settings, if it has this key of EVENTS. Raises Http404."""
    try:
        settings = conf.account(alias)
    except ImproperlyConfigured:
        raise Http404 from None
    if not settings.get("EVENTS", {}).get(key):
        raise Http404
    return settings


def _reader(alias: str) -> EventReader:
    settings = _account(alias, "TOKEN")
    given = settings["EVENTS"]
    more: dict[str, Any] = {}
    if given.get("AES_KEY"):
        more = {"aes_key": given["AES_KEY"], "appid": settings["APPID"]}
    return EventReader(token=given["TOKEN"], **more)


def _text(text: str, status: int = 200) -> HttpResponse:
    return HttpResponse(text, status=status, content_type="text/plain")


_public = method_decorator(
    [csrf_exempt, login_not_required, transaction.non_atomic_requests], name="dispatch"
)


@_public
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


@_public
class ForwardedView(View):
    """`path("wechat/<slug:account>/forwarded/", ForwardedView.as_view())`: see `forwarding`.

    The body is the push as WeChat sent it, decrypted. "success" is answered when it is on disk, 403
    to a stranger, and 400 to what cannot be understood.
    """

    http_method_names = ("post",)

    def post(self, request: HttpRequest, account: str) -> HttpResponse:
        """Another system passes a push on."""
        key = _account(account, "FORWARD_KEY")["EVENTS"]["FORWARD_KEY"]
        try:
            if len(request.body) > MAX_BODY:
                raise UntrustedEventError(f"it is larger than {MAX_BODY} bytes")
            forwarding.check(key, request.headers, request.body)
            event = read_event(request.body)
            if "Encrypt" in event.extra:
                raise InvalidEventError("the push is encrypted: pass it on decrypted")
        except UntrustedEventError as error:
            _log.warning("a forwarded push for %s was refused: %s", account, error)
            return _text("forbidden", 403)
        except InvalidEventError as error:
            _log.warning("a forwarded push for %s cannot be understood: %s", account, error)
            return _text(str(error), 400)
        finally:
            del key
        events.take_event(conf.outbox().database, account, event)
        return _text("success")
