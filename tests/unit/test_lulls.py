"""Successes that a leader sums up have the effect of their reports, one by one."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.bench import Bench
from tests.unit.records import json_values
from zenvark_web import (
    BreakerPolicy,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    CountWindow,
    MalformedEntryError,
    State,
    Strategy,
    TimeWindow,
    Trip,
)
from zenvark_web._core.capabilities import Capability
from zenvark_web._core.circuit import Circuit
from zenvark_web._core.order import Lease
from zenvark_web._core.overrides import OverrideRecord
from zenvark_web._core.states import Report, Run, Suspicion, Transition
from zenvark_web._core.surroundings import Contradiction
from zenvark_web._judging.evaluator import Evaluator
from zenvark_web._runtime.clock import SharedClock
from zenvark_web.backends._decoding import decode_batch
from zenvark_web.backends._encoding import encode_batch
from zenvark_web.backends.base import Batch
from zenvark_web.backends.stored_reports import StoredReports

CIRCUITS = ("a", "b")
INSTANCES = ("web-1", "web-2", "web-3")
BEGAN = 1_000_000.0


class EveryThird:
    """A user's strategy: the third failure opens, and its window is no built-in one."""

    def window(self) -> "EveryThirdWindow":
        return EveryThirdWindow()


class EveryThirdWindow:
    def __init__(self) -> None:
        self.failures = 0
        self.seen: list[tuple[int, float]] = []

    def record(self, failed: bool, slow: bool, count: int, now: float) -> Trip | None:
        self.seen.append((count, now))
        self.failures += failed * count
        return Trip(1, self.failures, self.failures, 0) if self.failures >= 3 else None

    def save(self) -> str:
        return json.dumps([self.failures, self.seen])

    def restore(self, saved: str) -> None:
        self.failures, self.seen = json.loads(saved)


strategies: st.SearchStrategy[Strategy] = st.one_of(
    st.builds(ConsecutiveFailures, st.integers(1, 6)),
    st.builds(CountWindow, st.integers(8, 30), st.floats(0.1, 1), st.integers(1, 8)),
    st.builds(TimeWindow, st.sampled_from([0.3, 3.0, 60.0]), st.floats(0.1, 1), st.integers(1, 9)),
    st.builds(
        CountWindow,
        st.just(12),
        st.floats(0.3, 1),
        st.integers(1, 12),
        slow_rate=st.floats(0.2, 1),
    ),
    st.just(EveryThird()),
)

successes = st.builds(
    Run,
    generation=st.sampled_from([0, 0, 0, 1, 2]),
    failed=st.just(False),
    slow=st.just(False),
    count=st.sampled_from([1, 1, 2, 50]),
    age=st.sampled_from([0.0, 0.01, 0.1, 0.5, 4.0]),
)
other_runs = st.builds(
    Run,
    generation=st.sampled_from([0, 0, 1, 2]),
    failed=st.booleans(),
    slow=st.booleans(),
    count=st.integers(1, 3),
    age=st.sampled_from([0.0, 0.1, 1.0]),
    label=st.sampled_from(["", "boom"]),
)


@st.composite
def reports(draw: st.DrawFn, circuit: str) -> Report:
    if draw(st.integers(0, 4)):
        run = draw(successes)
        return Report(circuit, (run,), generation=run.generation)
    runs = tuple(draw(st.lists(other_runs, max_size=2)))
    generation = draw(st.sampled_from([0, 0, 1, 2]))
    blocked, overdue = draw(st.sampled_from([0, 0, 3])), draw(st.sampled_from([0, 0, 2]))
    return Report(circuit, runs, blocked, generation=generation, overdue=overdue)


@dataclass(frozen=True)
class Step:
    """A batch after some seconds; then, perhaps, a look at a circuit."""

    after: float
    instance: str
    reports: tuple[Report, ...]
    saved: str | None


