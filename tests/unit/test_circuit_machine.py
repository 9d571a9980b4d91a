"""A circuit and several doors to it, driven at random in virtual time.

The machine is the world around the core: instances with calls under way, an unreliable wire in
both directions, leaders that come and go, an upstream that asks to be left alone. Whatever happens,
the fleet must not let more trial calls pass than the policy says, must not try before the upstream
wants it, must not close without proof, and must not get stuck.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from zenvark_web import BreakerPolicy, Cause, ConsecutiveFailures, ConstantBackoff, State
from zenvark_web._core.admission import Admission
from zenvark_web._core.circuit import Circuit
from zenvark_web._core.overdue import OVERDUE_SILENCE
from zenvark_web._core.states import TRANSITIONS, CircuitSnapshot, Grant, Report, Run, Transition
from zenvark_web._core.surroundings import Check, Recall
from zenvark_web._core.trial import HOLDER_SILENCE
from zenvark_web._core.waits import LEAST_LENGTHENING

WAIT = 2.0
RAMP_STEP = 1.0
LONGEST_HOLD = 6.0
HOLDS = [0.3, 0.9, 0.9, 1.5, 4.0, LONGEST_HOLD]
TROUBLE = [
    *["none"] * 4,
    *["hold"] * 3,
    "lose",
    "start",
    "silence",
    "save",
    "save",
    "elect",
    "elect",
    "repeat",
    "repeat",
]


@dataclass(eq=False)
class Call:
    """A call under way."""

    generation: int
    trial: bool
    ramped: bool = False
    recorded: bool = False
    """Told but not yet settled: a thread takes two steps for that."""


@dataclass(eq=False)
class Instance:
    """A process as the core sees it: a door, and what happened at it."""

    name: str
    door: Admission
    inbox: deque[Transition | Recall]
    alive: bool = True
    calls: list[Call] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    blocked: int = 0
    held_until: float = 0.0
    outbox: deque[Report] = field(default_factory=deque)

    def receive(self, now: float) -> None:
        if self.inbox:
            news = self.inbox.popleft()
            if isinstance(news, Recall):
                self.door.recall(news.transition.generation)
            elif news.generation > self.door.generation:
                self.door.apply(news, now, max(0.0, news.retry_at - now), now - news.at)
        if not self.inbox:
            self.door.heard(now)

    def call(self, now: float) -> Call | None:
        door = self.door
        ramped = door.climbing and door.climb(now)
        trial = not door.closed and not ramped
        if trial and not door.take(now):
            self.blocked += 1
            return None
        self.calls.append(Call(door.generation, trial, ramped))
        return self.calls[-1]

    def record(self, call: Call, *, failed: bool) -> None:
        call.recorded = True
        self.runs.append(Run(call.generation, failed, False, 1, 0.0, "boom" * failed))

    def settle(self, call: Call, *, returned: bool = False) -> None:
        self.calls.remove(call)
        if call.trial or call.ramped:
            self.door.release(call.generation, unused=returned and call.trial)

    def write(self, now: float) -> None:
        note = self.door.note()
        self.outbox.append(
            Report(
                "c", tuple(self.runs), self.blocked, note, retry_after=self.held_until
            )  # at what time
        )
        self.runs, self.blocked = [], 0

    def send(self, now: float) -> Report:
        """The oldest report, as it arrives: with the time that is left."""
        report = self.outbox.popleft()
        if report.trial is not None:
            self.door.told(report.trial.generation, now, now)
        left = (report.retry_after or 0.0) - now
        return replace(report, retry_after=left if left > 0 else None)


class Fleet(RuleBasedStateMachine):
    """One circuit, its leader, and the instances."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.policy = BreakerPolicy()
        self.newest = Transition(circuit="c")
        self.instances: list[Instance] = []
        self.born = 0
        self.log: list[tuple[str, Report, float]] = []
        self.heard_at: dict[str, float] = {}
        self.trials: Counter[int] = Counter()  # let through and not given back, by generation
        self.passed: Counter[int] = Counter()
        self.failed: Counter[int] = Counter()
        self.ramp_passed: Counter[int] = Counter()  # of the calls in ramps, by generation
        self.ramp_failed: Counter[int] = Counter()
        self.wait_began = 0  # the generation in which the circuit opened
        self.disturbed = False  # in this wait permits were taken from a silent holder
        self.held_until = 0.0  # as far as any report has told
        self.saved: tuple[CircuitSnapshot | None, int] = (
            None,
            0,
        )  # and how much of the log is in it

    @initialize(
        trial_calls=st.integers(1, 3),
        healthy_after=st.integers(1, 4),
        state=st.sampled_from([State.OPEN, State.HALF_OPEN, State.CLOSED]),
        ramp=st.sampled_from([(), (0.5,), (0.25, 0.75)]),
        throttle=st.sampled_from(["count", "open"]),
    )
    def begin(
        self,
        trial_calls: int,
        healthy_after: int,
        state: State,
        ramp: tuple[float, ...],
        throttle: Any,
    ) -> None:
        self.policy = BreakerPolicy(
            strategy=ConsecutiveFailures(1),
            backoff=ConstantBackoff(WAIT),
            trial_calls=trial_calls,
            healthy_after=healthy_after,
            ramp=ramp,
            ramp_step=RAMP_STEP,
            max_retry_after=LONGEST_HOLD,
            throttle=throttle,
        )
        grant = Grant(holder="web-1", permits=trial_calls) if state is State.HALF_OPEN else None
        self.newest = Transition(
            circuit="c", generation=1, state=state, at=self.now, delay=WAIT, grant=grant
        )
        self.wait_began = 1
        self.circuit = self._lead()
        for _ in range(3):
            self._start_instance()

    # Hypothesis leaves out some rules in each run, so what belongs together is one rule.

    @rule(data=st.data(), how=st.sampled_from(["pass", "pass", "fail", "cancel", "half"]))
    def call(self, data: st.DataObject, how: str) -> None:
        """Begin a call, or end one: whole, or only the first of the two steps of a thread."""
        busy = self._busy()
        if not busy or data.draw(st.booleans()):
            callers = sorted(self._alive(), key=lambda instance: not instance.door.trying)
            instance = data.draw(st.sampled_from(callers))
            if len(instance.calls) < 4:
                self._call(instance)
            return
        instance = data.draw(st.sampled_from(busy))
        call = data.draw(st.sampled_from(sorted(instance.calls, key=lambda call: not call.trial)))
        if not call.recorded and how != "cancel":
            self._record(instance, call, failed=how == "fail")
        if how != "half":
            cancelled = not call.recorded
            self.trials[call.generation] -= call.trial and cancelled
            instance.settle(call, returned=cancelled)

    @rule(data=st.data(), what=st.sampled_from(["say", "receive", "write", "deliver"]))
    def use_the_wire(self, data: st.DataObject, what: str) -> None:
        """One instance sends or gets something, or all do."""
        instances = self.instances
        if data.draw(st.booleans()):
            instances = [data.draw(st.sampled_from(instances))]
        for instance in instances:
            if what == "receive":
                instance.receive(self.now)
            elif what == "deliver" and instance.outbox:
                self._deliver(instance)
            elif what == "write" and instance.alive:
                instance.write(self.now)
            elif what == "say" and instance.alive:
                self._say(instance)

    @rule(
        seconds=st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0]),
        news=st.booleans(),
        ends=st.sampled_from(["none", "none", "pass", "pass", "fail"]),
    )
    def go_on(self, seconds: float, news: bool, ends: str) -> None:
        """Everyone makes a call and tells how things stand, and time passes."""
        for instance in self._alive():
            while news and instance.inbox:
                instance.receive(self.now)
            for call in [call for call in instance.calls if call.trial and ends != "none"]:
                self._finish(instance, call, failed=ends == "fail")
            if len(instance.calls) < 4:
                self._call(instance)
            self._say(instance)
        self._wait(seconds)

    @rule(data=st.data(), what=st.sampled_from(TROUBLE))
    def disturb(self, data: st.DataObject, what: str) -> None:
        """Something that does not happen every day."""
        if what == "lose" and len(self._alive()) > 2:
            # What it has written is under way, what it has not is gone.
            data.draw(st.sampled_from(self._alive())).alive = False
        elif what == "hold":
            # It need not be the circuit's last calls that are told.
            told = data.draw(st.sampled_from(self._alive()))
            told.held_until = max(told.held_until, self.now + data.draw(st.sampled_from(HOLDS)))
        elif what == "start" and len(self.instances) < 5:
            self._start_instance()
        elif what == "silence":
            self._wait(data.draw(st.sampled_from([0.5, 5.0])))
        elif what == "save":
            self.saved = self.circuit.save(self.now), len(self.log)
        elif what == "elect":
            self._change_leader(*data.draw(st.sampled_from([self.saved, self.saved, (None, 0)])))
        elif what == "repeat" and self._notes():
            # Results are never counted twice (batches are numbered), but a note may come late.
            name, report, _ = data.draw(st.sampled_from(self._notes()))
            self._report(name, Report("c", trial=report.trial))

    def _change_leader(self, tally: CircuitSnapshot | None, length: int) -> None:
        """A new one starts from the newest transition, and reads on from what was saved, or all
        results again."""
        self.circuit = self._lead()
        if tally is not None:
            assert self.circuit.restore(tally, self.now)
        for name, report, at in self.log[length:]:
            self._take(self.circuit.report(name, report, at=at, now=self.now, replayed=True))

    # What must hold

    @invariant()
    def trial_calls_are_as_many_as_the_policy_says(self) -> None:
        if not self.disturbed:
            made = sum(self.trials[generation] for generation in self._this_wait())
            assert made <= self._needed

    @invariant()
    def no_grant_is_empty_or_too_large(self) -> None:
        grant = self.newest.grant
        assert grant is None or 1 <= grant.permits <= self.policy.trial_calls

    @invariant()
    def no_door_is_ahead_of_the_leader(self) -> None:
        for instance in self.instances:
            assert instance.door.generation <= self.newest.generation
            if instance.inbox:
                continue
            assert instance.door.generation == self.newest.generation
            assert instance.door.closed == (self.newest.state is State.CLOSED)

    @invariant()
    def no_door_is_ahead_of_its_ramp(self) -> None:
        """R2."""
        for instance in self.instances:
            if instance.door.climbing and instance.door.generation == self.newest.generation:
                assert self.newest.ramp is not None
                due = self.newest.ramp.share_at(self.now - self.newest.at)
                assert instance.door.share(self.now) <= due

    def teardown(self) -> None:
        """However things stand: when calls go well from now on, the circuit closes."""
        if not self.instances:
            return
        patience = self.now + 3 * HOLDER_SILENCE + WAIT + 5 * self.policy.healthy_after
        patience += LONGEST_HOLD + len(self.policy.ramp) * RAMP_STEP + OVERDUE_SILENCE + 2
        while self.newest.state is not State.CLOSED or any(i.inbox for i in self.instances):
            assert self.now < patience, f"stuck in {self.newest!r}"
            self._go_well()

    def _go_well(self) -> None:
        """Half a second in which everything works. Whoever has told of a grant reads on at once."""
        for instance in self._alive():
            while instance.inbox:
                instance.receive(self.now)
            self._say(instance)
        self._wait(0.05)
        for instance in self._alive():
            instance.receive(self.now)
            self._call(instance)
            for call in list(instance.calls):
                self._finish(instance, call, failed=False)
            self._say(instance)
        for lost in self.instances:
            if not lost.alive:
                lost.inbox.clear()
        self._wait(0.45)

    # Odds and ends

    def _alive(self) -> list[Instance]:
        return [instance for instance in self.instances if instance.alive]

    def _busy(self) -> list[Instance]:
        """Those with calls under way, trials first."""
        busy = [instance for instance in self._alive() if instance.calls]
        return sorted(busy, key=lambda instance: not any(call.trial for call in instance.calls))

    def _notes(self) -> list[tuple[str, Report, float]]:
        """What was said lately of permits that are still out. That none are is said last."""
        recent = self.log[-4:]
        return [(n, r, at) for n, r, at in recent if r.trial and (r.trial.unused or r.trial.held)]

    def _start_instance(self) -> None:
        self.born += 1
        name = f"web-{self.born}"
        instance = Instance(name, Admission(name), deque([self.newest]))
        instance.receive(self.now)
        self.instances.append(instance)

    def _lead(self) -> Circuit:
        return Circuit(self.policy, self.newest, self.now, lambda: 0.5)

    def _call(self, instance: Instance) -> None:
        call = instance.call(self.now)
        if call is not None and call.trial:
            self.trials[call.generation] += 1
            assert call.generation == self.newest.generation, "somebody else has the permit"

    def _record(self, instance: Instance, call: Call, *, failed: bool) -> None:
        instance.record(call, failed=failed)
        if call.trial:
            (self.failed if failed else self.passed)[call.generation] += 1
        if call.ramped:
            (self.ramp_failed if failed else self.ramp_passed)[call.generation] += 1

    def _finish(self, instance: Instance, call: Call, *, failed: bool) -> None:
        if not call.recorded:
            self._record(instance, call, failed=failed)
        instance.settle(call)

    def _deliver(self, instance: Instance) -> None:
        self._report(instance.name, instance.send(self.now))

    def _say(self, instance: Instance) -> None:
        instance.write(self.now)
        while instance.outbox:
            self._deliver(instance)

    def _report(self, name: str, report: Report) -> None:
        self.log.append((name, report, self.now))
        if report.trial is not None and report.trial.generation == self.newest.generation:
            self.heard_at[name] = self.now
        self.held_until = max(self.held_until, self.now + (report.retry_after or 0.0))
        self._take(self.circuit.report(name, report, at=self.now, now=self.now))

    def _wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (deadline := self.circuit.deadline) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            trial = self.circuit._trial
            done = self.circuit.due(self.now)
            assert not isinstance(done, Check)
            if trial is not None and not isinstance(done, Recall):
                self._check_silence()
            self._take(done)
            assert self.circuit.deadline is None or self.circuit.deadline > self.now
        self.now = end

    def _take(self, moved: Transition | Recall | None) -> None:
        """What must hold of a transition; then it is sent to everyone."""
        if moved is None:
            return
        if isinstance(moved, Recall):
            assert moved.transition is self.newest
            for instance in self.instances:
                instance.inbox.append(moved)
            return
        assert moved is self.circuit.latest
        assert moved.generation == self.newest.generation + 1
        assert moved.previous is self.newest.state
        assert moved.state is TRANSITIONS[moved.previous, moved.reason.cause]
        if moved.previous is not State.CLOSED and moved.state is State.CLOSED:
            assert (self.newest.ramp is not None) == bool(self.policy.ramp), "R3"
        told = self.newest.reason.cause is Cause.THROTTLED
        self.newest = moved
        if moved.grant is not None:
            self._check_patience()
        if moved.state is State.CLOSED:
            self._check_proof(moved)
        elif moved.reason.cause is Cause.RAMP:
            # If it was told, the upstream has said when it wants calls, and nothing is tried.
            (self._check_patience if told else self._check_trials)()
        elif moved.state is State.OPEN:
            self.wait_began, self.disturbed = moved.generation, False
            assert moved.retry_at > self.held_until - LEAST_LENGTHENING
        for instance in self.instances:
            instance.inbox.append(moved)

    def _check_patience(self) -> None:
        assert self.now >= self.held_until, "the upstream wants to be left alone"

    def _check_silence(self) -> None:
        """Permits go to another only if their holder has said nothing for a while."""
        grant = self.newest.grant
        assert grant is not None
        heard_at = max(self.heard_at.get(grant.holder, 0.0), self.newest.at)
        assert self.now >= heard_at + HOLDER_SILENCE
        self.disturbed = True

    def _check_proof(self, closing: Transition) -> None:
        if not self.policy.ramp:
            assert closing.reason.cause is Cause.TRIAL_PASSED
            self._check_trials()
            return
        assert closing.reason.cause is Cause.RAMP_PASSED
        ramp = closing.generation - 1
        assert self.ramp_passed[ramp] or not self.ramp_failed[ramp]

    def _check_trials(self) -> None:
        wait = list(self._this_wait())
        assert sum(self.passed[generation] for generation in wait) >= self._needed
        if not self.disturbed:
            assert not any(self.failed[generation] for generation in wait)

    @property
    def _needed(self) -> int:
        """The trial calls that must pass: as many whole rounds as reach `healthy_after`."""
        calls = self.policy.trial_calls
        return -(-self.policy.healthy_after // calls) * calls

    def _this_wait(self) -> Iterator[int]:
        return iter(range(self.wait_began, self.newest.generation + 1))


def test_fleet() -> None:
    run_state_machine_as_test(
        Fleet,
        settings=settings(stateful_step_count=50, report_multiple_bugs=False),
    )
