"""`on_published`: one call for each transition of the fleet, on whichever instance leads."""

import asyncio
from functools import partial

import pytest

from zenvark_web import (
    BreakerPolicy,
    CallbackError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    Outcome,
    PublishedChange,
    Role,
    State,
    StateChange,
)
from zenvark_web.testing import Fleet

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(2), backoff=ConstantBackoff(5))
Calls = list[tuple[str, PublishedChange]]


def instances(fleet: Fleet, calls: Calls, count: int = 3) -> list[Coordinator]:
    return [
        fleet.coordinator(on_published=partial(lambda who, change: calls.append((who, change)), n))
        for n in range(count)
    ]


def leader_of(coordinators: list[Coordinator]) -> Coordinator:
    [leader] = [each for each in coordinators if each.role is Role.LEADER]
    return leader


def moves(calls: Calls) -> list[tuple[str, int, State]]:
    return [(change.name, change.generation, change.state) for _, change in calls]


def test_each_transition_once_in_order_on_the_leader_only() -> None:
    calls: Calls = []
    with Fleet(policy=POLICY) as fleet:
        coordinators = instances(fleet, calls)
        fleet.trip("payments")
        fleet.recover("payments")
        fleet.advance()
        leader = leader_of(coordinators)
        assert moves(calls) == [
            ("payments", 1, State.OPEN),
            ("payments", 2, State.HALF_OPEN),
            ("payments", 3, State.CLOSED),
        ]
        assert {who for who, _ in calls} == {coordinators.index(leader)}
        opened, tried, _ = (change for _, change in calls)
        assert opened.previous is State.CLOSED
        assert opened.leader == leader.instance_id
        assert opened.reason.failures
        assert opened.retry_at == pytest.approx(opened.at + 5)
        assert tried.retry_at is None
        assert len({change.position for _, change in calls}) == 3


def test_a_leader_that_stops_or_dies_leaves_none_out_and_repeats_none() -> None:
    calls: Calls = []
    with Fleet(policy=POLICY) as fleet:
        coordinators = instances(fleet, calls)
        for take in range(3):
            for number in range(10):
                fleet.trip(f"upstream-{take}-{number}")
            leader = leader_of(coordinators)
            coordinators.remove(leader)
            if take == 0:
                asyncio.run(leader.stop())
            elif take == 1:
                fleet.cut_off(leader)
            fleet.advance(5)
        assert sorted(moves(calls)) == sorted(
            (f"upstream-{take}-{number}", 1, State.OPEN)
            for take in range(3)
            for number in range(10)
        )
        assert len({who for who, _ in calls}) == 3


def test_what_happened_while_nobody_was_notified_is_made_up_for() -> None:
    calls: Calls = []
    with Fleet(policy=POLICY) as fleet:
        [first] = instances(fleet, calls, 1)
        fleet.trip("before")
        silent = fleet.coordinator()
        asyncio.run(first.stop())
        fleet.trip("meanwhile")
        [_] = instances(fleet, calls, 1)
        assert [name for name, *_ in moves(calls)] == ["before"]
        asyncio.run(silent.stop())
        fleet.advance(1)
        assert [name for name, *_ in moves(calls)] == ["before", "meanwhile"]


def test_the_first_leader_with_a_callback_is_not_told_of_the_past() -> None:
    calls: Calls = []
    with Fleet(policy=POLICY) as fleet:
        silent = fleet.coordinator()
        fleet.trip("before")
        instances(fleet, calls, 1)
        asyncio.run(silent.stop())
        fleet.advance(1)
        fleet.trip("after")
        assert [name for name, *_ in moves(calls)] == ["after"]


def test_a_call_that_raises_is_reported_and_not_repeated() -> None:
    errors: list[Exception] = []
    calls: list[str] = []

    def fail(change: PublishedChange) -> None:
        calls.append(change.name)
        raise ConnectionError("no network")

    with Fleet(policy=POLICY) as fleet:
        first, _ = (fleet.coordinator(on_published=fail, on_error=errors.append) for _ in range(2))
        fleet.trip("payments")
        asyncio.run(first.stop())
        fleet.advance(1)
        assert calls == ["payments"]
        [error] = errors
        assert isinstance(error, CallbackError)
        assert isinstance(error.__cause__, ConnectionError)


def test_a_call_that_hangs_delays_no_other_callback_and_is_repeated_if_its_leader_dies() -> None:
    changes: list[StateChange] = []
    calls: list[tuple[int, str]] = []

    async def hang(who: int, change: PublishedChange) -> None:
        calls.append((who, change.name))
        await asyncio.sleep(8)

    with Fleet(policy=POLICY) as fleet:
        first, second = (
            fleet.coordinator(on_published=partial(hang, n), on_state_change=changes.append)
            for n in range(2)
        )
        for name in ("payments", "payments", "stock", "stock"):
            first.breaker(name).acquire().record(Outcome.FAILURE)
        fleet.advance()  # one write of two transitions
        assert sorted(change.name for change in changes) == ["payments"] * 2 + ["stock"] * 2
        fleet.advance(8)
        one = 0 if first.role is Role.LEADER else 1
        assert calls == [(one, "payments"), (one, "stock")]
        fleet.cut_off((first, second)[one])
        fleet.advance(6)
        assert calls == [(one, "payments"), (one, "stock"), (1 - one, "stock")]


def test_a_callback_without_an_argument_is_refused() -> None:
    with pytest.raises(TypeError, match="on_published"):
        Coordinator(on_published=lambda: None)  # type: ignore[misc,arg-type]  # pyright: ignore[reportArgumentType]
