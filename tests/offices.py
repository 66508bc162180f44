"""An office for tests of the command line: a folder, a sandbox, lists, and what is printed."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from sandboxes import posts

from nontax import Ledger, cli
from nontax.sandbox import Sandbox

CARD = "pjZ8Yt7xiy3b9UfffRIA4Tm2xTnw"
COLUMNS = (
    "订单号",
    "卡券模板ID",
    "AppID",
    "票据代码",
    "票据号码",
    "金额（元）",
    "开票时间",
    "交款人",
    "s_pdf_media_id",
)
NAME = "欧阳一二三"
PDF = b"%PDF-1.4\n% a bill\n"


class Printed(NamedTuple):
    """What a command has printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """All JSON lines but the last."""
        return self._json()[:-1]

    @property
    def last(self) -> dict[str, Any]:
        """The last JSON line."""
        return self._json()[-1]

    def _json(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


class Office:
    """A folder of its own, in which commands run, and the sandbox that they talk to."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder = folder
        self.sandbox = sandbox
        account = sandbox.bureau
        self.environment = {
            "NONTAX_BASE_URL": sandbox.base_url,
            "NONTAX_APPID": account.appid,
            "NONTAX_SECRET": account.secret,
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_STATE_HOME": str(folder / "state"),
            "LC_ALL": "en_US.UTF-8",
        }

    def run(self, *argv: str, stdin: str = "", **environment: str) -> Printed:
        """Run a command in this process."""
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(self.folder),
            patch.dict(os.environ, self.environment | environment),
            patch("sys.stdin", io.StringIO(stdin)),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = cli.main(argv)
        return Printed(code, out.getvalue(), err.getvalue())

    def start(self, *argv: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command as a process of its own."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        return subprocess.Popen(
            [sys.executable, "-m", "nontax", *argv],
            cwd=self.folder,
            env=os.environ | self.environment,
            **options,
        )

    def row(self, number: int, **changes: str) -> list[str]:
        values = {
            "订单号": f"A{number}",
            "卡券模板ID": CARD,
            "AppID": self.sandbox.unit.appid,
            "票据代码": "11010123",
            "票据号码": f"{number:010}",
            "金额（元）": "12.34",
            "开票时间": "2026-11-29 09:15:00",
            "交款人": NAME,
            "s_pdf_media_id": "75195574948725301",
        } | changes
        return list(values.values())

    def list(
        self, name: str = "list.csv", count: int = 3, *, first: int = 1, changes: Any = None
    ) -> str:
        """Write a list of bills; changes: by place in it, what is not as usual in a row."""
        rows = [self.row(first + place, **(changes or {}).get(place, {})) for place in range(count)]
        return self.table(name, COLUMNS, rows)

    def table(self, name: str, header: Any, rows: Any) -> str:
        from nontax.sheets import write_rows

        write_rows(self.folder / name, header, rows)
        return name

    def insert(self, *argv: str, **environment: str) -> Printed:
        """Insert a list that was written this moment."""
        return self.run("insert", *argv, "--settle", "0", **environment)

    def config(self, text: str, mode: int = 0o600) -> Path:
        path = self.folder / "config" / "nontax" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        path.chmod(mode)
        return path

    def posts(self) -> "Counter[str]":
        return posts(self.sandbox)


def without_escapes(text: str) -> str:
    """What a terminal would leave on the screen, more or less."""
    return re.sub(r"\x1b\[[0-9;]*[mK]", "", text)


def check_ledger(folder: Path) -> None:
    """At the end of a test: nothing is under way, and the ledger is whole."""
    with Ledger(folder / "bills.db") as ledger:
        assert "sending" not in ledger.counts()
        assert ledger.verify() == []
