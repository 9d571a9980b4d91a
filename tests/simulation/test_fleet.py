"""What users test with: a fleet in memory, a clock to advance, breakers to trip."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from tests.examples.pages import blocks
from tests.helpers.processes import ROOT
from zenvark_web import (
    BreakerPolicy,
    BreakerTransport,
    CircuitOpenError,
    ConsecutiveFailures,
    CountWindow,
    ExponentialBackoff,
    HealthCheckType,
    Outcome,
    Role,
    State,
    StateChange,
)
from zenvark_web.testing import Fleet

SECONDS = BreakerPolicy(backoff=ExponentialBackoff(initial=10, jitter=0))


def test_all_coordinators_share_what_one_has_seen() -> None:
    with Fleet() as fleet:
        coordinators = [fleet.coordinator() for _ in range(3)]
        assert [each.role for each in coordinators].count(Role.LEADER) == 1
        for _ in range(5):
            coordinators[1].breaker("payments").acquire().record(Outcome.FAILURE)
        assert coordinators[1].breaker("payments").state is State.CLOSED
        fleet.advance()
        states = {each.breaker("payments").state for each in coordinators}
        assert states == {State.OPEN}


def test_time_passes_only_when_it_is_told_to() -> None:
    with Fleet(policy=SECONDS) as fleet:
        breaker = fleet.coordinator().breaker("payments")
        fleet.trip(breaker)
        before = breaker.retry_after
        assert before > 9
        fleet.advance(4)
        assert breaker.retry_after == pytest.approx(before - 4)
        with pytest.raises(CircuitOpenError):
            breaker.acquire()
        fleet.advance(6)
        with pytest.raises(CircuitOpenError):
            breaker.acquire()
        fleet.advance()
        breaker.acquire().record(Outcome.SUCCESS)
        fleet.advance()
        assert breaker.state is State.CLOSED


@pytest.mark.parametrize(
    "policy",
    [
        BreakerPolicy(),
        BreakerPolicy(strategy=ConsecutiveFailures(1)),
        BreakerPolicy(strategy=CountWindow(200, 0.9), healthy_after=3, trial_calls=4),
        BreakerPolicy(cut_off="local", backoff=ExponentialBackoff(600, 2, 3600)),
    ],
)
def test_tripped_and_recovered_by_hand(policy: BreakerPolicy) -> None:
    with Fleet(policies={"pay*": policy}) as fleet:
        here, there = fleet.coordinator(), fleet.coordinator()
        for _ in range(2):
            fleet.trip("payments")
            assert here.breaker("payments").state is there.breaker("payments").state is State.OPEN
            fleet.recover(here.breaker("payments"))
            assert here.breaker("payments").state is there.breaker("payments").state is State.CLOSED


def test_health_checks_of_circuits_that_are_down_fail() -> None:
    async def check(_: HealthCheckType) -> None:
        raise AssertionError("it must not be run")

    with Fleet(policy=BreakerPolicy(health_check=check, idle_interval=5)) as fleet:
        breaker = fleet.coordinator().breaker("payments")
        fleet.advance(60)
        assert breaker.state is State.CLOSED
        fleet.trip(breaker)
        fleet.advance(600)
        assert breaker.state is State.OPEN
        fleet.recover(breaker)
        assert breaker.state is State.CLOSED
        fleet.down.add("payments")
        breaker.acquire().record(Outcome.SUCCESS)
        fleet.advance(20)
        assert breaker.state is State.OPEN


def test_what_cannot_be_tripped_says_so() -> None:
    with Fleet() as fleet:
        with pytest.raises(RuntimeError, match="no coordinator"):
            fleet.trip("payments")
        fleet.coordinator(policy=BreakerPolicy(classify=lambda _: Outcome.IGNORED))
        fleet.trip("payments")  # a classifier judges calls; these are recorded as failures
        with pytest.raises(ValueError, match="none of this fleet"), Fleet() as other:
            fleet.cut_off(other.coordinator())


def test_a_leader_that_stops_is_followed_by_another() -> None:
    with Fleet() as fleet:
        here, there = fleet.coordinator(), fleet.coordinator()
        assert here.role is Role.LEADER

        async def stop() -> None:
            async with here:
                assert here.connected
            assert not here.connected

        asyncio.run(stop())
        fleet.advance(5)
        assert there.role is Role.LEADER
        fleet.trip("payments")
        assert there.breaker("payments").state is State.OPEN
        assert here.breaker("payments").state is State.CLOSED


def test_cut_off_and_back() -> None:
    with Fleet() as fleet:
        here, there = fleet.coordinator(), fleet.coordinator()
        fleet.cut_off(here)
        fleet.advance(10)
        assert not here.connected
        fleet.trip("payments")
        assert there.breaker("payments").state is State.OPEN
        assert here.breaker("payments").state is State.CLOSED
        fleet.reconnect(here)
        fleet.advance(10)
        assert here.connected
        assert here.breaker("payments").state is State.OPEN


def test_callbacks_are_told_while_time_passes() -> None:
    changes: list[StateChange] = []
    with Fleet() as fleet:
        fleet.coordinator(on_state_change=changes.append)
        fleet.trip("payments")
    assert [(change.name, change.state) for change in changes] == [("payments", State.OPEN)]


async def test_beside_the_event_loop_of_a_test() -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        return httpx.Response(500)

    with Fleet() as fleet:
        coordinator = fleet.coordinator()
        transport = BreakerTransport(coordinator, httpx.MockTransport(fail))
        async with coordinator, httpx.AsyncClient(transport=transport) as client:
            statuses = [(await client.get("https://payments")).status_code for _ in range(5)]
            fleet.advance()
            statuses.append((await client.get("https://payments")).status_code)
        assert statuses == [500] * 5 + [503]


def test_calls_from_other_threads() -> None:
    with Fleet() as fleet:
        breaker = fleet.coordinator().breaker("payments")

        def fail() -> None:
            breaker.acquire().record(Outcome.FAILURE)

        threads = [threading.Thread(target=fail) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        fleet.advance()
        assert breaker.state is State.OPEN


def test_hours_are_the_same_each_time() -> None:
    def run() -> list[float]:
        with Fleet() as fleet:
            breaker = fleet.coordinator().breaker("payments")
            fleet.trip(breaker)
            waits = []
            for _ in range(10):
                waits.append(breaker.retry_after)
                fleet.advance(400)
            return [*waits, fleet.now]

    assert run() == run()


def test_pages_tests_pass_with_the_plugin(tmp_path: Path) -> None:
    shop, app, app_tests, _, httpx_tests, *_ = blocks(ROOT / "docs" / "testing.md")
    # Registered by its entry point or as here, it may be enabled once more.
    plugin = "zenvark_web.testing.pytest"
    (tmp_path / "conftest.py").write_text(f"pytest_plugins = [{plugin!r}]\n")
    (tmp_path / "test_shop.py").write_text(shop.text)
    (tmp_path / "shop.py").write_text(app.text)
    (tmp_path / "test_shop_app.py").write_text(app_tests.text)
    (tmp_path / "test_with_pytest_httpx.py").write_text(httpx_tests.text)
    options = ["-q", "-p", "no:cacheprovider", "-p", plugin]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", *options, tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "5 passed" in run.stdout, run.stdout + run.stderr


def test_pytest_is_loaded_only_for_its_plugin() -> None:
    code = "import sys, zenvark_web.testing; print('pytest' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
