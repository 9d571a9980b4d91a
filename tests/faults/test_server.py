"""A server refuses, forgets, throws everybody out or holds nonsense: calls go on, and it heals."""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

import pytest

from tests.faults.conftest import SideBySide
from tests.faults.fleet import Fleet
from tests.helpers.proxy import CLOSING, Proxy
from tests.helpers.servers import RedisServer
from tests.helpers.waiting import PATIENCE, eventually
from zenvark_web import Coordinator, MalformedEntryError, State
from zenvark_web.backends.redis import KEYS
from zenvark_web.exceptions import ResultsLostError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("soon", "lasting")]

FAULT = 1.0
PASSWORD = "first"


Run = Callable[..., object]
"""Runs a command, on a connection that stays."""


def kill_clients(run: Run) -> None:
    run("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def use_password(run: Run, password: str) -> None:
    """Ask for another password from now on, also of those who are connected."""
    run("CONFIG", "SET", "requirepass", password)
    kill_clients(run)


@dataclass(frozen=True)
class Fault:
    """A way for a server to be of no use for a while.

    Args:
        begin, end: What is done to it.
        told: What the fleet tells of it.
    """

    begin: Callable[[Run], object]
    end: Callable[[Run], object]
    told: str


FAULTS = {
    "out of memory": Fault(
        lambda run: run("CONFIG", "SET", "maxmemory", "1"),
        lambda run: run("CONFIG", "SET", "maxmemory", "0"),
        "maxmemory",
    ),
    "read-only replica": Fault(
        lambda run: run("REPLICAOF", "127.0.0.1", "1"),
        lambda run: run("REPLICAOF", "NO", "ONE"),
        "(?i)read.?only",
    ),
    "replica without a primary's data": Fault(
        lambda run: (
            run("CONFIG", "SET", "replica-serve-stale-data", "no"),
            run("REPLICAOF", "127.0.0.1", "1"),
        ),
        lambda run: run("REPLICAOF", "NO", "ONE"),
        "MasterDownError",
    ),
    "another password": Fault(
        lambda run: use_password(run, "second"),
        lambda run: use_password(run, PASSWORD),
        "(?i)AuthenticationError",
    ),
    "user switched off": Fault(
        lambda run: (run("ACL", "SETUSER", "app", "off"), kill_clients(run)),
        lambda run: run("ACL", "SETUSER", "app", "on"),
        "(?i)AuthenticationError",
    ),
    "no permission to write": Fault(
        lambda run: run("ACL", "SETUSER", "app", "-xadd"),
        lambda run: run("ACL", "SETUSER", "app", "+xadd"),
        "(?i)NoPermission|NOPERM|ACL failure",
    ),
    "too many clients": Fault(
        lambda run: (run("CONFIG", "SET", "maxclients", "1"), kill_clients(run)),
        lambda run: run("CONFIG", "SET", "maxclients", "1000"),
        "max number of clients",
    ),
}


@pytest.mark.parametrize("kind", FAULTS)
async def test_of_no_use_for_a_while(kind: str, side_by_side: SideBySide) -> None:
    await side_by_side(of_no_use, kind)


async def of_no_use(kind: str, server: RedisServer, namespace: str) -> None:
    fault, url = FAULTS[kind], guard(server)
    if kind != "another password":
        url = url.replace("://:", "://app:")
    with server.client() as client:
        client.single_connection_client = True
        run = client.client().execute_command
        async with Fleet(*[lambda: url] * 2, namespace=namespace) as fleet:
            async with fleet.calling() as callers:
                assert not fleet.unexcused()
                fault.begin(run)
                await fleet.fail("meanwhile")
                await callers.check(FAULT)
                assert {member.state("meanwhile") for member in fleet.members} == {State.CLOSED}
                fault.end(run)
                await fleet.reach(State.OPEN, "meanwhile")
                await fleet.works()
            fleet.check_told()
            assert re.search(fault.told, fleet.errors)
            fleet.forget_errors()
            await fleet.works()
            assert not fleet.unexcused()
            await fleet.accounts_close(lost=True)


def guard(server: RedisServer) -> str:
    """Ask for a password, and have a user `app` of the same; tells the URL that holds it."""
    server.command("ACL", "SETUSER", "app", "on", f">{PASSWORD}", "~*", "&*", "+@all")
    server.command("CONFIG", "SET", "requirepass", PASSWORD)
    server.password = PASSWORD
    server.url = server.url.replace("://", f"://:{PASSWORD}@")
    return server.url


async def test_loads_its_data_for_a_while(fresh_server: RedisServer, namespace: str) -> None:
    with fresh_server.client() as client:
        client.mset({f"unrelated {number}": "" for number in range(2000)})
    async with Fleet(*[lambda: fresh_server.url] * 2, namespace=namespace) as fleet:
        async with fleet.calling() as callers:
            fresh_server.command("SAVE")
            fresh_server.kill()
            fresh_server._config |= {
                "key-load-delay": "400",
                "loading-process-events-interval-bytes": "1024",
            }
            restarting = asyncio.create_task(asyncio.to_thread(fresh_server.start))
            await fleet.fail("meanwhile")
            await callers.check(FAULT * 0.5)
            await restarting
            await fleet.reach(State.OPEN, "meanwhile")
            await fleet.works()
        fleet.check_told()
        assert "BusyLoadingError" in fleet.errors
        await fleet.accounts_close(lost=True)


MOMENTS: dict[str, Callable[[RedisServer], object]] = {
    "loses everything": lambda server: server.command("FLUSHALL"),
    "forgets its scripts": lambda server: server.command("SCRIPT", "FLUSH"),
    "throws everybody out": lambda server: kill_clients(server.command),
    "is restarted empty": RedisServer.restart,
    "is restarted": lambda server: server.restart(empty=False),
    "is restarted with old data": lambda server: (server.kill(), server.start()),
}


@pytest.mark.parametrize("moment", MOMENTS)
async def test_moment_of_trouble(moment: str, fresh_server: RedisServer, namespace: str) -> None:
    """It happens again and again, in the midst of calls and failures."""
    async with Fleet(*[lambda: fresh_server.url] * 3, namespace=namespace) as fleet:
        async with fleet.calling() as callers:
            fresh_server.command("SAVE")
            for number in range(3):
                await fleet.members[number].fail(2, f"before {number}")
                MOMENTS[moment](fresh_server)
                await fleet.fail(f"after {number}")
                await fleet.reach(State.OPEN, f"after {number}")
            await fleet.works()
            await callers.check(0.2)
        fleet.check_told_little()
        async with fleet.newcomer(fresh_server.url) as newcomer:
            await fleet.reach(State.OPEN, "down", of=[newcomer])
            await fleet.reach(State.OPEN, "after 2", of=[newcomer])
        await fleet.accounts_close(lost=True)
        fleet.forget_errors()
        await fleet.works()
        told = [error for member in fleet.members for error in member.errors]
        assert {type(error) for error in told} <= {ResultsLostError}


NEEDED_TO_LEAD = ("leader", "states", "circuits", "instances")


@pytest.mark.parametrize("kind", KEYS)
async def test_key_becomes_something_else_for_a_while(kind: str, side_by_side: SideBySide) -> None:
    await side_by_side(key_is_something_else, kind)


async def key_is_something_else(key: str, server: RedisServer, namespace: str) -> None:
    name = f"zenvark:{{{namespace}}}:{key}"
    async with Fleet(*[lambda: server.url] * 2, namespace=namespace) as fleet:
        async with fleet.calling() as callers:
            await eventually(lambda: replaced(server, name))
            await fleet.fail("meanwhile")
            await callers.check(FAULT)
            if key in NEEDED_TO_LEAD:
                await eventually(lambda: not any(member.leads for member in fleet.members))
            if key not in ("epoch", "policies"):  # used at a takeover, and once a minute
                await eventually(lambda: "WRONGTYPE" in fleet.errors, within=PATIENCE)
            server.command("DEL", name)
            await fleet.works()
            await callers.check(0.2)
        fleet.check_told_little()
        fleet.forget_errors()
        await fleet.works()
        assert not fleet.unexcused(lost=key == "results")
        await fleet.accounts_close(lost=True)


async def test_trouble_that_stays_is_told_once(
    patient_commands: None, fresh_server: RedisServer, namespace: str
) -> None:
    """Though the leader's other business with the server goes well meanwhile."""
    async with Fleet(lambda: fresh_server.url, namespace=namespace, lease_ttl=30) as fleet:
        await eventually(lambda: replaced(fresh_server, f"zenvark:{{{namespace}}}:accounts"))
        for number in range(5):
            await fleet.open(f"meanwhile {number}")
            failed = refusals(fresh_server)
            await eventually(lambda failed=failed: refusals(fresh_server) > failed, within=PATIENCE)
        assert len(fleet.members[0].errors) == 1, fleet.errors


def refusals(server: RedisServer) -> int:
    """How many commands the server has answered with WRONGTYPE."""
    return int(server.info("errorstats").get("errorstat_WRONGTYPE", {"count": 0})["count"])


async def test_keys_are_thrown_out(fresh_server: RedisServer, namespace: str) -> None:
    """By a server that is full and may evict any key, again and again."""
    circuits = f"zenvark:{{{namespace}}}:circuits"
    async with Fleet(*[lambda: fresh_server.url] * 2, namespace=namespace) as fleet:
        async with fleet.calling() as callers:
            limit = fresh_server.info("memory")["used_memory"] + 2_000_000
            fresh_server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
            fresh_server.command("CONFIG", "SET", "maxmemory", limit)
            for round_ in range(3):
                await eventually(lambda: not filled(fresh_server, circuits), within=PATIENCE)
                await fleet.fail(f"meanwhile {round_}")
            await callers.check(0.2)
            fresh_server.command("CONFIG", "SET", "maxmemory", 0)
            await fleet.works()
        await eventually(lambda: fresh_server.command("HGET", circuits, "down"), within=PATIENCE)
        await fleet.accounts_close(lost=True)


def filled(server: RedisServer, key: str) -> bool:
    """Write something large; tells whether the key has survived it."""
    server.command("SET", f"large {uuid4()}", b"x" * 100_000)
    return bool(server.command("EXISTS", key))


def replaced(server: RedisServer, name: str) -> bool:
    """Put a set in the key's place, which an expiring lease may need a second try for."""
    with server.client() as client:
        client.pipeline().delete(name).sadd(name, "banana").execute()
        return bool(client.type(name) == "set")


async def test_rubbish_comes_in(fresh_server: RedisServer, namespace: str) -> None:
    """What is good between the rubbish counts, and the rubbish is told, within limits."""
    prefix = f"zenvark:{{{namespace}}}:"
    async with Fleet(*[lambda: fresh_server.url] * 2, namespace=namespace) as fleet:
        async with fleet.calling() as callers:
            began = time.monotonic()
            with fresh_server.client() as client:
                for number in range(200):
                    client.xadd(prefix + "results", {"v": "1", "reports": "banana"})
                    client.xadd(prefix + "states", {"transition": "banana"})
                    client.hset(prefix + "circuits", f"rubbish {number}", "banana")
            await fleet.works()
            await callers.check(0.2)
        spells = 1 + (time.monotonic() - began) // 10
        for member in fleet.members:
            # Ten of a class are told in ten seconds, however many there are.
            told = sum(isinstance(error, MalformedEntryError) for error in member.errors)
            assert 10 <= told <= 10 * spells, member.told
            assert member.coordinator.statistics.errors["MalformedEntryError"] >= 200


async def test_streams_are_trimmed_under_everyone(
    fresh_server: RedisServer, namespace: str
) -> None:
    async with Fleet(*[lambda: fresh_server.url] * 3, namespace=namespace) as fleet:
        for number in range(3):
            for stream in ("states", "results"):
                name = f"zenvark:{{{namespace}}}:{stream}"
                fresh_server.command("XTRIM", name, "MAXLEN", "0")
            await fleet.open(f"trimmed {number}")
        await fleet.works()
        assert not fleet.unexcused()


async def test_what_was_trimmed_in_an_outage_is_caught_up_with(
    proxy: Proxy, fresh_server: RedisServer, namespace: str
) -> None:
    """Reading on where it left off, an instance would never hear of it."""
    ways = [lambda: proxy.url, *[lambda: fresh_server.url] * 2]
    async with Fleet(*ways, namespace=namespace) as fleet:
        await fleet.works()
        lonely, *others = fleet.members
        proxy.switch(CLOSING)
        await eventually(lambda: not lonely.coordinator.connected, within=PATIENCE)
        for circuit in ("trimmed", "kept"):
            await others[0].fail(5, circuit)
            await fleet.reach(State.OPEN, circuit, of=others)
        fresh_server.command("XTRIM", f"zenvark:{{{namespace}}}:states", "MAXLEN", "1")
        assert lonely.state("trimmed") is State.CLOSED
        proxy.heal()
        await fleet.reach(State.OPEN, "trimmed")
        await fleet.works()


async def test_wrong_password_from_the_start(fresh_server: RedisServer, namespace: str) -> None:
    wrong = guard(fresh_server).replace(PASSWORD, "secret-mistake")
    async with Fleet(lambda: wrong, lambda: wrong, namespace=namespace) as fleet:
        assert all([await member.call("upstream") for member in fleet.members])
        await eventually(lambda: all(member.errors for member in fleet.members))
        assert "AuthenticationError" in fleet.errors
        assert "mistake" not in fleet.errors
        fresh_server.command("CONFIG", "SET", "requirepass", "secret-mistake")
        await fleet.works()
        fleet.check_told()


async def test_password_is_not_shown_anywhere(fresh_server: RedisServer, namespace: str) -> None:
    assert PASSWORD not in repr(Coordinator(guard(fresh_server), namespace=namespace))
