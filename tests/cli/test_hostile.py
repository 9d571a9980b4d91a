"""Nothing that a stranger has stored gets to the terminal as it is, or ends a command."""

import json
from collections.abc import Iterator

import pytest

from tests.cli.schema import check
from tests.cluster.fleet import StartFleet
from tests.helpers.command import Result, arun, run
from tests.helpers.servers import RedisServer, ServerHandle
from zenvark_web._circuits.shard import shard_of

EVIL = "\x1b]0;pwned\x07\x1b[2J\r\n\u202e\u2028\x9b31m\x7f<b>"
TRANSITION = {
    "v": "1",
    "circuit": "payments",
    "generation": 3,
    "previous": "closed",
    "state": "open",
    "at": 1,
    "since": 1,
    "attempt": 1,
    "delay": 1,
    "grant": None,
    "cause": "tripped",
    "detail": EVIL,
    "instances": {EVIL: 1},
    "failures": {EVIL: 2},
    "slow_share": 0.5,
    "position": "0-0",
    "epoch": 1,
    "leader": EVIL,
}
OVERRIDE = {
    "v": "1",
    "circuit": "payments",
    "mode": "force_open",
    "reason": EVIL,
    "actor": EVIL,
    "after": 0,
    "at": 1,
    "until": None,
    "number": 1,
}
HUGE = {"at": 2**53, "since": 2**53, "attempt": 2**53, "epoch": 2**53, "generation": 2**53}
RUBBISH = [
    "",
    EVIL,
    "[" * 10_000,
    "{}",
    "null",
    "1" * 5_000,
    '{"v":"1"}',
    json.dumps({**TRANSITION, "circuit": EVIL}),
    json.dumps({**TRANSITION, "slow_share": 1e308, **HUGE}),
    json.dumps({**TRANSITION, "state": EVIL}),
    json.dumps({**TRANSITION, "instances": [EVIL]}),
    json.dumps({**TRANSITION, "detail": "\ud800" + EVIL * 1000}),
]
REPORTS = json.dumps([["payments", [[3, 5, 1, 2**53, EVIL]], 2**53, None, 3, None, 2**53]])
ENTRIES = [
    {"transition": json.dumps(TRANSITION)},
    {"transition": EVIL},
    {"v": "1", "epoch": "1", "leader": "x" + EVIL},
    {"v": "1", "epoch": "1", "leader": "web-1"},
    {"v": "1", "forgotten": EVIL, "generation": "1"},
    {"v": "1", "recalled": "payments", "generation": "1"},
    {"v": "1", "probe": "payments", "actor": EVIL, "reason": EVIL},
    {"override": json.dumps(OVERRIDE)},
    {"override": json.dumps({**OVERRIDE, "mode": EVIL})},
    {"v": EVIL},
    {EVIL: EVIL},
]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def hostile(server: RedisServer) -> tuple[str, ...]:
    """A namespace full of rubbish."""
    prefix = "zenvark:{shop}:"
    server.command("SET", f"{prefix}epoch", EVIL)
    server.command("SET", f"{prefix}leader", f"7:{EVIL}")
    server.command("HSET", f"{prefix}circuits", "payments", json.dumps(TRANSITION))
    for number, rubbish in enumerate(RUBBISH):
        for key in ("circuits", "tallies", "accounts", "instances", "overrides"):
            server.command(
                "HSET", f"{prefix}{key}", f"{EVIL}{number}", rubbish.encode("utf-8", "replace")
            )
        server.command(
            "HSET",
            f"{prefix}instances",
            f"web-{number}",
            f"1 {EVIL} {rubbish}".encode("utf-8", "replace"),
        )
    fingerprint = json.dumps({"version": EVIL, "fingerprint": EVIL + "/9999999999"})
    server.command("HSET", f"{prefix}instances", EVIL, f"9999999999999 leader {fingerprint}")
    server.command("HSET", f"{prefix}instances", b"\xff\xfe", f"1 leader {fingerprint}")
    for number, name in enumerate(("payments", "pay*", EVIL)):
        override = {**OVERRIDE, "circuit": name, "number": number + 1}
        stored = json.dumps(override, separators=(",", ":"))
        server.command("HSET", f"{prefix}overrides", name, stored)
    for stream in ("states", "audit"):
        for entry in ENTRIES:
            server.command(
                "XADD", f"{prefix}{stream}", "*", *[part for pair in entry.items() for part in pair]
            )
    seconds, _ = server.command("TIME")
    batch = (
        "v",
        "1",
        "instance",
        "web-1",
        "number",
        "1",
        "sent",
        f"{seconds}000",
        "reports",
        REPORTS,
    )
    for entry in (batch, ("v", EVIL), (EVIL, EVIL)):
        server.command("XADD", f"{prefix}results", "*", *entry)
    return "--redis", server.url, "--namespace", "shop"


