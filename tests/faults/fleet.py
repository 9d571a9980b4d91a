"""A small fleet in this process, what befalls its callers, and whether all is well with it."""

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import chain, count
from typing import Any, Self

import redis.asyncio

from tests.cluster.traffic import Counts, Traffic
from tests.helpers.clients import close_client
from tests.helpers.waiting import PATIENCE, eventually
from zenvark_web import (
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    Role,
    State,
)

THRESHOLD = 5
RATE = 20
"""Calls per second that each member makes of a circuit."""

MOST_TOLD = 10
"""Kinds of errors that one member may surface in one fault: each of its loops tells each kind once,
and a fault may have a second kind (a connection breaks, then none can be made)."""

_BUSY = r"no answer in time|the lease ran out|the lease of epoch \d+ is over|Timeout connecting"

Given = str | redis.asyncio.Redis | redis.asyncio.RedisCluster
Reach = Callable[[], Given]
"""Makes what a coordinator is given to reach its server."""


class CallFailedError(Exception):
    """A call failed."""


class WaitedError(Exception):
    """A call that only has to look at local memory waits for something."""


async def succeed() -> None:
    """A call that takes no time: what it takes is the breaker's."""


async def succeed_at_once(breaker: Breaker) -> None:
    """Such a call, which ends without letting anything else run: it can't wait for anything,
    however busy the host.

    Raises:
        WaitedError: It waits.
        CircuitOpenError: It is rejected.
    """
    call = breaker.execute(succeed)
    try:
        call.send(None)
    except StopIteration:
        return
    call.close()
    raise WaitedError


async def fail_once() -> None:
    raise CallFailedError


class Member:
    """A coordinator, and what it has surfaced."""

    def __init__(self, given: Given, **settings: Any) -> None:
        self.given = given
        self.errors: list[Exception] = []
        self.coordinator = Coordinator(
            given,
            policy=BreakerPolicy(
                strategy=ConsecutiveFailures(THRESHOLD), backoff=ConstantBackoff(600)
            ),
            on_error=self.errors.append,
            **{"policies": {"brief*": BreakerPolicy(backoff=ConstantBackoff(0.05))}, **settings},
        )

    @property
    def leads(self) -> bool:
        return self.coordinator.role is Role.LEADER

    @property
    def told(self) -> str:
        """All that was surfaced, and what was behind it."""
        return "\n".join(f"{error!r} <- {error.__cause__!r}" for error in self.errors)

    def state(self, circuit: str) -> State:
        return self.coordinator.breaker(circuit).state

    async def fail(self, times: int, circuit: str) -> None:
        for _ in range(times):
            with suppress(CallFailedError, CircuitOpenError):
                await self.coordinator.breaker(circuit).execute(fail_once)

    async def call(self, circuit: str) -> bool:
        """Whether a call passes."""
        try:
            await self.coordinator.breaker(circuit).execute(succeed)
        except CircuitOpenError:
            return False
        return True


class Callers:
    """Call a closed circuit and an open one on every member, all the time."""

    def __init__(self, members: list[Member]) -> None:
        self._traffic = {
            circuit: [
                Traffic(partial(succeed_at_once, member.coordinator.breaker(circuit)), RATE)
                for member in members
            ]
            for circuit in ("up", "down")
        }

    async def check(self, seconds: float) -> None:
        """For so long, calls go on by the last states, and wait for nothing."""
        await self._watch(seconds)
        traffics = list(chain.from_iterable(self._traffic.values()))
        await eventually(
            lambda: all(traffic.ended > RATE * seconds / 4 for traffic in traffics),
            within=PATIENCE,  # a busy host has its own idea of a rate
            what="calls that go on",
        )
        for counts in self._counts("up"):
            assert counts["ended"].keys() == {"passed"}
        for counts in self._counts("down"):
            assert counts["ended"].keys() == {"rejected"}

    async def stop(self) -> None:
        traffics = chain.from_iterable(self._traffic.values())
        await asyncio.gather(*(traffic.stop() for traffic in traffics))

    async def _watch(self, seconds: float) -> None:
        self._counts("up"), self._counts("down")
        await asyncio.sleep(seconds)

    def _counts(self, circuit: str) -> list[Counts]:
        return [traffic.counts() for traffic in self._traffic[circuit]]


