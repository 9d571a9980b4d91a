"""`events` on a real fleet."""

import json

import pytest

from tests.cli.schema import check
from tests.cluster.fleet import StartFleet, split
from tests.helpers.command import Running, arun
from tests.helpers.servers import RedisServer, ServerHandle


def of(server: ServerHandle, namespace: str) -> tuple[str, ...]:
    return "--redis", server.url, "--namespace", namespace


async def test_the_last_events(
    server: ServerHandle, namespace: str, start_fleet: StartFleet
) -> None:
    fleet = await start_fleet(2, server=server, threshold=1, wait=60)
    leader, [follower] = await split(fleet)
    for circuit in ("first", "second"):
        await follower.fail(circuit=circuit)
        await follower.reaches("open", circuit)
    result = await arun("events", *of(server, namespace))
    assert (result.code, result.err) == (0, "")
    assert any(f" {leader.id} is the leader (epoch 1)" in line for line in result.lines)
    assert " first opened: 1 of 1 calls failed: " in result.lines[-2]
    assert result.lines[-1].endswith("(1 x UpstreamError); attempt 1 after 60 s")
    assert (await arun("events", "-n", "1", *of(server, namespace))).lines == result.lines[-1:]
    only = await arun("events", "--circuit", "first", *of(server, namespace))
    assert only.lines == [result.lines[-2]]
    records = (await arun("events", "--json", *of(server, namespace))).out.splitlines()
    assert len(records) == len(result.lines)
    for record in records:
        check(json.loads(record), "events")


async def test_following_through_an_outage(
    fresh_server: RedisServer, namespace: str, start_fleet: StartFleet
) -> None:
    [instance] = await start_fleet(1, server=fresh_server, threshold=1, wait=60)
    with Running("events", "--follow", "--json", *of(fresh_server, namespace)) as following:
        await following.auntil('"leader"')
        await instance.fail(circuit="before")
        check(json.loads(await following.auntil("before")), "events")
        fresh_server.restart(empty=True)
        await instance.connects()
        await instance.fail(circuit="after")
        line = await following.auntil("after")
        assert json.loads(line)["state"] == "open"
        following.interrupt()
        assert following.end() == 130
        told = following.stderr.splitlines()
        assert len([line for line in told if "Retrying" in line]) <= 1
        assert "Traceback" not in following.stderr


@pytest.mark.parametrize("count", ["0", "300"])
async def test_any_number_of_events(
    namespace: str, redis_server: ServerHandle, start_fleet: StartFleet, count: str
) -> None:
    [instance] = await start_fleet(1, threshold=1, wait=60)
    await instance.fail()
    await instance.reaches("open")
    result = await arun("events", "-n", count, *of(redis_server, namespace))
    assert len(result.lines) == (0 if count == "0" else 2)
