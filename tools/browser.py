"""Looks at the built site in a browser: `python -m tools.browser [--pictures DIRECTORY] [PAGE …]`.

Each page is opened as on a desk and as on a phone, in light and in dark. No page may write an
error to the console, ask another host for anything, or be wider than the window; what scrolls by
itself, such as a table, may be.
"""

from __future__ import annotations

import argparse
import base64
import functools
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, product
from pathlib import Path
from typing import IO, Any

from websockets.sync.client import ClientConnection, connect

from tools.svg import ROOT

SITE = ROOT / "site"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZES = {"desk": (1366, 900), "phone": (390, 844), "card": (1200, 630)}
WINDOWS = ("desk", "phone")
SCHEMES = ("light", "dark")
PATIENCE = 20.0
REST = 0.3
"""Seconds for what scripts do once a page has loaded."""
TOO_WIDE = """
[...document.querySelectorAll("article *")]
  .filter(each => each.getBoundingClientRect().right > innerWidth + 1)
  .filter(each => {
    for (let around = each.parentElement; around; around = around.parentElement)
      if (["auto", "scroll", "hidden"].includes(getComputedStyle(around).overflowX)) return false;
    return true;
  })
  .map(each => each.tagName + " " + each.textContent.trim().slice(0, 40))
"""


class Browser:
    """A browser with one page, told what to do by its own protocol.

    Args:
        socket: The connection to the page.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = count(1)
        self._events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.tell(f"{domain}.enable")
        # The site remembers which scheme it was shown in.
        forget = "if (origin !== 'null') localStorage.clear()"
        self.tell("Page.addScriptToEvaluateOnNewDocument", source=forget)

    def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Have something done; returns what came of it."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (message := self._receive()).get("id") != number:
            self._events.append(message)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        return dict(message["result"])

    def resize(self, window: str, scheme: str) -> None:
        """Be as large as a window, and like a colour scheme."""
        self.visit("about:blank")
        width, height = SIZES[window]
        self.tell(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=window == "phone",
        )  # fmt: skip
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.tell("Emulation.setEmulatedMedia", features=[feature])

    def visit(self, url: str) -> list[dict[str, Any]]:
        """Open a page; returns what has happened until it was at rest."""
        self._events.clear()
        self.tell("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._events.append(self._receive())
        time.sleep(REST)
        self.tell("Runtime.evaluate", expression="0")  # take in what has come meanwhile
        return list(self._events)

    def value(self, expression: str) -> Any:
        """What an expression is on the page."""
        return self.tell("Runtime.evaluate", expression=expression, returnByValue=True)["result"][
            "value"
        ]

    def picture(self, whole: bool) -> bytes:
        """The page as PNG."""
        told = self.tell("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(told["data"])

    def _receive(self) -> dict[str, Any]:
        return dict(json.loads(self._socket.recv(timeout=PATIENCE)))


def complaints(events: Sequence[dict[str, Any]], origin: str) -> Iterator[str]:
    """What should not have happened."""
    for event in events:
        told = event["params"]
        match event["method"]:
            case "Runtime.exceptionThrown":
                yield f"exception: {told['exceptionDetails']['text']}"
            case "Runtime.consoleAPICalled" if told["type"] == "error":
                yield f"console: {told['args']}"
            case "Log.entryAdded" if told["entry"]["level"] == "error":
                yield f"log: {told['entry']['text']} {told['entry'].get('url', '')}"
            case "Network.requestWillBeSent":
                url = told["request"]["url"]
                if not url.startswith((origin, "data:", "blob:")):
                    yield f"asks {url}"
            case _:
                pass


@contextmanager
def served() -> Generator[str]:
    """The built site on a port of its own; gives its address."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    handler = functools.partial(Handler, directory=SITE)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def running() -> Generator[Browser]:
    """A browser without a window."""
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        sys.exit(f"no browser here: install one of {', '.join(BROWSERS)}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0")
        process = subprocess.Popen(  # noqa: S603 - found on the PATH
            [
                program,
                *options,
                "--remote-debugging-port=0",
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        reading: threading.Thread | None = None
        try:
            address = _page(process)
            if process.stderr is not None:
                reading = threading.Thread(target=_drain, args=(process.stderr,))
                reading.start()
            with connect(address, max_size=None) as socket:
                yield Browser(socket)
        finally:
            process.terminate()
            process.wait()
            if reading is not None:
                reading.join()


def _drain(errors: IO[str]) -> None:
    """Read what nobody wants to know: a browser stops when the pipe is full."""
    with errors:
        for _ in errors:
            pass


def _page(process: subprocess.Popen[str]) -> str:
    """The address of the browser's page."""
    from urllib.request import urlopen

    for line in process.stderr or ():
        if found := re.search(r"listening on ws://(\S+?)/", line):
            with urlopen(f"http://{found[1]}/json/list") as answer:
                pages = json.load(answer)
            return next(
                str(page["webSocketDebuggerUrl"]) for page in pages if page["type"] == "page"
            )
    sys.exit("the browser did not start")


def look(pages: Sequence[str], pictures: Path | None) -> list[str]:
    """Visit pages; returns what is wrong with them."""
    wrong: list[str] = []
    with served() as origin, running() as browser:
        for window, scheme in product(WINDOWS, SCHEMES):
            browser.resize(window, scheme)
            for page in pages:
                events = browser.visit(f"{origin}/{page}")
                found = [*complaints(events, origin), *_too_wide(browser)]
                wrong += [f"/{page} ({window}, {scheme}): {what}" for what in found]
                if pictures:
                    name = page.strip("/").replace("/", "-") or "index"
                    file = pictures / f"{name}-{window}-{scheme}.png"
                    file.write_bytes(browser.picture(whole=False))
    return wrong


def _too_wide(browser: Browser) -> Iterator[str]:
    for element in browser.value(TOO_WIDE):
        yield f"wider than the window: {element}"


def main() -> None:
    """Look at some pages, or at all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", help="such as httpx/ (default: all)")
    parser.add_argument("--pictures", type=Path, help="where to put a picture of each")
    arguments = parser.parse_args()
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
    every = sorted(path.parent.relative_to(SITE) for path in SITE.rglob("index.html"))
    pages = arguments.pages or ["" if path == Path() else f"{path.as_posix()}/" for path in every]
    wrong = look(pages, arguments.pictures)
    print("\n".join(wrong) or f"{len(pages)} pages are as they should be")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
