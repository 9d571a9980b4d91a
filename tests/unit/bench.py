"""One circuit with a clock of its own, and short words for what reaches it."""

from dataclasses import replace
from typing import Any

from zenvark_web import BreakerPolicy, ExponentialBackoff, HealthCheckType
from zenvark_web._core.circuit import Circuit
from zenvark_web._core.states import (
    TRANSITIONS,
    Cause,
    KnownState,
    Report,
    Run,
    State,
    Transition,
    TrialNote,
)
from zenvark_web._core.surroundings import ALONE, Check, Recall, Surroundings

BACKOFF = ExponentialBackoff(initial=1, multiplier=2, maximum=60, jitter=0)


async def check(kind: HealthCheckType) -> None:
    """A health check. The core runs none, it only asks for them."""


class Bench:
    """A circuit as its leader drives it, one thing at a time."""

    def __init__(
        self,
        latest: Transition | None = None,
        *,
        now: float = 1000.0,
        chance: float = 0.5,
        may_ramp: bool = True,
        surroundings: Surroundings = ALONE,
        **settings: Any,
    ) -> None:
        self.now = now
        policy = BreakerPolicy(**{"backoff": BACKOFF, **settings})
        latest = latest or Transition(circuit="c")
        surroundings = replace(surroundings, may_ramp=lambda: may_ramp)
        self.circuit = Circuit(policy, latest, now, lambda: chance, surroundings)

    @property
    def latest(self) -> Transition:
        return self.circuit.latest

    @property
    def state(self) -> State:
        return self.latest.state

    @property
    def cause(self) -> Cause:
        return self.latest.reason.cause

    def say(
        self,
        *runs: Run,
        by: str = "a",
        blocked: int = 0,
        note: TrialNote | None = None,
        replayed: bool = False,
        **more: Any,
    ) -> Transition | None:
        """A report, arriving now."""
        report = Report("c", runs, blocked, note, **more)
        before = self.latest
        moved = self.circuit.report(by, report, at=self.now, now=self.now, replayed=replayed)
        return self._seen(before, moved)

    def calls(
        self,
        count: int = 1,
        *,
        failed: bool = False,
        slow: bool = False,
        by: str = "a",
        label: str = "",
        generation: int | None = None,
        age: float = 0.0,
    ) -> Transition | None:
        """A report of calls that ended alike."""
        if generation is None:
            generation = self.latest.generation
        return self.say(Run(generation, failed, slow, count, age, label), by=by)

    def fail(self, count: int = 1, **details: Any) -> Transition | None:
        return self.calls(count, failed=True, **details)

    def demand(self, by: str = "a") -> Transition | None:
        """A report of a blocked call."""
        return self.say(by=by, blocked=1)

    def hold(self, seconds: float, by: str = "a", **more: Any) -> Transition | None:
        """A report that the upstream wants to be left alone."""
        return self.say(by=by, retry_after=seconds, **more)

    def force(self) -> Transition | None:
        """An operator holds it open."""
        before = self.latest
        return self._seen(before, self.circuit.hold("held open by ops: down", self.now))

    def hurry(self) -> Transition | None:
        """An operator wants an attempt now."""
        before = self.latest
        return self._seen(before, self.circuit.hurry("asked for by ops: well again", self.now))

    def overdue(self, count: int, by: str = "a", **more: Any) -> Transition | None:
        """A report of calls under way that are slow already."""
        more = {"generation": self.latest.generation, **more}
        return self.say(by=by, overdue=count, **more)

    def trial(
        self,
        *passed: bool,
        unused: int = 0,
        held: int = 0,
        slow: bool = False,
        by: str = "a",
        **more: Any,
    ) -> Transition | None:
        """A holder's report: how these trial calls ended, and how far it is."""
        generation = self.latest.generation
        runs = [Run(generation, not well, slow, 1, 0.0, "boom" * (not well)) for well in passed]
        return self.say(*runs, by=by, note=TrialNote(generation, unused, held), **more)

    def in_flight(self, held: int, by: str = "a") -> Transition | None:
        """A report of calls of a ramp under way."""
        return self.say(by=by, note=TrialNote(self.latest.generation, 0, held))

    def wait(self, seconds: float) -> Transition | Check | Recall | None:
        """Let time pass, and what is due first in it be done."""
        end = self.now + seconds
        deadline = self.circuit.deadline
        if deadline is not None and deadline <= end:
            self.now = max(self.now, deadline)
            before = self.latest
            done = self.circuit.due(self.now)
            if done is not None:
                if isinstance(done, Transition):
                    self._seen(before, done)
                return done
        self.now = end
        return None

    def wait_for_check(self, seconds: float = 60.0) -> Check:
        """Let time pass until a health check is asked for."""
        asked = self.wait(seconds)
        assert isinstance(asked, Check), asked
        return asked

    def answer(self, asked: Check, error: str | None = None) -> Transition | None:
        before = self.latest
        return self._seen(before, self.circuit.checked(asked, error, self.now))

    def repair(self, seen: int, known: KnownState | None = None) -> Transition | None:
        """A report of an instance that knows more than the store."""
        before = self.latest
        report = Report(before.circuit, generation=seen, known_state=known)
        moved = self.circuit.repair(report, at=self.now, now=self.now)
        if known is not None:
            return moved
        assert moved is None or moved.generation == seen + 1
        return self._seen(before, moved)

    def _seen(self, before: Transition, moved: Transition | None) -> Transition | None:
        """What must hold of every move."""
        if moved is None:
            assert self.latest is before
            return None
        assert self.latest is moved
        assert moved.circuit == before.circuit
        assert moved.previous is before.state
        assert moved.state is TRANSITIONS[before.state, moved.reason.cause]
        if moved.reason.cause is Cause.REPAIRED:
            assert moved.generation > before.generation
        else:
            assert moved.generation == before.generation + 1
        assert moved.at == self.now
        assert moved.since <= self.now
        assert (moved.grant is not None) == (moved.reason.cause is Cause.TRIAL)
        assert (moved.ramp is not None) == (moved.reason.cause is Cause.RAMP)
        return moved


def opened(bench: Bench) -> Bench:
    """Trip it."""
    while bench.state is State.CLOSED:
        bench.fail()
    return bench


def ramped(bench: Bench) -> Bench:
    """Trip it, and let its first health check pass: its policy has a check and a ramp."""
    opened(bench)
    moved = bench.answer(bench.wait_for_check())
    assert moved is not None
    assert moved.reason.cause is Cause.RAMP
    return bench


def half_opened(bench: Bench, by: str = "a") -> Bench:
    """Trip it, wait, and let one instance ask for a trial."""
    opened(bench)
    bench.wait(bench.latest.delay)
    moved = bench.demand(by)
    assert moved is not None
    assert moved.state is State.HALF_OPEN
    return bench
