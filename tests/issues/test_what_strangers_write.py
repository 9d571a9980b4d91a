"""Whoever can write to the keys can do harm, but not for ever: a transition of generation 2**53
stuck also after `FLUSHALL`, an entry at the last possible position kept everybody from writing, and
a lease of a day kept everybody from leading."""

import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest

from tests.helpers.servers import ServerHandle
from tests.helpers.spanning import spanning
from tests.helpers.waiting import eventually
from zenvark_web import (
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    Override,
    OverrideChange,
    OverrideRecord,
    State,
)
from zenvark_web._coordination import election
from zenvark_web._core.states import Cause, Reason, Transition
from zenvark_web._judging import leader
from zenvark_web.backends._encoding import encode_transition
from zenvark_web.backends.redis import KEYS

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=ConstantBackoff(0.2))


class Fleet:
    """Two coordinators, and what somebody else does to their keys."""

    def __init__(self, server: ServerHandle, namespace: str) -> None:
        self.server = server
        self._namespace = namespace
        self.errors: list[Exception] = []
        self.changes: list[OverrideChange] = []
        self.members = [self.coordinator() for _ in range(2)]

    def coordinator(self) -> Coordinator:
        return Coordinator(
            self.server.url,
            namespace=self._namespace,
            policy=POLICY,
            on_error=self.errors.append,
            on_override=self.changes.append,
        )

    def key(self, name: str) -> str:
        return f"zenvark:{{{self._namespace}}}:{name}"

    def command(self, command: str, name: str, *arguments: str | int) -> Any:
        return self.server.command(command, self.key(name), *arguments)

    def breakers(self, name: str) -> list[Breaker]:
        return [member.breaker(name) for member in self.members]

    def changed(self, circuit: str) -> set[Override | None]:
        return {each.override.mode for each in self.changes if each.circuit == circuit}

    def all_know(self, override: OverrideRecord) -> bool:
        return all(each.override == override for each in self.breakers(override.circuit))

    async def all_are(self, state: State, name: str) -> None:
        await eventually(
            lambda: {breaker.state for breaker in self.breakers(name)} == {state},
            what=f"{name} {state} everywhere",
        )

    async def opens(self, name: str) -> None:
        """Calls fail until their circuit is open everywhere."""

        def fail() -> bool:
            for breaker in self.breakers(name):
                if breaker.state is State.CLOSED:
                    breaker.acquire().raised(OSError())
            return all(breaker.state is not State.CLOSED for breaker in self.breakers(name))

        await eventually(fail, what=f"{name} open everywhere")

    async def recovers(self, name: str) -> None:
        """Calls are made until their circuit is closed everywhere."""

        def call() -> bool:
            for breaker in self.breakers(name):
                try:
                    breaker.acquire().returned(None)
                except CircuitOpenError:
                    continue
            return all(breaker.state is State.CLOSED for breaker in self.breakers(name))

        await eventually(call, what=f"{name} closed everywhere")


@pytest.fixture
async def fleet(
    patient_commands: None,
    redis_server: ServerHandle,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Fleet]:
    monkeypatch.setattr(election, "ANNOUNCE_INTERVAL", 0.5)
    monkeypatch.setattr(leader, "TIDY_INTERVAL", 0.5)
    fleet = Fleet(redis_server, namespace)
    first, second = fleet.members
    async with first, second:
        await fleet.opens("known")
        await fleet.recovers("known")
        yield fleet


def absurd(circuit: str, generation: int) -> str:
    return encode_transition(
        Transition(
            circuit=circuit,
            generation=generation,
            state=State.OPEN,
            at=4e9,
            delay=1e9,
            reason=Reason(cause=Cause.TRIPPED),
            epoch=2**53,
            leader="stranger",
        )
    )


def into_the_stream(fleet: Fleet, circuit: str, generation: int) -> None:
    fleet.command("XADD", "states", "*", "transition", absurd(circuit, generation))


def into_the_hash(fleet: Fleet, circuit: str, generation: int) -> None:
    fleet.command("HSET", "circuits", circuit, absurd(circuit, generation))


def into_both(fleet: Fleet, circuit: str, generation: int) -> None:
    into_the_hash(fleet, circuit, generation)
    into_the_stream(fleet, circuit, generation)


