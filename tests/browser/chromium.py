"""Drives a headless Chromium over its DevTools protocol: open, type, click, read, photograph.

Source: https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyreqwest.client import SyncClientBuilder
from websockets.sync.client import ClientConnection, connect

_PATIENCE = 30.0  # seconds
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


def find_chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Page:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._calls = 0

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The protocol's answer; events in between are passed over."""
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=_PATIENCE))
            if answer.get("id") == self._calls:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result

    def evaluate(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Until the JavaScript `expression` is true."""
        deadline = time.monotonic() + _PATIENCE
        while not self.evaluate(f"Boolean({expression})"):
            if time.monotonic() > deadline:
                text = self.evaluate("document.body.innerText")
                raise TimeoutError(f"never true: {expression}\nthe page says: {text}")
            time.sleep(0.05)

    def wait_for_text(self, text: str) -> None:
        self.wait_for(f"document.body.innerText.includes({json.dumps(text)})")

    def type_into(self, selector: str, text: str) -> None:
        self.wait_for(f"document.querySelector({json.dumps(selector)})")
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=text)

    def click_text(self, selector: str, text: str) -> None:
        """The first element of `selector` with that text."""
        found = (
            f"[...document.querySelectorAll({json.dumps(selector)})]"
            f".find(element => element.innerText.includes({json.dumps(text)}))"
        )
        self.wait_for(found)
        self.evaluate(f"{found}.click()")

    def photograph(self, file: Path) -> None:
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browse(
    profile: Path, *, width: int = 1280, height: int = 900, dark: bool = False
) -> Iterator[Page]:
    """One page of a Chromium of its own; `profile` is a new, empty folder."""
    executable = find_chromium()
    if executable is None:
        raise FileNotFoundError("chromium is not installed")
    extra = ("--force-dark-mode",) if dark else ()
    process = subprocess.Popen(
        [
            executable,
            *_FLAGS,
            *extra,
            f"--window-size={width},{height}",
            f"--user-data-dir={profile}",
            "about:blank",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with connect(_page_address(profile, process), max_size=None) as socket:
            page = Page(socket)
            page.call("Page.enable")
            yield page
    finally:
        process.terminate()
        process.wait(10)


def _page_address(profile: Path, process: "subprocess.Popen[bytes]") -> str:
    told = profile / "DevToolsActivePort"
    deadline = time.monotonic() + _PATIENCE
    while not (told.exists() and told.read_text().strip()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("chromium did not start")
        time.sleep(0.05)
    port = told.read_text().splitlines()[0]
    with SyncClientBuilder().no_proxy().build() as http:
        targets = http.get(f"http://127.0.0.1:{port}/json").build().send().json()
    address: str = next(t for t in targets if t["type"] == "page")["webSocketDebuggerUrl"]
    return address
