"""A circuit as this instance sees it: what passes, what happened, what has yet to be reported.

`LocalCircuit.record` runs on every call. It adds to a run of equal results if it can, and only
wakes the reporter when a new run begins.
"""

from __future__ import annotations

import asyncio
import threading
from bisect import bisect_left
from collections.abc import Callable

from .._core.admission import Admission
from .._core.policy import BreakerPolicy, Classify
from .._core.states import Outcome, Report, Run
from ..exceptions import CircuitOpenError, ZenvarkError
from ..statistics import DURATION_BOUNDS, Distribution, Statistics
from .surface import Surface

MAX_AGE = 10.0
"""Seconds after which a result no longer counts."""

RUN_SPAN = 1.0
"""Seconds that a run may span, so that its age is true for all of its calls."""

DEMAND_INTERVAL = 1.0
MAX_RUNS = 10_000
MAX_RUNS_PER_BATCH = 1_000
MAX_LABEL = 64


class PendingRun:
    """Results in a row that ended alike and have not been sent."""

    __slots__ = ("count", "ended", "failed", "generation", "label", "slow", "until")

    def __init__(self, generation: int, failed: bool, slow: bool, label: str, ended: float) -> None:
        self.generation = generation
        self.failed = failed
        self.slow = slow
        self.label = label
        self.count = 1
        self.ended = ended
        self.until = ended + RUN_SPAN


class Outbox:
    """The results of all circuits that wait to be sent, bounded in number and age.

    Args:
        statistics: Counts what was lost.
        limit: The most runs to keep.
    """

    def __init__(self, statistics: Statistics, limit: int = MAX_RUNS) -> None:
        self.statistics = statistics
        self.limit = limit
        self.runs = 0
        self.waiting: dict[str, LocalCircuit] = {}
        self.accepts = False
        self._post: Callable[..., object] = _nobody
        self._thread = 0
        self._wake: Callable[[bool], None] = _nobody

    def open(self, wake: Callable[[bool], None]) -> None:
        """Accept results from now on, for a reporter in the running loop.

        Args:
            wake: Called with whether it is urgent when there is something to send.
        """
        self._post = asyncio.get_running_loop().call_soon_threadsafe
        self._thread = threading.get_ident()
        self._wake = wake
        self.accepts = True

    def close(self) -> None:
        """Accept nothing any more and forget what waits; it counts as dropped."""
        self.accepts = False
        self._wake = _nobody
        for circuit in self.waiting.values():
            self.statistics.dropped += circuit.forget()
        self.waiting.clear()
        self.runs = 0

    def elsewhere(self) -> bool:
        """Whether this is another thread than the reporter's."""
        return threading.get_ident() != self._thread

    def hand_over(self, function: Callable[..., None], *arguments: object) -> None:
        """Run something in the reporter's thread, soon."""
        try:
            self._post(function, *arguments)
        except RuntimeError:  # the loop is closed
            self.statistics.dropped += 1

    def add(self, circuit: LocalCircuit, urgent: bool) -> None:
        """Put a circuit in the line of those with something to say."""
        self.waiting[circuit.name] = circuit
        self._wake(urgent)


