"""What the log says: whatever happens has a template of its own, its facts in fields, and what to
do in its text."""

import asyncio
import json
import logging
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.inside import notifier_of
from tests.helpers.servers import RedisServer
from tests.helpers.waiting import eventually
from zenvark_web import (
    BackendError,
    BreakerPolicy,
    Cause,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    MemoryBackend,
    Outcome,
    Override,
    OverrideChange,
    OverrideRecord,
    Reason,
    Role,
    State,
    StateChange,
    Suspect,
    ZenvarkError,
    exceptions,
)
from zenvark_web._runtime import log
from zenvark_web._runtime.log import Log

PAGE = (Path(__file__).parents[2] / "docs/logging.md").read_text()
SOON = BreakerPolicy(strategy=ConsecutiveFailures(2), backoff=ConstantBackoff(0.05))
STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


async def fail() -> None:
    raise ConnectionError("down")


async def open_it(coordinator: Coordinator, name: str = "payments") -> None:
    breaker = coordinator.breaker(name)
    for _ in range(2):
        await asyncio.gather(breaker.execute(fail), return_exceptions=True)
    await eventually(lambda: breaker.state == "open")


def extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in STANDARD}


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[logging.LogRecord]]:
    caplog.set_level(logging.INFO, "zenvark_web")

    def of(event: str) -> list[logging.LogRecord]:
        return [r for r in caplog.records if getattr(r, "zenvark_event", None) == event]

    return of


async def test_the_life_of_a_circuit(lines: Callable[[str], list[logging.LogRecord]]) -> None:
    async with Coordinator(namespace="shop", policy=SOON) as coordinator:
        breaker = coordinator.breaker("payments")
        await open_it(coordinator)
        await eventually(lambda: try_once(coordinator, Outcome.FAILURE))
        await eventually(lambda: lines("circuit_stays_open"))
        await eventually(lambda: try_once(coordinator, Outcome.SUCCESS))
        await eventually(lambda: breaker.state == "closed")
        instance = coordinator.instance_id
    [opened], [stays], [closed] = map(
        lines, ("circuit_open", "circuit_stays_open", "circuit_closed")
    )
    assert [opened.levelname, stays.levelname, closed.levelname] == ["WARNING", "INFO", "INFO"]
    assert {record.levelname for record in lines("circuit_half_open")} == {"INFO"}
    assert "payments is open" in opened.getMessage()
    assert "2 x ConnectionError" in opened.getMessage()
    assert extra(opened) == {
        "zenvark_event": "circuit_open",
        "zenvark_namespace": "shop",
        "zenvark_instance": instance,
        "zenvark_circuit": "payments",
        "zenvark_previous": "closed",
        "zenvark_state": "open",
        "zenvark_generation": 1,
        "zenvark_cause": "tripped",
        "zenvark_detail": "2 of 2 calls failed: ConsecutiveFailures(threshold=2)",
        "zenvark_failures": "2 x ConnectionError",
        "zenvark_mode": None,
    }
    for record in (opened, stays, closed):
        assert "[namespace=shop circuit=payments" in record.getMessage()
        assert f"instance={instance}]" in record.getMessage()
        json.dumps(extra(record))


def try_once(coordinator: Coordinator, outcome: Outcome) -> bool:
    try:
        coordinator.breaker("payments").acquire().record(outcome, "HTTP 503")
    except exceptions.CircuitOpenError:
        return False
    return True


@pytest.mark.parametrize("how", ["policy", "operator"])
async def test_an_opening_that_rejects_nothing_says_so(
    how: str, lines: Callable[[str], list[logging.LogRecord]]
) -> None:
    policy = replace(SOON, observe=how == "policy")
    async with Coordinator(namespace="shop", policy=policy) as coordinator:
        if how == "operator":
            await coordinator.override("payments", Override.FORCE_CLOSED, reason="we know")
            await eventually(lambda: coordinator.overrides)
        breaker = coordinator.breaker("payments")
        for _ in range(2):
            await asyncio.gather(breaker.execute(fail), return_exceptions=True)
        await eventually(lambda: lines("circuit_open"))
    [opened] = lines("circuit_open")
    assert "Its calls would have been rejected" in opened.getMessage()
    assert "are rejected" not in opened.getMessage()
    mode, why = {
        "policy": ("observe", "the circuit is only observed here"),
        "operator": ("force_closed", "an operator has forced the circuit closed"),
    }[how]
    assert vars(opened)["zenvark_mode"] == mode
    assert why in opened.getMessage()


def test_an_outage_has_its_traceback_for_those_who_debug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    try:
        raise BackendError("no answer") from ConnectionError("refused")
    except BackendError as error:
        caplog.set_level(logging.INFO, "zenvark_web")
        Log("shop").error(error)
        caplog.set_level(logging.DEBUG, "zenvark_web")
        Log("shop").error(error)
    assert [bool(record.exc_info) for record in caplog.records] == [False, True]


