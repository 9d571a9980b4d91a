"""Threads made breakers while others walked over them, or evicted: dictionaries changed under
whoever walked, in users' code and in ours. One such error left circuits of an instance that was cut
off as they were decided alone, for ever."""

import asyncio
import gc
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from tests.helpers.inside import circuit_of, shard_of, state_of
from tests.helpers.waiting import eventually
from zenvark_web import (
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    Coordinator,
    HealthCheckType,
    State,
)

SECONDS = 0.3


@pytest.fixture(autouse=True)
def restless() -> Iterator[None]:
    """Threads take turns as often as can be."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@contextmanager
def beside(*works: Callable[[int], object]) -> Iterator[list[BaseException]]:
    """Does things over and over in threads; tells what they raised."""
    errors: list[BaseException] = []
    over = threading.Event()

    def go_on(work: Callable[[int], object]) -> None:
        number = 0
        while not over.is_set():
            number += 1
            try:
                work(number)
            except BaseException as error:
                errors.append(error)
                return
            if number % 20 == 0:
                time.sleep(0.001)

    threads = [threading.Thread(target=go_on, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield errors
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert errors == []


def test_asking_for_more_names_than_are_kept_from_many_threads() -> None:
    coordinator = Coordinator(max_breakers=50)

    def ask(number: int) -> None:
        assert coordinator.breaker(f"host-{number % 120}").name == f"host-{number % 120}"

    with beside(ask, ask, ask, lambda _: list(coordinator.breakers)):
        time.sleep(SECONDS)
    assert len(coordinator.breakers) == 50


async def test_walking_over_breakers_beside_calls() -> None:
    coordinator = Coordinator()
    for number in range(3):
        coordinator.breaker(f"c{number}")
    for name in coordinator.breakers:
        coordinator.breaker(name)
        coordinator.breaker(f"{name}-more")
    walked = coordinator.breakers
    names = list(walked)
    for breaker in walked.values():
        await asyncio.sleep(0)
        coordinator.breaker(f"{breaker.name}-later")
    assert list(walked) == names, "it is a copy"
    with pytest.raises(TypeError):
        walked["c9"] = walked["c0"]  # type: ignore[index]


class Nobody:
    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None


async def test_what_was_decided_alone_never_stays() -> None:
    coordinator = Coordinator(policy=BreakerPolicy(cut_off="local"), max_breakers=100_000)
    kept = [coordinator.breaker(f"warm-{number}") for number in range(3_000)]
    table = shard_of(coordinator).table
    nobody: Any = Nobody()

    def make(number: int) -> None:
        kept.append(coordinator.breaker(f"{threading.get_ident()}-{number}"))

    def forget(_: int) -> None:
        del kept[3_000 : len(kept) // 2]
        gc.collect()
        time.sleep(0.01)

    with beside(make, make, forget):
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            table.cut_off(nobody)
            for name in ("warm-1", "warm-2", "new"):
                table.decide_alone(
                    replace(table.known(name), generation=-1, state=State.OPEN, delay=1.0)
                )
            table.cut_off(None)
            assert table.in_force("warm-1").generation == 0
            assert kept[1].state is State.CLOSED
    coordinator.breaker("one-more")
    outbox = shard_of(coordinator).outbox
    for breaker in coordinator.breakers.values():
        assert circuit_of(breaker)._listener is outbox


async def test_idle_checks_are_found_while_breakers_are_made() -> None:
    """A new leader asks which circuits it has to check."""

    async def check(_: HealthCheckType) -> None: ...

    policy = BreakerPolicy(health_check=check, idle_interval=60)
    coordinator = Coordinator(policy=policy, max_breakers=2_000)
    for number in range(1_000):
        coordinator.breaker(f"warm-{number}")
    with beside(lambda number: coordinator.breaker(f"new-{number % 3_000}")) as errors:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until and not errors:
            assert len(list(state_of(coordinator).watched())) >= 1_000


# A flood of names


async def test_a_flood_of_names_is_cut_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    coordinator = Coordinator(max_breakers=1_000)
    async with coordinator:
        began = time.monotonic()
        for number in range(5_000):
            breaker = coordinator.breaker(f"host-{number}")
            for _ in range(5):
                breaker.acquire().raised(OSError())
            if number % 100 == 0:
                await asyncio.sleep(0)
        statistics = coordinator.statistics
        later = 100 * (time.monotonic() - began)  # so many more come in while a slow machine works
        assert 4_000 - later - 1 <= statistics.unprotected <= 4_000
        assert len(coordinator.breakers) <= 1_000
        assert breaker.state is State.CLOSED
        assert breaker.execute_sync(int) == 0
        assert breaker.name == "host-4999"
        await eventually(lambda: coordinator.breaker("host-1").state is State.OPEN)
        later = 100 * (time.monotonic() - began)
        assert statistics.recorded + statistics.dropped <= 5 * (1_000 + later + 1)
    told = [vars(r).get("zenvark_event") for r in caplog.records if r.levelno == logging.WARNING]
    assert told.count("too_many_new") == 1


async def test_what_normal_programs_do_is_no_flood() -> None:
    coordinator = Coordinator(max_breakers=1_000)
    for number in range(3_000):  # before the start, nobody bears the cost
        coordinator.breaker(f"early-{number}")
    async with coordinator:
        for number in range(1_000):
            coordinator.breaker(f"host-{number}").execute_sync(int)
        for number in range(10_000):  # some come and go
            coordinator.breaker(f"host-{number % 1_000}")
            coordinator.breaker(f"early-{number % 1_500 + 1_500}")
        assert coordinator.statistics.unprotected == 0


async def test_a_circuit_that_the_fleet_knows_is_never_one_too_many() -> None:
    coordinator = Coordinator(max_breakers=1_000)
    async with coordinator:
        for _ in range(5):
            coordinator.breaker("known").acquire().raised(OSError())
        await eventually(lambda: coordinator.breaker("known").state is State.OPEN)
        for number in range(3_000):
            coordinator.breaker(f"host-{number}")
        assert coordinator.statistics.unprotected > 0
        assert coordinator.breaker("known").state is State.OPEN


async def test_circuits_with_settings_of_their_own_are_never_too_many() -> None:
    """However many names strangers make up: these are written down."""
    policies = {"payments": BreakerPolicy(strategy=ConsecutiveFailures(2))}
    async with Coordinator(policies=policies, max_breakers=1_000) as coordinator:
        for number in range(2_000):
            coordinator.breaker(f"host-{number}")
        breaker = coordinator.breaker("payments")
        for _ in range(2):
            breaker.acquire().raised(OSError())
        await eventually(lambda: breaker.state is State.OPEN)


async def executed(breaker: Breaker) -> None:
    await breaker.execute(failing)


async def executed_plainly(breaker: Breaker) -> None:
    breaker.execute_sync(raising)


async def guarded(breaker: Breaker) -> None:
    async with breaker.guard():
        raise OSError


async def acquired(breaker: Breaker) -> None:
    with breaker.acquire():
        raise OSError


async def required(breaker: Breaker) -> None:
    breaker.require()
    await guarded(breaker)


async def failing() -> None:
    raise OSError


def raising() -> None:
    raise OSError


async def test_a_handle_taken_during_a_flood_is_protected_when_it_is_over() -> None:
    """Whoever keeps it, in a decorated function for one, asks for no other."""
    async with Coordinator(max_breakers=1_000) as coordinator:
        for number in range(1_100):
            coordinator.breaker(f"host-{number}")
        ways = [executed, executed_plainly, guarded, acquired, required]
        handles = {way: coordinator.breaker(way.__name__) for way in ways}
        decorated = coordinator.breaker("decorated")
        for number in range(5):  # the flood goes on
            coordinator.breaker(f"further-{number}")
        decorated_call, counted = decorated(failing), coordinator.statistics.unprotected

        async def opened() -> bool:
            for way, handle in handles.items():
                with suppress(OSError, CircuitOpenError):
                    await way(handle)
            with suppress(OSError, CircuitOpenError):
                await decorated_call()
            return all(each.state is State.OPEN for each in (decorated, *handles.values()))

        await eventually(opened)
        assert coordinator.breaker("decorated").state is State.OPEN
        with pytest.raises(CircuitOpenError):
            decorated.require()
        assert coordinator.statistics.unprotected == counted


@pytest.mark.slow
def test_letting_go_of_a_name_takes_no_longer_with_many_kept() -> None:
    def per_name(most: int) -> float:
        coordinator = Coordinator(max_breakers=most)
        for number in range(most):
            coordinator.breaker(f"c-{number}")
        began = time.perf_counter()
        for number in range(1_000):
            coordinator.breaker(f"new-{number}")
        return time.perf_counter() - began

    assert per_name(30_000) < 10 * per_name(300)
