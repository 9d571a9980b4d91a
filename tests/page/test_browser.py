"""The page in a real browser: nothing is wrong in its console, and all works by keyboard."""

import asyncio
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.helpers.ports import Port
from tests.helpers.waiting import eventually_sync
from tests.page.fleets import POLICY, call, open_circuit
from tools.browser import BROWSERS, Browser, complaints, running
from zenvark_web import (
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    MemoryBackend,
    Outcome,
    Override,
)
from zenvark_web.asgi import StatusApp

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(
        not any(map(shutil.which, BROWSERS)), reason="Chromium is not installed (nox -s site)"
    ),
]

CODES = {"Escape": 27, "Enter": 13, "Tab": 9, " ": 32}

HOSTILE = (
    "<script>document.title = 'owned'</script>",
    "<img src=x onerror=\"document.title = 'owned'\">",
    "javascript:alert(1)",
    "x" * 255,
    "שלום עולם",
    "&lt;b&gt; ${7*7} {{7*7}} `'\"",
    "__proto__",
    "constructor",
)


class Site:
    """A page of a coordinator, served from a thread.

    Args:
        circuits: How many are called.
        policy: Their policy.
    """

    def __init__(self, circuits: int, policy: BreakerPolicy = POLICY) -> None:
        self.port = Port()
        self._backend = MemoryBackend()
        self._others: list[Coordinator] = []
        self.coordinator = self._made(policy)
        page = StatusApp(self.coordinator, authorize=lambda scope, right: "anna")
        self._app = Starlette(routes=[Mount("/ops/circuits", page)])
        self._names = [f"circuit {number:04}" for number in range(circuits)]
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.origin = f"http://127.0.0.1:{self.port.number}"
        self.address = f"{self.origin}/ops/circuits/"

    def _made(self, policy: BreakerPolicy) -> Coordinator:
        self._policy = policy
        return Coordinator(self._backend, namespace="shop", policy=policy)

    async def start_another(self) -> Coordinator:
        """Start an instance beside the one that serves the page."""
        self._others.append(self._made(self._policy))
        await self._others[-1].start()
        return self._others[-1]

    async def stop_others(self) -> None:
        """Stop the instances beside the one that serves the page."""
        for each in self._others:
            await each.stop()

    def __enter__(self) -> "Site":
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self.port.release()

    def do(self, work: Callable[[], Any]) -> Any:
        """Run something in the coordinator's loop."""
        return asyncio.run_coroutine_threadsafe(work(), self.loop).result(60)

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        config = uvicorn.Config(self._app, port=self.port.number, log_config=None)
        self._server = uvicorn.Server(config)
        async with self.coordinator:
            for begin in range(0, len(self._names), 100):
                await call(self.coordinator, *self._names[begin : begin + 100])
                await asyncio.sleep(0.02)
            serving = asyncio.create_task(self._server.serve())
            while not self._server.started:
                await asyncio.sleep(0.01)
            self._ready.set()
            await serving


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running() as made:
        made.resize("desk", "light")
        yield made


def shown(browser: Browser, expression: str) -> Any:
    return eventually_sync(lambda: browser.value(expression), what=expression)


def press(browser: Browser, key: str, text: str = "") -> None:
    for kind in ("keyDown", "keyUp"):
        extra: dict[str, Any] = {"text": text} if text and kind == "keyDown" else {}
        extra["windowsVirtualKeyCode"] = CODES.get(key, 0)
        browser.tell("Input.dispatchKeyEvent", type=kind, key=key, code=key, **extra)


def write(browser: Browser, text: str) -> None:
    browser.tell("Input.insertText", text=text)


@pytest.mark.parametrize("circuits", [1, 100, 2_000])
def test_nothing_is_wrong(browser: Browser, circuits: int) -> None:
    with Site(circuits) as site:
        site.do(lambda: open_circuit(site.coordinator, "down"))
        began = time.monotonic()
        events = browser.visit(site.address)
        shown(browser, "document.querySelector('.card')?.innerText.includes('down') ?? false")
        took = time.monotonic() - began
        counts = "[...document.querySelectorAll('.filters b')].map(each => each.innerText).join()"
        assert browser.value(counts) == f"1,0,{circuits:,}"
        browser.value("document.getElementById('rest-more').click() ?? 0")
        shown(browser, f"document.querySelectorAll('.chip').length === {circuits}")
        press(browser, "/", "/")
        write(browser, "circuit 0000")
        shown(browser, "document.querySelectorAll('.chip').length === 1")
        events += browser.visit("about:blank")
        print(f"{circuits} circuits are shown after {took:.2f} s")
        assert not [*complaints(events, site.origin)]


def test_change_appears(browser: Browser) -> None:
    with Site(3) as site:
        browser.visit(site.address)
        shown(browser, "!document.getElementById('calm').hidden")
        site.do(lambda: open_circuit(site.coordinator, "down"))
        began = time.monotonic()
        shown(browser, "document.querySelector('.card.open') !== null")
        print(f"an opening is shown after {time.monotonic() - began:.2f} s")
        assert shown(browser, "document.title.startsWith('1 open')")


