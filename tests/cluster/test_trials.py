"""Recovery without a health check: an exact number of trial calls in the whole fleet."""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import pytest

from tests.cluster.fleet import Fleet, Instance, StartFleet, all_reach, split
from tests.cluster.store import Store
from tests.cluster.upstream import Hit, Mode, Upstream
from tests.helpers.waiting import PATIENCE, eventually
from zenvark_web import Cause, State
from zenvark_web._core.states import Transition

CLOCKS_APART = 0.1
"""Seconds by which instances of a busy host may differ in the shared time."""


@dataclass
class Attempt:
    """A wait, the grants at its end, and the calls that the upstream saw of them."""

    wait: Transition
    grants: list[Transition]
    end: Transition
    hits: list[Hit]


def attempts(store: Store, upstream: Upstream) -> list[Attempt]:
    """The attempts to recover that have ended."""
    found: list[Attempt] = []
    transitions = store.transitions("upstream")
    starts = [n for n, item in enumerate(transitions) if item.state is not State.HALF_OPEN]
    for start, end in pairwise(starts):
        grants = transitions[start + 1 : end]
        generations = {grant.generation for grant in grants}
        hits = [hit for hit in upstream.calls if hit.generation in generations]
        found.append(Attempt(transitions[start], grants, transitions[end], hits))
    return found


def trial_hits(store: Store, upstream: Upstream) -> list[Hit]:
    """All the trial calls that the upstream saw."""
    generations = {
        item.generation for item in store.transitions("upstream") if item.state is State.HALF_OPEN
    }
    return [hit for hit in upstream.calls if hit.generation in generations]


def has_trial_hits(store: Store, upstream: Upstream, count: int) -> bool:
    return len(trial_hits(store, upstream)) >= count


def by_id(fleet: Fleet, id_: str) -> Instance:
    return next(instance for instance in fleet if instance.id == id_)


@pytest.mark.parametrize(("trial_calls", "via"), [(1, "execute"), (3, "transport")])
async def test_every_wait_ends_in_exactly_so_many_calls(
    trial_calls: int, via: str, start_fleet: StartFleet, store: Store, upstream: Upstream
) -> None:
    upstream.mode = Mode.FAILING
    fleet = await start_fleet(
        4, trial_calls=trial_calls, time_to_use=PATIENCE, wait=0.2, multiplier=2
    )
    for instance in fleet:
        await instance.traffic_on(via=via)
    await all_reach(fleet, "open")
    await eventually(lambda: len(attempts(store, upstream)) >= 2, within=PATIENCE)
    upstream.mode = Mode.OK
    await all_reach(fleet, "closed")

    made = attempts(store, upstream)
    for attempt in made:
        assert len(attempt.hits) == trial_calls
        assert {hit.instance for hit in attempt.hits} <= {
            grant.grant.holder for grant in attempt.grants if grant.grant
        }
        assert (
            attempt.wait.delay
            <= attempt.grants[0].at - attempt.wait.at + CLOCKS_APART
            < attempt.wait.delay + PATIENCE
        )
    assert [attempt.wait.delay for attempt in made] == [0.2 * 2**n for n in range(len(made))]
    assert [attempt.end.reason.cause for attempt in made] == [
        *[Cause.TRIAL_FAILED] * (len(made) - 1),
        Cause.TRIAL_PASSED,
    ]
    for earlier, later in pairwise(made):
        assert later.hits[0].at - earlier.hits[-1].at >= later.wait.delay

    closed = made[-1].end.generation
    ids = {instance.id for instance in fleet}
    await eventually(
        lambda: {hit.instance for hit in upstream.calls if hit.generation == closed} == ids,
        within=PATIENCE,
        what="traffic of all instances",
    )
    let_through = {0, closed} | {grant.generation for made_ in made for grant in made_.grants}
    assert {hit.generation for hit in upstream.calls} <= let_through


@pytest.mark.parametrize("via", ["execute", "transport"])
async def test_cancelled_trials_wedge_nothing(
    via: str, start_fleet: StartFleet, store: Store, upstream: Upstream
) -> None:
    upstream.mode = Mode.FAILING
    fleet = await start_fleet(4, trial_calls=2, time_to_use=PATIENCE, wait=0.2)
    await fleet[0].fail(5)
    await all_reach(fleet, "open")
    upstream.mode = Mode.HANGING
    for instance in fleet:
        await instance.traffic_on(via=via)

    for round_ in range(1, 6):
        await eventually(
            partial(has_trial_hits, store, upstream, 2 * round_),
            within=PATIENCE,
            what=f"the trial calls of round {round_}",
        )
        holder = by_id(fleet, trial_hits(store, upstream)[-1].instance)
        upstream.mode = Mode.OK if round_ == 5 else Mode.HANGING
        assert await holder.cancel_calls() == 2
    await all_reach(fleet, "closed")
    causes = [transition.reason.cause for transition in store.transitions("upstream")]
    assert causes == [Cause.TRIPPED, *[Cause.TRIAL] * (len(causes) - 2), Cause.TRIAL_PASSED]


@pytest.mark.parametrize("holder_leads", [False, True], ids=["follower", "leader"])
async def test_killed_holder_is_replaced(
    holder_leads: bool, start_fleet: StartFleet, store: Store, upstream: Upstream
) -> None:
    fleet = await start_fleet(4, wait=0.2, lease_ttl=0.6)
    leader, followers = await split(fleet)
    holder = leader if holder_leads else followers[0]
    others = [instance for instance in fleet if instance is not holder]
    await holder.fail(5)
    await all_reach(fleet, "open")
    upstream.mode = Mode.HANGING
    await holder.traffic_on()
    await eventually(lambda: upstream.calls, within=PATIENCE, what="a trial that hangs")
    for instance in others:
        await instance.traffic_on()
    holder.process.kill()
    upstream.mode = Mode.OK
    await all_reach(others, "closed")

    first, *_, last = [item.grant for item in store.transitions("upstream") if item.grant]
    assert first.holder == holder.id
    assert last.holder in {instance.id for instance in others}
    assert [hit.instance for hit in trial_hits(store, upstream)] == [first.holder, last.holder]
