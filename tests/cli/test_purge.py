"""`purge` deletes what dead namespaces have left, and nothing of living ones."""

import asyncio
import json
import signal
from collections.abc import Mapping

import pytest

from tests.cluster.fleet import Instance, StartFleet
from tests.helpers.command import arun, run
from tests.helpers.deployments import Cluster
from tests.helpers.servers import RedisServer, ServerHandle
from tests.helpers.terminal import OnTerminal
from zenvark_web.backends.asking import InspectionError, Server
from zenvark_web.backends.purging import look_at
from zenvark_web.backends.redis import KEYS


def keys(server: ServerHandle, namespace: str) -> set[str]:
    found = server.command("KEYS", f"zenvark:{{{namespace}[}}/]*")
    return set(found)


def leave(server: ServerHandle, tag: str, *, ago: int = 60) -> None:
    """What an instance that was killed leaves behind."""
    seconds, _ = server.command("TIME")
    presence = json.dumps({"version": "0.1.0", "fingerprint": "x/1"})
    prefix = f"zenvark:{{{tag}}}:"
    server.command(
        "HSET", f"{prefix}instances", "web-1", f"{int(seconds) - ago}000 leader {presence}"
    )
    server.command("SET", f"{prefix}epoch", 7)


async def used(start_fleet: StartFleet, server: ServerHandle, **settings: int) -> Instance:
    [instance] = await start_fleet(1, server=server, threshold=1, wait=60, **settings)
    await instance.fail()
    await instance.reaches("open")
    return instance


@pytest.mark.parametrize("settings", [{}, {"shards": 3}], ids=["one shard", "three shards"])
async def test_a_namespace_is_deleted_when_its_instances_have_stopped(
    namespace: str,
    redis_server: ServerHandle,
    start_fleet: StartFleet,
    settings: Mapping[str, int],
) -> None:
    instance = await used(start_fleet, redis_server, **settings)
    leave(redis_server, f"{namespace}-2")
    command = ("purge", "--redis", redis_server.url, "--yes", namespace)
    refused = await arun(*command)
    assert (refused.code, refused.out) == (2, "")
    assert f"namespace '{namespace}' keeps its keys: 1 instance with recent" in refused.err
    assert instance.id in refused.err
    before = keys(redis_server, namespace)
    assert len(before) > 4
    await instance.stop()
    result = await arun(*command)
    assert (result.code, result.err) == (0, "")
    assert result.row(namespace).split(" ")[2] == "1"
    assert result.lines[-1].startswith("Deleted ")
    assert keys(redis_server, namespace) == set()
    assert len(keys(redis_server, f"{namespace}-2")) == 2
    assert (await arun(*command)).out == "Nothing to delete.\n"


async def test_a_killed_instance_counts_until_it_is_silent(
    namespace: str, redis_server: ServerHandle
) -> None:
    leave(redis_server, f"{namespace}/2", ago=10)
    command = ("purge", "--redis", redis_server.url, "--yes", namespace)
    assert (await arun(*command)).code == 2
    leave(redis_server, f"{namespace}/2", ago=16)
    assert (await arun(*command)).code == 0
    assert keys(redis_server, namespace) == set()


def test_keys_of_any_type_are_deleted(namespace: str, redis_server: ServerHandle) -> None:
    for key in KEYS:
        redis_server.command("SADD", f"zenvark:{{{namespace}}}:{key}", "x")
    result = run("purge", "--redis", redis_server.url, "--yes", namespace)
    assert result.row(namespace) == f"{namespace} {len(KEYS)} 0 -"
    assert keys(redis_server, namespace) == set()


def test_without_a_terminal_nothing_is_asked(namespace: str, redis_server: ServerHandle) -> None:
    leave(redis_server, namespace)
    result = run("purge", "--redis", redis_server.url, namespace)
    assert result.code == 2
    assert result.row(namespace).startswith(f"{namespace} 2 0 ")
    assert "pass --yes" in result.err
    assert len(keys(redis_server, namespace)) == 2


@pytest.mark.parametrize(("answer", "code", "left"), [("y", 0, 0), ("n", 1, 2), ("", 1, 2)])
def test_the_answer_counts(
    namespace: str, redis_server: ServerHandle, answer: str, code: int, left: int
) -> None:
    leave(redis_server, namespace)
    arguments = ("purge", "--redis", redis_server.url, namespace)
    terminal = OnTerminal("-m", "zenvark_web", *arguments)
    terminal.until("Delete 2 keys? [y/N]")
    terminal.type(f"{answer}\n")
    assert terminal.end() == code
    assert len(keys(redis_server, namespace)) == left


def test_ctrl_c_at_the_question_deletes_nothing(namespace: str, redis_server: ServerHandle) -> None:
    leave(redis_server, namespace)
    terminal = OnTerminal("-m", "zenvark_web", "purge", "--redis", redis_server.url, namespace)
    terminal.until("Delete 2 keys? [y/N]")
    terminal.until_it_reads()
    assert terminal.end(signal.SIGINT) == 130
    assert "Traceback" not in terminal.written
    assert len(keys(redis_server, namespace)) == 2


def test_ctrl_d_at_the_question_is_no(namespace: str, redis_server: ServerHandle) -> None:
    leave(redis_server, namespace)
    terminal = OnTerminal("-m", "zenvark_web", "purge", "--redis", redis_server.url, namespace)
    terminal.until("Delete 2 keys? [y/N]")
    terminal.type("\x04")
    assert terminal.end() == 1
    assert "Nothing was deleted." in terminal.written
    assert len(keys(redis_server, namespace)) == 2


