"""A coordinator that nobody started let 100 of 100 calls reach a dead upstream, and said nothing;
one that was stopped, or whose process was forked, while a circuit was open rejected for ever, and
told callers to come again in 0 seconds."""

import asyncio
import json
import logging
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import eventually
from zenvark_web import (
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    ConstantBackoff,
    Coordinator,
    Outcome,
    State,
)
from zenvark_web._circuits import idle

WAIT = 0.3
POLICY = BreakerPolicy(backoff=ConstantBackoff(WAIT))


async def fail() -> None:
    raise OSError


def fail_sync() -> None:
    raise OSError


def calls(breaker: Breaker) -> list[Callable[[], object]]:
    def guard() -> None:
        with breaker.guard():
            raise OSError

    return [
        lambda: asyncio.run(breaker.execute(fail)),
        lambda: breaker.execute_sync(fail_sync),
        guard,
        lambda: breaker.acquire().raised(OSError()),
        lambda: breaker.acquire().record(Outcome.SUCCESS),
        lambda: asyncio.run(breaker(fail)()),
    ]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        vars(record)["zenvark_event"]
        for record in caplog.records
        if record.levelno >= logging.WARNING and "zenvark_event" in vars(record)
    ]


@pytest.mark.parametrize("kind", range(6))
@pytest.mark.parametrize("threads", [0, 4])
def test_first_results_of_what_nobody_started_warn_once(
    kind: int, threads: int, caplog: pytest.LogCaptureFixture
) -> None:
    coordinator = Coordinator(namespace="shop")
    together = threading.Barrier(max(1, threads))

    def call() -> None:
        if threads:
            together.wait()
        for number in range(5):
            with suppress(OSError):
                calls(coordinator.breaker(f"upstream-{number}"))[kind]()

    working = [threading.Thread(target=call) for _ in range(threads)]
    for thread in working:
        thread.start()
    for thread in working:
        thread.join()
    call() if not threads else None
    assert warnings(caplog) == ["never_started"]
    assert "async with coordinator" in caplog.text
    assert "namespace=shop" in caplog.text


