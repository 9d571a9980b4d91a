"""Eleven kinds of trouble were one class, and the limit on floods went by class: a classifier that
raised with each call kept everything else from the log and from `on_error` for good."""

import asyncio
import logging
from collections import Counter

import pytest

from tests.helpers.inside import notifier_of
from tests.helpers.waiting import eventually
from zenvark_web import (
    BackendError,
    BreakerPolicy,
    CallbackError,
    Cause,
    ClassifierError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    MemoryBackend,
    PolicyMismatchError,
    Reason,
    State,
    StateChange,
    StrategyError,
)
from zenvark_web._runtime import notifier


def oops(ended: object) -> object:
    raise LookupError("oops")


BROKEN = BreakerPolicy(classify=oops)


async def succeed() -> None:
    """All is well."""


async def fail() -> None:
    raise ConnectionError


async def flood(coordinator: Coordinator, circuit: str = "broken", times: int = 300) -> None:
    for _ in range(times):
        await coordinator.breaker(circuit).execute(succeed)


async def test_a_broken_classifier_hides_no_other_kind() -> None:
    class Moody:
        def window(self) -> object:
            raise RuntimeError("no mood")

    def complain(change: object) -> None:
        raise LookupError("region")

    told: list[Exception] = []
    store = MemoryBackend()
    policies = {
        "broken": BROKEN,
        "moody": BreakerPolicy(strategy=Moody()),
        "upstream": BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(60)),
    }
    one = Coordinator(store, policies=policies, on_error=told.append, on_state_change=complain)
    async with one:
        flooding = asyncio.create_task(keep_flooding(one))
        await eventually(lambda: len(told) >= 10)
        for name in ("moody", "upstream"):
            await asyncio.gather(one.breaker(name).execute(fail), return_exceptions=True)
        async with Coordinator(store):
            wanted = {ClassifierError, StrategyError, CallbackError, PolicyMismatchError}
            await eventually(lambda: {type(error) for error in told} >= wanted)
        flooding.cancel()
    kinds = Counter(type(error) for error in told)
    counted = one.statistics.errors
    assert counted["ClassifierError"] > kinds[ClassifierError]
    assert counted["StrategyError"] == kinds[StrategyError] >= 1
    assert counted["CallbackError"] == kinds[CallbackError] >= 1


async def keep_flooding(coordinator: Coordinator) -> None:
    while True:
        await flood(coordinator)
        await asyncio.sleep(0.01)


async def test_a_broken_classifier_does_not_hide_that_of_another_circuit() -> None:
    told: list[Exception] = []
    policies = {f"broken {number}": BROKEN for number in range(100)}
    async with Coordinator(policies=policies, on_error=told.append) as coordinator:
        for name in policies:
            await flood(coordinator, name)
        await eventually(lambda: {error.circuit for error in told} == set(policies))
        assert len(told) < 300  # of 30,000


async def test_what_a_flood_holds_back_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "zenvark_web"):
        async with Coordinator(policy=BROKEN) as coordinator:
            await flood(coordinator)
    assert len(caplog.records) == 11
    assert coordinator.statistics.errors == {"ClassifierError": 300}
    assert "ClassifierError" in caplog.records[-1].getMessage()


async def test_strangers_without_end_take_no_more_memory_or_lines() -> None:
    told: list[Exception] = []
    async with Coordinator(on_error=told.append) as coordinator:
        for number in range(10_000):
            coordinator.report_error(ClassifierError("broken", circuit=str(number)))
        coordinator.report_error(BackendError("gone"))
        await eventually(lambda: any(isinstance(error, BackendError) for error in told))
    assert len(told) == 201


async def test_one_kind_about_one_thing_does_not_hide_what_else_causes_it() -> None:
    """A connection that comes and goes, and then a missing permission."""
    told: list[Exception] = []
    async with Coordinator(on_error=told.append) as coordinator:
        for _ in range(100):
            coordinator.report_error(BackendError.because(ConnectionError("lost"), "XADD"))
        coordinator.report_error(BackendError.because(PermissionError("XADD"), "XADD"))
        await eventually(lambda: any("PermissionError" in str(error) for error in told))
    assert len(told) == 11


async def test_changes_that_wait_leave_room_for_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A callback for changes that is slower than a storm of them took the errors' places, too."""
    monkeypatch.setattr(notifier, "MAX_WAITING", 20)
    told: list[Exception] = []
    release = asyncio.Event()

    async def slow(change: object) -> None:
        await release.wait()

    async with Coordinator(on_error=told.append, on_state_change=slow) as coordinator:
        its = notifier_of(coordinator)
        for number in range(50):
            reason = Reason(cause=Cause.TRIPPED)
            its.state_changed(StateChange(f"c{number}", State.CLOSED, State.OPEN, 1, reason))
        coordinator.report_error(BackendError("gone"))
        release.set()
        await eventually(lambda: any(isinstance(error, BackendError) for error in told))
        [left_out, *_] = told
        assert isinstance(left_out, CallbackError)
        assert str(left_out).endswith("slow'")


async def test_many_classes_of_a_users_own_hide_no_further_one() -> None:
    told: list[Exception] = []
    async with Coordinator(on_error=told.append) as coordinator:
        for number in range(100):
            for _ in range(5):
                coordinator.report_error(type(f"Error{number}", (Exception,), {})())
        await eventually(lambda: len({type(error).__name__ for error in told}) == 100)
