"""A circuit on this instance: which calls pass, and which results are not reported yet.

`LocalCircuit.succeeded` runs on nearly every call. It adds to a run of equal results if possible,
and wakes the reporter only when a new run begins.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from threading import get_ident
from typing import Protocol

from .._core.admission import Admission
from .._core.failure_kinds import FailureKind, kind_of
from .._core.overrides import Override
from .._core.policy import BreakerPolicy
from .._core.states import State, TrialNote
from .._core.waits import LEAST_LENGTHENING
from .._rejections import rejected
from .._runtime.instance import Instance
from .._runtime.notifier import Notifier
from ..exceptions import CircuitOpenError
from ..statistics import Distribution
from .handover import Handover
from .idle import IdleWarnings
from .in_flight import InFlight
from .outcomes import Outcomes
from .runs import PendingRun, RunBudget
from .stream_clocks import StreamClocks

DEMAND_INTERVAL = 1.0
MAX_LABEL = 64


class Listener(Protocol):
    """Receives the events of a circuit, in the loop's thread."""

    def recorded(self, circuit: LocalCircuit, *, urgent: bool) -> None:
        """Results wait in `LocalCircuit.waiting`. Successes that extend a run of successes are not
        reported."""
        ...

    def leaving(self, circuit: LocalCircuit) -> None:
        """The waiting results are about to be removed."""
        ...

    def blocked(self, circuit: LocalCircuit) -> None:
        """Called when calls were rejected."""
        ...

    def trial_changed(self, circuit: LocalCircuit) -> None:
        """Called when this instance's part in a trial has changed."""
        ...

    def slow(self, circuit: LocalCircuit, *, urgent: bool) -> None:
        """Called when the number of slow calls in flight has changed."""
        ...

    def told_to_wait(self, circuit: LocalCircuit) -> None:
        """Called when the upstream named a wait with an answer that is no failure."""
        ...

    def began(self, circuit: LocalCircuit) -> None:
        """A call has begun, and no monitor watches the circuit in time."""
        ...


class Home(Listener, Protocol):
    """The shared part of a shard's local circuits, and their default listener."""

    instance: Instance
    handover: Handover
    budget: RunBudget
    idle: IdleWarnings | None


