"""`doctor` finds each fault that is planted."""

import asyncio
import json
import re

import pytest

from tests.cli.schema import check
from tests.cluster.fleet import StartFleet, split
from tests.faults.test_permissions import NEEDED, permit
from tests.helpers.command import Result, arun
from tests.helpers.proxy import Proxy
from tests.helpers.servers import RedisServer, ServerHandle
from zenvark_web.backends.examination import TRIALS, commands_of_scripts
from zenvark_web.backends.redis import KEYS
from zenvark_web.cli import checks


async def doctor(server: ServerHandle, namespace: str, *, url: str = "") -> Result:
    return await arun("doctor", "--redis", url or server.url, "--namespace", namespace)


def problems(result: Result) -> list[str]:
    assert result.err == ""
    found = [line for line in result.lines if line.startswith("PROBLEM ")]
    assert result.code == (1 if found else 0), result.out
    return found


def the_problem(result: Result) -> str:
    [found] = problems(result)
    return found


async def test_a_fleet_that_is_well(
    server: ServerHandle, namespace: str, start_fleet: StartFleet
) -> None:
    await split(await start_fleet(3, server=server))
    result = await doctor(server, namespace)
    assert problems(result) == [], result.out
    assert result.lines[-1] == "No problems found."
    assert "3 instances, with a leader" in result.out
    told = await arun("doctor", "--redis", server.url, "--namespace", namespace, "--json")
    record = json.loads(told.out)
    check(record, "doctor")
    assert record["healthy"] is True


async def test_shards_that_are_well(
    namespace: str, redis_server: ServerHandle, start_fleet: StartFleet
) -> None:
    fleet = await start_fleet(2, shards=3, threshold=1, wait=60)
    for number in range(6):  # somebody leads each
        await fleet[0].fail(circuit=f"circuit-{number}")
        await fleet[0].reaches("open", f"circuit-{number}")
    assert problems(await doctor(redis_server, namespace)) == []


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_server_that_evicts(namespace: str, start_fleet: StartFleet, policy: str) -> None:
    config = {"maxmemory": "200mb", "maxmemory-policy": policy}
    with RedisServer(config=config) as server:
        await split(await start_fleet(1, server=server))
        problem = the_problem(await doctor(server, namespace))
        assert f"maxmemory-policy is {policy}: a full server evicts" in problem
        server.command("CONFIG", "SET", "maxmemory", "0")
        result = await doctor(server, namespace)
        assert problems(result) == []
        assert "without effect while maxmemory is 0" in result.out


async def test_an_old_server(
    namespace: str, oldest_redis_server: ServerHandle, start_fleet: StartFleet
) -> None:
    """No server before 6.2 is installed: a proxy changes the version that the oldest one tells."""
    await split(await start_fleet(1, server=oldest_redis_server))
    async with Proxy(oldest_redis_server.port) as proxy:
        proxy.replies.rewrite = lambda data: re.sub(
            rb"redis_version:6\.2\.", b"redis_version:6.0.", data
        )
        problem = the_problem(await doctor(oldest_redis_server, namespace, url=proxy.url))
    assert re.search(r"server: Redis 6\.0\.\d+ is too old", problem)


@pytest.mark.parametrize("jump", [-3, 2])
async def test_a_clock_that_jumps(
    namespace: str, redis_server: ServerHandle, start_fleet: StartFleet, jump: int
) -> None:
    await split(await start_fleet(1))
    replies = 0

    def jumping(data: bytes) -> bytes:
        nonlocal replies
        time = re.fullmatch(rb"\*2\r\n\$10\r\n(\d{10})\r\n(.*)", data, re.DOTALL)
        if time is None:
            return data
        replies += 1
        seconds = int(time[1]) + (jump if replies > 6 else 0)
        return b"*2\r\n$10\r\n%d\r\n%b" % (seconds, time[2])

    async with Proxy(redis_server.port) as proxy:
        proxy.replies.rewrite = jumping
        found = problems(await doctor(redis_server, namespace, url=proxy.url))
    assert replies > 10
    [problem] = [line for line in found if "clock: " in line and "ahead" not in line]
    assert f"the server's clock jumped by {abs(jump)}.0 s within" in problem


