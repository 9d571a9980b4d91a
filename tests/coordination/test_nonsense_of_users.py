"""Backoffs and strategies of users that give what makes no sense: somebody is told, and the circuit
opens all the same."""

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.servers import ServerHandle
from tests.helpers.spanning import spanning
from tests.helpers.waiting import eventually
from zenvark_web import (
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    ExponentialBackoff,
    Outcome,
    State,
    StrategyError,
    TimeWindow,
    Trip,
)
from zenvark_web._core.backoff import wait_of

NONSENSE = [-5, math.nan, math.inf, -math.inf, 1e13, 10**400, "5", None, True, 5j]


class Once:
    """A backoff that gives one thing, and sensible waits then."""

    def __init__(self, first: object) -> None:
        self.given = [first]

    def delay(self, attempt: int, chance: float) -> Any:
        first = self.given.pop() if self.given else 0.05
        if isinstance(first, Exception):
            raise first
        return first


@pytest.mark.parametrize("store", spanning(["redis", "memory", "alone"], {"redis"}))
@pytest.mark.parametrize("nonsense", [*NONSENSE, ValueError("no idea")], ids=range(11))
async def test_a_circuit_opens_whatever_its_backoff_gives(
    redis_server: ServerHandle, namespace: str, store: str, nonsense: object
) -> None:
    errors: list[Exception] = []
    policy = BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=Once(nonsense), cut_off="local")
    url = {"redis": redis_server.url, "memory": None, "alone": "redis://127.0.0.1:1"}[store]
    async with Coordinator(
        url, namespace=namespace, policy=policy, on_error=errors.append
    ) as coordinator:
        breaker = coordinator.breaker("payments")
        for _ in range(3):
            breaker.acquire().record(Outcome.FAILURE)
        await eventually(lambda: breaker.state is State.OPEN)
        assert 0 < breaker.retry_after < 2, "the default's first wait"
        await eventually(lambda: told(errors))

        async def recovered() -> bool:
            with suppress(CircuitOpenError):
                await breaker.execute(asyncio.sleep, 0)
            return breaker.state is State.CLOSED

        await eventually(recovered)
    assert "'payments' is not evaluated as its policy specifies" in str(told(errors)[0])


def told(errors: list[Exception]) -> list[StrategyError]:
    return [error for error in errors if isinstance(error, StrategyError)]


async def test_a_later_wait_makes_no_difference(namespace: str) -> None:
    """A trial or a check that fails, where the wait comes after the first."""

    class Second:
        def delay(self, attempt: int, chance: float) -> float:
            return 0.05 if attempt == 1 else -1.0

    async def check(_: object) -> None:
        raise ConnectionError

    for settings in ({}, {"health_check": check}):
        errors: list[Exception] = []
        policy = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=Second(), **settings)  # type: ignore[arg-type]
        async with Coordinator(policy=policy, on_error=errors.append) as coordinator:
            breaker = coordinator.breaker("payments")

            def failed() -> bool:
                with suppress(CircuitOpenError):
                    breaker.acquire().record(Outcome.FAILURE)  # noqa: B023
                return bool(told(errors))  # noqa: B023

            await eventually(failed)
            await eventually(lambda: breaker.state is State.OPEN)  # noqa: B023
            assert breaker.retry_after > 0.5


class Windows:
    """A strategy whose windows give one thing, whatever happens."""

    def __init__(self, verdict: object) -> None:
        self.verdict = verdict

    def window(self) -> Any:
        return self

    def record(self, failed: bool, slow: bool, count: int, now: float) -> Any:
        return self.verdict


class Unshowable(Windows):
    def __repr__(self) -> str:
        raise RuntimeError("there is nothing to show")


BAD_TRIPS: list[Callable[..., Trip]] = [
    lambda: Trip(0, 0, 0, 0),
    lambda: Trip(1, 0, 1, 0),
    lambda: Trip(99, 1, 1, 1),
    lambda: Trip(-1, -1, -1, -1),
    lambda: Trip(1, 1, 5, 0),
    lambda: Trip(1, 2**80, 2**80, 2**80),
    lambda: Trip(1, math.nan, math.inf, None),  # type: ignore[arg-type]
    lambda: Trip(1, "3", "3", "0"),  # type: ignore[arg-type]
    lambda: Trip(True, True, True, False),
]


