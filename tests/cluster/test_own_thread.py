"""`with coordinator`: a synchronous program takes part through a thread of its own."""

import asyncio
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.fleet import StartFleet
from tests.cluster.store import Store, connections
from tests.helpers.processes import StartChild
from tests.helpers.servers import RedisServer, ServerHandle
from tests.helpers.waiting import PATIENCE, eventually, eventually_sync
from zenvark_web import (
    BackendError,
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    MemoryBackend,
    Role,
    State,
    StateChange,
)
from zenvark_web._circuits import handover
from zenvark_web._coordination import election
from zenvark_web._judging import leader
from zenvark_web._runtime import thread

THREADS = 8
STAYS_OPEN = BreakerPolicy(backoff=ConstantBackoff(60))
NEVER_OPENS = BreakerPolicy(strategy=ConsecutiveFailures(1_000_000))


class CallFailedError(Exception):
    """A call failed."""


def fail() -> None:
    raise CallFailedError


def call(breaker: Breaker, function: Callable[[], object]) -> str:
    """How one call ends."""
    try:
        breaker.execute_sync(function)
    except CircuitOpenError:
        return "rejected"
    except CallFailedError:
        return "failed"
    return "passed"


def in_threads(count: int, breaker: Breaker, function: Callable[[], object]) -> Counter[str]:
    """So many calls in each of some threads at once; tells how many ended how."""
    together = threading.Barrier(THREADS)

    def run(_: int) -> Counter[str]:
        together.wait()
        return Counter(call(breaker, function) for _ in range(count))

    with ThreadPoolExecutor(THREADS) as threads:
        return sum(threads.map(run, range(THREADS)), Counter())


