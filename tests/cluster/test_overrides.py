"""An operator's hand on every door: four processes under load, over real Redis and real sockets."""

import asyncio
import time
from collections.abc import Callable
from functools import partial

from tests.cluster.fleet import Fleet, StartFleet, all_reach, split
from tests.cluster.upstream import Upstream
from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import PATIENCE, eventually

Record = Callable[[str, object], None]

AT_ONCE = 0.2
"""Seconds after the operator's answer in which the last call may reach the upstream."""


async def load(fleet: Fleet) -> None:
    await asyncio.gather(*(instance.traffic_on(rate=50) for instance in fleet))


async def flows(upstream: Upstream, instances: int) -> None:
    """Calls of all instances reach the upstream."""
    before = len(upstream.calls)
    await eventually(
        lambda: len({hit.instance for hit in upstream.calls[before:]}) == instances,
        within=PATIENCE,
        what="calls of all",
    )


async def known_to_all(fleet: Fleet, mode: str | None) -> None:
    for instance in fleet:
        await eventually(
            partial(_knows, instance, mode), within=PATIENCE, what=f"{instance} knows {mode}"
        )


async def _knows(instance: object, mode: str | None) -> bool:
    return bool(await instance.overridden() == mode)  # type: ignore[attr-defined]


async def test_forced_open_no_call_reaches_the_upstream_and_then_it_recovers(
    start_fleet: StartFleet, upstream: Upstream, record_property: Record
) -> None:
    fleet = await start_fleet(4, ramp=(0.25, 0.5), ramp_step=0.5)
    await load(fleet)
    await flows(upstream, 4)
    lasts = 3.0
    asked = time.monotonic()
    await fleet[1].override("force_open", expires_in=lasts)
    answered = time.monotonic()
    await all_reach(fleet, "open")
    await all_reach(fleet, "closed")
    late = [hit for hit in upstream.calls if answered + AT_ONCE < hit.at < asked + lasts]
    assert late == []
    reached = [hit.at - answered for hit in upstream.calls if answered < hit.at < asked + lasts]
    last = max(reached, default=0.0)
    record_property("seconds_to_the_last_call", last)
    print(f"the last call reaches the upstream {last * 1000:.1f} ms after the operator's answer")
    states = [what.removeprefix("upstream ") for _, what in await fleet[0].events("state")]
    assert states[0] == "open"
    assert states[-2:] == ["half_open", "closed"], "by a trial, and through the ramp"


async def test_set_while_nobody_leads(start_fleet: StartFleet, upstream: Upstream) -> None:
    fleet = await start_fleet(4, lease_ttl=60.0)
    leader, followers = await split(fleet)
    await load(fleet)
    await flows(upstream, 4)
    leader.process.kill()
    await followers[0].override("force_open")
    answered = time.monotonic()
    await known_to_all(followers, "force_open")
    await asyncio.gather(*(each.reaches("open") for each in followers))
    await asyncio.sleep(AT_ONCE + 1.0)
    others = {each.id for each in followers}
    assert not [
        hit for hit in upstream.calls if hit.at > answered + AT_ONCE and hit.instance in others
    ]
    assert all(generation == 0 for _, generation in [await each.state() for each in followers])


async def test_lost_data_and_a_newcomer(
    start_fleet: StartFleet, server: ServerHandle, upstream: Upstream
) -> None:
    fleet = await start_fleet(3, server=server, housekeeping=0.3)
    await fleet[0].override("force_open")
    await known_to_all(fleet, "force_open")
    with server.client() as client:
        client.flushall()
    await load(fleet)
    await asyncio.sleep(1.0)
    [newcomer] = await start_fleet(1, server=server, housekeeping=0.3)
    await known_to_all([*fleet, newcomer], "force_open")
    await newcomer.override(None)
    await known_to_all([*fleet, newcomer], None)
