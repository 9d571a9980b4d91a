"""`status` and `why` on a real fleet."""

import asyncio
import json
from functools import partial

import pytest

from tests.cli.schema import check
from tests.cluster.fleet import StartFleet, all_reach, split
from tests.cluster.store import Store
from tests.faults.test_permissions import denied, permit
from tests.helpers.clients import close_client
from tests.helpers.command import arun
from tests.helpers.deployments import Cluster
from tests.helpers.servers import RedisServer, ServerHandle
from tests.helpers.waiting import eventually
from zenvark_web.backends.examination import TRIALS


async def known(server: ServerHandle, namespace: str, circuit: str) -> None:
    """A circuit is in the fleet's first checkpoint."""
    tallies = f"zenvark:{{{namespace}}}:tallies"
    await eventually(lambda: server.command("HEXISTS", tallies, circuit), what="a checkpoint")


def of(server: ServerHandle, namespace: str) -> tuple[str, ...]:
    return "--redis", server.url, "--namespace", namespace


async def test_a_healthy_fleet(
    server: ServerHandle, namespace: str, start_fleet: StartFleet
) -> None:
    fleet = await start_fleet(3, server=server, housekeeping=0.1)
    leader, followers = await split(fleet)
    await leader.succeed(circuit="payments")
    await known(server, namespace, "payments")
    result = await arun("status", *of(server, namespace), "--exit-code")
    assert (result.code, result.err) == (0, "")
    assert result.lines[0].startswith(f"{namespace}: 0 open, 0 half-open, 1 closed")
    assert result.row("payments") == "payments closed no state change yet"
    assert result.row(leader.id).startswith(f"{leader.id} leader ")
    for follower in followers:
        assert result.row(follower.id).startswith(f"{follower.id} follower ")


async def test_an_open_circuit(
    server: ServerHandle, namespace: str, start_fleet: StartFleet
) -> None:
    fleet = await start_fleet(2, server=server, threshold=3, wait=60)
    await fleet[0].fail(3)
    await all_reach(fleet, "open")
    result = await arun("status", *of(server, namespace))
    assert result.code == 0
    assert result.lines[0].startswith(f"{namespace}: 1 open")
    row = result.row("upstream")
    assert row.startswith("upstream open ")
    assert "attempt 1" in row
    assert "3 of 3 calls failed" in row
    assert "3 x UpstreamError" in row
    assert (await arun("status", *of(server, namespace), "--exit-code")).code == 3
    record = json.loads((await arun("status", *of(server, namespace), "--json")).out)
    check(record, "status")
    assert record["all_closed"] is False
    assert record["counts"] == {"open": 1, "half_open": 0, "closed": 0}
    [circuit] = record["circuits"]
    assert circuit["transition"]["failures"] == {"UpstreamError": 3}
    assert {each["name"] for each in record["instances"]} == {each.id for each in fleet}


async def test_why_a_circuit_is_open(
    namespace: str, redis_server: ServerHandle, start_fleet: StartFleet
) -> None:
    fleet = await start_fleet(2, threshold=3, wait=60)
    await fleet[0].fail(3)
    await all_reach(fleet, "open")
    await fleet[1].succeed(2)  # rejected
    arguments = ("why", "upstream", *of(redis_server, namespace))

    async def rejections_are_reported() -> bool:
        return "2 rejected" in (await arun(*arguments)).out

    await eventually(rejections_are_reported)
    result = await arun(*arguments)
    assert (result.code, result.err) == (0, "")
    assert result.lines[0].startswith("upstream is open, changed ")
    assert "why: 3 of 3 calls failed: ConsecutiveFailures(threshold=3)" in result.lines
    assert result.lines.count("failures: 3 x UpstreamError") == 2
    assert result.lines.count(f"seen by: {fleet[0].id} (3)") == 2
    assert any(line.startswith("Next attempt in ") for line in result.lines)
    assert any("3 calls, 3 failed, 2 rejected" in line for line in result.lines)
    record = json.loads((await arun(*arguments, "--json")).out)
    check(record, "why")
    assert record["recent"]["blocked"] == 2
    assert record["opening"] == record["current"] == record["history"][0]