async def test_whoever_comes_when_a_circuit_is_open_is_told(
    lines: Callable[[str], list[logging.LogRecord]],
) -> None:
    store = MemoryBackend()
    lasting = BreakerPolicy(strategy=ConsecutiveFailures(2), backoff=ConstantBackoff(60))
    async with Coordinator(store, policy=lasting) as first:
        await open_it(first)
        async with Coordinator(store, policy=lasting) as second:
            await eventually(lambda: len(lines("circuit_open")) == 2)
            names = {vars(record)["zenvark_instance"] for record in lines("circuit_open")}
            assert names == {first.instance_id, second.instance_id}


async def test_an_outage_begins_and_ends(
    fresh_server: RedisServer, lines: Callable[[str], list[logging.LogRecord]]
) -> None:
    async with Coordinator(fresh_server.url) as coordinator:
        await eventually(lambda: coordinator.connected)
        assert not lines("connected_again")
        fresh_server.kill()
        await eventually(lambda: lines("error"))
        fresh_server.start()
        await eventually(lambda: lines("connected_again"))
        assert lines("connected_again")[0].levelname == "INFO"
    record = lines("error")[0]
    assert vars(record)["zenvark_error"] == "BackendError"
    assert "store" in record.msg
    assert "ConnectionError" in record.getMessage()
    assert not record.exc_info


async def test_roles(lines: Callable[[str], list[logging.LogRecord]]) -> None:
    async with Coordinator():
        await eventually(lambda: lines("role"))
    assert [vars(record)["zenvark_role"] for record in lines("role")] == ["leader", "follower"]
    assert len({record.msg for record in lines("role")}) == 2


class BuggyStore(MemoryBackend):
    """The library's own mistake."""

    loads = 0

    async def load(self, *, leading: bool = False) -> object:
        self.loads += 1
        if self.loads == 1:
            raise LookupError("a bug")
        return await super().load(leading=leading)


async def test_what_is_unexpected_has_its_class_and_traceback(
    lines: Callable[[str], list[logging.LogRecord]],
) -> None:
    async with Coordinator(BuggyStore()):
        [record] = await eventually(lambda: lines("error"))
    assert record.msg.startswith(log.UNEXPECTED)
    assert "LookupError: a bug" in record.getMessage()
    assert vars(record)["zenvark_error"] == "LookupError"
    assert record.exc_info
    assert record.exc_info[0] is LookupError


async def test_a_users_mistake_has_its_traceback(
    lines: Callable[[str], list[logging.LogRecord]],
) -> None:
    def tell(role: object) -> None:
        raise KeyError("region")

    async with Coordinator(on_role_change=tell):
        await eventually(lambda: lines("error"))
    [record, *_] = lines("error")
    assert "KeyError: 'region'" in record.getMessage()
    assert "test_a_users_mistake_has_its_traceback" in record.getMessage()
    assert record.exc_info
    assert isinstance(record.exc_info[1], exceptions.CallbackError)
    assert isinstance(record.exc_info[1].__cause__, KeyError)


FORCED = OverrideRecord(
    circuit="payments",
    mode=Override.FORCE_OPEN,
    reason="the supplier is down",
    actor="ops@host",
    at=1.0,
    until=2.0,
    number=7,
)


def all_kinds() -> list[ZenvarkError]:
    kinds = [k for k in ZenvarkError.__subclasses__() if k.__module__ == exceptions.__name__]
    kinds.remove(exceptions.CircuitOpenError)
    kinds.remove(exceptions.OverrideConflictError)  # as this, raised and never logged
    kinds.remove(exceptions.OverrideLimitError)
    return [k(3, 4) if k is exceptions.ResultsLostError else k("trouble") for k in kinds]


async def test_each_kind_has_a_template_whatever_its_text(
    lines: Callable[[str], list[logging.LogRecord]],
) -> None:
    """Error trackers group by template: it is constant, and no other kind has it."""
    async with Coordinator() as coordinator:
        for error in all_kinds():
            coordinator.report_error(error)
            coordinator.report_error(error)
        coordinator.report_error(LookupError("one"))
        coordinator.report_error(ValueError("another"))
    templates: dict[object, set[object]] = {}
    for record in lines("error"):
        templates.setdefault(vars(record)["zenvark_error"], set()).add(record.msg)
    assert all(len(told) == 1 for told in templates.values())
    assert templates.pop("LookupError") == templates.pop("ValueError")
    assert len({str(*told) for told in templates.values()}) == len(templates) == len(all_kinds())