async def test_what_runs_is_no_reason_to_warn_nor_are_late_results(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = Coordinator()
    breaker = coordinator.breaker("upstream")
    async with coordinator:
        breaker.acquire().record(Outcome.SUCCESS)
        late = breaker.acquire()
    late.record(Outcome.FAILURE)
    assert warnings(caplog) == []
    monkeypatch.setattr(idle, "LATE", 0.0)
    async with coordinator:
        pass
    for _ in range(2):
        breaker.acquire().record(Outcome.SUCCESS)
    assert warnings(caplog) == ["no_longer_running"]


def test_loop_that_was_closed_under_it(caplog: pytest.LogCaptureFixture) -> None:
    coordinator = Coordinator()
    breaker = coordinator.breaker("upstream")
    asyncio.run(coordinator.start())
    for _ in range(3):
        breaker.acquire().record(Outcome.FAILURE)
    assert warnings(caplog) == ["no_longer_running"]


def test_loop_that_was_closed_with_all_its_tasks() -> None:
    """The next call raised that the event loop is closed."""
    program = """
        import asyncio, os
        from zenvark_web import Coordinator, Outcome
        coordinator = Coordinator()
        loop = asyncio.new_event_loop()
        loop.run_until_complete(coordinator.start())
        loop.close()
        for number in range(20):
            coordinator.breaker(f"upstream-{number % 2}").acquire().record(Outcome.FAILURE)
        os._exit(0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [line] = done.stderr.splitlines()
    assert "does not run any more" in line


async def opened(breaker: Breaker) -> None:
    for _ in range(5):
        breaker.acquire().record(Outcome.FAILURE)
    await eventually(lambda: breaker.state is not State.CLOSED)


async def test_stopped_while_open_lets_calls_pass_when_the_wait_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    coordinator = Coordinator(policy=POLICY)
    breaker = coordinator.breaker("upstream")
    waits: list[float] = []
    async with coordinator:
        await opened(breaker)
    while True:
        try:
            breaker.require()
            await breaker.execute(asyncio.sleep, 0)
            break
        except CircuitOpenError as error:
            waits += [error.retry_after, breaker.retry_after]
        await asyncio.sleep(0.005)
    assert min(waits) >= 0
    assert max(waits) <= WAIT
    assert breaker.retry_after == 0
    for call in calls(breaker)[1:4]:
        with suppress(OSError):
            call()
    assert warnings(caplog) == ["circuit_open", "not_running"]


async def test_open_circuits_do_not_hide_that_results_are_lost(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are told, whichever comes first: what helps is not the same."""
    monkeypatch.setattr(idle, "LATE", 0.0)
    coordinator = Coordinator(policy=POLICY)
    breaker = coordinator.breaker("upstream")
    async with coordinator:
        await opened(breaker)
    await eventually(lambda: breaker.retry_after == 0)
    for _ in range(2):
        breaker.acquire().record(Outcome.SUCCESS)
    assert warnings(caplog) == ["circuit_open", "not_running", "no_longer_running"]


async def test_half_open_elsewhere_lets_calls_pass_when_stopped() -> None:
    coordinator = Coordinator(policy=POLICY)
    breaker = coordinator.breaker("upstream")
    async with coordinator:
        await opened(breaker)

        def half_open() -> bool:
            try:
                breaker.require()
            except CircuitOpenError:
                return False
            return breaker.state is State.HALF_OPEN

        await eventually(half_open)
    for _ in range(5):
        assert breaker.execute_sync(int) == 0


async def test_nobody_is_told_to_come_again_at_once() -> None:
    """Not while it runs either: the wait may be over, and nobody there to try."""
    told: list[float] = []
    async with Coordinator(policy=BreakerPolicy(backoff=ConstantBackoff(0.05))) as coordinator:
        breaker = coordinator.breaker("upstream")
        await opened(breaker)
        while breaker.state is not State.CLOSED:
            try:
                await breaker.execute(asyncio.sleep, 0)
            except CircuitOpenError as error:
                told += [error.retry_after, breaker.retry_after]
            await asyncio.sleep(0)
    assert told
    assert min(told) > 0


FORKS = {
    "os.fork": """
        if os.fork() == 0:
            tell()
            os._exit(0)
        os.wait()
    """,
    "Process": """
        child = multiprocessing.get_context("fork").Process(target=tell)
        child.start()
        child.join()
    """,
    "Pool": """
        with multiprocessing.get_context("fork").Pool(1) as pool:
            pool.apply(tell)
    """,
}


@pytest.mark.parametrize("how", FORKS)
def test_forked_while_open(how: str, redis_server: ServerHandle, namespace: str) -> None:
    program = """
        import json, logging, multiprocessing, os, sys, time
        from zenvark_web import (
            BreakerPolicy, CircuitOpenError, ConstantBackoff, Coordinator, Outcome, State
        )
        logging.basicConfig(format="%(zenvark_event)s", stream=open(os.devnull, "w"))
        events = []
        logging.getLogger("zenvark_web").addFilter(
            lambda record: events.append(record.zenvark_event) or False
        )
        policy = BreakerPolicy(backoff=ConstantBackoff(0.5))
        coordinator = Coordinator(sys.argv[1], namespace=sys.argv[2], policy=policy)
        breaker = coordinator.breaker("upstream")

        def tell():
            events.clear()
            waits, passed = [], 0
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                try:
                    breaker.execute_sync(int)
                    passed += 1
                except CircuitOpenError as error:
                    waits.append(error.retry_after)
                time.sleep(0.01)
            told = {"least": min(waits), "passed": passed, "events": events}
            os.write(1, f"{json.dumps(told)}\\n".encode())

        with coordinator:
            for _ in range(5):
                breaker.acquire().record(Outcome.FAILURE)
            while breaker.state is State.CLOSED:
                time.sleep(0.01)
        FORK
    """
    source = textwrap.dedent(program).replace("FORK", textwrap.dedent(FORKS[how]).strip())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", source, redis_server.url, namespace],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["least"] > 0
    assert told["passed"] > 10
    assert told["events"] == ["not_running", "never_started"]
