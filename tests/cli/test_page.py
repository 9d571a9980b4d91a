"""docs/command-line.md shows what the commands print."""

import re
import shlex

import pytest

from tests.cluster.fleet import StartFleet, all_reach, split
from tests.docs.pages import page, rows
from tests.helpers.command import arun
from tests.helpers.servers import RedisServer
from tests.helpers.waiting import eventually
from zenvark_web.cli.entry import COMMANDS

PAGE = page("command-line.md")
BLOCKS = dict(
    re.findall(r"^```console\n\$ zenvark-web ([^\n]+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
)

NORMAL = (
    (r"redis://\S+", "URL"),
    (r"test-[0-9a-f]{12}", "shop"),
    (r"[\w.]+(-\w+)*-\d+-[0-9a-f]{8}", "INSTANCE"),
    (r"\b[0-9a-f]{16}\b", "DIGEST"),
    (r"by \S+@\S+:", "by ACTOR:"),
    (r"UpstreamError", "HTTP 503"),
    (r"x other$", "x status"),  # the kind of that error
    (r"\d+(\.\d+)+", "0"),
    (r"\d+", "0"),
    (r"\b0 (ms|min|s)\b", "0 s"),
    (r"\b[A-Z]{3,4}(?=,| URL|$)", "ZONE"),
)


def normal(text: str) -> list[str]:
    """The lines of an output without what differs from run to run."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for pattern, replacement in NORMAL:
        lines = [re.sub(pattern, replacement, line) for line in lines]
    return lines


async def test_blocks_are_what_is_printed(
    fresh_server: RedisServer,
    namespace: str,
    start_fleet: StartFleet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ZENVARK_REDIS", fresh_server.url)
    monkeypatch.setenv("ZENVARK_NAMESPACE", namespace)
    fleet = await start_fleet(3, server=fresh_server, threshold=5, wait=60, housekeeping=0.1)
    leader, _ = await split(fleet)
    await leader.fail(5, circuit="payments")
    await all_reach(fleet, "open", "payments")
    for instance in fleet:
        await instance.succeed(2, circuit="payments")
        await instance.succeed(circuit="search")

    async def all_is_reported() -> bool:
        why = await arun("why", "payments")
        return "6 rejected" in why.out and "search" in (await arun("status")).out

    await eventually(all_is_reported)
    fresh_server.command("CONFIG", "SET", "maxmemory", "100mb")
    fresh_server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert {command.split()[0] for command in BLOCKS} == {
        *("status", "events", "why", "doctor", "force-open")
    }
    for command, shown in BLOCKS.items():
        printed = await arun(*shlex.split(command))
        assert normal(printed.out) == normal(shown), command


@pytest.mark.parametrize("command", [each.name for each in COMMANDS if each.name != "demo"])
def test_every_command_has_a_section(command: str) -> None:
    assert f"\n## {command}\n" in PAGE
    assert re.search(rf"`{command}\b", PAGE.partition("\n## ")[0])


def test_exit_codes_are_those_of_the_help() -> None:
    told = {code for row in rows(PAGE, "## Exit codes") for code in re.findall(r"\d+", row[0])}
    helped = {code for each in COMMANDS for code in re.findall(r"\b\d+\b", each.epilog)}
    assert helped <= told
