"""A transition that nobody could read moved the leader's machine all the same: the fleet heard
nothing of it, and nothing that came after counted. So one bad number of a user's own strategy or
backoff took the protection away for good."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.helpers.waiting import eventually
from zenvark_web import (
    BreakerPolicy,
    ConsecutiveFailures,
    Coordinator,
    State,
    StrategyError,
    Trip,
)

BAD = {
    "a wait below zero": -5.0,
    "no number": float("nan"),
    "for ever": float("inf"),
    "three hundred thousand years": 1e13,
}


class OnceBad:
    """A backoff that says something unusable the first time."""

    def __init__(self, bad: float) -> None:
        self._says = [bad]

    def delay(self, attempt: int, chance: float) -> float:
        return self._says.pop() if self._says else 30.0


@dataclass(frozen=True)
class Odd:
    """A strategy that trips at the fifth failure in a row, and gives odd numbers at first."""

    trips: list[Callable[[], Trip]]

    def window(self) -> "OddWindow":
        return OddWindow(self.trips)


class OddWindow:
    def __init__(self, trips: list[Callable[[], Trip]]) -> None:
        self._trips = trips
        self._failures = 0

    def record(self, failed: bool, slow: bool, count: int, now: float) -> Trip | None:
        self._failures = self._failures + count if failed else 0
        if self._failures < 5:
            return None
        return (
            self._trips.pop()() if self._trips else Trip(after=count, calls=5, failures=5, slow=0)
        )


async def fail() -> None:
    raise ConnectionError


async def opens(policy: BreakerPolicy) -> list[Exception]:
    """What was told while failures in a row opened a circuit."""
    told: list[Exception] = []
    async with Coordinator(policy=policy, on_error=told.append) as coordinator:
        await eventually(lambda: coordinator.role == "leader", what="it leads")
        breaker = coordinator.breaker("upstream")

        async def is_open() -> bool:
            await asyncio.gather(breaker.execute(fail), return_exceptions=True)
            await asyncio.sleep(0.01)
            return breaker.state is State.OPEN

        await eventually(is_open, what="it opens")
        assert 0 < breaker.retry_after <= 60
    return told


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_a_backoff_that_is_wrong_once(bad: float) -> None:
    policy = BreakerPolicy(strategy=ConsecutiveFailures(5), backoff=OnceBad(bad))
    told = await opens(policy)
    assert {type(error) for error in told} <= {StrategyError}


def odd(**numbers: Any) -> Trip:
    return Trip(**{"after": 1, "calls": 5, "failures": 5, "slow": 0, **numbers})


ODD: dict[str, Callable[[], Trip]] = {
    "a share of slow calls that is no number": lambda: odd(slow=float("nan")),
    "half a failure": lambda: odd(failures=4.5),
    "no calls": lambda: odd(calls=0),
}


@pytest.mark.parametrize("trip", ODD.values(), ids=ODD)
async def test_a_strategy_that_gives_odd_numbers_once(trip: Callable[[], Trip]) -> None:
    told = await opens(BreakerPolicy(strategy=Odd([trip])))
    assert {type(error) for error in told} == {StrategyError}
