"""A real browser, with JavaScript off, presses the button on the sandbox's authorisation page."""

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_sandbox_flow import WeChat, sandbox, wechat

from nontax.sandbox import Sandbox

__all__ = ["sandbox", "wechat"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to try it with")


class Browser:
    """A browser driven over its debugging pipe: JSON messages, each with a NUL at its end.

    https://chromedevtools.github.io/devtools-protocol/
    """

    def __init__(self, commands: int, messages: int) -> None:
        self._commands = commands
        self._messages = messages
        self._buffer = b""
        self._count = 0
        self._session: str | None = None
        self.events: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        number = self._count
        command = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while True:
            message = self._next_message()
            if message.get("id") == number:
                assert "error" not in message, message
                result = message["result"]
                assert isinstance(result, dict)
                return result
            self.events.append(message.get("method", ""))

    def _next_message(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._messages, 65536)
            assert data, "the browser has gone"
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        assert isinstance(message, dict)
        return message

    def wait_for(self, event: str) -> None:
        """Wait for an event that has not been waited for yet."""
        while event not in self.events:
            self.events.append(self._next_message().get("method", ""))
        self.events.remove(event)

    def close(self) -> None:
        self._session = None
        self.call("Browser.close")

    def open_tab(self) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.call("Page.enable")
        self.call("Emulation.setScriptExecutionDisabled", value=True)

    def go_to(self, url: str) -> None:
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait_for("Page.loadEventFired")

    def _node(self, selector: str) -> int:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        assert isinstance(node, int)
        assert node, f"nothing on the page is a {selector}"
        return node

    def html(self) -> str:
        html = self.call("DOM.getOuterHTML", nodeId=self._node("body"))["outerHTML"]
        assert isinstance(html, str)
        return html

    def type(self, selector: str, text: str) -> None:
        """Put the cursor into a field, and type."""
        self.call("DOM.focus", nodeId=self._node(selector))
        self.call("Input.insertText", text=text)

    def choose(self, selector: str, value: str) -> None:
        """Choose in a list; the page's own scripts stay off."""
        node = self._node(f"{selector} option[value={value}]")
        self.call("DOM.setAttributeValue", nodeId=node, name="selected", value="selected")

    def resize(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def take_picture(self, path: Path) -> None:
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def click(self, selector: str, *, leads_on: bool = True) -> None:
        """Click into the middle of an element, and wait for the page it leads to."""
        node = self._node(selector)
        self.call("DOM.scrollIntoViewIfNeeded", nodeId=node)
        corners = self.call("DOM.getBoxModel", nodeId=node)["model"]["content"]
        place = {"x": (corners[0] + corners[4]) / 2, "y": (corners[1] + corners[5]) / 2}
        self.events.clear()
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)
        if leads_on:
            self.wait_for("Page.loadEventFired")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    assert CHROMIUM is not None
    with contextlib.ExitStack() as stack:
        theirs_in, commands = os.pipe()
        messages, theirs_out = os.pipe()
        for end in (commands, messages):
            stack.callback(os.close, end)
        process = subprocess.Popen(
            [
                # It reads 3 and writes 4.
                *("sh", "-c", f'exec "$@" 3</dev/fd/{theirs_in} 4>/dev/fd/{theirs_out}', "sh"),
                CHROMIUM,
                *("--headless", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run"),
                *("--disable-gpu", "--disable-dev-shm-usage", "--disable-breakpad"),
                *(
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--disable-sync",
                ),
                *("--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
                f"--user-data-dir={tmp_path / 'profile'}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs_in, theirs_out),
            # A group of its own, so that its children can be ended with it.
            start_new_session=True,
        )
        for end in (theirs_in, theirs_out):
            os.close(end)
        try:
            browser = Browser(commands, messages)
            yield browser
            # So that it ends its own children, and waits for them.
            browser.close()
            process.wait(10)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_citizen_presses_the_button(sandbox: Sandbox, wechat: WeChat, browser: Browser) -> None:
    plain = wechat.auth_url("票-1", money=123456)
    back = wechat.auth_url("票-2", redirect_url=f"{sandbox.pages_url}?完成")
    requests = sandbox.requests
    browser.open_tab()
    browser.go_to(plain)
    assert "¥1234.56" in browser.html()
    browser.click("button")
    assert "授权成功" in browser.html()
    browser.go_to(back)
    browser.click("button")
    page = browser.html()
    assert "Recent requests" in page
    assert page.count("已授权") == 2
    assert [order.status for order in sandbox.orders.values()] == ["auth success"] * 2
    # Not even for an icon.
    assert sandbox.requests == requests