async def test_each_missing_permission(server: ServerHandle, namespace: str) -> None:
    assert {f"+{name.lower().replace(' ', '|')}" for name in TRIALS} == set(NEEDED)
    for right in NEEDED:
        url = permit(server, namespace, but=right)
        result = await doctor(server, namespace, url=url)
        [found] = [line for line in problems(result) if "permissions: " in line]
        assert f"this user lacks {right[1:].upper().replace('|', ' ')}" in found
        assert f"ACL SETUSER <user> {right}" in result.out


def test_the_permissions_of_every_script_are_tried() -> None:
    for name, commands in commands_of_scripts().items():
        assert commands <= TRIALS.keys(), name


async def test_a_user_who_may_not_ask_for_the_servers_state(
    server: ServerHandle, namespace: str, start_fleet: StartFleet
) -> None:
    await split(await start_fleet(1, server=server))
    result = await doctor(server, namespace, url=permit(server, namespace))
    assert problems(result) == []
    assert "no permission to read the version, memory and role" in result.out


async def test_policies_that_differ(
    namespace: str, redis_server: ServerHandle, start_fleet: StartFleet
) -> None:
    fleet = await start_fleet(2, threshold=5)
    other = await start_fleet(1, threshold=6)
    await split([*fleet, *other])
    result = await doctor(redis_server, namespace)
    problem = the_problem(result)
    assert "instances have different policies: " in problem
    assert f" on {other[0].id}" in problem
    diff = [line.strip() for line in result.out.splitlines() if "(default): " in line]
    assert sorted(diff) == [
        "+(default): strategy=ConsecutiveFailures(6.0)",
        "-(default): strategy=ConsecutiveFailures(5.0)",
    ] or sorted(diff) == [
        "+(default): strategy=ConsecutiveFailures(5.0)",
        "-(default): strategy=ConsecutiveFailures(6.0)",
    ]


async def test_shards_that_differ(
    namespace: str, redis_server: ServerHandle, start_fleet: StartFleet
) -> None:
    one, many = await start_fleet(2), await start_fleet(1, shards=3)
    await split(one)
    found = problems(await doctor(redis_server, namespace))
    [problem] = [line for line in found if "different numbers of shards" in line]
    assert f"3 on {many[0].id}" in problem


async def test_another_number_of_shards_than_expected(
    namespace: str, redis_server: ServerHandle, start_fleet: StartFleet
) -> None:
    await split(await start_fleet(1))
    arguments = ("--redis", redis_server.url, "--namespace", namespace, "--shards", "2")
    assert "the fleet has 1 shard, not 2" in the_problem(await arun("doctor", *arguments))


async def test_a_stale_presence(
    namespace: str, fresh_server: RedisServer, start_fleet: StartFleet
) -> None:
    [instance] = await start_fleet(1, server=fresh_server)
    await split([instance])
    seconds, _ = fresh_server.command("TIME")
    presence = f'{int(seconds) - 40}000 follower {{"version":"0.1.0","fingerprint":"x/1"}}'
    fresh_server.command("HSET", f"zenvark:{{{namespace}}}:instances", "web-dead", presence)
    problem = the_problem(await doctor(fresh_server, namespace))
    assert "1 instance without heartbeats for 15 s: web-dead (4" in problem


async def test_an_override_without_an_end(
    namespace: str, redis_server: ServerHandle, start_fleet: StartFleet
) -> None:
    await split(await start_fleet(1))
    where = ("--redis", redis_server.url, "--namespace", namespace)
    for name, end in (("payments", "1h"), ("search it", "never")):
        await arun("force-open", name, "--reason", "forgotten", "--for", end, *where)
    result = await doctor(redis_server, namespace)
    assert "overrides: 1 override without an end: search it forced open by" in the_problem(result)
    assert "lift it: zenvark-web lift 'search it' --reason 'no longer needed' --redis" in result.out
    await arun("lift", "search it", "--reason", "found", *where)
    result = await doctor(redis_server, namespace)
    assert problems(result) == []
    assert "overrides: 1 override, none without an end" in result.out


