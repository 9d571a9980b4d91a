"""`force-open`, `force-closed`, `observe`, `lift` and `probe` on a real fleet."""

import contextlib
import getpass
import io
import json
import shlex
import socket

import pytest

from tests.cli.schema import check
from tests.cluster.fleet import Instance, StartFleet, all_reach
from tests.faults.test_permissions import permit
from tests.helpers.clients import close_client
from tests.helpers.command import Result, arun
from tests.helpers.deployments import Cluster
from tests.helpers.servers import RedisServer, ServerHandle
from tests.helpers.waiting import eventually
from zenvark_web import BreakerPolicy, Coordinator, Override
from zenvark_web.cli import main

ACTOR = f"{getpass.getuser()}@{socket.gethostname()}"


class Shell:
    """Runs commands for one fleet."""

    def __init__(self, server: ServerHandle, namespace: str) -> None:
        self._where = ("--redis", server.url, "--namespace", namespace)

    async def __call__(self, *arguments: str) -> Result:
        result = await arun(*arguments, *self._where)
        assert result.err == "", result
        return result

    async def refused(self, *arguments: str) -> str:
        result = await arun(*arguments, *self._where)
        assert (result.code, result.out) == (2, ""), result
        return result.err

    async def json(self, *arguments: str) -> dict[str, object]:
        record = json.loads((await self(*arguments, "--json")).out)
        check(record, "operation")
        return dict(record)


@pytest.fixture
def shell(redis_server: ServerHandle, namespace: str) -> Shell:
    return Shell(redis_server, namespace)


async def rejects(instance: Instance, circuit: str = "upstream") -> None:
    async def rejected() -> bool:
        return (await instance.succeed(circuit=circuit)).get("rejected") == 1

    await eventually(rejected, what="rejected calls")


async def permits(instance: Instance, circuit: str = "upstream") -> None:
    async def permitted() -> bool:
        return (await instance.succeed(circuit=circuit)).get("rejected", 0) == 0

    await eventually(permitted, what="permitted calls")


async def test_a_circuit_is_forced_open_until_the_override_is_lifted(
    namespace: str, start_fleet: StartFleet, shell: Shell
) -> None:
    fleet = await start_fleet(2, wait=0.05, housekeeping=0.1)
    for instance in fleet:
        await permits(instance)
    forced = await shell("force-open", "upstream", "--reason", "supplier migrates", "--for", "30m")
    assert forced.code == 0
    assert forced.lines[0].startswith(f"upstream: forced open by {ACTOR}: supplier migrates, until")
    assert "30 min left (number " in forced.lines[0]
    assert "All calls are rejected." in forced.lines[1]
    [hint] = [line for line in forced.lines if line.startswith("To end it before: ")]
    for instance in fleet:
        await rejects(instance)

    status = await shell("status")
    rows = [line for line in status.lines if line.startswith("upstream ")]
    assert ", forced open " in rows[0]
    assert rows[1] == f"upstream forced open in 30 min {ACTOR} supplier migrates"
    why = await shell("why", "upstream")
    assert any(
        line.startswith(f"override: forced open by {ACTOR}: supplier migrates (until")
        for line in why.lines
    )
    assert "An operator has all calls rejected." in why.out
    for command, name in ((["status"], "status"), (["why", "upstream"], "why")):
        record = json.loads((await shell(*command, "--json")).out)
        check(record, name)
        shown = record["overrides"][0] if name == "status" else record["override"]
        assert (shown["mode"], shown["actor"]) == ("force_open", ACTOR)

    program, *pasted = shlex.split(hint.removeprefix("To end it before: "))
    assert program == "zenvark-web"
    lifted = await arun(*pasted)
    told = f"upstream: the override was lifted by {ACTOR}: no longer needed"
    assert (lifted.code, lifted.lines[0].startswith(told)) == (0, True)
    for instance in fleet:
        await instance.traffic_on(via="local")
        await instance.reaches("closed")
        await instance.traffic_off()
    assert (await shell("status")).row("upstream").startswith("upstream closed")
    events = await shell("events", "--circuit", "upstream")
    assert any(f"upstream forced open by {ACTOR}: supplier migrates" in e for e in events.lines)
    audit = await shell("events", "--audit")
    told = [line for line in audit.lines if "upstream" in line]
    assert f"forced open by {ACTOR}: supplier migrates" in told[0]
    assert any(f"the override was lifted by {ACTOR}: no longer" in line for line in told)