def test_a_kind_made_by_someone_else_has_its_parents_template(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class OwnError(BackendError):
        pass

    Log("shop").error(OwnError("gone"))
    assert caplog.records[0].msg == log.ERRORS[BackendError] + log.WHERE


def test_an_error_about_a_circuit_names_it(caplog: pytest.LogCaptureFixture) -> None:
    told = Log("shop")
    told.instance = "web-1"
    told.error(exceptions.StrategyError("could not evaluate results", circuit="payments"))
    [record] = caplog.records
    assert vars(record)["zenvark_circuit"] == "payments"
    assert "[namespace=shop circuit=payments instance=web-1]" in record.getMessage()
    assert not record.exc_info


async def test_warnings_are_told_once_in_a_run(
    lines: Callable[[str], list[logging.LogRecord]],
) -> None:
    coordinator = Coordinator(namespace="shop")
    notifier = notifier_of(coordinator)
    for _ in range(2):
        for _ in range(3):
            notifier.never_started("payments")
            notifier.not_running("mail")
        async with coordinator:
            pass
    for event in ("never_started", "not_running"):
        assert [record.levelname for record in lines(event)] == ["WARNING"] * 2
        assert all("tart" in record.getMessage() for record in lines(event))
    assert {vars(r)["zenvark_circuit"] for r in lines("not_running")} == {"mail"}


def test_a_health_check_that_fails_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    Log("shop").check_fails("payments", "TypeError: no such argument")
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert vars(record)["zenvark_detail"] == "TypeError: no such argument"
    assert "TypeError: no such argument" in record.getMessage()


async def test_many_dead_hosts_do_not_drown_the_log(
    lines: Callable[[str], list[logging.LogRecord]],
) -> None:
    notifier = notifier_of(Coordinator())
    for number in range(10_000):
        notifier.check_fails(f"host-{number}", "ConnectError")
    assert len(lines("check_fails")) == 200


async def test_a_broken_filter_costs_no_call_and_no_decision() -> None:
    class Broken(logging.Filter):
        asked = 0

        def filter(self, record: logging.LogRecord) -> bool:
            self.asked += 1
            raise LookupError("no such tenant")

    broken = Broken()
    logger = logging.getLogger("zenvark_web")
    logger.addFilter(broken)
    try:
        coordinator = Coordinator(policy=SOON)
        notifier_of(coordinator).never_started("payments")
        async with coordinator:
            await open_it(coordinator)
            await eventually(lambda: try_once(coordinator, Outcome.SUCCESS))
            await eventually(lambda: coordinator.breaker("payments").state == "closed")
        assert coordinator.statistics.errors == {}
    finally:
        logger.removeFilter(broken)
    assert broken.asked >= 2


def test_nothing_is_worked_out_for_lines_that_nobody_reads() -> None:
    class Unread(str):
        def __str__(self) -> str:
            raise AssertionError

    logger = logging.getLogger("zenvark_web")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        Log(Unread("shop")).connected_again()
    finally:
        logger.setLevel(before)


def test_an_opening_is_seen_where_logging_is_not_configured() -> None:
    """As under a plain uvicorn: only warnings and worse reach stderr."""
    program = """
        import asyncio
        from zenvark_web import *

        async def main():
            policy = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(60))
            async with Coordinator(namespace="shop", policy=policy) as coordinator:
                breaker = coordinator.breaker("payments")
                breaker.acquire().record(Outcome.FAILURE, "HTTP 503")
                while breaker.state == "closed":
                    await asyncio.sleep(0.01)

        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    [line] = done.stderr.splitlines()
    assert re.search("payments is open.*1 x HTTP 503.*namespace=shop", line)


def test_a_ramp_is_told_as_such(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "zenvark_web")
    reason = Reason(cause=Cause.RAMP, detail="a share of 0.5 is permitted")
    Log("shop").state_changed(StateChange("payments", State.OPEN, State.HALF_OPEN, 3, reason))
    [record] = caplog.records
    assert "payments is half-open: a share of 0.5 is permitted. It closes after that, unless" in (
        record.getMessage()
    )
    assert extra(record)["zenvark_event"] == "circuit_half_open"


def test_the_page_lists_every_line_and_field(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "zenvark_web")
    told = Log("shop")
    for error in all_kinds():
        told.error(error)
    told.held_back("BackendError", 10)
    told.changes_held_back(10)
    for previous, state in [("closed", "open"), ("open", "half_open"), ("half_open", "open")]:
        told.state_changed(change(previous, state))
    told.state_changed(change("half_open", "closed"))
    told.role_changed(Role.LEADER)
    told.connected_again()
    told.never_started("payments")
    told.not_running("payments")
    told.no_longer_running("payments")
    told.too_many_new("payments")
    told.check_fails("payments", "down")
    told.checks_contradicted("payments", "refused; web-2 made a call that passed")
    told.suspected(Suspect("payments", "web-1", 5, 6, 1.5))
    told.checks_wait("payments", "64 checks still run in their threads")
    told.unknown_entry("weather")
    told.held_up("flight", "web-1")
    told.overrides_ignored("web-1")
    for kind in ("set", "lifted", "expired"):
        told.override_changed(OverrideChange("payments", kind, FORCED))
    tabled = set(re.findall(r"^\| `(\w+)` \| ([A-Z]+) \|", PAGE, re.MULTILINE))
    assert tabled == {(vars(r)["zenvark_event"], r.levelname) for r in caplog.records}
    fields = {field for record in caplog.records for field in extra(record)}
    assert set(re.findall(r"^\| `(zenvark_\w+)` \|", PAGE, re.MULTILINE)) == fields
    for error in all_kinds():
        assert f"`{type(error).__name__}`" in PAGE


def change(previous: str, state: str) -> StateChange:
    reason = Reason(cause=Cause.TRIPPED)
    return StateChange("payments", State(previous), State(state), 1, reason)
