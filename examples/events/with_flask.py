"""WeChat's events in Flask: `python examples/events/with_flask.py 8000` (see inbox.py)."""

import sys

import inbox
from flask import Flask, Response, request

app = Flask(__name__)


@app.get("/wechat")
def check() -> Response:
    status, text = inbox.answer_get(request.args)
    # Flask's own default is text/html.
    return Response(text, status, mimetype="text/plain")


@app.post("/wechat")
def push() -> Response:
    status, text = inbox.answer_post(request.args, request.get_data())
    return Response(text, status, mimetype="text/plain")


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(sys.argv[1]))
