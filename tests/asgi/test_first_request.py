"""Where no lifespan comes to the middleware, its coordinator starts with the first request."""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar

import anyio
import pytest
import trio
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from tests.asgi.messages import Script, play
from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import PATIENCE, eventually, eventually_sync
from tests.http.circuits import counts
from tests.http.server import unused_port
from zenvark_web import (
    BreakerMiddleware,
    BreakerPolicy,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    MemoryBackend,
    Role,
    State,
)

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(60))
HELLO = PlainTextResponse("hello")
BROKEN = PlainTextResponse("broken", 500)


async def opens(app: ASGIApp, path: str, coordinator: Coordinator) -> None:
    """The circuit of a broken route opens."""
    own = coordinator.breaker("own")
    for _ in range(3):
        assert (await play(app, path=path)).status == 500
    assert coordinator.running
    await eventually(lambda: own.state is State.OPEN, within=PATIENCE)
    assert (await play(app, path=path)).status == 503


def mounted(coordinator: Coordinator) -> ASGIApp:
    """Starlette runs no lifespan of mounted apps."""
    inner = Starlette(routes=[Mount("/broken", BROKEN)])
    inner.add_middleware(BreakerMiddleware, coordinator=coordinator, routes={"/": "own"})
    return FastAPI(routes=[Mount("/inner", inner)])


def bare(coordinator: Coordinator) -> ASGIApp:
    return BreakerMiddleware(BROKEN, coordinator, routes={"/": "own"})


@pytest.mark.parametrize(("make", "path"), [(bare, "/"), (mounted, "/inner/broken/")])
def test_it_is_protected_and_ends_with_the_event_loop(
    make: Callable[[Coordinator], ASGIApp], path: str
) -> None:
    coordinator = Coordinator(policy=POLICY)

    async def main() -> None:
        app = make(coordinator)
        assert not coordinator.running
        await opens(app, path, coordinator)

    asyncio.run(main())
    assert not coordinator.running


def test_in_the_end_what_is_left_is_sent_and_the_lease_given_back(
    server: ServerHandle, namespace: str
) -> None:
    coordinator = Coordinator(server.url, namespace=namespace, policy=POLICY)

    async def main() -> None:
        app = bare(coordinator)
        await play(app)
        await eventually(lambda: coordinator.role is Role.LEADER, within=PATIENCE)
        await play(app)

    asyncio.run(main())
    statistics = coordinator.statistics
    assert statistics.recorded == 2
    assert (statistics.dropped, statistics.expired) == (0, 0)
    assert not server.client().exists(f"zenvark:{{{namespace}}}:leader")


def test_first_requests_side_by_side_start_it_once_and_wait_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    coordinator = Coordinator(policy=POLICY)

    async def running(scope: object, receive: object, send: object) -> None:
        seen.append(coordinator.running)

    seen: list[bool] = []

    async def main() -> None:
        app = BreakerMiddleware(running, coordinator)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(50):
                tasks.create_task(play(app))

    with caplog.at_level(logging.INFO, "zenvark_web"):
        asyncio.run(main())
    assert seen == [True] * 50
    [record] = [record for record in caplog.records if "No lifespan" in record.getMessage()]
    assert "around the outermost app" in record.getMessage()


