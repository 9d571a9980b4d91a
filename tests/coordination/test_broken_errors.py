"""Users' errors that can't even tell what they are harm nothing."""

import asyncio

from tests.helpers.waiting import eventually
from zenvark_web import (
    BreakerPolicy,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    HealthCheckType,
    State,
)


class BrokenError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


async def fail() -> None:
    raise ConnectionError


async def test_a_health_check_and_a_callback_that_raise_broken_errors():
    checks: list[HealthCheckType] = []

    async def check(type_: HealthCheckType) -> None:
        checks.append(type_)
        if len(checks) < 3:
            raise BrokenError

    def tell(change: object) -> None:
        raise BrokenError

    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(1), health_check=check, backoff=ConstantBackoff(0.05)
    )
    async with Coordinator(policy=policy, on_state_change=tell) as coordinator:
        breaker = coordinator.breaker("upstream")
        await asyncio.gather(breaker.execute(fail), return_exceptions=True)
        await eventually(lambda: breaker.state is State.OPEN)
        await eventually(lambda: breaker.state is State.CLOSED)
        await eventually(lambda: coordinator.statistics.errors["CallbackError"] == 2)


class Fussy:
    """A strategy whose windows can't always be made."""

    made = 0

    def window(self) -> object:
        self.made += 1
        if self.made == 2:
            raise RuntimeError("no window now")
        return ConsecutiveFailures(1).window()


async def test_a_circuit_whose_next_window_could_not_be_made_moves_later():
    async with Coordinator(policy=BreakerPolicy(strategy=Fussy())) as coordinator:
        breaker = coordinator.breaker("upstream")
        await asyncio.gather(breaker.execute(fail), return_exceptions=True)
        await eventually(lambda: coordinator.statistics.errors["StrategyError"] == 1)
        assert breaker.state is State.CLOSED
        await asyncio.gather(breaker.execute(fail), return_exceptions=True)
        await eventually(lambda: breaker.state is State.OPEN, what="the circuit opens after all")