async def test_why_a_circuit_has_recovered(
    namespace: str, redis_server: ServerHandle, start_fleet: StartFleet
) -> None:
    fleet = await start_fleet(1, threshold=1, wait=0.05, housekeeping=0.1)
    await fleet[0].fail()
    await fleet[0].reaches("open")
    await fleet[0].traffic_on(via="local")
    await fleet[0].reaches("closed")
    await fleet[0].traffic_off()
    result = await arun("why", "upstream", *of(redis_server, namespace))
    assert "Calls are permitted." in result.lines
    kinds = [line.split()[1] for line in result.lines if line[2:3] == ":"]
    assert kinds[0] == "closed"
    assert kinds[-1] == "opened"
    assert "half-open" in kinds
    record = json.loads((await arun("why", "upstream", *of(redis_server, namespace), "--json")).out)
    check(record, "why")
    assert record["state"] == "closed"


async def test_a_ramp(namespace: str, redis_server: ServerHandle, start_fleet: StartFleet) -> None:
    fleet = await start_fleet(1, threshold=1, wait=0.05, ramp=(0.5,), ramp_step=600)
    await fleet[0].fail()
    await fleet[0].reaches("open")
    await fleet[0].traffic_on(via="local")

    async def why() -> str | None:
        result = await arun("why", "upstream", *of(redis_server, namespace))
        return result.out if "A ramp permits" in result.out else None

    told = await eventually(why, what="a ramp")
    assert "A ramp permits 50 % of calls." in " ".join(str(told).split())
    status = await arun("status", *of(redis_server, namespace))
    assert status.lines[0].startswith(f"{namespace}: 0 open, 1 half-open, 0 closed")
    assert "ramp: 50 % of calls, " in status.row("upstream")
    record = json.loads((await arun("why", "upstream", *of(redis_server, namespace), "--json")).out)
    check(record, "why")
    assert record["current"]["ramp"] == {"shares": [0.5], "step": 600.0}


async def test_a_circuit_that_is_unknown(
    namespace: str, redis_server: ServerHandle, start_fleet: StartFleet
) -> None:
    await start_fleet(1)
    result = await arun("why", "nix", *of(redis_server, namespace))
    assert result.code == 2
    assert f"namespace '{namespace}' has no circuit 'nix'" in result.err
    assert "status --all" in result.err


async def test_shards_are_found_and_a_wrong_number_is_refused(
    namespace: str, redis_server: ServerHandle, start_fleet: StartFleet
) -> None:
    fleet = await start_fleet(2, shards=3, threshold=1, wait=60)
    names = [f"circuit-{number}" for number in range(6)]
    for name in names:
        await fleet[0].fail(circuit=name)
    await asyncio.gather(*(all_reach(fleet, "open", name) for name in names))
    result = await arun("status", *of(redis_server, namespace))
    assert result.lines[0].startswith(f"{namespace}: 6 open")
    for name in names:
        assert result.row(name).startswith(f"{name} open")
        why = await arun("why", name, *of(redis_server, namespace), "--shards", "3")
        assert why.lines[0].startswith(f"{name} is open")
    events = await arun("events", *of(redis_server, namespace))
    assert sum(" opened: " in line for line in events.lines) == 6
    refused = await arun("status", *of(redis_server, namespace), "--shards", "2")
    assert refused.code == 2
    assert "has 3 shards, not 2" in refused.err


async def test_shards_are_found_when_all_instances_are_gone(
    namespace: str, redis_server: ServerHandle, start_fleet: StartFleet
) -> None:
    fleet = await start_fleet(1, shards=3, threshold=1, wait=60)
    await fleet[0].fail()
    await fleet[0].reaches("open")
    await fleet[0].stop()
    result = await arun("status", *of(redis_server, namespace), "--shards", "3")
    assert result.code == 0
    assert result.row("upstream").startswith("upstream open")
    assert "no leader of shard 0, 1, 2: circuits keep their states." in result.out
    why = await arun("why", "upstream", *of(redis_server, namespace))
    assert "There is no leader" in why.out


async def test_the_permissions_of_an_instance_are_enough(
    server: ServerHandle, namespace: str, start_fleet: StartFleet
) -> None:
    [instance] = await start_fleet(1, server=server, threshold=1, wait=60)
    await instance.fail()
    await instance.reaches("open")
    url = permit(server, namespace)
    server.command("ACL", "LOG", "RESET")
    for command in (["status"], ["why", "upstream"], ["events"]):
        result = await arun(*command, "--redis", url, "--namespace", namespace)
        assert (result.code, result.err) == (0, "")
    assert denied(server) <= {"client|setinfo", "client"}  # Redis 6.2 names no subcommand


