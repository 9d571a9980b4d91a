"""A call that is cancelled is ignored, unless it was slow by then: people bound calls with
`asyncio.timeout`, and an upstream that hangs then causes nothing but cancellations."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest
import trio

from tests.helpers.inside import circuit_of
from tests.helpers.waiting import eventually
from zenvark_web import (
    Breaker,
    BreakerPolicy,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    State,
    StateChange,
)

LIMIT = 0.05


def policy(slow_call: float | None = LIMIT, wait: float = 60) -> BreakerPolicy:
    return BreakerPolicy(
        strategy=ConsecutiveFailures(3), slow_call=slow_call, backoff=ConstantBackoff(wait)
    )


async def bounded(breaker: Breaker, seconds: float, *, via: str = "execute") -> None:
    """A call of an upstream that hangs."""
    calls = {
        "execute": lambda: breaker.execute(asyncio.sleep, 60),
        "guard": lambda: guarded(breaker),
    }
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await calls[via]()


async def guarded(breaker: Breaker) -> None:
    async with breaker.guard():
        await asyncio.sleep(60)


@pytest.mark.parametrize("via", ["execute", "guard"])
async def test_calls_cancelled_after_the_limit_open(via: str) -> None:
    changes: list[StateChange] = []
    async with Coordinator(policy=policy(), on_state_change=changes.append) as coordinator:
        for _ in range(3):
            await bounded(coordinator.breaker("upstream"), 2 * LIMIT, via=via)
        await eventually(lambda: changes)
        assert changes[0].state is State.OPEN
        assert changes[0].reason.failures == {"cancelled after more than 0.05 s": 3}
        assert changes[0].reason.slow_share == 1.0


@pytest.mark.parametrize(("slow_call", "seconds"), [(60.0, 0.01), (None, 2 * LIMIT)])
async def test_others_are_ignored(slow_call: float | None, seconds: float) -> None:
    async with Coordinator(policy=policy(slow_call)) as coordinator:
        breaker = coordinator.breaker("upstream")
        for _ in range(4):
            await bounded(breaker, seconds)
        breaker.execute_sync(int)
        await eventually(lambda: coordinator.statistics.recorded == 1)
        assert sum(breaker.failures.counts) == 0


class Clock:
    """A host's time."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def timed(coordinator: Coordinator, clock: Clock) -> Breaker:
    """A breaker whose calls take as long as a clock says."""
    breaker = coordinator.breaker("upstream")
    circuit_of(breaker).monotonic = clock
    return breaker


def trio_cancelled() -> BaseException:
    """What trio cancels with."""
    raised: list[BaseException] = []

    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.sleep_forever()
            except trio.Cancelled as error:
                raised.append(error)
                raise

    trio.run(main)
    return raised[0]


@pytest.mark.parametrize("make", [asyncio.CancelledError, trio_cancelled])
def test_whichever_library_cancels(make: Callable[[], BaseException]) -> None:
    local = circuit_of(Coordinator(policy=policy(2.0)).breaker("upstream"))
    assert local.outcomes.cancelled_late(make(), 2.1)
    assert not local.outcomes.cancelled_late(make(), 2.0)


@pytest.mark.parametrize("kind", [GeneratorExit, KeyboardInterrupt, SystemExit, BaseException])
def test_nothing_else_counts_as_a_cancellation(kind: type[BaseException]) -> None:
    local = circuit_of(Coordinator(policy=policy(2.0)).breaker("upstream"))
    assert not local.outcomes.cancelled_late(kind(), 1e9)


@pytest.mark.parametrize(
    ("seconds", "stopped_after", "failures"),
    [(1.9, None, 0), (2.1, None, 1), (9, 1.9, 0), (9, 2.1, 1)],
)
async def test_time_to_the_headers_is_what_counts(
    seconds: float, stopped_after: float | None, failures: int, clock: Clock
) -> None:
    async with Coordinator(policy=policy(2.0)) as coordinator:
        breaker = timed(coordinator, clock)
        permit = breaker.acquire()
        if stopped_after is not None:
            clock.now += stopped_after
            permit.stop_clock()
        clock.now = 100.0 + seconds
        permit.raised(asyncio.CancelledError())
        assert sum(breaker.failures.counts) == failures


async def test_a_trial_cancelled_late_has_failed_and_an_early_one_gives_its_permit_back() -> None:
    changes: list[StateChange] = []
    async with Coordinator(policy=policy(0.5, 0.05), on_state_change=changes.append) as coordinator:
        breaker = coordinator.breaker("upstream")

        async def fail() -> None:
            raise ConnectionError

        async def trying() -> bool:
            await asyncio.gather(breaker.execute(fail), return_exceptions=True)
            return breaker.state is State.HALF_OPEN

        for _ in range(3):
            await asyncio.gather(breaker.execute(fail), return_exceptions=True)
        await eventually(lambda: breaker.state is State.OPEN)
        while not circuit_of(breaker).admission.trying:
            with pytest.raises(Exception, match="open"):
                breaker.acquire()
            await asyncio.sleep(0.01)
        trials = breaker.generation
        await bounded(breaker, 0.01)
        assert circuit_of(breaker).admission.trying
        assert breaker.generation == trials
        await bounded(breaker, 0.6)
        await eventually(lambda: breaker.generation > trials)
        assert breaker.state is State.OPEN
    assert [change.state for change in changes] == [State.OPEN, State.HALF_OPEN, State.OPEN]
    assert changes[-1].reason.failures == {"cancelled after more than 0.5 s": 1}
