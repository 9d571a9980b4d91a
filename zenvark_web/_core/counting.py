"""What a circuit counts while it is closed, and how that outlives the leader that counts."""

from __future__ import annotations

from .failure_sample import FailureSample
from .overdue import Overdue
from .policy import described
from .states import Counted, Reason, Run
from .strategies import Strategy
from .windows import LookAhead, Savable, checked

LONGEST_WINDOW = 8_192
"""Characters that a window may save. All windows of a fleet are read in one go at a takeover; what
takes more room is not saved."""


class Counting:
    """A window, and with what to explain its verdict.

    Args:
        strategy: Makes the window.
    """

    __slots__ = (
        "_description",
        "_newest",
        "_overdue",
        "_sample",
        "_strategy",
        "_window",
        "has_begun",
    )

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self._window = strategy.window()
        self._sample = FailureSample()
        self._overdue = Overdue()
        self._description = ""  # it takes a while to make, and is seldom needed
        self._newest = 0.0
        self.has_begun = False

    def note(self, instance: str, overdue: int, now: float) -> None:
        """Take note of how many of an instance's calls are slow though they have not ended."""
        self._overdue.note(instance, overdue, now)

    def record(self, instance: str, run: Run, at: float, faults: list[Exception]) -> Reason | None:
        """Count results. Why the circuit must open, if it must. What is wrong with a verdict that
        is one is added to the faults."""
        self.has_begun = True
        self._newest = max(self._newest, at)
        told = self._window.record(run.failed, run.slow, run.count, at)
        trip = checked(told, run.count, faults)
        if run.failed:
            counted = run.count if trip is None else trip.after
            self._sample.add(instance, run.label, counted)
        return None if trip is None else self._sample.explain(trip, self._strategy, {})

    def look_ahead(self, at: float, now: float, faults: list[Exception]) -> Reason | None:
        """Why the circuit must open, if it must once the calls that are overdue have ended."""
        overdue = self._overdue.total(now)
        if not overdue or not isinstance(self._window, LookAhead):
            return None
        trip = checked(self._window.overdue(overdue, at), overdue, faults)
        if trip is None:
            return None
        return self._sample.explain(trip, self._strategy, self._overdue.counts)

    @property
    def has_failures(self) -> bool:
        """Whether any of what was counted has failed."""
        return len(self._sample) > 0

    def save(self) -> Counted:
        """What has been counted. Calls under way are not: instances tell of them again."""
        self._description = self._description or described(self._strategy)
        summary = self._sample.summary()
        return Counted(self._description, self._saved_window(), summary, self._newest)

    def _saved_window(self) -> str | None:
        if not isinstance(self._window, Savable):
            return None
        saved: object = self._window.save()
        if not isinstance(saved, str):
            raise TypeError(f"save() of a window must return a str, not {type(saved).__name__}")
        return saved if len(saved) <= LONGEST_WINDOW else None

    def restore(self, counted: Counted) -> bool:
        """Take up what was counted elsewhere, unless it was counted in another way.

        Returns:
            Whether that was done. If not, the results must be counted again.
        """
        window = self._strategy.window()  # a new one: `restore` may raise half-way
        if counted.window is None or counted.strategy != described(self._strategy):
            return False
        if not isinstance(window, Savable):
            return False
        window.restore(counted.window)
        self._window, self._sample = window, FailureSample()
        for instance, label, count in counted.failures:
            self._sample.add(instance, label, count)
        self._newest = counted.newest
        self.has_begun = True
        return True
