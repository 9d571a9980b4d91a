"""A leader that is behind leaves out the new names that one instance brings too fast."""

import pytest

from tests.helpers.waiting import eventually
from zenvark_web import Coordinator, MemoryBackend, OverloadedError, State
from zenvark_web._core.states import Report, Run
from zenvark_web._judging import newcomers
from zenvark_web._judging.newcomers import BEHIND, BURST, MAX_INSTANCES, RATE, Newcomers
from zenvark_web.backends.base import Batch

LATE = BEHIND + 1


def test_whoever_brings_few_is_never_left_out() -> None:
    asked = Newcomers()
    for number in range(10 * BURST):
        at = number / RATE
        assert asked.admit("web-1", at, at + LATE)


def test_many_are_taken_while_there_is_time() -> None:
    asked = Newcomers()
    assert all(asked.admit("web-1", 0.0, 0.0) for _ in range(10 * BURST))


def test_too_many_are_left_out_when_it_is_late_and_others_are_not() -> None:
    asked = Newcomers()
    admitted = [asked.admit("web-1", 0.0, LATE) for _ in range(10 * BURST)]
    assert sum(admitted) == BURST
    assert asked.admit("web-2", 0.0, LATE)
    admitted = [asked.admit("web-1", 1.0, 1.0 + LATE) for _ in range(10 * BURST)]
    assert sum(admitted) == RATE


def test_instances_are_bounded() -> None:
    asked = Newcomers()
    for number in range(MAX_INSTANCES + 10):
        asked.admit(f"web-{number}", 0.0, LATE)
    assert len(asked._left) == MAX_INSTANCES


@pytest.mark.untraced
async def test_it_is_told_and_circuits_that_are_known_are_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(newcomers, "BEHIND", -1.0)  # always late
    store, told = MemoryBackend(), list[Exception]()
    async with Coordinator(store, on_error=told.append) as coordinator:
        await eventually(lambda: coordinator.role == "leader", what="it leads")

        async def tell(number: int, instance: str, *names: str) -> None:
            run = Run(0, failed=True, slow=False, count=5, label="boom")
            reports = tuple(Report(name, (run,)) for name in names)
            await store.append(Batch(instance, number, (await store.load()).now, reports))

        await tell(1, "web-1", *(f"stranger-{number}" for number in range(BURST + 50)))
        await tell(1, "web-2", "honest")
        honest = coordinator.breaker("honest")
        await eventually(lambda: honest.state is State.OPEN, what="the honest one opens")
        assert coordinator.breaker("stranger-0").state is State.OPEN
        assert coordinator.breaker(f"stranger-{BURST + 49}").state is State.CLOSED
        await eventually(lambda: bool(told), what="it is told")
        assert {type(error) for error in told} == {OverloadedError}
        assert all("web-1" in str(error) for error in told)
