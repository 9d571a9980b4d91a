"""A store comes back empty, and a process that has just started is the first to lead. It knew of no
open circuit, and when it heard of a later generation it wrote the only state that it knew: the
circuit closed everywhere, without a check and without a trial."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest

from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import eventually
from zenvark_web import (
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    HealthCheckType,
    Permit,
    State,
    StateChange,
)
from zenvark_web._runtime.host import Host
from zenvark_web.backends.redis import KEYS

NEWCOMER = "newcomer"
LONG_WAIT = BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(300))
SHORT_WAIT = BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(0.2))


class Named(Coordinator):
    """A coordinator whose name is known before it starts."""

    _host = Host(unique_id=lambda: NEWCOMER)


class Store:
    """What a fleet shares, and what befalls it."""

    def __init__(self, server: ServerHandle, namespace: str) -> None:
        self._server = server
        self._namespace = namespace
        self.changes: list[StateChange] = []

    def coordinator(self, policy: BreakerPolicy, kind: type[Coordinator] = Coordinator) -> Any:
        return kind(
            self._server.url,
            namespace=self._namespace,
            policy=policy,
            on_state_change=self.changes.append,
        )

    def key(self, name: str) -> str:
        return f"zenvark:{{{self._namespace}}}:{name}"

    def leave_to_the_newcomer(self, change: Callable[[Any], object]) -> None:
        """Something happens to what is stored, and nobody but the newcomer can lead for a while."""
        with self._server.client() as client, client.pipeline(transaction=True) as steps:
            change(steps)
            steps.set(self.key("leader"), f"1:{NEWCOMER}", px=5_000)
            steps.execute()

    def lose_all(self, steps: Any) -> None:
        steps.delete(*map(self.key, KEYS))

    @asynccontextmanager
    async def fleet(self, policy: BreakerPolicy) -> AsyncIterator[Sequence[Breaker]]:
        """Two instances with one circuit that is open."""
        async with AsyncExitStack() as stack:
            old = [await stack.enter_async_context(self.coordinator(policy)) for _ in range(2)]
            breakers = [coordinator.breaker("payments") for coordinator in old]
            for _ in range(3):
                breakers[0].acquire().raised(OSError())
            await all_are(State.OPEN, breakers)
            yield breakers


async def all_are(state: State, breakers: Sequence[Breaker]) -> None:
    await eventually(
        lambda: {breaker.state for breaker in breakers} == {state}, what=f"{state} everywhere"
    )


def closings(changes: Sequence[StateChange]) -> Sequence[StateChange]:
    return [change for change in changes if change.state is State.CLOSED]


@pytest.fixture
def store(redis_server: ServerHandle, namespace: str) -> Store:
    return Store(redis_server, namespace)


@pytest.mark.parametrize("called", [False, True], ids=["quiet", "called"])
async def test_what_is_open_stays_so_for_the_rest_of_its_wait(store: Store, called: bool) -> None:
    async with store.fleet(LONG_WAIT) as old:
        await asyncio.sleep(1)  # some of the wait is over
        store.leave_to_the_newcomer(store.lose_all)
        async with store.coordinator(LONG_WAIT, Named) as newcomer:
            breaker = newcomer.breaker("payments")
            if called:
                with pytest.raises(CircuitOpenError):
                    old[0].acquire()
            await all_are(State.OPEN, [*old, breaker])
            assert 200 < breaker.retry_after <= 299.5
            assert abs(breaker.retry_after - old[0].retry_after) < 1
            await eventually(
                lambda: len({each.generation for each in (*old, breaker)}) == 1, what="agreement"
            )
            assert not closings(store.changes)


async def test_store_is_lost_again_and_again(store: Store) -> None:
    async with store.fleet(LONG_WAIT) as old:
        for _ in range(3):
            store.leave_to_the_newcomer(store.lose_all)
            async with store.coordinator(LONG_WAIT, Named) as newcomer:
                await all_are(State.OPEN, [*old, newcomer.breaker("payments")])
        assert not closings(store.changes)


async def test_one_circuit_is_lost(store: Store) -> None:
    async with store.fleet(LONG_WAIT) as old:
        store.leave_to_the_newcomer(lambda steps: steps.hdel(store.key("circuits"), "payments"))
        async with store.coordinator(LONG_WAIT, Named) as newcomer:
            await all_are(State.OPEN, [*old, newcomer.breaker("payments")])
        assert not closings(store.changes)


async def test_permit_that_is_out_decides(store: Store) -> None:
    async with store.fleet(SHORT_WAIT) as old:
        permits: list[Permit] = []

        def granted() -> bool:
            with suppress(CircuitOpenError):
                permits.append(old[1].acquire())
            return bool(permits)

        await eventually(granted, what="a permit")
        store.leave_to_the_newcomer(store.lose_all)
        async with store.coordinator(SHORT_WAIT, Named) as newcomer:
            breaker = newcomer.breaker("payments")
            await all_are(State.HALF_OPEN, [*old, breaker])
            assert not closings(store.changes)
            permits[0].returned(None)
            await all_are(State.CLOSED, [*old, breaker])


async def test_health_check_goes_on(store: Store) -> None:
    well = False

    async def check(_: HealthCheckType) -> None:
        if not well:
            raise OSError

    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(0.2), health_check=check
    )
    async with store.fleet(policy) as old:
        store.leave_to_the_newcomer(store.lose_all)
        async with store.coordinator(policy, Named) as newcomer:
            breaker = newcomer.breaker("payments")
            await all_are(State.OPEN, [*old, breaker])
            assert not closings(store.changes)
            well = True
            await all_are(State.CLOSED, [*old, breaker])


async def test_all_are_new(store: Store) -> None:
    async with AsyncExitStack() as stack:
        breakers = [
            (await stack.enter_async_context(store.coordinator(LONG_WAIT))).breaker("payments")
            for _ in range(3)
        ]
        for _ in range(3):
            breakers[1].acquire().raised(OSError())
        await all_are(State.OPEN, breakers)