@pytest.mark.parametrize(
    "generation", spanning([2**53, 2**40, 2**32 + 100, 2**32, 2**31 + 1], {2**53, 2**31 + 1})
)
@pytest.mark.parametrize("circuit", ["known", "unknown"])
@pytest.mark.parametrize("write", [into_the_stream, into_the_hash, into_both])
async def test_generation_that_no_fleet_reaches_does_not_stick(
    fleet: Fleet, write: Callable[[Fleet, str, int], None], circuit: str, generation: int
) -> None:
    write(fleet, circuit, generation)
    await fleet.opens(circuit)
    fleet.server.command("DEL", *map(fleet.key, KEYS))  # as FLUSHALL does
    await fleet.recovers(circuit)
    await fleet.opens(circuit)
    await eventually(
        lambda: all(0 < each.generation < 2**31 for each in fleet.breakers(circuit)),
        what="generations of its own",
    )
    newcomer = fleet.coordinator()
    async with newcomer:
        fleet.members.append(newcomer)
        await fleet.recovers(circuit)


@pytest.mark.parametrize("stream", ["states", "results"])
@pytest.mark.parametrize("ms", [2**64 - 1, 2**60, 10**13])
@pytest.mark.parametrize("number", [0, 2**64 - 1])
async def test_entry_far_ahead_of_the_clock_is_told_and_stepped_over(
    fleet: Fleet, stream: str, ms: int, number: int
) -> None:
    for member in fleet.members:  # a result that comes behind the entry would take its place unread
        await member.flush()
    fleet.command("XADD", stream, f"{ms}-{number}", "hello", "world")
    await eventually(
        lambda: any("ahead of Redis' clock" in str(error) for error in fleet.errors),
        what="an error",
    )
    for name in ("known", "other"):
        await fleet.opens(name)
        await fleet.recovers(name)


async def test_newcomers_find_an_entry_at_the_last_position(fleet: Fleet) -> None:
    for member in fleet.members:
        await member.stop()
    for stream in ("states", "results"):
        fleet.command("XADD", stream, f"{2**64 - 1}-{2**64 - 1}", "hello", "world")
    fleet.members = [fleet.coordinator()]
    async with fleet.members[0]:
        await fleet.opens("known")
        await fleet.recovers("known")


async def test_sequence_number_at_the_end_of_its_millisecond(fleet: Fleet) -> None:
    """Positions that are legal are readable: transitions name them."""
    seconds, _ = fleet.server.command("TIME")
    for stream in ("states", "results"):
        fleet.command("XADD", stream, f"{int(seconds) * 1000 + 2000}-{2**64 - 1}", "hello", "world")
    await fleet.opens("known")
    await fleet.recovers("known")


async def test_false_state_is_healed_by_forgetting_it(fleet: Fleet) -> None:
    """As docs/failure-modes.md tells: a generation that could be the fleet's own is believed."""
    into_both(fleet, "known", 1_000)
    await fleet.all_are(State.OPEN, "known")
    fleet.command("HDEL", "circuits", "known")
    fleet.command("XADD", "states", "*", "v", "1", "forgotten", "known", "generation", 1_000)
    await fleet.all_are(State.CLOSED, "known")
    await fleet.opens("known")
    await fleet.recovers("known")


async def test_lease_under_an_absurd_epoch_keeps_nobody_from_leading(fleet: Fleet) -> None:
    fleet.command("XADD", "states", "*", "v", "1", "epoch", 2**53, "leader", "stranger")
    fleet.command("SET", "leader", f"{2**53}:stranger", "PX", 86_400_000)
    await fleet.opens("known")
    assert int(fleet.command("GET", "epoch")) < 1_000


@pytest.mark.parametrize("namespace", ["shop/0", "shop/", "/", "a/b"])
@pytest.mark.parametrize("redis", [None, "redis://localhost:1"])
def test_namespace_cannot_be_the_shard_of_another(namespace: str, redis: str | None) -> None:
    """`shop/0` was shard 0 of `shop`: two fleets that knew nothing of each other shared it."""
    with pytest.raises(ValueError, match=f"a slash.*pass '{namespace.replace('/', '-')}'"):
        Coordinator(redis, namespace=namespace)


async def test_override_under_an_absurd_number_keeps_no_later_one_from_counting(
    fleet: Fleet,
) -> None:
    """It stuck for good, because the numbers of all later ones were lower."""
    member, _ = fleet.members
    last = await member.override("known", Override.OBSERVE, reason="before")
    text = fleet.command("HGET", "overrides", "known")
    for stored in (False, True):
        end = f'"after":{last.number},"at":1,"until":null,"number":{2**51}}}'
        forged = re.sub('"after":.*', end, text).replace("observe", "force_open")
        fleet.command("XADD", "states", "*", "v", "1", "override", forged)
        if stored:
            fleet.command("HSET", "overrides", "known", forged, "", f"{last.number} {2**51}")
        last = await member.override("other", Override.FORCE_OPEN, reason="after")
        assert last.number < 2**50
        await eventually(partial(fleet.all_know, last), what="the override everywhere")
        if not stored:
            await eventually(partial(fleet.changed, "other"), what="the callbacks")
            assert fleet.changed("known") == {Override.OBSERVE}
        assert not fleet.errors