def test_a_user_who_may_not_see_instances_deletes_nothing(fresh_server: RedisServer) -> None:
    """They may live."""
    leave(fresh_server, "shop", ago=0)
    rights = ("~zenvark:{shop}:*", "~zenvark:{shop/*}:*", "+@all", "-hgetall")
    fresh_server.command("ACL", "SETUSER", "ops", "on", ">x", *rights)
    url = fresh_server.url.replace("redis://", "redis://ops:x@")
    result = run("purge", "--redis", url, "--yes", "shop")
    assert (result.code, result.out) == (2, "")
    assert "hgetall" in result.err
    assert len(keys(fresh_server, "shop")) == 2


async def test_a_leader_counts_as_living_while_its_lease_lasts(
    namespace: str, redis_server: ServerHandle
) -> None:
    """A lease may be longer than the silence after which an instance is gone."""
    leave(redis_server, namespace)
    redis_server.command("SET", f"zenvark:{{{namespace}}}:leader", "7:web-1", "PX", 60_000)
    command = ("purge", "--redis", redis_server.url, "--yes", namespace)
    refused = await arun(*command)
    assert (refused.code, refused.out) == (2, "")
    assert "web-1" in refused.err
    assert len(keys(redis_server, namespace)) == 3
    redis_server.command("DEL", f"zenvark:{{{namespace}}}:leader")
    assert (await arun(*command)).code == 0


def test_an_instance_that_starts_before_the_answer_keeps_its_keys(
    namespace: str, redis_server: ServerHandle
) -> None:
    leave(redis_server, namespace)
    terminal = OnTerminal("-m", "zenvark_web", "purge", "--redis", redis_server.url, namespace)
    terminal.until("Delete 2 keys? [y/N]")
    leave(redis_server, namespace, ago=0)
    terminal.type("y\n")
    assert terminal.end() == 2
    assert "keeps its keys" in terminal.written
    assert len(keys(redis_server, namespace)) == 2


async def test_dead_namespaces_are_found(
    fresh_server: RedisServer, start_fleet: StartFleet
) -> None:
    await used(start_fleet, fresh_server)
    for tag in ("old", "older/0", "older/1", "\x1b[2J"):
        leave(fresh_server, tag)
    fresh_server.command("SET", "zenvark:other", "x")
    living = fresh_server.command("KEYS", "zenvark:{test-*")
    result = await arun("purge", "--redis", fresh_server.url, "--yes")
    assert (result.code, result.err) == (0, "")
    assert [line.split(" ")[0] for line in result.lines[:-1]] == [
        "NAMESPACE",
        r"\x1b[2J",
        "old",
        "older",
    ]
    assert result.lines[-1] == "Deleted 8 keys."
    left = set(fresh_server.command("KEYS", "*"))
    assert left >= {*living, "zenvark:other"}
    assert not any(key.startswith(("zenvark:{old", "zenvark:{\x1b")) for key in left)


def test_a_user_who_may_not_look_for_namespaces(fresh_server: RedisServer) -> None:
    leave(fresh_server, "old")
    rights = ("~zenvark:{old}:*", "~zenvark:{old/*}:*", "+@all", "-scan")
    fresh_server.command("ACL", "SETUSER", "shop", "on", ">x", *rights)
    url = fresh_server.url.replace("redis://", "redis://shop:x@")
    result = run("purge", "--redis", url, "--yes")
    assert result.code == 2
    assert "Pass the namespaces to delete, or grant this user +scan" in result.err
    assert run("purge", "--redis", url, "--yes", "old").code == 0


async def test_no_command_goes_on_after_one_has_failed(fresh_server: RedisServer) -> None:
    """It would connect again after the connections have been closed, and nobody would close that
    one."""
    leave(fresh_server, "old")
    rights = ("~zenvark:{old/*}:*", "+@all")  # not the first shard's keys
    fresh_server.command("ACL", "SETUSER", "shop", "on", ">x", *rights)
    server = Server(fresh_server.url.replace("redis://", "redis://shop:x@"))
    server.open()
    before = asyncio.all_tasks()
    try:
        with pytest.raises(InspectionError, match="permissions"):
            await look_at(server, "old")
        assert asyncio.all_tasks() == before
    finally:
        await server.close()


async def test_the_nodes_of_a_cluster_are_searched() -> None:
    with Cluster() as cluster:
        tags = [f"old-{number}" for number in range(6)]
        for tag in tags:
            leave(cluster.node_of(f"zenvark:{{{tag}}}:epoch"), tag)
        command = ("purge", "--redis", cluster.nodes[1].url, "--yes")
        result = await arun(*command)
        assert (result.code, result.err) == (0, "")
        assert [line.split(" ")[0] for line in result.lines[1:-1]] == tags
        assert result.lines[-1] == "Deleted 12 keys."
        left = await asyncio.gather(
            *(asyncio.to_thread(node.command, "DBSIZE") for node in cluster.nodes)
        )
        assert left == [0, 0, 0]


@pytest.mark.parametrize("namespace", ["a/b", "{a}", "", "a\x1bb"])
def test_no_namespace(namespace: str, redis_server: ServerHandle) -> None:
    result = run("purge", "--redis", redis_server.url, "--yes", namespace)
    assert result.code == 2
    assert "namespace must" in result.err