@pytest.mark.parametrize(("command", "mode"), [("force-closed", "forced closed"), ("observe", "")])
async def test_calls_of_an_open_circuit_are_permitted(
    start_fleet: StartFleet, shell: Shell, command: str, mode: str
) -> None:
    fleet = await start_fleet(2, threshold=1, wait=60)
    await fleet[0].fail()
    await all_reach(fleet, "open")
    result = await shell(command, "up*", "--reason", "we know", "--for", "never")
    assert "without an end" in result.lines[0]
    assert "All calls are permitted" in result.lines[1]
    assert "zenvark-web lift 'up*' --reason" in result.lines[-1]
    for instance in fleet:
        await permits(instance)
    assert f"open, {mode or 'only observed'} " in (await shell("status")).row("upstream")
    assert "The verdict goes on underneath" in (await shell("why", "upstream")).out
    doctor = await shell("doctor")
    assert doctor.code == 1
    [problem] = [line for line in doctor.lines if line.startswith("PROBLEM ")]
    assert problem.startswith("PROBLEM overrides: 1 override without an end: up* ")
    assert f"by {ACTOR}: we know" in problem
    assert "zenvark-web lift 'up*' --reason" in doctor.out
    await shell("lift", "up*", "--reason", "fixed")
    for instance in fleet:
        await rejects(instance)
    assert (await shell("doctor")).code == 0


async def test_an_attempt_is_made_at_once(start_fleet: StartFleet, shell: Shell) -> None:
    [instance] = await start_fleet(1, threshold=1, wait=60)
    await instance.fail()
    await instance.reaches("open")
    await instance.traffic_on(via="local")
    result = await shell("probe", "upstream", "--reason", "it is back")
    assert result.lines[0] == (
        f"upstream: an attempt to recover was asked for by {ACTOR}: it is back"
    )
    await instance.reaches("closed")
    await instance.traffic_off()
    assert "an attempt to recover was asked for" in (await shell("events", "--audit")).out


async def test_records_are_as_the_schema_says(start_fleet: StartFleet, shell: Shell) -> None:
    [instance] = await start_fleet(1, threshold=1, wait=60, housekeeping=0.1)
    await instance.succeed(circuit="payments")
    await instance.fail(circuit="search")
    await instance.reaches("open", "search")

    async def known() -> bool:
        return "payments" in (await shell("status")).out

    await eventually(known)
    for command in ("force-open", "force-closed", "observe", "lift", "probe"):
        circuit = "search" if command == "probe" else "payments"
        record = await shell.json(command, circuit, "--reason", "test")
        assert record["action"] == command
        assert record["circuits"] == [circuit]
        assert record["instances"] == 1
        assert record["failed"] == []
        assert (record["override"] is None) == (command == "probe")


async def test_a_pattern_goes_to_all_shards_and_a_name_to_its_own(
    start_fleet: StartFleet, shell: Shell, redis_server: ServerHandle, namespace: str
) -> None:
    [instance] = await start_fleet(1, shards=3, housekeeping=0.1)
    names = [f"circuit-{number}" for number in range(6)]
    for name in names:
        await permits(instance, name)

    async def all_known() -> bool:
        out = (await shell("status")).out
        return all(name in out for name in names)

    await eventually(all_known)
    result = await shell("force-open", "circuit-*", "--reason", "all")
    assert "1 instance, 6 circuits." in result.lines
    for name in names:
        await rejects(instance, name)
    status = await shell("status")
    assert sum("forced open in" in line for line in status.lines) == 1
    await shell("force-closed", names[0], "--reason", "but this one")
    await permits(instance, names[0])
    await rejects(instance, names[1])
    told = await shell.refused("force-open", "circuit-*", "--reason", "x", "--expect", "0")
    assert "omit --expect: a pattern has another number in each of the 3 shards" in told
    keys = [f"zenvark:{{{namespace}/{shard}}}:overrides" for shard in range(3)]
    assert [redis_server.command("HEXISTS", key, "circuit-*") for key in keys] == [1, 1, 1]
    assert sum(redis_server.command("HEXISTS", key, names[0]) for key in keys) == 1


