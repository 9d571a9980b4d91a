"""Ramps of four real processes: what reaches their upstream, also one that comes back cold."""

from collections import Counter
from typing import Any

import pytest

from tests.cluster.fleet import Fleet, StartFleet, all_reach
from tests.cluster.store import Store
from tests.cluster.upstream import Hit, Mode, Upstream
from tests.helpers.waiting import PATIENCE, eventually
from zenvark_web import Cause, State
from zenvark_web.testing.simulation.world import ColdUpstream

RATE = 50
SHARES = (0.1, 0.25, 0.5)


def count(store: Store, cause: Cause) -> int:
    return sum(each.reason.cause is cause for each in store.transitions("upstream"))


async def under_load(start_fleet: StartFleet, **settings: Any) -> Fleet:
    fleet = await start_fleet(4, wait=0.5, **settings)
    for instance in fleet:
        await instance.traffic_on(rate=RATE)
    return fleet


async def fall_and_rise(fleet: Fleet, upstream: Upstream) -> None:
    upstream.mode = Mode.FAILING
    await all_reach(fleet, State.OPEN)
    upstream.mode = Mode.OK


@pytest.mark.parametrize("health_check", [True, False])
async def test_the_load_is_the_share_and_one_call_of_each_instance(
    start_fleet: StartFleet, store: Store, upstream: Upstream, health_check: bool
) -> None:
    """In each second, by when calls were asked for: no delay of a busy host changes that."""
    fleet = await under_load(start_fleet, ramp=SHARES, ramp_step=1.0, health_check=health_check)
    await fall_and_rise(fleet, upstream)
    await all_reach(fleet, State.CLOSED)
    [ramp] = [each for each in store.transitions("upstream") if each.reason.cause is Cause.RAMP]
    assert ramp.ramp is not None
    assert (ramp.ramp.shares, ramp.ramp.step) == (SHARES, 1.0)
    assert count(store, Cause.RAMP_PASSED) == 1
    asked = [call for instance in fleet for call in await instance.asked()]
    hits = [hit for hit in upstream.calls if hit.generation == ramp.generation]
    for second in sorted({int(hit.asked_at) for hit in hits}):
        check_second(second, asked, hits, instances=len(fleet))
    for instance in fleet:
        check_instance(await instance.asked(), [hit for hit in hits if hit.instance == instance.id])


def check_second(
    second: int, asked: list[tuple[float, float]], hits: list[Hit], *, instances: int
) -> None:
    shares = [share for at, share in asked if int(at) == second and 0 < share < 1]
    load = sum(int(hit.asked_at) == second for hit in hits)
    print(f"second {second}: {load} of {len(shares)} calls, at a share of {max(shares)} at most")
    assert load <= max(shares) * len(shares) + instances


def check_instance(asked: list[tuple[float, float]], hits: list[Hit]) -> None:
    """Each share lets its part of the calls pass, and one more or less."""
    demand = Counter(share for _, share in asked if 0 < share < 1)
    share_at = dict(asked)
    passed = Counter(share_at[hit.asked_at] for hit in hits)
    for share, calls in demand.items():
        assert abs(passed[share] - share * calls) < 2


@pytest.mark.slow
class TestColdUpstream:
    """It bears 20 of 200 calls a second until it has served 120."""

    async def test_is_well_after_one_ramp(
        self, start_fleet: StartFleet, store: Store, upstream: Upstream
    ) -> None:
        upstream.cold = cold = ColdUpstream(bears=20, warm_after=120)
        fleet = await under_load(start_fleet, ramp=(0.02, 0.05, 0.08), ramp_step=8.0)
        await eventually(lambda: cold.is_warm, within=PATIENCE)
        await all_reach(fleet, State.CLOSED)
        assert count(store, Cause.TRIPPED) == 1
        assert count(store, Cause.RAMP_FAILED) == 0

    async def test_opens_again_and_again_without_one(
        self, start_fleet: StartFleet, store: Store, upstream: Upstream
    ) -> None:
        upstream.cold = cold = ColdUpstream(bears=20, warm_after=120)
        fleet = await under_load(start_fleet)
        await eventually(lambda: cold.is_warm, within=PATIENCE)
        await all_reach(fleet, State.CLOSED)
        assert count(store, Cause.TRIPPED) >= 3