class LocalCircuit:
    """The local side of one circuit. Its `Breaker` is the users' handle.

    Args:
        name: The circuit's name.
        policy: Its settings on this instance.
        admission: Decides which calls are permitted.
        home: The part that it shares with other circuits.

    Attributes:
        stream_clocks: The clocks of streamed calls, if the policy limits their waits.
        own_since: The monotonic second at which this instance last ceased to protect itself. Calls
            that began before do not count for its own decisions.
    """

    __slots__ = (
        "__weakref__",
        "_blocked_since",
        "_budget",
        "_home",
        "_idle",
        "_listener",
        "_newest",
        "_newest_success",
        "_report_at",
        "_retry_after_until",
        "_runs",
        "_uncounted_since",
        "admission",
        "blocked",
        "failure_kinds",
        "failures",
        "forced",
        "handover",
        "in_flight",
        "lock",
        "monotonic",
        "name",
        "notifier",
        "obeys_waits",
        "outcomes",
        "own_since",
        "own_state",
        "plain_outcomes",
        "policy",
        "protects_itself",
        "slow_after",
        "stream_clocks",
        "successes",
        "times_calls",
        "would_block",
    )

    def __init__(self, name: str, policy: BreakerPolicy, admission: Admission, home: Home) -> None:
        self.name: str = name
        self.policy: BreakerPolicy = policy
        self.slow_after: float = policy.slow_call or float("inf")
        self.times_calls: bool = policy.slow_call is not None
        self.plain_outcomes: bool = policy.classify is None
        self.obeys_waits: bool = policy.throttle == "open"
        self.admission: Admission = admission
        self.own_state: State = State.CLOSED
        self.own_since: float = float("-inf")
        self.protects_itself: bool = False
        self._retry_after_until = float("-inf")
        self._connect(home)

    def _connect(self, home: Home) -> None:
        instance = home.instance
        self.monotonic: Callable[[], float] = instance.host.monotonic
        self.notifier: Notifier = instance.notifier
        self.outcomes: Outcomes = Outcomes(self.name, self.policy, instance.notifier)
        self.handover: Handover = home.handover
        self._budget = home.budget
        self._idle = home.idle
        self._home = home
        self._listener: Listener = home
        self.lock: AbstractContextManager[bool] = (
            threading.RLock()
        )  # the collector may settle a lost permit inside it
        self.in_flight: InFlight = InFlight(self.slow_after)
        self.stream_clocks: StreamClocks | None = None
        if self.policy.first_chunk is not None or self.policy.stall is not None:
            limits = self.policy.first_chunk, self.policy.stall
            self.stream_clocks = StreamClocks(*limits, self.monotonic)
        self.successes: Distribution = Distribution()
        self.failures: Distribution = Distribution()
        self.failure_kinds: dict[FailureKind, int] = dict.fromkeys(FailureKind, 0)
        self.blocked: int = 0
        self.forced: int = 0
        self.would_block: int = 0
        self._runs: list[PendingRun] = []
        self._newest: PendingRun | None = None
        self._newest_success: PendingRun | None = None  # the same, if its calls passed in time
        self._blocked_since = self._uncounted_since = 0
        self._report_at = float("-inf")

    def listen(self, listener: Listener) -> None:
        """Send further events to another listener."""
        self._listener = listener

    def begin_anew(self, home: Home) -> None:
        """Continue in a forked process, with nothing of the parent's runs."""
        self._connect(home)

    def succeeded(self, generation: int, began: float, ended: float, elapsed: float) -> None:
        """Record a successful call, from any thread.

        Args:
            generation: The generation in which the call began.
            began: The monotonic second at which it began.
            ended: The monotonic second at which it ended.
            elapsed: The seconds it took, without pauses.
        """
        run = self._newest_success
        if (
            run is not None
            and run.generation == generation
            and ended < run.until
            and elapsed <= self.slow_after
            and began >= self.own_since
            and self.handover.thread == get_ident()
        ):
            self.successes.recent.append(elapsed)
            run.count += 1
            run.ended = ended
        else:
            self.record(generation, None, began, ended, elapsed)

    def record(
        self, generation: int, failure: str | None, began: float, ended: float, elapsed: float
    ) -> None:
        """Record a call's result, from any thread.

        Args:
            generation: The generation in which the call began.
            failure: The name of its failure; None if it succeeded.
            began: The beginning of the call in monotonic seconds.
            ended: The end of the call in monotonic seconds.
            elapsed: The duration in seconds, without pauses.
        """
        urgent = failure is not None or elapsed > self.slow_after or self.admission.urgent
        label = None if failure is None else _storable(failure)
        result = (generation, label, began, ended, elapsed)
        handover = self.handover
        if not handover.hand_over(urgent, self._record, *result):
            handover.turn_away()
        elif handover.thread is None and self._idle is not None:
            self._idle.lost_result(self.name)

    def _record(
        self, generation: int, failure: str | None, began: float, ended: float, elapsed: float
    ) -> None:
        failed, label = failure is not None, failure or ""
        (self.failures if failed else self.successes).observe(elapsed)
        if failed:
            self.failure_kinds[kind_of(label)] += 1
        slow = elapsed > self.slow_after
        outlived = began < self.own_since
        run = self._newest
        if (
            run is not None
            and run.generation == generation
            and run.failed is failed
            and run.slow is slow
            and run.outlived is outlived
            and run.label == label
            and ended < run.until
        ):
            run.count += 1
            run.ended = ended
        elif self._budget.used < self._budget.limit or self._make_room():
            self._budget.used += 1
            run = self._newest = PendingRun(generation, failed, slow, label, ended)
            run.outlived = outlived
            self._newest_success = None if failed or slow or outlived else run
            self._runs.append(run)
        else:
            self._budget.lost(1)
            return
        self._listener.recorded(self, urgent=failed or slow or self.admission.urgent)

    def unseen(self) -> list[PendingRun]:
        """Return the results that a listener which evaluates them has not seen yet."""
        unseen: list[PendingRun] = []
        for run in self._runs:
            if run.shown < run.count:
                part = run.part(run.count - run.shown)
                run.shown = run.count
                unseen.append(part)
        return unseen

    def _make_room(self) -> bool:
        """Drop this circuit's oldest run, if it has one."""
        if not self._runs:
            return False
        if self._listener is not self._home:
            self._listener.leaving(self)
        self._budget.lost(self._runs.pop(0).count)
        self._budget.used -= 1
        return True

    def extend_retry_after(self, seconds: float, now: float) -> None:
        """Apply a Retry-After, from any thread. It comes before the result of its call, which may
        open the circuit.

        Args:
            seconds: Its seconds. Negative and infinite values are ignored.
            now: Monotonic seconds.
        """
        if 0 < seconds < float("inf"):
            until = now + min(seconds, self.policy.max_retry_after)
            self.handover.hand_over(True, self._extend_retry_after, until)

    def _extend_retry_after(self, until: float) -> None:
        self._retry_after_until = max(self._retry_after_until, until)

    def hold_off(self, seconds: float, now: float) -> None:
        """Apply a wait that no failure brings, from any thread, and report it.

        Args:
            seconds: Its seconds. Negative and infinite values are ignored.
            now: Monotonic seconds.
        """
        if 0 < seconds < float("inf"):
            until = now + min(seconds, self.policy.max_retry_after)
            self.handover.hand_over(True, self._hold_off, until)

    def _hold_off(self, until: float) -> None:
        is_news = until >= self._retry_after_until + LEAST_LENGTHENING
        self._extend_retry_after(until)
        if is_news:
            self._listener.told_to_wait(self)

    def drop_retry_after(self) -> None:
        """Forget the Retry-After deadline."""
        self._retry_after_until = float("-inf")

    def retry_after_left(self, now: float) -> float | None:
        """The remaining seconds of the latest Retry-After deadline, or None."""
        return self._retry_after_until - now if now < self._retry_after_until else None

    def begin(self, call: int, generation: int, began: float) -> None:
        """Track a call whose duration matters, from any thread.

        Args:
            call: A number that no other call under way has.
            generation: The generation that it belongs to.
            began: The monotonic second.
        """
        in_flight, run = self.in_flight, self.handover.run
        in_flight.began[call] = generation, began
        if in_flight.watched_in is not run:  # nobody looks, or one whose run is over
            in_flight.watched_in = run
            self.handover.here(self._report_began)

    def look_by(self, at: float) -> None:
        """Request that a monitor looks at this circuit by a monotonic second, from any thread."""
        in_flight, run = self.in_flight, self.handover.run
        if in_flight.watched_in is not run or at < in_flight.look_at:
            in_flight.watched_in = run
            in_flight.look_at = at
            self.handover.here(self._report_began)

    def fail_late_streams(self, now: float) -> float | None:
        """Fail the calls whose stream clocks have passed their limit. Return the time at which the
        next one will."""
        return None if self.stream_clocks is None else self.stream_clocks.fail_late(now)

    def _report_began(self) -> None:
        self._listener.began(self)

    def slow_in_flight(self, now: float) -> tuple[int, float | None]:
        """Return the number of slow calls in flight, and the time at which the next one becomes
        slow."""
        return self.in_flight.count_slow(self.admission.generation, now)

    def own_slow_in_flight(self, now: float) -> int:
        """Return the number of slow calls in flight that count for this instance's own
        decisions."""
        return self.in_flight.count_slow(self.admission.generation, now, self.own_since)[0]

    def report_slow(self, *, urgent: bool) -> None:
        """Report the number of slow calls in flight."""
        self._listener.slow(self, urgent=urgent)

    def reject(self, now: float, retry_after: float) -> CircuitOpenError:
        """Count a rejected call, which shows demand for an attempt to recover; from any thread.

        Args:
            now: Monotonic seconds.
            retry_after: Seconds until the next attempt.

        Returns:
            The error of the call.
        """
        if now < self._report_at and self.handover.thread == get_ident():
            self.blocked += 1
            self._blocked_since += 1
        else:
            self.handover.hand_over(now >= self._report_at, self._block, now)
        if self.notifier.observe_call is not None:
            self.notifier.observe_call("rejected", self.name)
        return rejected(self.name, retry_after)

    def show(self, *, failed: bool, elapsed: float) -> None:
        """Show a call in metrics, and nowhere else, from any thread."""
        durations = self.failures if failed else self.successes
        self.handover.hand_over(False, durations.observe, elapsed)

    def reject_forced(self, now: float) -> CircuitOpenError:
        """Count a call that an operator rejects, from any thread; return its error."""
        self.handover.hand_over(now >= self._report_at, self._block, now, True)
        if self.notifier.observe_call is not None:
            self.notifier.observe_call("forced", self.name)
        return rejected(self.name, self.admission.forced_for(now), forced=True)

    def _block(self, now: float, forced: bool = False) -> None:
        self.blocked += 1
        self.forced += forced
        self._want(now)

    def show_demand(self, now: float) -> None:
        """Show demand for an attempt to recover, as a rejected call does, from any thread: a caller
        waits until the circuit lets calls pass."""
        self.handover.hand_over(now >= self._report_at, self._want, now)

    def pass_uncounted(self, now: float) -> None:
        """Count a call that only an override lets pass: it shows demand as a rejected one does."""
        self.handover.hand_over(now >= self._report_at, self._pass_uncounted, now)
        if self.notifier.observe_call is not None:
            self.notifier.observe_call("uncounted", self.name)

    def _pass_uncounted(self, now: float) -> None:
        self._uncounted_since += 1
        self.would_block += 1
        self._want(now)

    def _want(self, now: float) -> None:
        self._blocked_since += 1
        if now >= self._report_at:
            # Reported again in a while, or as soon as an attempt to recover is due.
            retry_at = self.admission.retry_at
            later = now + DEMAND_INTERVAL
            self._report_at = retry_at if now < retry_at < later else later
            self._listener.blocked(self)

    def end_trial(self, generation: int, *, returned: bool) -> None:
        """End a trial call or a call in a ramp, from any thread, after its result was recorded.

        Args:
            generation: The generation in which it began.
            returned: Whether its permit is returned unused.
        """
        if self.handover.thread is None:
            self._end_trial(generation, returned)
        else:  # it must not overtake the result, which goes the same way
            self.handover.here(self._end_trial, generation, returned)

    def _end_trial(self, generation: int, returned: bool) -> None:
        with self.lock:
            self.admission.release(generation, unused=returned)
        self.handover.here(self._report_trial)

    def _report_trial(self) -> None:
        self._listener.trial_changed(self)

    def note(self) -> TrialNote | None:
        """The progress of this instance's grant or ramp, or None without one."""
        with self.lock:
            return self.admission.note()

    def recall(self, generation: int) -> None:
        """Return the unused permits of a grant."""
        with self.lock:
            recalled = self.admission.recall(generation)
        if recalled:
            self._listener.trial_changed(self)

    def abandoned(self, now: float) -> bool:
        """Whether a call passes an open circuit because its wait is over and no coordinator runs
        that could learn of its recovery."""
        if not self.admission.due(now) or self.handover.served:
            return False
        if self._idle is not None:
            self._idle.open_passes(self.name)
        return True

    def retry_after(self, now: float) -> float:
        """Return the seconds until the next recovery attempt; 0 if the next call is permitted."""
        mode = self.admission.mode(now)
        if mode is not None:
            return self.admission.forced_for(now) if mode is Override.FORCE_OPEN else 0.0
        if not self.handover.served and self.admission.due(now):
            return 0.0
        return self.admission.retry_after(now)

    @property
    def waiting(self) -> Sequence[PendingRun]:
        """The runs of results that are not reported yet."""
        return self._runs

    def take(self) -> list[PendingRun]:
        """Remove and return the waiting results."""
        if self._runs and self._listener is not self._home:
            self._listener.leaving(self)
        runs, self._runs = self._runs, []
        self._newest = self._newest_success = None
        self.successes.count()
        self._budget.used -= len(runs)
        self._budget.statistics.recorded += sum(run.count for run in runs)
        return runs

    def take_blocked(self) -> tuple[int, int]:
        """Return the number of calls that the verdict rejected since the last time, and the number
        of those that passed uncounted."""
        blocked = self._blocked_since, self._uncounted_since
        self._blocked_since = self._uncounted_since = 0
        return blocked

    def forget(self) -> None:
        """Drop the waiting results, and count them."""
        self._blocked_since = self._uncounted_since = 0
        self._budget.statistics.dropped += sum(run.count for run in self.take())

    @property
    def can_be_evicted(self) -> bool:
        """Whether removing this circuit loses nothing."""
        return self.admission.closed and not self._runs


def _storable(label: str) -> str:
    """A label that can be encoded: UTF-8 has no lone surrogates."""
    label = label[:MAX_LABEL]
    return label if label.isascii() else label.encode("utf-8", "replace").decode()