async def test_nothing_is_changed_that_was_not_expected(
    start_fleet: StartFleet, shell: Shell
) -> None:
    await start_fleet(1)
    first = await shell.json("force-open", "a", "--reason", "x", "--expect", "0")
    number = first["override"]["number"]  # type: ignore[index]
    told = await shell.refused("observe", "a", "--reason", "x", "--expect", "0")
    assert f"its number is {number}, not 0" in told
    assert "To see it: zenvark-web status --redis redis://" in told
    await shell("lift", "a", "--reason", "x", "--expect", str(number))


async def test_what_cannot_apply_is_told(start_fleet: StartFleet, shell: Shell) -> None:
    await start_fleet(1)
    result = await shell("force-open", "paymets", "--reason", "a typo")
    assert any(
        line.startswith("No instance has called such a circuit in the last hour: check the name.")
        for line in result.lines
    )
    told = await shell.refused("lift", "payments", "--reason", "x")
    assert "no override is set for 'payments'. Did you mean 'paymets'?" in told


async def test_a_name_that_no_instance_knows(start_fleet: StartFleet, shell: Shell) -> None:
    [instance] = await start_fleet(1, housekeeping=0.1)
    await instance.succeed(circuit="payments")

    async def known() -> bool:
        return "payments" in (await shell("status")).out

    await eventually(known)
    for arguments in (
        ("why", "Paymnets"),
        ("events", "--circuit", "Paymnets"),
        ("probe", "Paymnets", "--reason", "x"),
    ):
        told = await shell.refused(*arguments)
        assert "has no circuit 'Paymnets'. Did you mean 'payments'? " in told, arguments
    ahead = await shell("force-open", "Paymnets", "--reason", "ahead of its start")
    [said] = [line for line in ahead.lines if line.startswith("No instance has called")]
    assert said.endswith(
        "Did you mean 'payments'? The override is kept, and applies when such a circuit appears."
    )
    audit = await shell("events", "--audit")
    assert "attempt to recover" not in audit.out


async def test_what_replaces_another_override_says_so(
    start_fleet: StartFleet, shell: Shell
) -> None:
    await start_fleet(1)
    first = await shell.json("force-open", "a", "--reason", "migration")
    assert first["replaced"] is None
    second = await shell("observe", "a", "--reason", "too strict")
    [told] = [line for line in second.lines if line.startswith("In place of: ")]
    assert told.startswith(f"In place of: forced open by {ACTOR}: migration, until")
    third = await shell.json("force-closed", "a", "--reason", "x")
    assert third["replaced"]["mode"] == "observe"  # type: ignore[index]


async def test_no_attempt_is_asked_for_that_nobody_would_make(
    start_fleet: StartFleet, shell: Shell
) -> None:
    [instance] = await start_fleet(1, threshold=1, wait=60, housekeeping=0.1)
    await instance.succeed()

    async def known() -> bool:
        return "upstream" in (await shell("status")).out

    await eventually(known)
    told = await shell.refused("probe", "upstream", "--reason", "x")
    assert "refused: 'upstream' is closed, not open" in told
    await instance.fail()
    await instance.reaches("open")
    await shell("force-open", "up*", "--reason", "held")
    told = await shell.refused("probe", "upstream", "--reason", "x")
    assert "refused: an operator holds 'upstream' open" in told
    assert "zenvark-web lift 'up*' --reason" in told
    await shell("lift", "up*", "--reason", "done")
    assert "attempt to recover" not in (await shell("events", "--audit")).out


async def test_a_reason_that_is_over_is_told_as_such(start_fleet: StartFleet, shell: Shell) -> None:
    [instance] = await start_fleet(1, wait=60, housekeeping=0.1)
    await instance.succeed()
    await shell("force-open", "upstream", "--reason", "migration")
    await rejects(instance)

    async def held() -> bool:
        return "held open by" in (await shell("why", "upstream")).out

    await eventually(held)
    assert "the override has ended" not in (await shell("status")).out
    lifted = await shell("lift", "upstream", "--reason", "done")
    [hint] = [
        line for line in lifted.lines if line.startswith("The next attempt to recover is in ")
    ]
    assert ". At once: zenvark-web probe upstream --reason 'try now' --redis redis://" in hint
    status = (await shell("status")).out
    assert "the override has ended, and the circuit recovers; it was held open by" in status
    assert "the override has ended" in (await shell("why", "upstream")).out