async def test_a_slow_round_trip(
    namespace: str,
    redis_server: ServerHandle,
    start_fleet: StartFleet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await split(await start_fleet(1))
    monkeypatch.setattr(checks, "SLOW", 0.02)
    async with Proxy(redis_server.port) as proxy:
        proxy.requests.delay = 0.03
        problem = the_problem(await doctor(redis_server, namespace, url=proxy.url))
    assert "round trip: " in problem
    assert "too slow" in problem


async def test_a_key_of_a_wrong_type(
    namespace: str, fresh_server: RedisServer, start_fleet: StartFleet
) -> None:
    [instance] = await start_fleet(1, server=fresh_server)
    await split([instance])
    instance.process.pause()  # before it repairs what it can
    for key in KEYS:
        name = f"zenvark:{{{namespace}}}:{key}"
        fresh_server.command("DEL", name)
        fresh_server.command("SADD", name, "x")
    result = await doctor(fresh_server, namespace)
    for key in KEYS:
        name = f"zenvark:{{{namespace}}}:{key}"
        assert any(f"keys: {name} has a wrong type" in line for line in problems(result)), key
        assert f"Run DEL '{name}'" in result.out
    instance.process.kill()


async def test_fields_that_are_malformed(
    namespace: str, redis_server: ServerHandle, start_fleet: StartFleet
) -> None:
    await split(await start_fleet(1))
    redis_server.command("HSET", f"zenvark:{{{namespace}}}:circuits", "x", "rubbish")
    assert "1 malformed field" in the_problem(await doctor(redis_server, namespace))


@pytest.mark.parametrize(("ahead", "advice"), [(60, "was set back"), (200_000, "DEL 'zenvark:")])
async def test_a_clock_that_was_set_back(
    namespace: str, redis_server: ServerHandle, start_fleet: StartFleet, ahead: int, advice: str
) -> None:
    [instance] = await start_fleet(1)
    await split([instance])
    instance.process.pause()
    seconds, _ = redis_server.command("TIME")
    position = f"{int(seconds) + ahead}000-0"
    redis_server.command("XADD", f"zenvark:{{{namespace}}}:results", position, "a", "b")
    result = await doctor(redis_server, namespace)
    assert any("ahead of the clock" in line for line in problems(result))
    assert advice in result.out
    instance.process.kill()


async def test_nobody_is_there(namespace: str, redis_server: ServerHandle) -> None:
    problem = the_problem(await doctor(redis_server, namespace))
    assert f"Redis holds no keys of namespace '{namespace}'" in problem


async def test_all_have_stopped(
    namespace: str, redis_server: ServerHandle, start_fleet: StartFleet
) -> None:
    [instance] = await start_fleet(1)
    await instance.becomes("leader")
    await instance.stop()
    assert "no instance is connected" in the_problem(await doctor(redis_server, namespace))


async def test_nobody_leads(
    namespace: str, fresh_server: RedisServer, start_fleet: StartFleet
) -> None:
    [instance] = await start_fleet(1, server=fresh_server)
    await instance.becomes("leader")
    instance.process.pause()
    fresh_server.command("DEL", f"zenvark:{{{namespace}}}:leader")
    problem = the_problem(await doctor(fresh_server, namespace))
    assert "no leader of shard 0: its circuits keep their states" in problem
    instance.process.kill()


async def test_a_replica(namespace: str, start_fleet: StartFleet) -> None:
    with RedisServer() as primary, RedisServer(replica_of=primary) as replica:
        await split(await start_fleet(1, server=primary))
        await asyncio.to_thread(primary.command, "WAIT", 1, 5000)
        assert "the server is a replica" in the_problem(await doctor(replica, namespace))
        status = await arun("status", "--redis", replica.url, "--namespace", namespace)
        assert (status.code, status.err) == (0, "")
