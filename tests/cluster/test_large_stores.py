"""Stores with very many circuits: a newcomer knows those that are not closed, a leader leads."""

import asyncio
import time
from collections.abc import Iterator, Sequence

import pytest

from tests.helpers.inside import shard_of
from tests.helpers.servers import ServerHandle
from tests.helpers.spanning import spanning
from tests.helpers.waiting import eventually
from zenvark_web import (
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    Role,
    State,
)
from zenvark_web._core.order import Position
from zenvark_web._core.states import Cause, Reason, Transition
from zenvark_web.backends._encoding import encode_transition

CLOSED, OPEN = 30_000, 20
POLICY = BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(600))


def names_of_open(number: int = OPEN) -> Sequence[str]:
    return [f"open-{n}" for n in range(number)]


def fill(server: ServerHandle, namespace: str, closed: int, opened: int) -> None:
    """A store as a fleet of very many hosts leaves it."""
    now = time.time()
    key = f"zenvark:{{{namespace}}}:circuits"

    def stored(name: str, state: State) -> str:
        return encode_transition(
            Transition(
                circuit=name,
                generation=3 if state is State.CLOSED else 4,
                previous=State.HALF_OPEN,
                state=state,
                at=now,
                since=now,
                attempt=1,
                delay=600.0,
                reason=Reason(cause=Cause.TRIPPED, detail="5 of 5 calls failed: " + "x" * 100),
                position=Position(1700000000000),
                epoch=1,
                leader="web-1",
            )
        )

    names = [(f"closed-{n}", State.CLOSED) for n in range(closed)]
    names += [(name, State.OPEN) for name in names_of_open(opened)]
    with server.client() as client:
        for start in range(0, len(names), 1000):
            some = names[start : start + 1000]
            client.hset(key, mapping={name: stored(name, state) for name, state in some})


@pytest.fixture
def coordinators(redis_server: ServerHandle, namespace: str) -> Iterator[list[Coordinator]]:
    yield [
        Coordinator(redis_server.url, namespace=namespace, policy=POLICY, max_breakers=50_000)
        for _ in range(2)
    ]
    with redis_server.client() as client:
        client.delete(*client.keys(f"zenvark:{{{namespace}}}:*"))


@pytest.mark.parametrize("opened", spanning([OPEN, 3_000], {OPEN}), ids=["few open", "many open"])
async def test_newcomer_admits_no_call_to_an_open_circuit(
    coordinators: list[Coordinator], redis_server: ServerHandle, namespace: str, opened: int
) -> None:
    fill(redis_server, namespace, CLOSED, opened)
    for coordinator in coordinators:
        async with coordinator:
            for name in names_of_open(opened):
                with pytest.raises(CircuitOpenError):
                    coordinator.breaker(name).acquire()


@pytest.mark.slow
async def test_whoever_leads_judges_while_it_loads(
    coordinators: list[Coordinator], redis_server: ServerHandle, namespace: str
) -> None:
    """Also of circuits that it has not loaded yet, in their own generation."""
    fill(redis_server, namespace, CLOSED, OPEN)
    async with coordinators[0] as leading:
        breaker = leading.breaker(f"closed-{CLOSED - 1}")
        await eventually(lambda: leading.role is Role.LEADER, what="a leader")
        await eventually(lambda: breaker.generation == 3, what="its generation")
        for _ in range(3):
            breaker.acquire().raised(OSError())
        await eventually(lambda: breaker.state is State.OPEN, what="an open circuit")
        assert breaker.generation == 4


async def loaded(coordinator: Coordinator) -> bool:
    """Wait until nothing is left to load."""
    shard = shard_of(coordinator)
    await eventually(lambda: len(shard.table.latest) == CLOSED + OPEN, what="all loaded")
    return True


@pytest.mark.slow
async def test_other_tasks_have_their_turns(
    coordinators: list[Coordinator], redis_server: ServerHandle, namespace: str
) -> None:
    fill(redis_server, namespace, CLOSED, OPEN)
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            began = time.thread_time()  # a busy host takes no more of it
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - began)

    watching = asyncio.create_task(watch())
    async with coordinators[0]:
        assert await loaded(coordinators[0])
    watching.cancel()
    assert longest < 0.5  # decoding all of them takes about a second
