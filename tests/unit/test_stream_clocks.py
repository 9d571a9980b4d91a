"""The clock of a streamed call, on a made-up time."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenvark_web._circuits.stream_clocks import NO_FIRST_CHUNK, STALLED, StreamClock, StreamClocks
from zenvark_web._core.failure_kinds import FailureKind, kind_of

FIRST, STALL = 5.0, 2.0


@dataclass
class Bench:
    """One call's clock, and what it told."""

    first_chunk: float | None = FIRST
    stall: float | None = STALL
    now: float = 100.0
    failures: list[str] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clocks = StreamClocks(self.first_chunk, self.stall, lambda: self.now)
        self.clock = self.another()

    def another(self) -> StreamClock:
        return StreamClock(self.clocks, self.looks.append, self.failures.append)


def test_a_look_is_requested_for_the_end_of_the_limit() -> None:
    bench = Bench()
    bench.clock.start()
    assert bench.looks == [105.0]
    assert bench.clocks.fail_late(104.9) == 105.0
    bench.now = 103.0
    assert bench.clock.chunk()
    assert bench.clocks.fail_late(103.0) is None
    bench.clock.start()
    assert bench.looks == [105.0, 105.0]


def test_only_the_late_ones_fail() -> None:
    bench = Bench()
    bench.clock.start()
    bench.now += 1
    other = bench.another()
    other.start()
    assert bench.clocks.fail_late(105.0) == 106.0
    assert bench.failures == [NO_FIRST_CHUNK]
    assert not bench.clock.stop()
    bench.now += 1
    assert other.stop()


@pytest.mark.parametrize("call_first", [True, False])
def test_the_first_of_two_threads_settles_a_call(call_first: bool) -> None:
    """The call's thread stops the clock just as the monitor's finds it late."""
    bench = Bench()
    bench.clock.start()
    if call_first:
        assert bench.clock.stop()
        assert bench.clocks.fail_late(200.0) is None
        assert bench.failures == []
    else:
        assert bench.clocks.fail_late(105.0) is None
        assert not bench.clock.stop()
        assert bench.failures == [NO_FIRST_CHUNK]


def test_a_clock_that_nobody_watches_fails_when_it_stops() -> None:
    bench = Bench()
    bench.clock.start()
    bench.now += 5.1
    assert not bench.clock.chunk()
    assert bench.failures == [NO_FIRST_CHUNK]


def test_a_clock_without_a_limit_never_runs() -> None:
    bench = Bench(first_chunk=None)
    bench.clock.start()
    assert not bench.clocks.running
    assert not bench.clock.awaits_first_chunk
    assert bench.clock.limits_gaps


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["wait", "empty", "chunk", "pause", "look"]),
            st.sampled_from([0.0, 0.5, 1.0, 1.5, 3.0]),
        )
    )
)
def test_a_call_fails_once_and_only_if_it_waited_for_too_long(
    steps: list[tuple[str, float]],
) -> None:
    """As a sum of the times in which it waited."""
    bench = Bench()
    waited, limit, label, expected = 0.0, FIRST, NO_FIRST_CHUNK, list[str]()
    for step, seconds in steps:
        bench.now += 0.0 if step in ("chunk", "look") else seconds
        if step == "pause":
            continue
        if step == "look":
            assert bench.clocks.fail_late(bench.now) is None, "a clock runs while nobody waits"
            continue
        bench.now -= 0.0 if step == "chunk" else seconds
        bench.clock.start()
        bench.now += seconds
        waited += seconds
        if waited > limit:
            expected = [label]
        if step == "wait" and waited != limit:
            bench.clocks.fail_late(bench.now)
        goes_on = bench.clock.chunk() if step == "chunk" else bench.clock.stop()
        assert goes_on == (not expected)
        assert bench.failures == expected
        if not goes_on:
            return
        if step == "chunk":
            waited, limit, label = 0.0, STALL, STALLED


@pytest.mark.parametrize("label", [NO_FIRST_CHUNK, STALLED])
def test_labels_are_timeouts(label: str) -> None:
    assert kind_of(label) is FailureKind.TIMEOUT