async def test_it_works_while_nobody_leads(
    fresh_server: RedisServer, namespace: str, start_fleet: StartFleet
) -> None:
    [instance] = await start_fleet(1, server=fresh_server)
    await instance.stop()
    shell = Shell(fresh_server, namespace)
    result = await shell("force-open", "upstream", "--reason", "before the start")
    assert "No instance is connected. The request applies when one starts." in result.lines
    [other] = await start_fleet(1, server=fresh_server)
    assert (await other.succeed()).get("rejected") == 1


async def test_the_permissions_of_an_instance_are_enough(
    server: ServerHandle, namespace: str, start_fleet: StartFleet
) -> None:
    [instance] = await start_fleet(1, server=server, threshold=1, wait=60)
    url = permit(server, namespace)
    where = ("--redis", url, "--namespace", namespace)
    await instance.fail()
    await instance.reaches("open")
    for command in ("force-open", "lift", "probe"):
        result = await arun(command, "upstream", "--reason", "x", *where)
        assert (result.code, result.err) == (0, "")


async def test_a_user_who_may_only_read(
    redis_server: ServerHandle, namespace: str, start_fleet: StartFleet
) -> None:
    await start_fleet(1)
    url = permit(redis_server, namespace, but="+xadd")
    where = ("--redis", url, "--namespace", namespace)
    result = await arun("force-open", "upstream", "--reason", "x", *where)
    assert result.code == 2
    assert "xadd" in result.err.lower()
    assert "grant the same permissions" in result.err
    assert "override" not in (await arun("status", *where)).out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--reason", ""], "reason must not be empty"),
        (["--reason", "x" * 501], "at most 500 characters"),
        (["--reason", "a\nb"], "reason must hold printable characters only"),
    ],
)
async def test_unusable_requests_are_refused(
    start_fleet: StartFleet, shell: Shell, arguments: list[str], told: str
) -> None:
    await start_fleet(1)
    assert told in await shell.refused("force-open", "upstream", *arguments)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "required: --reason"),
        (["--reason", "x", "--for", "1"], "must be a time such as 90s"),
        (["--reason", "x", "--for", "1h30m"], "must be a time such as 90s"),
        (["--reason", "x", "--for", "-1h"], "expected one argument"),
        (["--reason", "x", "--for", "40d"], "must be above 0 and at most 30d, not 40d"),
        (["--reason", "x", "--for", "0s"], "must be above 0 and at most 30d, not 0s"),
        (["--reason", "x", "--expect", "-1"], "must be from 0"),
    ],
)
def test_wrong_arguments(arguments: list[str], told: str) -> None:
    err = io.StringIO()
    with pytest.raises(SystemExit) as ended, contextlib.redirect_stderr(err):
        main(["force-open", "upstream", *arguments])
    assert ended.value.code == 2
    assert told in err.getvalue()


async def test_a_cluster() -> None:
    from redis.asyncio import RedisCluster

    with Cluster() as cluster:
        client = RedisCluster.from_url(cluster.nodes[0].url)
        async with Coordinator(client, namespace="shop", shards=6, policy=BreakerPolicy()) as fleet:
            shell = Shell(cluster.nodes[1], "shop")

            async def connected() -> bool:
                where = ("--redis", cluster.nodes[1].url, "--namespace", "shop")
                return (await arun("status", *where)).code == 0

            await eventually(connected, what="a connected fleet")
            await shell("force-open", "a*", "--reason", "all nodes")
            names = [f"a-{number}" for number in range(12)]
            await eventually(
                lambda: all(
                    (found := fleet.breaker(name).override) and found.mode is Override.FORCE_OPEN
                    for name in names
                ),
                what="an override in all shards",
            )
        await close_client(client)


async def test_instances_of_a_version_that_ignores_it_are_named(
    shell: Shell, redis_server: ServerHandle, namespace: str
) -> None:
    """Nothing holds an override up: it needs no leader. So whoever sets it has to know."""
    seconds, _ = redis_server.command("TIME")
    presence = json.dumps({"version": "0.1.0", "fingerprint": "x/1"})
    key = f"zenvark:{{{namespace}}}:instances"
    redis_server.command("HSET", key, "web-old", f"{int(seconds)}000 follower {presence}")
    told = "verrides are ignored by 1 instance of an older version: web-old."
    forced = await shell("force-open", "payments", "--reason", "a test")
    assert told in " ".join(forced.out.split())
    assert told in (await shell("status")).out
    assert told not in (await shell("lift", "payments", "--reason", "done")).out
    assert told not in (await shell("status")).out
