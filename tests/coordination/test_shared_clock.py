"""The one clock may jump; circuits open and recover all the same."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from tests.helpers.waiting import eventually
from zenvark_web import (
    BackendError,
    BreakerPolicy,
    CircuitOpenError,
    ConstantBackoff,
    Coordinator,
    HealthCheckType,
    MemoryBackend,
    Outcome,
    Role,
    State,
    TimeWindow,
    Trip,
    Window,
)
from zenvark_web._core.order import Position
from zenvark_web._judging import leader
from zenvark_web.backends.base import Batch, StreamEntry

HOUR = 3600.0


class JumpingClock:
    """A store's clock that somebody sets."""

    def __init__(self) -> None:
        self.offset = 100_000.0

    def __call__(self) -> float:
        return time.monotonic() + self.offset


async def fail() -> None:
    raise ConnectionError


async def succeed() -> int:
    return 1


async def healthy(_: HealthCheckType) -> None:
    return


async def trip(coordinator: Coordinator, failures: int = 5) -> None:
    breaker = coordinator.breaker("upstream")
    await asyncio.gather(*(breaker.execute(fail) for _ in range(failures)), return_exceptions=True)
    await eventually(lambda: breaker.state is State.OPEN, what="the circuit opens")


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
@pytest.mark.parametrize("check", [healthy, None], ids=["health check", "trial calls"])
@pytest.mark.parametrize("window", [None, TimeWindow(5, 0.5, 5)], ids=["streak", "time"])
async def test_a_circuit_opens_and_recovers_across_a_jump(jump, check, window):
    clock = JumpingClock()
    policy = BreakerPolicy(health_check=check, backoff=ConstantBackoff(0.2))
    if window is not None:
        policy = BreakerPolicy(strategy=window, health_check=check, backoff=ConstantBackoff(0.2))
    backend = MemoryBackend(clock)
    async with (
        Coordinator(backend, policy=policy) as one,
        Coordinator(backend, policy=policy) as two,
    ):
        await trip(one)
        clock.offset += jump
        breaker = two.breaker("upstream")

        async def closed() -> bool:
            try:
                await breaker.execute(succeed)
            except CircuitOpenError:
                return False
            return breaker.state is State.CLOSED

        await eventually(closed, what="the circuit closes after the jump")
        await trip(two)


async def test_a_newcomer_is_told_an_honest_wait_after_a_jump():
    clock = JumpingClock()
    policy = BreakerPolicy(backoff=ConstantBackoff(30))
    backend = MemoryBackend(clock)
    async with Coordinator(backend, policy=policy) as one:
        await trip(one)
        clock.offset -= HOUR
        async with Coordinator(backend, policy=policy) as two:
            assert two.breaker("upstream").state is State.OPEN
            assert 0 <= two.breaker("upstream").retry_after <= 30


class SlowWithFailures(MemoryBackend):
    """Failures take a little longer to get here than successes."""

    async def append(self, batch: Batch) -> float:
        if any(run.failed for report in batch.reports for run in report.runs):
            await asyncio.sleep(0.02)
        return await super().append(batch)


@pytest.mark.parametrize("jump", [-HOUR, -60.0])
async def test_failures_count_after_successes_though_the_clock_was_set_back(jump: float) -> None:
    """The stream's time stamps stand still until the clock has made up for it: by these, the
    failures ended before the successes."""
    clock = JumpingClock()
    backend = SlowWithFailures(clock)
    async with Coordinator(backend) as one, Coordinator(backend) as two:
        await succeeds(one)
        clock.offset += jump
        await succeeds(two)
        await succeeds(one)
        await trip(two)
        await eventually(lambda: one.breaker("upstream").state is State.OPEN)


class Losing(MemoryBackend):
    """Loses its results when it is told to, as a server does that comes back."""

    lost = False

    def lose_results(self) -> None:
        self._store._results = type(self._store._results)(self._store._clock, 1000)
        self.lost = True

    async def read(
        self, states: Position, results: Position | None, wait: float
    ) -> Sequence[StreamEntry]:
        if self.lost:
            self.lost = False
            raise BackendError("it was away")
        return await super().read(states, results, wait)


async def test_failures_count_after_what_a_checkpoint_tells_of_lost_results(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leader, "TIDY_INTERVAL", 0.02)
    clock = JumpingClock()
    backend = Losing(clock)
    async with Coordinator(backend) as one:
        await succeeds(one)

        async def written_down() -> bool:
            return "upstream" in (await backend.load(leading=True)).checkpoint.snapshots

        await eventually(written_down)
    clock.offset -= HOUR
    backend.lose_results()
    async with Coordinator(backend) as two:
        await trip(two)


class Unsaved:
    """A strategy whose windows each leader counts anew. They never open."""

    def window(self) -> Window:
        return self

    def record(self, failed: bool, slow: bool, count: int, now: float) -> Trip | None:
        return None


async def test_checkpoints_are_written_after_results_were_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a leader that reads all again first, which need not come as far as there was any more."""
    monkeypatch.setattr(leader, "TIDY_INTERVAL", 0.02)
    clock = JumpingClock()
    backend = Losing(clock)
    policy = BreakerPolicy(strategy=Unsaved())
    async with Coordinator(backend, policy=policy) as one:
        await succeeds(one)
        await eventually(lambda: settled(one))
    async with Coordinator(backend, policy=policy) as two:
        await succeeds(two)
        await eventually(lambda: settled(two))
        clock.offset -= HOUR
        backend.lose_results()
        await succeeds(two)
        await eventually(lambda: settled(two))
        assert two.statistics.dropped == 0


@pytest.mark.parametrize("takeover", [False, True])
async def test_an_upstreams_wait_is_as_long_as_ever_though_the_clock_was_set_back(
    takeover: bool,
) -> None:
    clock = JumpingClock()
    backend = MemoryBackend(clock)
    async with Coordinator(backend) as one, Coordinator(backend) as two:
        await succeeds(one)
        await succeeds(two)
        clock.offset -= 100
        await succeeds(two)
        await succeeds(one)
        leads, other = (one, two) if one.role is Role.LEADER else (two, one)
        if takeover:
            await leads.stop()
            await eventually(lambda: other.role is Role.LEADER)
        for _ in range(5):
            permit = other.breaker("upstream").acquire()
            permit.record(Outcome.FAILURE, retry_after=50)
        await eventually(lambda: other.breaker("upstream").state is State.OPEN)
        assert 30 < other.breaker("upstream").retry_after < 51


async def succeeds(coordinator: Coordinator) -> None:
    """Make calls until some have been reported."""
    enough = coordinator.statistics.batches + 3
    while coordinator.statistics.batches < enough:
        await coordinator.breaker("upstream").execute(succeed)
        await asyncio.sleep(0)


def settled(coordinator: Coordinator) -> bool:
    """Whether it is known of all results what became of them."""
    counted = coordinator.statistics
    return counted.recorded == counted.evaluated + counted.expired + counted.dropped
