"""A ramp as its leader follows it: what its calls prove, and when it ends."""

from __future__ import annotations

from collections import Counter

from .overdue import OVERDUE_SILENCE, Overdue
from .ramp import Ramp, of_calls
from .states import Cause, Reason, Run, TrialResults

RAMP_PATIENCE = 60.0
"""Seconds after the last step in which a success must arrive, if calls failed or are in flight.
Until then, the last share applies."""

LOOK_AGAIN = 1.0
"""Seconds between two decisions after the last step."""


class Ascent:
    """The calls of one ramp. (The window of its circuit counts them, too, and may trip.)

    Args:
        ramp: The schedule.
        began: The start, in the leader's seconds.
        known_since: Since when this leader hears of its calls: later, after a takeover.
    """

    __slots__ = ("_decides_at", "_ends_at", "_in_flight", "_look_at", "_ramp", "_results")

    def __init__(self, ramp: Ramp, began: float, known_since: float) -> None:
        self._ramp = ramp
        self._ends_at = began + ramp.length
        heard = known_since + OVERDUE_SILENCE if known_since > began else began
        self._look_at = self._ends_at
        self._decides_at = max(self._ends_at, heard)
        self._in_flight = Overdue()
        self._results = TrialResults(0, 0)

    @property
    def deadline(self) -> float:
        """When to call `verdict` next, unless a report arrives."""
        return self._look_at

    def share(self, now: float) -> float:
        """The share that applies now."""
        return self._ramp.share_at(now - self._ends_at + self._ramp.length)

    def count(self, run: Run) -> None:
        """Count results. A slow call proves no health."""
        results, bad = self._results, run.failed or run.slow
        failures = Counter(results.failures)
        if bad:
            failures[run.label or "slow"] += run.count
        self._results = TrialResults(
            results.passed + run.count * (not bad),
            results.failed + run.count * bad,
            dict(failures.most_common(5)),
        )

    def note_in_flight(self, instance: str, held: int, now: float) -> None:
        """Record the number of an instance's calls in flight."""
        self._in_flight.note(instance, held, now)

    def verdict(self, now: float) -> Reason | None:
        """The reason to end the ramp, if it can be decided: passed with a success, or without calls
        that failed or are in flight; failed if none of both comes for a while."""
        if now < self._decides_at:
            self._look_at = self._decides_at
            return None
        results, in_flight = self._results, self._in_flight.total(now)
        if results.passed:
            share = of_calls(self._ramp.shares[-1])
            detail = f"{_calls(results.passed)} passed in a ramp up to {share}"
            return Reason(cause=Cause.RAMP_PASSED, detail=detail)
        if not results.failed and not in_flight:
            return Reason(cause=Cause.RAMP_PASSED, detail="no calls during the ramp")
        if now < self._decides_at + RAMP_PATIENCE:
            self._look_at = now + LOOK_AGAIN
            return None
        return self._no_answer(in_flight)

    def _no_answer(self, in_flight: int) -> Reason:
        detail = f"no answer: no call passed for {RAMP_PATIENCE:g} s after the ramp"
        failures = dict(self._results.failures)
        if in_flight:
            detail += f", and {_calls(in_flight)} did not end"
            failures["no answer"] = in_flight
        return Reason(
            cause=Cause.RAMP_FAILED,
            detail=detail,
            instances=self._in_flight.counts,
            failures=failures,
        )

    def save(self) -> TrialResults | None:
        """The results so far, if there are any."""
        return self._results if self._results.passed or self._results.failed else None

    def restore(self, results: TrialResults) -> None:
        """Continue from the results that another leader counted."""
        self._results = results


def _calls(count: int) -> str:
    return f"{count} call" if count == 1 else f"{count} calls"