async def test_nothing_is_written(
    fresh_server: RedisServer, namespace: str, start_fleet: StartFleet
) -> None:
    [instance] = await start_fleet(1, server=fresh_server, threshold=1, wait=60)
    await instance.fail()
    await instance.reaches("open")
    instance.process.pause()
    fresh_server.command("PERSIST", f"zenvark:{{{namespace}}}:leader")
    before = stored(fresh_server)
    arguments = of(fresh_server, namespace)
    for command in (["status"], ["why", "upstream"], ["events"], ["doctor"]):
        await arun(*command, *arguments)
        assert stored(fresh_server) == before
    for command in TRIALS:
        name = command.lower().replace(" ", "|")
        assert fresh_server.command_calls()[name] > 0, name
    instance.process.kill()


def stored(server: RedisServer) -> dict[str, bytes]:
    with server.client() as client:
        client.connection_pool.connection_kwargs["decode_responses"] = False
        return {key: client.execute_command("DUMP", key, NEVER_DECODE=True) for key in keys(server)}


def keys(server: RedisServer) -> list[str]:
    return sorted(server.command("KEYS", "*"))


async def test_a_cluster_by_the_url_of_any_node(namespace: str, start_fleet: StartFleet) -> None:
    with Cluster() as cluster:
        await with_nodes(cluster, namespace)


async def with_nodes(cluster: Cluster, namespace: str) -> None:
    from redis.asyncio import RedisCluster

    from zenvark_web import BreakerPolicy, ConsecutiveFailures, Coordinator

    client = RedisCluster.from_url(cluster.nodes[0].url)
    policy = BreakerPolicy(strategy=ConsecutiveFailures(1))
    coordinator = Coordinator(client, namespace=namespace, shards=4, policy=policy)
    async with coordinator:
        for number in range(8):
            with pytest.raises(ValueError, match="broken"):
                await coordinator.breaker(f"circuit-{number}").execute(broken)
        breakers = [coordinator.breaker(f"circuit-{number}") for number in range(8)]
        await eventually(lambda: all(each.state != "closed" for each in breakers))
        for node in cluster.nodes:
            result = await arun("status", *of(node, namespace))
            assert (result.code, result.err) == (0, "")
            assert result.lines[0].startswith(f"{namespace}: 8 open")
            assert (await arun("events", *of(node, namespace))).out.count(" opened: ") == 8
        doctor = await arun("doctor", *of(cluster.nodes[0], namespace))
        assert "PROBLEM" not in doctor.out, doctor.out
    await close_client(client)


async def broken() -> None:
    raise ValueError("broken")


async def test_many_circuits(
    fresh_server: RedisServer, namespace: str, start_fleet: StartFleet
) -> None:
    [instance] = await start_fleet(1, server=fresh_server, housekeeping=0.1)
    await instance.use(700)
    tallies = f"zenvark:{{{namespace}}}:tallies"
    await eventually(lambda: fresh_server.command("HLEN", tallies) > 700, what="a checkpoint")
    result = await arun("status", *of(fresh_server, namespace))
    assert "and 650 circuits more: status --all" in result.lines
    assert (await arun("status", "--all", *of(fresh_server, namespace))).out.count("closed") == 701


async def test_the_environment_names_the_fleet(
    namespace: str,
    redis_server: ServerHandle,
    start_fleet: StartFleet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await start_fleet(1)
    monkeypatch.setenv("ZENVARK_REDIS", redis_server.url)
    monkeypatch.setenv("ZENVARK_NAMESPACE", namespace)
    assert (await arun("status")).code == 0


async def test_results_that_are_repeated_count_once(
    namespace: str, redis_server: ServerHandle, start_fleet: StartFleet, store: Store
) -> None:
    [instance] = await start_fleet(1)
    await instance.succeed(5)
    await eventually(partial(reported, store))
    key = f"zenvark:{{{namespace}}}:results"
    for _, fields in redis_server.command("XRANGE", key, "-", "+"):
        redis_server.command("XADD", key, "*", *[part for pair in fields.items() for part in pair])
    result = await arun("why", "upstream", *of(redis_server, namespace))
    assert "Last 60 s: 5 calls, 0 failed" in result.out


def reported(store: Store) -> bool:
    return store.reported("upstream")["successes"] == 5