def harmless(result: Result) -> None:
    for text in (result.out, result.err):
        assert all(each.isprintable() or each == "\n" for each in text), ascii(text)
        assert "Traceback" not in text


COMMANDS = [
    ("status", "--all"),
    ("why", "payments"),
    ("why", EVIL),
    ("events", "-n", "100"),
    ("events", "-n", "100", "--audit"),
    ("doctor",),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: ascii(command[-1]))
def test_commands_print_it_harmlessly(command: tuple[str, ...], hostile: tuple[str, ...]) -> None:
    result = run(*command, *hostile)
    assert result.code == {"doctor": 1}.get(command[0], 2 if EVIL in command else 0)
    harmless(result)
    if command[:2] == ("why", "payments"):
        assert r"\x1b]0;pwned" in result.out


@pytest.mark.parametrize("command", ["status", "why", "doctor"])
def test_json_is_as_the_schemas_say(command: str, hostile: tuple[str, ...]) -> None:
    result = run(command, *(["payments"] if command == "why" else []), "--json", *hostile)
    harmless(result)
    check(json.loads(result.out), command)


def test_json_of_events_is_as_the_schema_says(hostile: tuple[str, ...]) -> None:
    result = run("events", "--json", *hostile)
    harmless(result)
    lines = result.out.splitlines()
    assert len(lines) == len(ENTRIES)
    for line in lines:
        check(json.loads(line), "events")


def test_what_is_malformed_is_counted(hostile: tuple[str, ...]) -> None:
    assert "malformed fields skipped. Run `zenvark-web doctor`" in run("status", *hostile).out


def test_a_wrong_type_is_named(redis_server: ServerHandle, namespace: str) -> None:
    key = f"zenvark:{{{namespace}}}:"
    redis_server.command("SET", f"{key}epoch", 1)
    redis_server.command("SET", f"{key}circuits", "x")
    result = run("status", "--redis", redis_server.url, "--namespace", namespace)
    assert result.code == 2
    assert f"{key}circuits" in result.err
    assert "run `zenvark-web doctor`" in result.err


async def test_a_shard_of_a_wrong_type_leaves_the_others(
    redis_server: ServerHandle, namespace: str, start_fleet: StartFleet
) -> None:
    [instance] = await start_fleet(1, shards=3, threshold=1, wait=60)
    for number in range(9):
        await instance.fail(circuit=f"circuit-{number}")
        await instance.reaches("open", f"circuit-{number}")
    instance.process.pause()
    key = f"zenvark:{{{namespace}/1}}:circuits"
    redis_server.command("DEL", key)
    redis_server.command("SET", key, EVIL)
    where = ("--redis", redis_server.url, "--namespace", namespace)
    result = await arun("status", *where)
    assert result.code == 2
    assert f"shard 1 is not readable, its circuits are not shown: HSCAN {key}: WRONGTYPE" in (
        result.out
    )
    for number in range(9):
        name = f"circuit-{number}"
        assert (f"\n{name} " in result.out) == (shard_of(name, 3) != 1)
    record = json.loads((await arun("status", "--json", *where)).out)
    check(record, "status")
    assert [bool(each["error"]) for each in record["shards"]] == [False, False, True]
    instance.process.kill()