@st.composite
def steps(draw: st.DrawFn) -> Step:
    circuits = draw(st.sampled_from([("a",), ("a",), ("b",), CIRCUITS]))
    return Step(
        after=draw(st.sampled_from([0.0, 0.05, 0.1, 0.3, 2.0, 20.0])),
        instance=draw(st.sampled_from(INSTANCES)),
        reports=tuple(draw(reports(circuit)) for circuit in circuits),
        saved=draw(st.sampled_from([None, None, None, *CIRCUITS])),
    )


class Keeper:
    """A leader whose decisions are in force at once, and its time."""

    def __init__(self, strategy: Strategy) -> None:
        slow_call = 1.0 if getattr(strategy, "slow_rate", None) else None
        policy = BreakerPolicy(strategy=strategy, backoff=ConstantBackoff(5), slow_call=slow_call)
        coordinator = Coordinator(policy=policy)
        instance = coordinator._state.instance
        self.seconds = BEGAN
        host = replace(instance.host, monotonic=lambda: self.seconds)
        self.decisions: list[Transition] = []
        frame = SharedClock(host).frame()
        lease = Lease(1, "leader")
        self.evaluator = Evaluator(replace(instance, host=host), frame, self, lease, set())

    def known(self, circuit: str) -> Transition:
        decided = [each for each in self.decisions if each.circuit == circuit]
        return decided[-1] if decided else Transition(circuit=circuit)

    def allows(self, capability: Capability) -> bool:
        return True

    def decided(self, transition: Transition) -> None:
        self.decisions.append(transition)

    def override(self, circuit: str) -> OverrideRecord | None:
        return None

    def recalled(self, transition: Transition) -> None: ...
    def refused(self, circuit: str, suspicions: Sequence[Suspicion]) -> None: ...
    def contradicted(self, circuit: str, contradiction: Contradiction) -> None: ...

    def apply(self, instance: str, rest: Iterable[Report]) -> None:
        for report in rest:
            self.evaluator.apply_report(instance, report, self.seconds, self.seconds)

    def circuit(self, name: str) -> Circuit | None:
        self.evaluator.reported_at(name)  # all that was summed up is recorded
        return self.evaluator._circuits.get(name)


def read(instance: str, number: int, sent: Sequence[Report]) -> StoredReports:
    """The reports as they come out of a store."""
    stored = decode_batch(encode_batch(Batch(instance, number, BEGAN, tuple(sent)))).reports
    assert isinstance(stored, StoredReports)
    return stored


@given(strategies, st.lists(steps(), max_size=25))
def test_sums_decide_as_their_reports(strategy: Strategy, todo: list[Step]) -> None:
    async def compare() -> None:
        summing, single = Keeper(strategy), Keeper(strategy)
        for number, step in enumerate(todo):
            for keeper in (summing, single):
                keeper.seconds += step.after
                for name in CIRCUITS:
                    keeper.evaluator._due(name)
            stored = read(step.instance, number, step.reports)
            rest = summing.evaluator.count_successes(
                step.instance, stored, summing.seconds, summing.seconds
            )
            summing.apply(step.instance, rest)
            single.apply(step.instance, tuple(stored))
            assert summing.decisions == single.decisions
            if step.saved is not None:
                saved = [each.evaluator.save(step.saved) for each in (summing, single)]
                assert saved[0] == saved[1]
        for name in CIRCUITS:
            assert summing.evaluator.reported_at(name) == single.evaluator.reported_at(name)
            assert summing.evaluator.save(name) == single.evaluator.save(name)
            one, other = summing.circuit(name), single.circuit(name)
            assert (one is None) is (other is None)
            if one is not None and other is not None:
                assert one.deadline == other.deadline
                assert one._callers.next == other._callers.next

    asyncio.run(compare())