@pytest.mark.parametrize("make", BAD_TRIPS, ids=range(len(BAD_TRIPS)))
async def test_a_verdict_is_one_whatever_its_numbers(
    server: ServerHandle, namespace: str, make: Callable[[], Trip]
) -> None:
    errors: list[Exception] = []
    policy = BreakerPolicy(strategy=Windows(make()), backoff=ConstantBackoff(60))
    async with Coordinator(
        server.url, namespace=namespace, policy=policy, on_error=errors.append
    ) as coordinator:
        breaker = coordinator.breaker("payments")
        breaker.acquire().record(Outcome.FAILURE)
        await eventually(lambda: breaker.state is State.OPEN)
        await eventually(lambda: told(errors))


@pytest.mark.parametrize("verdict", [True, False, "open", (1, 1, 1, 0)], ids=range(4))
async def test_what_is_no_verdict_is_told(verdict: object) -> None:
    errors: list[Exception] = []
    policy = BreakerPolicy(strategy=Windows(verdict))
    async with Coordinator(policy=policy, on_error=errors.append) as coordinator:
        coordinator.breaker("payments").acquire().record(Outcome.FAILURE)
        await eventually(lambda: told(errors))
        assert "must return a Trip or None" in str(errors[0])
        assert coordinator.breaker("payments").state is State.CLOSED


@pytest.mark.parametrize(
    "strategy",
    [
        Unshowable(Trip(1, 1, 1, 0)),
        type("\u1234", (Windows,), {"__repr__": lambda _: "\ud800"})(Trip(1, 1, 1, 0)),
    ],
    ids=range(2),
)
async def test_a_strategy_that_cannot_be_shown(
    server: ServerHandle, namespace: str, strategy: Any
) -> None:
    policy = BreakerPolicy(strategy=strategy, backoff=ConstantBackoff(60))
    async with Coordinator(server.url, namespace=namespace, policy=policy) as coordinator:
        breaker = coordinator.breaker("payments")
        breaker.acquire().record(Outcome.FAILURE)
        await eventually(lambda: breaker.state is State.OPEN)


@given(
    st.one_of(st.floats(), st.integers(), st.none(), st.text(), st.booleans()),
    st.integers(1, 10**6),
    st.floats(0, 1),
)
def test_a_wait_can_be_stored_or_is_refused(seconds: Any, attempt: int, chance: float) -> None:
    try:
        wait = wait_of(Once(seconds), attempt, chance)
    except (TypeError, ValueError):
        assert type(seconds) not in (int, float) or not 0 <= seconds <= 1e9
    else:
        assert 0.001 <= wait <= 1e9


@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False))
def test_settings_that_are_taken_can_be_stored(seconds: float) -> None:
    with suppress(ValueError):
        assert wait_of(ConstantBackoff(seconds), 1, 0.5) <= 1e9
    with suppress(ValueError):
        backoff = ExponentialBackoff(initial=seconds, maximum=max(seconds, 1.0))
        assert wait_of(backoff, 10**6, 0.99) <= 1e9
    with suppress(ValueError):
        window = TimeWindow(seconds, 0.5, 1).window()
        assert window.record(True, False, 1, 1.7e9) is not None


class TestRefused:
    """What cannot be called as it will be is refused where it is passed in."""

    def test_a_strategy(self) -> None:
        class Wrong:
            def window(self, size: int) -> Any:
                raise NotImplementedError

        with pytest.raises(TypeError, match="window of strategy is called with no argument"):
            BreakerPolicy(strategy=Wrong())  # type: ignore[arg-type]

    def test_a_backoff(self) -> None:
        class Wrong:
            def delay(self, attempt: int) -> float:
                raise NotImplementedError

        with pytest.raises(TypeError, match="delay of backoff is called with attempt and chance"):
            BreakerPolicy(backoff=Wrong())  # type: ignore[arg-type]
