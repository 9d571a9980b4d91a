"""A circuit as this instance sees it: what passes, what happened, what has yet to be reported.

`LocalCircuit.succeeded` runs on nearly every call. It adds to a run of equal results if it can,
and only wakes the reporter when a new run begins.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from threading import get_ident
from typing import Protocol

from .._core.admission import Admission
from .._core.policy import BreakerPolicy, Classify
from .._core.states import Outcome, TrialNote
from .._rejections import leaves_that_count, stems_from
from .._runtime.cancellations import is_cancellation, nobody_asked_for
from .._runtime.notifier import Surface
from ..exceptions import ClassifierError
from ..statistics import DURATION_BOUNDS, Distribution
from .in_flight import Flights
from .outbox import Outbox
from .runs import PendingRun

DEMAND_INTERVAL = 1.0
MAX_LABEL = 64


class Witness(Protocol):
    """Someone who sees each result, most of them as they are recorded."""

    def recorded(self, circuit: LocalCircuit, *, urgent: bool) -> None:
        """There are results to see (`LocalCircuit.unseen`), at once or within a moment. Successes
        that are added to a run of such are not told."""
        ...

    def wanted(self, circuit: LocalCircuit) -> None:
        """Calls are not let through."""
        ...

    def settled(self, circuit: LocalCircuit) -> None:
        """A trial call has given its permit back, used or not."""
        ...

    def overdue(self, circuit: LocalCircuit) -> None:
        """Calls under way are slow already, or no longer."""
        ...

    def overruled(self, name: str) -> None:
        """The fleet has decided."""
        ...


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
        "_held_until",
        "_newest",
        "_runs",
        "_tell_at",
        "_untold",
        "_witness",
        "admission",
        "blocked",
        "classify",
        "failures",
        "flights",
        "lock",
        "monotonic",
        "name",
        "outbox",
        "plain",
        "policy",
        "slow_after",
        "successes",
        "surface",
        "timed",
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
        self.name: str = name
        self.policy: BreakerPolicy = policy
        self.classify: Classify | None = policy.classify
        self.slow_after: float = policy.slow_call or float("inf")
        self.flights: Flights = Flights(self.slow_after)
        self.timed: bool = policy.slow_call is not None
        self.plain: bool = self.classify is None and not self.timed
        self.admission: Admission = admission
        self.outbox: Outbox = outbox
        self.monotonic: Callable[[], float] = monotonic
        self.surface: Surface = surface
        self.lock: AbstractContextManager[bool] = (
            threading.RLock()
        )  # the collector may settle a lost permit inside it
        self.successes: Distribution = Distribution()
        self.failures: Distribution = Distribution()
        self.blocked: int = 0
        self._runs: list[PendingRun] = []
        self._newest: PendingRun | None = None
        self._witness: Witness | None = None
        self._untold = 0
        self._tell_at = float("-inf")
        self._held_until = float("-inf")

    def outcome_of_result(self, result: object) -> Outcome:
        """The outcome of a call that returned."""
        if self.classify is None:
            return Outcome.SUCCESS
        return self._classified(self.classify, result, Outcome.SUCCESS)

    def judged(
        self, error: BaseException, ignored: Sequence[BaseException] = ()
    ) -> tuple[Outcome, str]:
        """The outcome of a call that raised, and what it is called if it is a failure.

        Of a group, only those errors count that are no rejections: one failure in it is one of
        the call.

        Args:
            error: What it raised.
            ignored: Errors that say nothing, nor does what was raised from one of them.
        """
        outcomes = [
            (self._outcome_of_error(leaf), type(leaf).__name__)
            for leaf in leaves_that_count(error)
            if not (ignored and stems_from(leaf, ignored))
        ]
        return max(outcomes, key=_weight, default=(Outcome.IGNORED, ""))

    def _outcome_of_error(self, error: BaseException) -> Outcome:
        """What is no `Exception` (a cancellation) says nothing of the upstream, unless nobody
        has asked for the cancellation."""
        if nobody_asked_for(error):
            return Outcome.FAILURE
        if not isinstance(error, Exception):
            return Outcome.IGNORED
        if self.classify is None:
            return Outcome.FAILURE
        return self._classified(self.classify, error, Outcome.FAILURE)

    def cancelled_late(self, error: BaseException, elapsed: float) -> bool:
        """Whether a call was cancelled when it had become slow. Where calls are bounded by
        `asyncio.timeout`, an upstream that hangs causes nothing but cancellations."""
        return elapsed > self.slow_after and _is_cancelled(error)

    def _classified(self, classify: Classify, ended: object, otherwise: Outcome) -> Outcome:
        """What the user's classifier says, if it says something usable."""
        try:
            outcome: object = classify(ended)
            if isinstance(outcome, Outcome):
                return outcome
            raise TypeError(f"classify must return an Outcome, not {outcome!r}")
        except Exception as error:
            what = f"circuit {self.name!r}: classify failed"
            self.surface.error(ClassifierError.because(error, what, circuit=self.name))
            return otherwise

    def succeeded(self, generation: int, ended: float, elapsed: float) -> None:
        """Take in one call's success, from any thread.

        Args:
            generation: The generation in which the call began.
            ended: The monotonic second at which it ended.
            elapsed: The seconds it took.
        """
        run = self._newest
        if (
            run is not None
            and run.generation == generation
            and not run.failed
            and not run.slow
            and ended < run.until
            and elapsed <= self.slow_after
            and self.outbox.thread == get_ident()
        ):
            durations = self.successes
            durations.counts[bisect_left(DURATION_BOUNDS, elapsed)] += 1
            durations.total += elapsed
            run.count += 1
            run.ended = ended
        else:
            self.record(generation, False, "", ended, elapsed)

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
        urgent = failed or elapsed > self.slow_after or not self.admission.closed
        result = (generation, failed, _storable(label), ended, elapsed)
        outbox = self.outbox
        if not outbox.hand_over(urgent, self._record, *result):
            outbox.turn_away()
        elif outbox.thread is None and outbox.absence is not None:
            outbox.absence.unheard(self.name)

    def _record(
        self, generation: int, failed: bool, label: str, ended: float, elapsed: float
    ) -> None:
        (self.failures if failed else self.successes).observe(elapsed)
        slow = elapsed > self.slow_after
        run = self._newest
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
            self._begin_run(PendingRun(generation, failed, slow, label, ended))
        if self._witness is not None:
            urgent = failed or slow or not self.admission.closed
            self._witness.recorded(self, urgent=urgent)

    def unseen(self) -> list[PendingRun]:
        """Hand out, to the witness, the results that it has not seen."""
        unseen: list[PendingRun] = []
        for run in self._runs:
            if run.shown < run.count:
                part = PendingRun(run.generation, run.failed, run.slow, run.label, run.ended)
                part.count = run.count - run.shown
                run.shown = run.count
                unseen.append(part)
        return unseen

    def _begin_run(self, run: PendingRun) -> None:
        outbox = self.outbox
        if outbox.runs >= outbox.limit and not self._make_room():
            outbox.lost(1)
            return
        outbox.runs += 1
        self._runs.append(run)
        self._newest = run
        outbox.add(self, run.failed or run.slow or not self.admission.closed)

    def _make_room(self) -> bool:
        """Drop this circuit's oldest run, if it has one."""
        if not self._runs:
            return False
        self._let_see()
        self.outbox.lost(self._runs.pop(0).count)
        self.outbox.runs -= 1
        return True

    def hold(self, seconds: float, now: float) -> None:
        """Take note, from any thread, that the upstream wants to be left alone; before the result
        of the call that it told, which may open the circuit.

        Args:
            seconds: For how long. What is negative or not finite says nothing.
            now: Monotonic seconds.
        """
        if 0 < seconds < float("inf"):
            until = now + min(seconds, self.policy.max_retry_after)
            self.outbox.hand_over(True, self._hold, until)

    def _hold(self, until: float) -> None:
        self._held_until = max(self._held_until, until)

    def held(self, now: float) -> float | None:
        """The seconds for which the upstream still wants to be left alone, if it does."""
        return self._held_until - now if now < self._held_until else None

    def begin(self, call: int, generation: int, began: float) -> None:
        """A call begins whose time matters, in any thread.

        Args:
            call: A number that no other call under way has.
            generation: The generation that it belongs to.
            began: The monotonic second.
        """
        flights, watcher = self.flights, self.outbox.watcher
        flights.began[call] = generation, began
        if flights.watcher is not watcher:  # nobody looks, or one whose run is over
            flights.watcher = watcher
            self.outbox.here(self.outbox.watch, self)

    def look(self, now: float) -> tuple[int, float | None]:
        """How many calls under way are slow already, and when the next one will be."""
        return self.flights.look(self.admission.generation, now)

    def tell_overdue(self, *, urgent: bool) -> None:
        """Report how many calls under way are slow already."""
        self.outbox.add(self, urgent)
        if self._witness is not None:
            self._witness.overdue(self)

    def block(self, now: float) -> None:
        """Take note of a call that was not let through: it tells that there are calls to make."""
        self.outbox.hand_over(now >= self._tell_at, self._block, now)

    def _block(self, now: float) -> None:
        self.blocked += 1
        self._untold += 1
        if now >= self._tell_at:
            # Told again in a while, or as soon as an attempt to recover is due.
            retry_at = self.admission.retry_at
            later = now + DEMAND_INTERVAL
            self._tell_at = retry_at if now < retry_at < later else later
            self.outbox.add(self, True)
            if self._witness is not None:
                self._witness.wanted(self)

    def settle(self, generation: int, *, returned: bool) -> None:
        """End a trial call, from any thread, after its result was recorded.

        Args:
            generation: The generation in which it began.
            returned: Whether its permit comes back unused.
        """
        if self.outbox.thread is None:
            self._settle(generation, returned)
        else:  # it must not overtake the result, which goes the same way
            self.outbox.here(self._settle, generation, returned)

    def _settle(self, generation: int, returned: bool) -> None:
        with self.lock:
            self.admission.settle(generation, returned=returned)
        self.outbox.here(self._settled)

    def _settled(self) -> None:
        self.outbox.add(self, True)
        if self._witness is not None:
            self._witness.settled(self)

    def note(self) -> TrialNote | None:
        """How far this instance has come with a grant, if it holds one."""
        with self.lock:
            return self.admission.note()

    def recall(self, generation: int) -> None:
        """Give back the permits of a grant that are not used, if there is one."""
        with self.lock:
            recalled = self.admission.recall(generation)
        if recalled:
            self.outbox.add(self, True)

    def abandoned(self, now: float) -> bool:
        """Whether a call passes though the circuit is not closed: its wait is over, and no
        coordinator runs here that would hear of its recovery."""
        if self.outbox.served or not self.admission.due(now):
            return False
        if self.outbox.absence is not None:
            self.outbox.absence.unwatched(self.name)
        return True

    def retry_after(self, now: float) -> float:
        """Seconds until the next attempt to recover; 0 if the next call passes."""
        if not self.outbox.served and self.admission.due(now):
            return 0.0
        return self.admission.retry_after(now)

    def watch(self, witness: Witness | None) -> None:
        """Show someone each result from now on, or nobody any more."""
        self._witness = witness

    def begin_anew(self, outbox: Outbox, surface: Surface) -> None:
        """Go on in a forked process: with nothing that belongs to the one it comes from."""
        self.outbox = outbox
        self.surface = surface
        self.lock = threading.RLock()  # another thread may have held it
        self.successes, self.failures, self.blocked = Distribution(), Distribution(), 0
        self._runs, self._newest, self._witness = [], None, None
        self._untold, self._tell_at = 0, float("-inf")
        self.flights = Flights(self.slow_after)

    @property
    def waiting(self) -> Sequence[PendingRun]:
        """The results that wait to be sent."""
        return self._runs

    def take(self) -> list[PendingRun]:
        """Hand out the results that wait."""
        self._let_see()
        runs, self._runs, self._newest = self._runs, [], None
        self.outbox.runs -= len(runs)
        self.outbox.statistics.recorded += sum(run.count for run in runs)
        return runs

    def _let_see(self) -> None:
        if self._witness is not None and self._runs:
            self._witness.recorded(self, urgent=True)

    def take_blocked(self) -> int:
        """Hand out the number of calls blocked since the last time."""
        untold, self._untold = self._untold, 0
        return untold

    def forget(self) -> None:
        """Throw away what waits; it counts as dropped."""
        self._untold = 0
        self.outbox.statistics.dropped += sum(run.count for run in self.take())

    @property
    def quiet(self) -> bool:
        """Whether nothing would be lost if this circuit were forgotten here."""
        return self.admission.closed and not self._runs


def _storable(label: str) -> str:
    """A label that can be written down: UTF-8 has no lone surrogates."""
    label = label[:MAX_LABEL]
    return label if label.isascii() else label.encode("utf-8", "replace").decode()


WEIGHTS = {Outcome.FAILURE: 3, Outcome.SUCCESS: 2, Outcome.ANSWERED: 1, Outcome.IGNORED: 0}


def _weight(ended: tuple[Outcome, str]) -> int:
    return WEIGHTS[ended[0]]


def _is_cancelled(error: BaseException) -> bool:
    """Whether nothing but cancellations counts in an error."""
    counted = list(leaves_that_count(error))
    return bool(counted) and all(map(is_cancellation, counted))
