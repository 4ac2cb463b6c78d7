"""A headless Chromium for tests that look at pages: one process, driven through a pair of pipes.

The pages are files, opened one after the other in one tab, at any width and in either colour scheme (the
DevTools protocol: https://chromedevtools.github.io/devtools-protocol).
"""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (
    "disable-gpu",
    "disable-quic",
    "disable-sync",
    "disable-background-networking",
    "disable-component-update",
    "hide-scrollbars",
    "no-first-run",
    "no-sandbox",
)
PATIENCE = 60
"""Seconds that an answer may take."""
CONNECT = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3]]
for pipe, wanted in zip(pipes, (3, 4)):
    os.dup2(pipe, wanted)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Gives the pipes the descriptors at which the browser looks for them, and becomes the browser."""


class Browser:
    """A tab of the browser, and what its pages wrote to the console."""

    def __init__(self, to: int, source: int) -> None:
        self.to, self.source, self.unread, self.number = to, source, b"", 0
        self.session: str | None = None
        self.console: list[str] = []
        """Messages of the console and of the browser's log, errors of the page among them."""
        self.fetched: list[str] = []
        """What the pages asked for, the pages themselves among it."""
        self.is_loaded = False

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self.number += 1
        number, message = self.number, {"id": self.number, "method": method, "params": params}
        if self.session is not None:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != number:
            self._note(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self.unread:
            assert select.select([self.source], [], [], PATIENCE)[0], "the browser does not answer"
            part = os.read(self.source, 1 << 16)
            assert part, "the browser has ended"
            self.unread += part
        message, _, self.unread = self.unread.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        """Keep what an event says."""
        method, params = event.get("method"), event.get("params", {})
        if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.console.append(json.dumps(params))
        if method == "Network.requestWillBeSent":
            self.fetched.append(params["request"]["url"])
        self.is_loaded |= method == "Page.loadEventFired"

    def attach(self) -> None:
        """Take a new tab."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def open(self, path: Path, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Show a page in a window of this size, and wait until it has loaded."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.is_loaded = False
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not self.is_loaded:
            self._note(self._read())

    def evaluate(self, script: str) -> Any:
        """Run JavaScript in the page and return its value."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def picture(self, path: Path, *, whole: bool = False) -> Path:
        """Write what the window shows, or the whole page, as a PNG file."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))
        return path


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Start a browser with its profile in a folder; skip the test where there is none."""
    if PROGRAM is None:
        pytest.skip("no chromium or google-chrome to look at the page with")
    reads, to = os.pipe()
    source, writes = os.pipe()
    command = [PROGRAM, "--headless", "--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}"]
    with (folder / "browser.log").open("wb") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                CONNECT,
                str(reads),
                str(writes),
                *command,
                *(f"--{each}" for each in QUIET),
            ],
            stdout=log,
            stderr=log,
            pass_fds=(reads, writes),
        )
    for each in (reads, writes):
        os.close(each)
    try:
        tab = Browser(to, source)
        tab.attach()
        yield tab
        tab.session = None
        tab.call("Browser.close")
    finally:
        for each in (to, source):
            os.close(each)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