def test_hostile_names_are_text(browser: Browser) -> None:
    with Site(1) as site:
        for name in HOSTILE:
            site.do(lambda name=name: open_circuit(site.coordinator, name))
        events = browser.visit(site.address)
        shown(browser, f"document.querySelectorAll('.card').length === {len(HOSTILE)}")
        names = browser.value(
            "[...document.querySelectorAll('.card .who')].map(each => each.textContent)"
        )
        assert sorted(names) == sorted(HOSTILE)
        assert "owned" not in browser.value("document.title")
        wide = browser.value("document.documentElement.scrollWidth <= innerWidth")
        assert wide
        browser.value("document.querySelector('.card').click() ?? 0")
        shown(browser, "document.getElementById('detail-body').children.length > 0")
        assert not [*complaints(events + browser.visit("about:blank"), site.origin)]


def test_control_characters_are_shown_as_escapes(browser: Browser) -> None:
    with Site(1) as site:
        browser.visit(site.address)
        expression = "import('./page.js').then(page => page.shown('a\\u202eb\\u0007c\\u200bd'))"
        told = browser.tell(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert told["result"]["value"] == r"a\u202eb\u0007c\u200bd"


def test_acts_by_keyboard(browser: Browser) -> None:
    with Site(1) as site:
        browser.visit(site.address)
        shown(browser, "document.querySelector('.chip') !== null")
        browser.value("document.querySelector('.chip').focus() ?? 0")
        press(browser, "Enter", "\r")
        shown(browser, "document.getElementById('detail').open")
        shown(browser, "!document.getElementById('acts').hidden")
        browser.value("document.querySelector('#acts summary').focus() ?? 0")
        press(browser, "Enter", "\r")
        shown(browser, "document.getElementById('acts').open")
        press(browser, "Tab")
        press(browser, " ", " ")
        shown(browser, "document.getElementById('act-effect').textContent.includes('reject')")
        browser.value("document.getElementById('act-reason').focus() ?? 0")
        write(browser, "the upstream moves")
        press(browser, "Enter", "\r")
        shown(browser, "document.getElementById('act-said').textContent.startsWith('Done')")
        override = site.coordinator.overrides["circuit 0000"]
        assert (override.mode, override.actor) == (Override.FORCE_OPEN, "anna")
        assert override.reason == "the upstream moves"
        press(browser, "Escape")
        shown(browser, "!document.getElementById('detail').open")


def test_an_incident(browser: Browser) -> None:
    """The upstream breaks, an operator forces the circuit open and lifts that, and it recovers."""
    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(1), ramp=(0.2, 0.5), ramp_step=2
    )
    with Site(0, policy) as site:
        browser.visit(site.address)
        site.do(lambda: open_circuit(site.coordinator, "payments"))
        shown(browser, card("open"))
        send(browser, "override", {"mode": "force_open", "expires_in": 60})
        shown(browser, card("forced open"))
        send(browser, "lift", {})
        calling = asyncio.run_coroutine_threadsafe(_call_on(site.coordinator), site.loop)
        shown(browser, card("ramp: 20 %"))
        shown(browser, card("ramp: 50 %"))
        shown(browser, "!document.getElementById('calm').hidden")
        calling.cancel()
        told = browser.value("document.getElementById('event-list').innerText")
        assert "forced open" in told
        assert "anna: the upstream moves" in told
        assert "override lifted" in told


def test_instances_that_protect_themselves_are_named(browser: Browser) -> None:
    policy = BreakerPolicy(strategy=ConsecutiveFailures(5), backoff=ConstantBackoff(600), quorum=2)
    with Site(0, policy) as site:
        browser.visit(site.address)
        bad = site.do(lambda: _bad_instance_beside(site))
        shown(browser, f"document.getElementById('alerts').innerText.includes({bad!r})")
        alert = browser.value("document.getElementById('alerts').innerText")
        assert "rejects calls of payments by its own results: 5 of 5 calls failed" in alert
        browser.value("document.querySelector('.chip').click() ?? 0")
        shown(browser, f"document.getElementById('detail-body').innerText.includes({bad!r})")
        site.do(site.stop_others)


async def _bad_instance_beside(site: Site) -> str:
    """Start an instance whose calls fail, while those of the other succeed; return its name."""
    bad = await site.start_another()
    for each in (site.coordinator, bad):
        await call(each, "payments")
        await each.flush()
    for _ in range(5):
        bad.breaker("payments").acquire().record(Outcome.FAILURE, "ConnectError")
    return bad.instance_id


def card(text: str) -> str:
    return f"document.querySelector('.card')?.innerText.includes({text!r}) ?? false"


def send(browser: Browser, act: str, fields: dict[str, Any]) -> None:
    """Send a request as the form does."""
    body = json.dumps({"circuit": "payments", "reason": "the upstream moves", **fields})
    headers = "{'content-type': 'application/json', 'x-zenvark': '1'}"
    request = f"{{method: 'POST', headers: {headers}, body: {body!r}}}"
    told = browser.tell(
        "Runtime.evaluate",
        expression=f"fetch('api/v1/{act}', {request}).then(answer => answer.status)",
        awaitPromise=True,
    )
    assert told["result"]["value"] == 200


async def _call_on(coordinator: Coordinator) -> None:
    while True:
        with suppress(CircuitOpenError):
            await call(coordinator, "payments")
        await asyncio.sleep(0.02)