class LocalCircuit:
    """One circuit's local side. Its `Breaker` is the handle that users hold.

    Args:
        name: The circuit's name.
        policy: Its settings on this instance.
        admission: What it lets pass.
        outbox: Where its results wait.
        monotonic: This host's monotonic seconds.
        surface: Where errors of the user's classifier go.
    """

    __slots__ = (
        "__weakref__",
        "_demand_told_at",
        "_run",
        "_runs",
        "_untold",
        "admission",
        "blocked",
        "failures",
        "lock",
        "monotonic",
        "name",
        "outbox",
        "policy",
        "slow_after",
        "successes",
        "surface",
    )

    def __init__(
        self,
        *,
        name: str,
        policy: BreakerPolicy,
        admission: Admission,
        outbox: Outbox,
        monotonic: Callable[[], float],
        surface: Surface,
    ) -> None:
        self.name = name
        self.policy = policy
        self.slow_after = policy.slow_call or float("inf")
        self.admission = admission
        self.outbox = outbox
        self.monotonic = monotonic
        self.surface = surface
        self.lock = threading.Lock()
        self.successes = Distribution()
        self.failures = Distribution()
        self.blocked = 0
        self._runs: list[PendingRun] = []
        self._run: PendingRun | None = None
        self._untold = 0
        self._demand_told_at = float("-inf")

    def outcome_of_result(self, result: object) -> Outcome:
        """The outcome of a call that returned."""
        if self.policy.classify is None:
            return Outcome.SUCCESS
        return self._classified(self.policy.classify, result, Outcome.SUCCESS)

    def outcome_of_error(self, error: BaseException) -> Outcome:
        """The outcome of a call that raised. What is no `Exception` (a cancellation) says
        nothing of the upstream, nor does a rejection by another circuit."""
        if not isinstance(error, Exception) or isinstance(error, CircuitOpenError):
            return Outcome.IGNORED
        if self.policy.classify is None:
            return Outcome.FAILURE
        return self._classified(self.policy.classify, error, Outcome.FAILURE)

    def _classified(self, classify: Classify, ended: object, otherwise: Outcome) -> Outcome:
        """What the user's classifier says, if it says something usable."""
        try:
            outcome: object = classify(ended)
            if isinstance(outcome, Outcome):
                return outcome
            raise TypeError(f"classify must return an Outcome, not {outcome!r}")
        except Exception as error:
            surfaced = ZenvarkError(f"circuit {self.name!r}: classify failed: {error!r}")
            surfaced.__cause__ = error
            self.surface.error(surfaced)
            return otherwise

    def record(
        self, generation: int, failed: bool, label: str, ended: float, elapsed: float
    ) -> None:
        """Take in one call's result, from any thread.

        Args:
            generation: The generation in which the call began.
            failed: Whether it failed.
            label: What the failure was.
            ended: The monotonic second at which it ended.
            elapsed: The seconds it took.
        """
        outbox = self.outbox
        if not outbox.accepts:
            return
        if outbox.elsewhere():
            outbox.hand_over(self._record, generation, failed, label, ended, elapsed)
        else:
            self._record(generation, failed, label, ended, elapsed)

    def _record(
        self, generation: int, failed: bool, label: str, ended: float, elapsed: float
    ) -> None:
        durations = self.failures if failed else self.successes
        durations.counts[bisect_left(DURATION_BOUNDS, elapsed)] += 1
        durations.total += elapsed
        slow = elapsed > self.slow_after
        run = self._run
        if (
            run is not None
            and run.generation == generation
            and run.failed is failed
            and run.slow is slow
            and run.label == label
            and ended < run.until
        ):
            run.count += 1
            run.ended = ended
        else:
            self._begin_run(PendingRun(generation, failed, slow, label[:MAX_LABEL], ended))

    def _begin_run(self, run: PendingRun) -> None:
        outbox = self.outbox
        if outbox.runs >= outbox.limit and not self._make_room():
            outbox.statistics.dropped += 1
            return
        outbox.runs += 1
        self._runs.append(run)
        self._run = run
        outbox.add(self, run.failed or run.slow or not self.admission.closed)

    def _make_room(self) -> bool:
        """Drop this circuit's oldest run, if it has one."""
        if not self._runs:
            return False
        self.outbox.statistics.dropped += self._runs.pop(0).count
        self.outbox.runs -= 1
        return True

    def block(self, now: float) -> None:
        """Take note of a call that was not let through: it tells that there are calls to make."""
        if not self.outbox.accepts:
            self.blocked += 1
        elif self.outbox.elsewhere():
            self.outbox.hand_over(self._block, now)
        else:
            self._block(now)

    def _block(self, now: float) -> None:
        self.blocked += 1
        admission = self.admission
        admission.block(now)
        self._untold += 1
        due = admission.retry_after(now) == 0.0 and self._demand_told_at < now - 0.05
        if due or now - self._demand_told_at >= DEMAND_INTERVAL:
            self._demand_told_at = now
            self.outbox.add(self, True)

    def trial_moved(self) -> None:
        """Tell the leader soon how far the trial is."""
        if not self.outbox.accepts:
            return
        if self.outbox.elsewhere():
            self.outbox.hand_over(self.outbox.add, self, True)
        else:
            self.outbox.add(self, True)

    def take(self) -> list[PendingRun]:
        """Hand out the results that wait."""
        runs, self._runs, self._run = self._runs, [], None
        self.outbox.runs -= len(runs)
        return runs

    def take_blocked(self) -> int:
        """Hand out the number of calls blocked since the last time."""
        untold, self._untold = self._untold, 0
        return untold

    def forget(self) -> int:
        """Throw away what waits; tells how many results that were."""
        self._untold = 0
        return sum(run.count for run in self.take())

    @property
    def quiet(self) -> bool:
        """Whether nothing would be lost if this circuit were forgotten here."""
        return self.admission.closed and not self._runs


class Draft:
    """What goes into one batch. Kept until it is written, so that it can be sent again.

    Args:
        number: The batch's number.
        statistics: Counts what becomes too old.
    """

    def __init__(self, number: int, statistics: Statistics) -> None:
        self.number = number
        self._statistics = statistics
        self._parts: list[tuple[LocalCircuit, list[PendingRun], int]] = []

    def add(self, circuit: LocalCircuit) -> int:
        """Take what a circuit has to say; tells how many runs that are."""
        runs = circuit.take()
        self._parts.append((circuit, runs, circuit.take_blocked()))
        return len(runs)

    def reports(self, now: float) -> tuple[Report, ...]:
        """The reports as they are at the monotonic second `now`; what is too old is left out."""
        return tuple(self._report(*part, now) for part in self._parts)

    def _report(
        self, circuit: LocalCircuit, runs: list[PendingRun], blocked: int, now: float
    ) -> Report:
        for run in [run for run in runs if now - run.ended > MAX_AGE]:
            runs.remove(run)
            self._statistics.expired += run.count
        return Report(
            circuit=circuit.name,
            runs=tuple(
                Run(run.generation, run.failed, run.slow, run.count, now - run.ended, run.label)
                for run in runs
            ),
            blocked=blocked,
            trial=circuit.admission.note(now),
        )


def _nobody(*_: object) -> None:
    """There is no reporter to wake."""
