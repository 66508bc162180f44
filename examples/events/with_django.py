"""WeChat's events in Django: `python examples/events/with_django.py 8000` (see inbox.py).

Of your own project, `wechat` goes into views.py, and its path into urls.py.
"""

import sys

import inbox
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt


def wechat(request: HttpRequest) -> HttpResponse:
    query = request.GET.dict()
    if request.method == "GET":
        status, text = inbox.answer_get(query)
    elif request.method == "POST":
        status, text = inbox.answer_post(query, request.body)
    else:
        return HttpResponse(status=405)
    # Django's own default is text/html.
    return HttpResponse(text, status=status, content_type="text/plain")


# WeChat has no cookie: its signature is checked instead.
urlpatterns = [path("wechat", csrf_exempt(wechat))]

if __name__ == "__main__":
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], DEBUG=False)
    execute_from_command_line(["django", "runserver", "--noreload", f"127.0.0.1:{sys.argv[1]}"])
