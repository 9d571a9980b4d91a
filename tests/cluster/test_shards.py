"""Circuits spread over several leases: `shards`."""

import asyncio
from functools import partial
from math import ceil

import pytest

from tests.cluster.fleet import Fleet, StartFleet, all_reach
from tests.cluster.store import Store
from tests.cluster.upstream import Mode, Upstream
from tests.helpers.servers import ServerHandle
from tests.helpers.waiting import PATIENCE, eventually
from zenvark_web import Coordinator, PolicyMismatchError, Role
from zenvark_web._coordination import election
from zenvark_web._judging import leader

SHARDS = 4
CIRCUITS = [f"upstream-{number}" for number in range(24)]


def stores(server: ServerHandle, namespace: str, shards: int = SHARDS) -> list[Store]:
    return [Store(server, f"{namespace}/{number}") for number in range(shards)]


def is_spread(shards: list[Store], fleet: list[Coordinator]) -> bool:
    """Whether all shards are led, and no instance leads more than its share."""
    leaders = [store.leader() for store in shards]
    led = [leaders.count(coordinator.instance_id) for coordinator in fleet]
    roles = {Role.LEADER if count else Role.FOLLOWER for count in led}
    return (
        sum(led) == len(shards)
        and max(led) <= ceil(len(shards) / len(fleet))
        and roles == {coordinator.role for coordinator in fleet}
    )


async def open_all(fleet: Fleet, circuits: list[str]) -> None:
    for circuit in circuits:
        for instance in fleet:
            await instance.fail(3, circuit=circuit)
    await asyncio.gather(*(all_reach(fleet, "open", circuit) for circuit in circuits))


async def test_circuits_of_all_shards_open_and_recover_for_all(
    server: ServerHandle, namespace: str, start_fleet: StartFleet, upstream: Upstream
) -> None:
    fleet = await start_fleet(3, server=server, shards=SHARDS, health_check=True)
    upstream.mode = Mode.FAILING
    await open_all(fleet, CIRCUITS)
    upstream.mode = Mode.OK
    for circuit in CIRCUITS:
        await all_reach(fleet, "closed", circuit)
    shards = stores(server, namespace)
    kept = [set(store.circuits()) for store in shards]
    assert all(kept), "every shard has some"
    assert sorted(name for names in kept for name in names) == sorted(CIRCUITS)
    assert server.command("EXISTS", f"zenvark:{{{namespace}}}:leader") == 0


async def test_leading_spreads_over_the_fleet_as_it_grows_and_shrinks(
    server: ServerHandle, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader, "TIDY_INTERVAL", 0.1)
    monkeypatch.setattr(election, "ANNOUNCE_INTERVAL", 0.1)
    monkeypatch.setattr(election, "ABSTENTION", 0.2)
    fleet = [Coordinator(server.url, namespace=namespace, shards=SHARDS) for _ in range(4)]
    shards = stores(server, namespace)
    for size in (1, 2, 3, 4):
        await fleet[size - 1].start()
        await eventually(partial(is_spread, shards, fleet[:size]), within=PATIENCE)
    for size in (3, 2, 1):
        await fleet[size].stop()
        await eventually(partial(is_spread, shards, fleet[:size]), within=PATIENCE)
    await fleet[0].stop()


async def test_dead_instances_shards_are_taken_over(
    server: ServerHandle, namespace: str, start_fleet: StartFleet
) -> None:
    shards = stores(server, namespace)
    fleet = await start_fleet(3, server=server, shards=SHARDS, wait=60)
    await open_all(fleet, CIRCUITS[:8])
    dying = next(instance for instance in fleet if instance.id == shards[0].leader())
    staying = [instance for instance in fleet if instance is not dying]
    dying.process.kill()
    survivors = {instance.id for instance in staying}
    await eventually(lambda: {store.leader() for store in shards} <= survivors, within=PATIENCE)
    await open_all(staying, CIRCUITS[8:])


async def test_role_is_that_of_any_shard(
    server: ServerHandle, namespace: str, start_fleet: StartFleet
) -> None:
    [one] = await start_fleet(1, server=server, shards=2)
    await one.becomes("leader")
    assert [what for _, what in await one.events("role")] == ["leader"]
    await one.stop()
    assert [what for _, what in await one.events("role")] == ["leader", "follower"]


@pytest.mark.usefixtures("patient_commands")
async def test_instances_that_disagree_on_the_shards_are_told(
    server: ServerHandle, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader, "TIDY_INTERVAL", 0.1)
    errors: list[Exception] = []
    async with (
        Coordinator(server.url, namespace=namespace, shards=2, on_error=errors.append),
        Coordinator(server.url, namespace=namespace, shards=4, on_error=errors.append),
    ):
        await eventually(lambda: errors, within=PATIENCE, what="an error")
    assert all(isinstance(error, PolicyMismatchError) for error in errors)
    assert "instances disagree on their policies or shards (2 versions" in str(errors[0])