def test_healthy_reports_are_summed_up_and_a_failure_finds_them_recorded() -> None:
    async def run() -> None:
        keeper = Keeper(CountWindow(100, 0.5, 10))
        success = Report("a", (Run(0, False, False, 5),))
        in_full = 0
        for number in range(10):
            stored = read("web-1", number, [success])
            for report in keeper.evaluator.count_successes("web-1", stored, BEGAN, BEGAN):
                keeper.apply("web-1", [report])
                in_full += 1
        assert in_full == 1
        failed = Report("a", (Run(0, True, False, 49, label="boom"),))
        keeper.apply("web-2", [failed])
        assert keeper.decisions == []  # 49 of 99
        keeper.apply("web-2", [failed])
        (opened,) = keeper.decisions
        assert opened.state is State.OPEN
        assert str(opened.reason).startswith("50 of 100 calls failed")

    asyncio.run(run())


numbers = st.one_of(
    st.integers(-1, 3), st.booleans(), st.sampled_from([0.0, 1.5, 2**53, 2**53 + 1])
)
words = st.one_of(
    st.none(),
    st.tuples(
        st.sampled_from(["closed", "open", "purple"]), numbers, numbers, numbers, st.none()
    ).map(list),
    json_values,
)


@st.composite
def nearly_successes(draw: st.DrawFn) -> list[Any]:
    """A healthy report, with up to two parts of it replaced by something else."""
    run: list[Any] = [3, 20, 0, 5, "", None]
    report: list[Any] = ["payments", [run], 0, None, 3, None, 0]
    for _ in range(draw(st.integers(0, 2))):
        target = draw(st.sampled_from([run, report]))
        target[draw(st.integers(0, len(target) - 1))] = draw(numbers | json_values)
    if not draw(st.integers(0, 5)):
        run.pop()  # from a version that knows no kinds of failures
    if not draw(st.integers(0, 5)):
        draw(st.sampled_from([run, report])).append(draw(json_values))
    return report


@given(st.lists(st.tuples(nearly_successes(), words), min_size=1, max_size=4))
def test_what_is_read_in_short_is_what_is_read_in_full(stored: list[tuple[Any, Any]]) -> None:
    """An element that a newer version appends has a report read in full, and changes nothing."""
    fields = {
        **encode_batch(Batch("web-1", 1, BEGAN, ())),
        "reports": json.dumps([report for report, _ in stored]),
        "words": json.dumps([word for _, word in stored]),
    }
    longer = fields | {"reports": json.dumps([_with_more(report) for report, _ in stored])}
    short, full = (_read_or_refused(each) for each in (fields, longer))
    assert short == full


def _with_more(report: Any) -> Any:
    return [*report, "from a newer version"]


def _read_or_refused(fields: dict[str, str]) -> tuple[list[Report], int] | None:
    try:
        batch = decode_batch(fields)
    except MalformedEntryError:
        return None
    return list(batch.reports), 0 if batch.unreadable is None else 1


def test_a_success_opens_when_older_ones_have_left_the_window() -> None:
    async def run() -> None:
        keeper = Keeper(TimeWindow(30.0, 0.5, 2))

        def succeed(count: int) -> None:
            stored = read("web-1", 1, [Report("a", (Run(0, False, False, count),))])
            moment = keeper.seconds
            keeper.apply("web-1", keeper.evaluator.count_successes("web-1", stored, moment, moment))

        succeed(3)
        keeper.seconds += 20
        keeper.apply("web-2", [Report("a", (Run(0, True, False, 2, label="boom"),))])
        succeed(1)
        assert keeper.decisions == []  # 2 of 6
        keeper.seconds += 15
        succeed(1)
        (opened,) = keeper.decisions  # 2 of 4
        assert opened.state is State.OPEN

    asyncio.run(run())


def test_a_sum_of_before_a_hold_counts_in_nothing() -> None:
    bench = Bench(strategy=ConsecutiveFailures(3))
    lull = bench.circuit.lull()
    assert lull is not None
    bench.circuit.hold("held open by ops: down", bench.now)
    assert bench.circuit.end_lull(lull) is None
    assert bench.circuit.latest.state is State.OPEN
