"""Takes the pictures of the status page: `python -m tools.page` (Chromium has to be installed).

A small fleet in this process has an incident, and the page is looked at as on a desk and as on a
phone, in light and in dark. The pictures in docs/pictures are replaced.
"""

from __future__ import annotations

import argparse
import asyncio
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from itertools import product
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from tools.browser import SCHEMES, WINDOWS, Browser, running
from tools.svg import ROOT
from zenvark_web import (
    BreakerPolicy,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    Override,
    State,
)
from zenvark_web.asgi import StatusApp
from zenvark_web.backends import MemoryBackend

PICTURES = ROOT / "docs/pictures"
PORT = 8765
CLOSED = (
    *("accounts", "addresses", "basket", "currency", "delivery-times", "discounts", "geocoder"),
    *("images", "invoices", "mail", "newsletter", "orders", "prices", "ratings", "refunds"),
    *("sms", "stock", "taxes", "translations", "vouchers"),
)
POLICY = BreakerPolicy(strategy=ConsecutiveFailures(5), backoff=ConstantBackoff(40))
QUICK = BreakerPolicy(strategy=ConsecutiveFailures(5), backoff=ConstantBackoff(0.5))
REST = 2.0
"""Seconds for the fleet, and for the page to show it."""


class UnavailableError(Exception):
    """The upstream responds with 503."""


class Fleet:
    """Three instances in a thread, whose page is served on a port of this machine."""

    def __init__(self) -> None:
        backend = MemoryBackend()
        self._coordinators = [
            Coordinator(
                backend,
                namespace="shop",
                policy=POLICY,
                policies={"payments": QUICK},
                on_error=lambda _: None,
            )
            for _ in range(3)
        ]
        page = StatusApp(self._coordinators[0], authorize=_operator, title="Shop upstreams")
        app = Starlette(routes=[Mount("/circuits", page)])
        self._server = uvicorn.Server(uvicorn.Config(app, port=PORT, log_level="error"))

    def run(self) -> None:
        """Run until the end of the pictures."""
        asyncio.run(self._run())

    def stop(self) -> None:
        """End it."""
        self._server.should_exit = True

    async def _run(self) -> None:
        async with AsyncExitStack() as stack:
            for coordinator in self._coordinators:
                await stack.enter_async_context(coordinator)
            incident = asyncio.create_task(self._incident())
            await self._server.serve()
            incident.cancel()
            await asyncio.gather(incident, return_exceptions=True)

    async def _incident(self) -> None:
        for coordinator in self._coordinators:
            for name in CLOSED:
                await coordinator.breaker(name).execute(_answer)
        await self._fail("search", TimeoutError("read timeout"))
        await self._fail("payments", UnavailableError("503"))
        await self._fail("recommendations", ConnectionRefusedError("connection refused"))
        await self._coordinators[0].override(
            "newsletter", Override.FORCE_OPEN, reason="the provider moves", actor="anna"
        )
        payments = self._coordinators[1].breaker("payments")
        while payments.state == State.CLOSED:  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(0.01)
        while True:  # a trial call that hangs
            with suppress(Exception):
                await payments.execute(_hang)
            await asyncio.sleep(0.05)

    async def _fail(self, name: str, error: Exception) -> None:
        async def fail() -> None:
            raise error

        for number in range(6):
            with suppress(Exception):
                await self._coordinators[number % 3].breaker(name).execute(fail)


async def _answer() -> None:
    pass


async def _hang() -> None:
    await asyncio.sleep(600)


def _operator(scope: object, right: str) -> str:
    return "anna"


@contextmanager
def serving() -> Generator[str]:
    """The page of a fleet with an incident; gives its address."""
    fleet = Fleet()
    thread = threading.Thread(target=fleet.run)
    thread.start()
    try:
        time.sleep(REST)
        yield f"http://127.0.0.1:{PORT}/circuits/"
    finally:
        fleet.stop()
        thread.join()


def take(browser: Browser, address: str, directory: Path) -> Sequence[Path]:
    """Take the pictures; returns their files."""
    taken: list[Path] = []
    pages = (("page", address), ("page-circuit", f"{address}#search"))
    for (window, scheme), (name, target) in product(product(WINDOWS, SCHEMES), pages):
        browser.resize(window, scheme)
        browser.visit(target)
        time.sleep(REST)
        browser.value("document.activeElement.blur() ?? 0")
        taken.append(directory / f"{name}-{window}-{scheme}.png")
        taken[-1].write_bytes(browser.picture(whole=False))
    return taken


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, default=PICTURES, help="where to put them")
    directory: Path = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    with serving() as address, running() as browser:
        for path in take(browser, address, directory):
            print(path)


if __name__ == "__main__":
    main()