def test_one_that_is_cancelled_meanwhile_leaves_it_to_the_others() -> None:
    coordinator = Coordinator(policy=POLICY)

    async def main() -> None:
        app = BreakerMiddleware(HELLO, coordinator)
        first, second = (asyncio.create_task(play(app)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).body == b"hello"
        assert first.cancelled()
        assert coordinator.running

    asyncio.run(main())


def test_a_store_that_is_away_holds_up_the_first_requests_for_a_moment_only() -> None:
    errors: list[Exception] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with unused_port() as port:
            coordinator = Coordinator(f"redis://127.0.0.1:{port}", on_error=errors.append)
            app = BreakerMiddleware(HELLO, coordinator)
            began = loop.time()
            assert (await play(app)).body == b"hello"
            waited = loop.time() - began
            assert (await play(app)).body == b"hello"
            assert loop.time() - began - waited < 0.5
            assert waited < PATIENCE / 2
            assert coordinator.running
            await eventually(lambda: errors, within=PATIENCE)
            await coordinator.stop()

    asyncio.run(main())


def test_one_that_can_not_start_costs_no_request_and_is_told_once() -> None:
    errors: list[Exception] = []

    class Broken(MemoryBackend):
        tries = 0

        def open(self) -> None:
            Broken.tries += 1
            raise OSError("no entropy")

    async def main() -> None:
        coordinator = Coordinator(Broken())
        coordinator.report_error = errors.append  # type: ignore[method-assign]
        app = BreakerMiddleware(HELLO, coordinator)
        for _ in range(3):
            assert (await play(app)).body == b"hello"

    asyncio.run(main())
    assert Broken.tries == 1
    assert "with the first request; no calls are counted" in str(errors[0])
    assert "no entropy" in str(errors[0])


def test_one_that_somebody_else_runs_is_left_alone() -> None:
    coordinator = Coordinator(policy=POLICY)

    async def main() -> None:
        app = BreakerMiddleware(HELLO, coordinator)
        async with coordinator:
            await play(app)
        await play(app)
        assert not coordinator.running

    asyncio.run(main())


def test_after_a_lifespan_has_ended_it_stays_stopped() -> None:
    coordinator = Coordinator(policy=POLICY)
    app = Starlette(routes=[Mount("/", HELLO)])
    app.add_middleware(BreakerMiddleware, coordinator=coordinator)
    with TestClient(app) as client:
        assert client.get("/").text == "hello"
        assert coordinator.running
    assert TestClient(app).get("/").text == "hello"
    assert not coordinator.running


def test_where_each_request_has_an_event_loop_of_its_own() -> None:
    """As a test client without lifespan has, and adapters to other interfaces."""
    coordinator = Coordinator(policy=POLICY)
    client = TestClient(mounted(coordinator))
    own = coordinator.breaker("own")

    def rejected() -> bool:
        return client.get("/inner/broken/").status_code == 503

    eventually_sync(rejected, within=PATIENCE)
    assert own.state is State.OPEN
    assert counts(own)[1] >= 3
    assert coordinator.running
    coordinator.__exit__(None, None, None)
    assert not coordinator.running


def test_on_trio_it_starts_in_a_thread_of_its_own() -> None:
    coordinator = Coordinator(policy=POLICY)

    async def main() -> None:
        app = bare(coordinator)
        with trio.fail_after(PATIENCE):
            while (await play(app)).status != 503:
                await trio.sleep(0.01)

    trio.run(main)
    assert coordinator.running
    coordinator.__exit__(None, None, None)


class Slow(MemoryBackend):
    """One that takes a moment to begin with."""

    def open(self) -> None:
        time.sleep(0.3)
        super().open()


def test_on_trio_those_that_come_meanwhile_wait_for_it() -> None:
    coordinator = Coordinator(Slow(), policy=POLICY)

    async def main() -> None:
        app = says_whether_it_runs(coordinator, seen)
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(play, app)

    seen: list[bool] = []
    trio.run(main)
    coordinator.__exit__(None, None, None)
    assert seen == [True] * 20


def test_with_an_event_loop_for_each_request_they_wait_as_well() -> None:
    coordinator = Coordinator(Slow(), policy=POLICY)
    seen: list[bool] = []
    app = says_whether_it_runs(coordinator, seen)
    for _ in range(2):  # once in the loop of the first, and then in a thread of its own
        threads = [threading.Thread(target=asyncio.run, args=(play(app),)) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    if coordinator.running:
        coordinator.__exit__(None, None, None)
    assert len(seen) == 20
    assert all(seen[-10:])


def says_whether_it_runs(coordinator: Coordinator, seen: list[bool]) -> ASGIApp:
    async def app(scope: object, receive: object, send: object) -> None:
        seen.append(coordinator.running)

    return BreakerMiddleware(app, coordinator)


@pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])
def test_one_that_could_not_start_is_tried_again(run: Callable[..., object]) -> None:
    class BrokenAtFirst(MemoryBackend):
        tries = 0

        def open(self) -> None:
            BrokenAtFirst.tries += 1
            if BrokenAtFirst.tries == 1:
                raise OSError("no entropy")
            super().open()

    coordinator = Coordinator(BrokenAtFirst(), policy=POLICY, on_error=lambda _: None)

    async def main() -> None:
        app = BreakerMiddleware(HELLO, coordinator)
        with anyio.fail_after(PATIENCE):
            while not coordinator.running:
                assert (await play(app)).body == b"hello"
                await anyio.sleep(0.05)

    run(main() if run is asyncio.run else main)
    assert BrokenAtFirst.tries == 2
    if coordinator.running:
        coordinator.__exit__(None, None, None)


def test_websockets_start_it_as_well() -> None:
    coordinator = Coordinator()

    async def main() -> None:
        await play(BreakerMiddleware(BROKEN, coordinator), Script("WEBSOCKET"))
        assert coordinator.running

    asyncio.run(main())


def test_two_middlewares_share_one() -> None:
    coordinator = Coordinator(policy=POLICY)

    async def main() -> None:
        first, second = (BreakerMiddleware(HELLO, coordinator) for _ in range(2))
        await asyncio.gather(play(first), play(second), play(first), play(second))
        assert coordinator.running

    asyncio.run(main())
    assert not coordinator.running


def test_it_does_not_run_in_the_context_of_the_first_request() -> None:
    request_id: ContextVar[str] = ContextVar("request_id", default="none")
    seen: list[str] = []

    async def main() -> None:
        coordinator = Coordinator(on_role_change=lambda _: seen.append(request_id.get()))
        request_id.set("first")
        await play(BreakerMiddleware(HELLO, coordinator))
        await eventually(lambda: seen, within=PATIENCE)

    asyncio.run(main())
    assert seen[0] == "none"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_process_that_is_forked_afterwards_starts_its_own() -> None:
    coordinator = Coordinator(policy=POLICY)
    app = BreakerMiddleware(HELLO, coordinator)
    asyncio.run(play(app))  # type: ignore[arg-type]
    child = os.fork()
    if not child:
        signal.alarm(int(PATIENCE))

        async def main() -> bool:
            await play(app)
            return coordinator.running

        ended = asyncio.run(main())
        os._exit(0 if ended else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_two_event_loops_that_share_an_app() -> None:
    coordinator = Coordinator(policy=POLICY)
    app = BreakerMiddleware(HELLO, coordinator)
    bodies: list[bytes] = []
    together = threading.Barrier(4)

    async def main() -> None:
        together.wait()
        bodies.extend([(await play(app)).body for _ in range(20)])

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert bodies == [b"hello"] * 80
    if coordinator.running:  # in a thread of its own, once the first loop had ended
        coordinator.__exit__(None, None, None)
