"""WeChat's events in FastAPI: `python examples/events/with_fastapi.py 8000` (see inbox.py)."""

import sys

import inbox
import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse

app = FastAPI()


# A str that is returned as it is would go out as JSON, in quotation marks: WeChat refuses that.
@app.get("/wechat", response_class=PlainTextResponse)
def check(request: Request) -> PlainTextResponse:
    status, text = inbox.answer_get(request.query_params)
    return PlainTextResponse(text, status)


@app.post("/wechat", response_class=PlainTextResponse)
async def push(request: Request) -> PlainTextResponse:
    body = await request.body()
    # The database must not hold up the event loop.
    status, text = await run_in_threadpool(inbox.answer_post, request.query_params, body)
    return PlainTextResponse(text, status)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