@contextmanager
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounts are settled several times a second."""
    monkeypatch.setattr(leader, "TIDY_INTERVAL", 0.2)
    monkeypatch.setattr(election, "ANNOUNCE_INTERVAL", 0.2)


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns as often as can be."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


# One circuit with others


async def test_failures_in_threads_open_it_in_another_process(
    redis_server: ServerHandle, namespace: str, start_fleet: StartFleet
) -> None:
    [other] = await start_fleet(1, wait=60)

    def program() -> Counter[str]:
        coordinator = Coordinator(redis_server.url, namespace=namespace, policy=STAYS_OPEN)
        with no_thread_left(), coordinator:
            return in_threads(2, coordinator.breaker("upstream"), fail)

    assert (await asyncio.to_thread(program))["failed"] >= 5
    await other.reaches("open")


async def test_failures_in_another_process_open_it_for_all_threads(
    redis_server: ServerHandle, namespace: str, start_fleet: StartFleet
) -> None:
    [other] = await start_fleet(1, wait=60)
    joined, failed = threading.Event(), threading.Event()

    def program() -> Counter[str]:
        with Coordinator(redis_server.url, namespace=namespace, policy=STAYS_OPEN) as coordinator:
            breaker = coordinator.breaker("upstream")
            assert in_threads(2, breaker, int) == {"passed": 2 * THREADS}
            joined.set()
            assert failed.wait(PATIENCE)
            eventually_sync(lambda: breaker.state is State.OPEN, within=PATIENCE)
            return in_threads(2, breaker, int)

    running = asyncio.create_task(asyncio.to_thread(program))
    await asyncio.to_thread(joined.wait, PATIENCE)
    await other.fail(5)
    failed.set()
    assert await running == {"rejected": 2 * THREADS}


async def test_sync_and_async_code_of_a_process_share_a_coordinator(
    redis_server: ServerHandle, namespace: str
) -> None:
    store = Store(redis_server, namespace)

    async def answer() -> int:
        return 42

    async def fail_here() -> None:
        raise CallFailedError

    with Coordinator(redis_server.url, namespace=namespace, policy=STAYS_OPEN) as coordinator:
        breaker = coordinator.breaker("upstream")
        for _ in range(100):
            assert await breaker.execute(answer) == 42
        assert await asyncio.to_thread(in_threads, 10, breaker, int) == {"passed": 10 * THREADS}
        await eventually(
            lambda: store.reported("upstream")["successes"] == 100 + 10 * THREADS, within=PATIENCE
        )
        for _ in range(5):
            with pytest.raises(CallFailedError):
                await breaker.execute(fail_here)
        await eventually(lambda: breaker.state is State.OPEN, within=PATIENCE)
        assert await asyncio.to_thread(in_threads, 1, breaker, int) == {"rejected": THREADS}


# Nothing is lost


@pytest.mark.usefixtures("soon", "restless")
def test_thousands_of_calls_add_up(redis_server: ServerHandle, namespace: str) -> None:
    coordinator = Coordinator(redis_server.url, namespace=namespace, policy=NEVER_OPENS)
    statistics = coordinator.statistics
    with no_thread_left(), coordinator:
        breaker = coordinator.breaker("upstream")
        assert in_threads(1_000, breaker, int) == {"passed": 1_000 * THREADS}
        assert in_threads(100, breaker, fail) == {"failed": 100 * THREADS}
        eventually_sync(lambda: statistics.evaluated == 1_100 * THREADS, within=PATIENCE)
    assert sum(breaker.successes.counts) == 1_000 * THREADS
    assert sum(breaker.failures.counts) == 100 * THREADS
    assert (statistics.recorded, statistics.dropped) == (1_100 * THREADS, 0)


def test_what_is_in_line_at_the_end_is_sent(redis_server: ServerHandle, namespace: str) -> None:
    store = Store(redis_server, namespace)
    with held_up(redis_server.url, namespace) as (coordinator, release):
        assert in_threads(10, coordinator.breaker("upstream"), int) == {"passed": 10 * THREADS}
        assert coordinator.statistics.recorded == 5
        release()
    assert store.reported("upstream")["successes"] == 10 * THREADS


def test_what_is_in_line_at_the_end_is_dropped_without_redis(fresh_server: RedisServer) -> None:
    with held_up(fresh_server.url, "shop") as (coordinator, release):
        in_threads(10, coordinator.breaker("upstream"), int)
        fresh_server.kill()
        release()
    assert coordinator.statistics.recorded == 5 + 10 * THREADS
    assert coordinator.statistics.dropped >= 10 * THREADS


@pytest.mark.usefixtures("soon")
def test_a_line_that_is_full_turns_results_away_and_counts_them(
    redis_server: ServerHandle, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "MAX_INCOMING", 50)
    with held_up(redis_server.url, namespace) as (coordinator, release):
        breaker, statistics = coordinator.breaker("upstream"), coordinator.statistics
        assert in_threads(10, breaker, int) == {"passed": 10 * THREADS}
        for _ in range(100):
            assert call(coordinator.breaker("down"), int) == "rejected"
        release()
        eventually_sync(
            lambda: statistics.recorded == 5 + 10 * THREADS == evaluated_or_lost(coordinator),
            within=PATIENCE,
        )
        assert statistics.dropped >= 10 * THREADS - 50
        assert sum(breaker.successes.counts) <= 50


def evaluated_or_lost(coordinator: Coordinator) -> int:
    statistics = coordinator.statistics
    return statistics.evaluated + statistics.expired + statistics.dropped


@contextmanager
def held_up(url: str, namespace: str) -> Iterator[tuple[Coordinator, Callable[[], None]]]:
    """A coordinator whose thread stands still, in a callback, until it is released; by then the
    circuit "down" has opened."""
    still, released = threading.Event(), threading.Event()

    def hold_up(_: StateChange) -> None:
        still.set()
        released.wait(PATIENCE)

    coordinator = Coordinator(
        url, namespace=namespace, policy=STAYS_OPEN, on_state_change=hold_up, lease_ttl=30
    )
    with coordinator:
        eventually_sync(lambda: coordinator.role is Role.LEADER, within=PATIENCE)
        for _ in range(5):
            call(coordinator.breaker("down"), fail)
        assert still.wait(PATIENCE)
        yield coordinator, released.set


# Starting and stopping


def test_start_without_redis_joins_in_when_it_comes_up(fresh_server: RedisServer) -> None:
    errors: list[Exception] = []
    fresh_server.kill()
    coordinator = Coordinator(fresh_server.url, policy=STAYS_OPEN, on_error=errors.append)
    with no_thread_left(), coordinator:
        assert not coordinator.connected
        breaker = coordinator.breaker("upstream")
        assert call(breaker, int) == "passed"
        eventually_sync(lambda: errors, within=PATIENCE)
        assert {type(error) for error in errors} == {BackendError}
        fresh_server.start()
        eventually_sync(lambda: coordinator.connected, within=PATIENCE)
        assert in_threads(1, breaker, fail)["failed"] >= 5
        eventually_sync(lambda: breaker.state is State.OPEN, within=PATIENCE)
        fresh_server.kill()
        eventually_sync(lambda: not coordinator.connected, within=PATIENCE)
        assert call(breaker, int) == "rejected"
    assert call(breaker, int) == "rejected"


def test_blocks_within_each_other_are_one_run(redis_server: ServerHandle, namespace: str) -> None:
    coordinator = Coordinator(redis_server.url, namespace=namespace)
    for _ in range(2):
        with no_thread_left(), coordinator as entered:
            assert entered is coordinator
            with coordinator:
                assert len(own_threads()) == 1
            eventually_sync(lambda: coordinator.connected, within=PATIENCE)
        assert not coordinator.running


@pytest.mark.usefixtures("restless")
def test_many_threads_that_enter_share_one_run_that_the_last_one_ends() -> None:
    coordinator = Coordinator()
    together = threading.Barrier(THREADS)
    alone: list[bool] = []

    def enter(_: int) -> None:
        together.wait()
        with coordinator:
            together.wait()
            alone.append(len(own_threads()) == 1)
            together.wait()

    with no_thread_left(), ThreadPoolExecutor(THREADS) as threads:
        for _ in range(20):
            list(threads.map(enter, range(THREADS)))
            assert own_threads() == []
    assert all(alone)


def test_an_error_of_the_body_passes_through(redis_server: ServerHandle, namespace: str) -> None:
    with (
        no_thread_left(),
        pytest.raises(CallFailedError),
        Coordinator(redis_server.url, namespace=namespace),
    ):
        fail()


def test_an_error_of_the_start_is_raised_and_leaves_nothing() -> None:
    class Refusing(MemoryBackend):
        refuse = True

        def open(self) -> None:
            if self.refuse:
                raise CallFailedError
            super().open()

    backend = Refusing()
    coordinator = Coordinator(backend)
    with no_thread_left():
        with pytest.raises(CallFailedError), coordinator:
            pass
        backend.refuse = False
        with coordinator:
            eventually_sync(lambda: coordinator.connected, within=PATIENCE)


def test_started_without_a_block_it_runs_until_it_is_stopped(
    redis_server: ServerHandle, namespace: str
) -> None:
    coordinator = Coordinator(redis_server.url, namespace=namespace)
    with no_thread_left():
        for _ in range(2):
            coordinator.start_sync()
            coordinator.start_sync()
            with coordinator:
                assert len(own_threads()) == 1
            eventually_sync(lambda: coordinator.connected, within=PATIENCE)
            coordinator.stop_sync()
            assert not coordinator.running
        coordinator.stop_sync()


def test_a_block_outlives_the_stop_of_a_start() -> None:
    coordinator = Coordinator()
    with no_thread_left(), coordinator:
        coordinator.start_sync()
        coordinator.stop_sync()
        assert coordinator.running


def test_an_error_of_a_start_without_a_block_leaves_nothing() -> None:
    class Refusing(MemoryBackend):
        def open(self) -> None:
            raise CallFailedError

    coordinator = Coordinator(Refusing())
    with no_thread_left(), pytest.raises(CallFailedError):
        coordinator.start_sync()
    assert not coordinator.running


async def test_a_start_in_asyncio_is_stopped_from_another_thread() -> None:
    coordinator = Coordinator()
    await coordinator.start()
    await asyncio.to_thread(coordinator.start_sync)
    assert own_threads() == []
    await asyncio.to_thread(coordinator.stop_sync)
    assert not coordinator.running


def test_an_interrupted_start_leaves_nothing() -> None:
    class Interrupting:
        def attach(self, coordinator: Coordinator) -> None:
            signal.pthread_kill(main, signal.SIGINT)
            assert interrupted.wait(PATIENCE)

        def update(self, coordinator: Coordinator) -> None: ...

        def detach(self, coordinator: Coordinator) -> None: ...

    def interrupt(*_: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    main, interrupted = threading.get_ident(), threading.Event()
    coordinator = Coordinator(metrics=Interrupting())
    usual = signal.signal(signal.SIGINT, interrupt)
    try:
        with no_thread_left(), pytest.raises(KeyboardInterrupt):
            coordinator.__enter__()
    finally:
        signal.signal(signal.SIGINT, usual)
    assert "stopped" in repr(coordinator)


async def test_asyncio_joins_in_with_its_thread_and_the_other_way_round(
    redis_server: ServerHandle, namespace: str
) -> None:
    coordinator = Coordinator(redis_server.url, namespace=namespace)
    with coordinator:
        async with coordinator:
            assert len(own_threads()) == 1
        await coordinator.start()
        await coordinator.stop()
        eventually_sync(lambda: coordinator.connected, within=PATIENCE)
    assert not coordinator.running
    async with coordinator:
        with coordinator:
            assert own_threads() == []
        coordinator.__exit__(None, None, None)
        await eventually(lambda: coordinator.connected, within=PATIENCE)
    assert not coordinator.running


@pytest.mark.usefixtures("patient_commands")
def test_callbacks_run_in_its_thread_and_can_neither_start_nor_stop_it(
    redis_server: ServerHandle, namespace: str
) -> None:
    ran_in: list[str] = []
    errors: list[Exception] = []

    def stop(_: Role) -> None:
        ran_in.append(threading.current_thread().name)
        coordinator.__exit__(None, None, None)

    async def start(_: StateChange) -> None:
        ran_in.append(threading.current_thread().name)
        coordinator.__enter__()

    coordinator = Coordinator(
        redis_server.url,
        namespace=namespace,
        policy=STAYS_OPEN,
        on_role_change=stop,
        on_state_change=start,
        on_error=errors.append,
    )
    with no_thread_left(), coordinator:
        in_threads(1, coordinator.breaker("upstream"), fail)
        eventually_sync(lambda: len(errors) == 2, within=PATIENCE)
        assert all("its own callbacks" in str(error) for error in errors)
        assert ran_in == ["zenvark_web"] * 2
        eventually_sync(lambda: coordinator.connected, within=PATIENCE)


def test_a_thread_that_is_blocked_is_left_behind_and_told(
    fresh_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread, "STOP_PATIENCE", 0.2)
    with no_thread_left():
        with held_up(fresh_server.url, "shop") as (coordinator, release):
            pass
        assert "StopError" in coordinator.statistics.errors
        with pytest.raises(RuntimeError, match="running already"), coordinator:
            pass
        release()
        eventually_sync(lambda: not own_threads(), within=PATIENCE)
        monkeypatch.undo()
        with coordinator:
            eventually_sync(lambda: coordinator.connected, within=PATIENCE)
    eventually_sync(lambda: connections(fresh_server) == 0, within=PATIENCE)


def own_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "zenvark_web"]


# The end of a process, and its copies


def test_a_program_ends_without_leaving_the_block(
    redis_server: ServerHandle, namespace: str, start_child: StartChild
) -> None:
    store = Store(redis_server, namespace)
    program = start_child(Path(__file__).with_name("leaving.py"), redis_server.url, namespace)
    assert program.receive(within=PATIENCE) == {"role": "leader"}
    began = time.monotonic()
    assert program.stop(within=PATIENCE) == 0
    assert time.monotonic() - began < PATIENCE / 2
    assert program.stderr == ""
    assert store.leader() is None
    assert store.reported("upstream")["successes"] == 3


def test_a_program_ends_when_redis_is_gone(
    fresh_server: RedisServer, start_child: StartChild
) -> None:
    program = start_child(Path(__file__).with_name("leaving.py"), fresh_server.url, "shop")
    assert program.receive(within=PATIENCE) == {"role": "leader"}
    fresh_server.pause()
    assert program.stop(within=PATIENCE) == 0
    assert "Traceback" not in program.stderr


def test_a_forked_process_starts_its_own(
    redis_server: ServerHandle, namespace: str, start_child: StartChild
) -> None:
    # From 3.12 on, Python warns of a fork beside threads.
    quiet = {"PYTHONWARNINGS": "ignore::DeprecationWarning"}
    forks = Path(__file__).with_name("forks.py")
    parent = start_child(forks, redis_server.url, namespace, env=quiet)
    child = parent.receive(within=PATIENCE)
    assert child == {"errors": {}, "recorded": 5, "state": "open", "joined": True}
    told = parent.receive(within=PATIENCE)
    assert told == {"errors": {}, "recorded": 3, "state": "open", "joined": True}
    assert parent.stop(within=PATIENCE) == 0
    [never_started, opened, _] = parent.stderr.splitlines()  # the last: the other process' word
    assert "was not started in this process" in never_started
    assert "is open" in opened
