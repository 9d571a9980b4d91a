"""The parts of the demo by themselves."""

import asyncio

import httpx
import pytest

from tests.helpers.waiting import eventually
from zenvark_web import HealthCheckType, Role, __version__
from zenvark_web.cli import main
from zenvark_web.demo.errors import SetupError
from zenvark_web.demo.journal import KEPT, EventKind, Journal
from zenvark_web.demo.settings import DemoSettings
from zenvark_web.demo.texts import seconds
from zenvark_web.demo.traffic import Calls, Traffic
from zenvark_web.demo.upstream import ASKED, Upstream


def test_the_journal_tells_what_was_not_told_yet() -> None:
    journal = Journal("app-1")
    journal.role_changed(Role.LEADER)
    journal.error(ValueError("oh"))
    assert [(event.kind, event.value) for event in journal.after(0)] == [
        (EventKind.ROLE, "leader"),
        (EventKind.ERROR, "ValueError"),
    ]
    assert [event.detail for event in journal.after(1)] == ["oh"]
    assert journal.after(2) == []


def test_the_journal_is_bounded_and_stays_in_step() -> None:
    journal = Journal("app-1")
    for number in range(KEPT + 5):
        journal.error(ValueError(str(number)))
    assert len(journal.after(0)) == KEPT
    assert [event.detail for event in journal.after(KEPT + 3)] == [str(KEPT + 3), str(KEPT + 4)]


async def test_the_journal_watches_health_checks_and_lets_them_fail() -> None:
    journal = Journal("app-1")
    well = False

    async def check(type_: HealthCheckType) -> None:
        if not well:
            raise ConnectionError("down")

    watched = journal.watching(check)
    with pytest.raises(ConnectionError):
        await watched(HealthCheckType.RECOVERY)
    well = True
    await watched(HealthCheckType.RECOVERY)
    assert [(event.value, event.detail) for event in journal.after(0)] == [
        ("failed", "down"),
        ("passed", ""),
    ]


async def test_the_upstream_breaks_is_mended_and_logs_who_called() -> None:
    transport = httpx.ASGITransport(Upstream().asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://upstream") as client:
        assert (await client.get("/", headers={ASKED: "app-1 closed 1.0"})).status_code == 200
        broke_at = (await client.put("/demo/broken")).json()
        assert (await client.get("/", headers={ASKED: "app-1 closed 2.5"})).status_code == 500
        assert (await client.get("/health")).status_code == 500
        mended_at = (await client.delete("/demo/broken")).json()
        assert (await client.get("/health")).status_code == 200
        hits = (await client.get("/demo/log")).json()
    assert [(hit["app"], hit["asked"], hit["ok"]) for hit in hits] == [
        ("app-1", 2.5, False),
        ("", 0.0, False),
        ("", 0.0, True),
    ]
    assert broke_at < hits[0]["answered"] <= hits[1]["answered"] < mended_at < hits[2]["answered"]


async def test_traffic_counts_how_calls_fare_and_waits_for_the_last() -> None:
    answers = {"app-1": [200, 503, 502, 500], "app-2": []}

    def answer(request: httpx.Request) -> httpx.Response:
        left = answers[request.url.host]
        if not left:
            raise httpx.ReadError("gone")
        return httpx.Response(left.pop(0))

    clients = {
        name: httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url=f"http://{name}")
        for name in answers
    }
    traffic = Traffic(clients, rate=200)
    running = asyncio.create_task(traffic.run())
    first, second = traffic.calls.values()
    await eventually(lambda: first.unanswered and second.unanswered)
    traffic.stop()
    await running
    assert (first.answered, first.rejected, first.failed) == (1, 1, 2)
    assert second == Calls(unanswered=second.unanswered)


def test_durations_are_told_in_fitting_units() -> None:
    assert [seconds(value) for value in (0.0042, 0.25, 1.0, 12.345)] == [
        "4 ms",
        "250 ms",
        "1.00 s",
        "12.35 s",
    ]


def test_settings_that_do_not_go_together_are_refused() -> None:
    for wrong in ({"processes": False}, {"instances": 1}, {"forever": True}):
        with pytest.raises(SetupError, match="--kill-leader"):
            DemoSettings(kill_leader=True, **wrong)


def test_the_command_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"zenvark-web {__version__}\n"


def test_the_command_alone_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "demo" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--instances", "0"],
        ["--instances", "2.5"],
        ["--rate", "nan"],
        ["--rate", "fast"],
        ["--incident", "0.5"],
        ["--redis", "redis://localhost", "--no-server"],
    ],
)
def test_wrong_options_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["demo", *arguments])
    assert ended.value.code == 2
    assert "zenvark-web demo: error: argument" in capsys.readouterr().err


def test_help_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["demo", "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("--no-server" in line for line in lines)
