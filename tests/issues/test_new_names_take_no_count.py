"""The leader forgot the circuit that it had known for longest, not the one that was not used for
longest: with strangers in between, 58 failures in a row opened nothing. And it forgot none that was
open, so that names which somebody made up took all the room there was, and then more."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from tests.helpers.inside import leader_of
from tests.helpers.waiting import eventually
from zenvark_web import (
    BreakerPolicy,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    CountWindow,
    MemoryBackend,
    State,
    Strategy,
)
from zenvark_web._core.states import Report, Run
from zenvark_web.backends.base import Batch

STRATEGIES = [ConsecutiveFailures(5), CountWindow(20, 0.5, 5)]


class Others:
    """Instances elsewhere, as the store sees them."""

    def __init__(self, store: MemoryBackend) -> None:
        self._store = store
        self._numbers: dict[str, int] = {}

    async def tell(self, names: Sequence[str], *, failures: int, instance: str = "other") -> None:
        """Tell of so many failures of each circuit, or of one success."""
        run = Run(0, failed=failures > 0, slow=False, count=max(1, failures), label="boom")
        number = self._numbers[instance] = self._numbers.get(instance, 0) + 1
        now = (await self._store.load()).now
        reports = tuple(Report(name, (run,)) for name in names)
        await self._store.append(Batch(instance, number, now, reports))


async def led(store: MemoryBackend, most: int, strategy: Strategy) -> Coordinator:
    policy = BreakerPolicy(strategy=strategy, backoff=ConstantBackoff(600))
    coordinator = Coordinator(store, policy=policy, max_breakers=most)
    await coordinator.start()
    await eventually(lambda: coordinator.role == "leader", what="it leads")
    return coordinator


def is_open(coordinator: Coordinator, name: str) -> Callable[[], bool]:
    breaker = coordinator.breaker(name)
    return lambda: breaker.state is State.OPEN


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
@pytest.mark.parametrize("failures", [0, 1, 4], ids=["they pass", "fail", "fail often"])
@pytest.mark.parametrize(("most", "between"), [(20, 7), (20, 300), (100, 30)])
async def test_failures_in_a_row_open_a_circuit_whatever_comes_between(
    strategy: Strategy, failures: int, most: int, between: int
) -> None:
    store = MemoryBackend()
    coordinator, others = await led(store, most, strategy), Others(store)
    for failure in range(7):
        await others.tell(["payments"], failures=1, instance="honest")
        strangers = [f"stranger-{failure}-{number}" for number in range(between)]
        await others.tell(strangers, failures=failures)
        await asyncio.sleep(0)
    await eventually(is_open(coordinator, "payments"), what="it opens")
    await coordinator.stop()


async def test_names_that_fail_until_they_open_take_no_more_room_than_there_is() -> None:
    store = MemoryBackend()
    coordinator, others = await led(store, 50, STRATEGIES[0]), Others(store)
    for turn in range(6):
        names = [f"stranger-{turn}-{number}" for number in range(100)]
        await others.tell(names, failures=5)
        await others.tell(["payments"], failures=1, instance="honest")
        last = names[-1]
        await eventually(is_open(coordinator, last), what=f"{last} is open")
    await eventually(is_open(coordinator, "payments"), what="it opens")
    assert len(leader_of(coordinator)._evaluator.names) <= 50
    await coordinator.stop()


async def test_an_open_circuit_that_had_to_go_recovers_when_it_is_called() -> None:
    store = MemoryBackend()
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.5))
    async with Coordinator(store, policy=policy, max_breakers=20) as coordinator:
        await eventually(lambda: coordinator.role == "leader", what="it leads")
        others = Others(store)
        await others.tell(["payments"], failures=1)
        await eventually(is_open(coordinator, "payments"), what="it opens")
        await others.tell([f"stranger-{number}" for number in range(200)], failures=1)
        await eventually(is_open(coordinator, "stranger-199"), what="all have opened")
        breaker = coordinator.breaker("payments")

        async def recovers() -> bool:
            await asyncio.gather(breaker.execute(asyncio.sleep, 0), return_exceptions=True)
            return breaker.state is State.CLOSED

        await eventually(recovers, what="a trial call closes it")