class Fleet:
    """Coordinators in this process that share a namespace.

    Args:
        ways: How each reaches the server.
        namespace: What they share.
        settings: More of `Coordinator`'s.
    """

    def __init__(self, *ways: Reach, namespace: str, **settings: Any) -> None:
        self._settings = {"namespace": namespace, "lease_ttl": 0.6, **settings}
        self.members = [Member(way(), **self._settings) for way in ways]
        self._numbers = count()
        self._began = time.monotonic()

    async def __aenter__(self) -> Self:
        self._tasks_before = asyncio.all_tasks()
        await asyncio.gather(*(member.coordinator.start() for member in self.members))
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(member.coordinator.stop() for member in self.members))
        for member in self.members:
            if not isinstance(member.given, str):
                await close_client(member.given)
        await eventually(
            lambda: asyncio.all_tasks() <= self._tasks_before,
            within=3 * PATIENCE,  # scenarios side by side do not end together
            what="an end of all tasks",
        )

    @asynccontextmanager
    async def newcomer(self, url: str) -> AsyncIterator[Member]:
        """One more for as long as the block lasts. Tasks that it leaves behind are noticed when the
        fleet ends: before, a member that gets to lead meanwhile has new ones of its own."""
        member = Member(url, **self._settings)
        async with member.coordinator:
            yield member

    async def leader(self) -> Member:
        """The one member that leads."""
        await eventually(
            lambda: sum(member.leads for member in self.members) == 1,
            within=PATIENCE,
            what="exactly one leader",
        )
        return next(member for member in self.members if member.leads)

    async def followers(self) -> list[Member]:
        leader = await self.leader()
        return [member for member in self.members if member is not leader]

    async def reach(self, state: State, circuit: str, *, of: list[Member] | None = None) -> None:
        """Every member gets to know that state."""
        members = self.members if of is None else of
        await eventually(
            lambda: {member.state(circuit) for member in members} == {state},
            within=PATIENCE,
            what=f"{circuit!r} {state} everywhere",
        )

    async def fail(self, circuit: str) -> None:
        """Fail a little everywhere, enough for the threshold, but not anywhere alone."""
        for member in self.members:
            await member.fail(math.ceil(THRESHOLD / len(self.members)), circuit)

    async def open(self, circuit: str) -> None:
        await self.fail(circuit)
        await self.reach(State.OPEN, circuit)

    async def works(self) -> None:
        """All are connected, somebody leads, a circuit opens everywhere, and one recovers."""
        await eventually(
            lambda: all(member.coordinator.connected for member in self.members),
            within=PATIENCE,
            what="connections of all",
        )
        await eventually(
            lambda: any(member.leads for member in self.members),
            within=PATIENCE,
            what="a leader",
        )
        number = next(self._numbers)
        await self.open(f"new {number}")
        await self.recovers(f"brief {number}")

    async def recovers(self, circuit: str) -> None:
        """A circuit with a brief wait opens, tries and closes."""
        await self.fail(circuit)
        await eventually(
            partial(self._closes, circuit), within=PATIENCE, what=f"a recovery of {circuit!r}"
        )

    async def _closes(self, circuit: str) -> bool:
        breakers = [member.coordinator.breaker(circuit) for member in self.members]
        if all(breaker.state is State.CLOSED and breaker.generation > 1 for breaker in breakers):
            return True
        for member in self.members:
            if member.state(circuit) is not State.CLOSED:  # a success would end the failures
                await member.call(circuit)
        return False

    async def accounts_close(self, *, lost: bool) -> None:
        """Each result that was recorded has become something, and one thing only.

        Args:
            lost: Whether some may have been dropped or expired.
        """
        for member in self.members:
            counts = member.coordinator.statistics
            await eventually(
                lambda counts=counts: (  # type: ignore[misc]
                    counts.recorded == counts.evaluated + counts.expired + counts.dropped
                ),
                within=PATIENCE,
                what="an account that closes",
            )
            assert lost or (counts.dropped, counts.expired) == (0, 0)

    def forget_errors(self) -> None:
        for member in self.members:
            member.errors.clear()

    @property
    def errors(self) -> str:
        return "\n".join(member.told for member in self.members if member.errors)

    def unexcused(self, *, lost: bool = False) -> str:
        """What has surfaced, but for what a busy host has without any fault.

        Args:
            lost: Whether results may have been lost: that is told when it is noticed, maybe late.
        """
        excused = f"{_BUSY}|ResultsLostError" if lost else _BUSY
        return "\n".join(line for line in self.errors.splitlines() if not re.search(excused, line))

    def check_told(self, *, of: list[Member] | None = None, least: int = 1) -> None:
        """Each has surfaced something, and not too much."""
        for member in self.members if of is None else of:
            kinds = {str(error) for error in member.errors}
            assert least <= len(kinds) <= MOST_TOLD, member.told
        self.check_told_little()

    def check_told_little(self) -> None:
        """None has surfaced more than outages have had beginnings. (On a busy host a fault takes
        longer, and leases run out meanwhile: each new leader finds out for itself.)"""
        spells = 1 + (time.monotonic() - self._began) // 10
        for member in self.members:
            assert len(member.errors) <= 2 * MOST_TOLD * spells, member.told

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[Callers]:
        """Callers as long as the block lasts; the circuit "down" is open before."""
        await self.open("down")
        callers = Callers(self.members)
        try:
            await callers.check(0.3)  # while all is well
            yield callers
        finally:
            await callers.stop()
