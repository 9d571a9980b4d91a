"""Processes are killed or stopped for a while at every phase of an opening and a recovery."""

from functools import partial

import pytest

from tests.cluster.fleet import Instance, StartFleet, all_reach, split
from tests.cluster.store import Store
from tests.cluster.upstream import Mode, Upstream
from tests.helpers.waiting import PATIENCE, eventually

pytestmark = pytest.mark.slow

SIGNALS = ["SIGKILL", "SIGSTOP"]
SETTINGS = {"lease_ttl": 0.6, "wait": 0.2, "housekeeping": 0.3}

signals = pytest.mark.parametrize("signal", SIGNALS)
victims = pytest.mark.parametrize("leads", [True, False], ids=["leader", "follower"])


def strike(signal: str, victim: Instance) -> None:
    victim.process.kill() if signal == "SIGKILL" else victim.process.pause()


async def heals(
    signal: str, victim: Instance, fleet: list[Instance], store: Store, state: str = "closed"
) -> None:
    """Whoever was stopped goes on; all agree, and all works."""
    if signal == "SIGSTOP":
        victim.process.resume()
    living = [instance for instance in fleet if instance.process.running]
    await all_reach(living, state)
    await split(living)
    for instance in living:
        await instance.fail(5, circuit="new")
    await all_reach(living, "open", "new")
    generations = [transition.generation for transition in store.transitions("upstream")]
    assert generations == sorted(set(generations)), "each once, in order"
    for instance in living:
        await instance.accounts()


@signals
async def test_before_the_election(signal: str, start_fleet: StartFleet, store: Store) -> None:
    """While nobody leads, one of those who could is struck as well."""
    fleet = await start_fleet(3, **SETTINGS)
    leader, [victim, other] = await split(fleet)
    await leader.fail(3)
    await eventually(lambda: store.reported("upstream")["failures"] == 3, within=PATIENCE)
    leader.process.kill()
    strike(signal, victim)
    await other.becomes("leader")
    await other.fail(2)
    await other.reaches("open")
    await heals(signal, victim, fleet, store, "open")


@signals
@victims
async def test_while_it_is_open(
    signal: str, leads: bool, start_fleet: StartFleet, store: Store, upstream: Upstream
) -> None:
    fleet = await start_fleet(3, health_check=True, **SETTINGS)
    leader, followers = await split(fleet)
    upstream.mode = Mode.FAILING
    await followers[1].fail(5)
    await all_reach(fleet, "open")
    victim = leader if leads else followers[0]
    strike(signal, victim)
    checks = len(upstream.checks)
    await eventually(lambda: len(upstream.checks) > checks, within=PATIENCE, what="a check")
    upstream.mode = Mode.OK
    await all_reach([instance for instance in fleet if instance is not victim], "closed")
    await heals(signal, victim, fleet, store)


@signals
@victims
async def test_in_a_health_check(
    signal: str, leads: bool, start_fleet: StartFleet, store: Store, upstream: Upstream
) -> None:
    """A leader's check that hangs is not waited for; what comes of it later counts for nothing."""
    fleet = await start_fleet(3, health_check=True, **SETTINGS)
    leader, followers = await split(fleet)
    upstream.mode = Mode.HANGING
    await followers[1].fail(5)
    await eventually(lambda: upstream.checks, within=PATIENCE, what="a check that hangs")
    victim = leader if leads else followers[0]
    others = [instance for instance in fleet if instance is not victim]
    strike(signal, victim)
    upstream.mode = Mode.OK
    if not leads:
        upstream.release()
    await all_reach(others, "closed")
    closed = len(store.transitions("upstream"))
    upstream.release()
    await heals(signal, victim, fleet, store)
    assert len(store.transitions("upstream")) == closed


@victims
async def test_stopped_in_a_trial(
    leads: bool, start_fleet: StartFleet, store: Store, upstream: Upstream
) -> None:
    """Another makes the trial; the result of the first comes too late for anything."""
    fleet = await start_fleet(3, **SETTINGS)
    leader, followers = await split(fleet)
    holder = leader if leads else followers[0]
    others = [instance for instance in fleet if instance is not holder]
    await holder.fail(5)
    await all_reach(fleet, "open")
    upstream.mode = Mode.HANGING
    await holder.traffic_on()
    await eventually(lambda: upstream.calls, within=PATIENCE, what="a trial that hangs")
    holder.process.pause()
    upstream.mode = Mode.OK
    for instance in others:
        await instance.traffic_on()
    await all_reach(others, "closed")
    holder.process.resume()
    upstream.release()
    await holder.reaches("closed")
    for instance in fleet:
        ended = (await instance.traffic_off())["ended"]
        assert ended.keys() <= {"passed", "rejected", "cancelled"}
    await heals("SIGSTOP", holder, fleet, store)


@signals
async def test_calls_of_others_do_not_notice(signal: str, start_fleet: StartFleet) -> None:
    fleet = await start_fleet(3, **SETTINGS)
    leader, followers = await split(fleet)
    for follower in followers:
        await follower.traffic_on("good", rate=100, via="local")
    await eventually(partial(several_calls, followers), within=PATIENCE)
    strike(signal, leader)
    await split(followers)
    for follower in followers:
        counts = await follower.traffic_off("good")
        assert counts["ended"].keys() <= {"passed", "cancelled"}
        assert not await follower.events("error")


async def several_calls(fleet: list[Instance]) -> bool:
    return all([(await instance.traffic("good"))["ended"].get("passed", 0) for instance in fleet])
