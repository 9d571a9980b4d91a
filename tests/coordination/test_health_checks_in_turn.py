"""Whose health check runs next where many are due: circuits that have worked have a place."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.helpers.waiting import PATIENCE, eventually
from zenvark_web import BreakerPolicy, ConsecutiveFailures, ConstantBackoff, Coordinator, State
from zenvark_web._core.states import HealthCheckType
from zenvark_web._judging.check_places import KEPT_FREE, MAX_HANGING, CheckPlaces, Claim
from zenvark_web._judging.health import MAX_CHECKS


class Checks:
    """Checks that run until they are let go."""

    def __init__(self) -> None:
        self.places = CheckPlaces()
        self.running: Counter[Claim] = Counter()
        self.tasks: list[asyncio.Task[None]] = []
        self.end = asyncio.Event()

    async def ask(self, claim: Claim, many: int) -> None:
        self.tasks += [asyncio.create_task(self._run(claim)) for _ in range(many)]
        await asyncio.sleep(0.01)

    async def _run(self, claim: Claim) -> None:
        async with self.places.place(claim):
            self.running[claim] += 1
            try:
                await self.end.wait()
            finally:
                self.running[claim] -= 1


@asynccontextmanager
async def checks() -> AsyncIterator[Checks]:
    running = Checks()
    yield running
    for task in running.tasks:
        task.cancel()
    await asyncio.gather(*running.tasks, return_exceptions=True)
    assert not running.places._running.total()
    assert not any(running.places._waiting.values())


async def test_however_many_wait_one_that_has_worked_runs_at_once() -> None:
    async with checks() as all_checks:
        await all_checks.ask(Claim.UNKNOWN, 1_000)
        await all_checks.ask(Claim.HANGING, 1_000)
        assert all_checks.running.total() == MAX_CHECKS
        await all_checks.ask(Claim.TRUSTED, 1)
        assert all_checks.running[Claim.TRUSTED] == 1
        await all_checks.ask(Claim.TRUSTED_HANGING, 1_000)
        await all_checks.ask(Claim.TRUSTED, 1)
        assert all_checks.running[Claim.TRUSTED] == 2
        await all_checks.ask(Claim.TRUSTED, 1_000)
        assert all_checks.running.total() == MAX_CHECKS + KEPT_FREE


async def test_those_that_hang_leave_places_to_those_that_nobody_knows() -> None:
    async with checks() as all_checks:
        await all_checks.ask(Claim.HANGING, 1_000)
        assert all_checks.running[Claim.HANGING] == MAX_HANGING
        await all_checks.ask(Claim.UNKNOWN, 3)
        assert all_checks.running[Claim.UNKNOWN] == 3


async def test_all_have_their_turn_in_the_end() -> None:
    async with checks() as all_checks:
        for claim in Claim:
            await all_checks.ask(claim, 200)
        all_checks.end.set()
        async with asyncio.timeout(30):
            await asyncio.gather(*all_checks.tasks)


async def test_one_that_is_cancelled_takes_no_place() -> None:
    async with checks() as all_checks:
        await all_checks.ask(Claim.UNKNOWN, 2 * MAX_CHECKS)
        for task in all_checks.tasks[MAX_CHECKS - 5 : MAX_CHECKS + 5]:
            task.cancel()
        await asyncio.sleep(0.01)
        assert all_checks.running.total() == MAX_CHECKS


@pytest.mark.untraced
async def test_a_circuit_that_has_worked_closes_though_a_thousand_dead_hosts_wait() -> None:
    class Checked:
        def for_circuit(self, name: str):  # type: ignore[no-untyped-def]
            async def check(_: HealthCheckType) -> None:
                if name != "honest":
                    await asyncio.sleep(3600)

            return check

    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.1), health_check=Checked()
    )

    async def fail() -> None:
        raise ConnectionError

    async with Coordinator(policy=policy) as coordinator:
        honest = coordinator.breaker("honest")
        await honest.execute(asyncio.sleep, 0)
        dead = [coordinator.breaker(f"dead-{number}") for number in range(1_000)]
        async with asyncio.timeout(PATIENCE):  # a leader that is behind skips new circuits
            while closed := [each for each in dead if each.state is State.CLOSED]:
                failing = (each.execute(fail) for each in closed[:100])
                await asyncio.gather(*failing, return_exceptions=True)
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)  # all of them are due
        await asyncio.gather(honest.execute(fail), return_exceptions=True)
        await eventually(lambda: honest.state is State.OPEN)
        await eventually(lambda: honest.state is State.CLOSED, what="it is checked")
