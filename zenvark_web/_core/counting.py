"""The counts of a closed circuit, which outlive the leader that counts."""

from __future__ import annotations

from .failure_sample import FailureSample
from .overdue import Overdue
from .policy import described
from .states import Reason, Run, WindowSnapshot
from .strategies import Strategy
from .windows import LookAhead, Savable, checked

LONGEST_WINDOW = 8_192
"""The most characters of a saved window. A takeover reads all windows of a fleet at once, so longer
ones are not saved."""


class Counting:
    """A window, and the failures that explain its decision.

    Args:
        strategy: Creates the window.
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

    def note_overdue(self, instance: str, overdue: int, now: float) -> None:
        """Record the number of an instance's slow calls in flight."""
        self._overdue.note(instance, overdue, now)

    def record(self, instance: str, run: Run, at: float, faults: list[Exception]) -> Reason | None:
        """Count results. Returns the reason to open, if there is one. Invalid numbers in a decision
        add an error to the faults."""
        self.has_begun = True
        self._newest = max(self._newest, at)
        told = self._window.record(run.failed, run.slow, run.count, at)
        trip = checked(told, run.count, faults)
        if run.failed:
            # Calls after the deciding one belong to the next generation, not to the explanation.
            counted = run.count if trip is None else trip.after
            self._sample.add(instance, run.label, counted)
        return None if trip is None else self._sample.explain(trip, self._strategy, {})

    def look_ahead(self, at: float, now: float, faults: list[Exception]) -> Reason | None:
        """The reason to open because of slow calls in flight, if there is one."""
        overdue = self._overdue.total(now)
        if not overdue or not isinstance(self._window, LookAhead):
            return None
        trip = checked(self._window.overdue(overdue, at), overdue, faults)
        if trip is None:
            return None
        return self._sample.explain(trip, self._strategy, self._overdue.counts)

    @property
    def has_failures(self) -> bool:
        """Whether any counted call has failed."""
        return len(self._sample) > 0

    def save(self) -> WindowSnapshot:
        """The counts, without calls in flight, which instances report again."""
        self._description = self._description or described(self._strategy)
        summary = self._sample.summary()
        return WindowSnapshot(self._description, self._saved_window(), summary, self._newest)

    def _saved_window(self) -> str | None:
        if not isinstance(self._window, Savable):
            return None
        saved: object = self._window.save()
        if not isinstance(saved, str):
            raise TypeError(f"save() of a window must return a str, not {type(saved).__name__}")
        return saved if len(saved) <= LONGEST_WINDOW else None

    def restore(self, snapshot: WindowSnapshot) -> bool:
        """Continue from counts of another leader, if a strategy with the same settings made them.

        Returns:
            Whether that was possible. If not, the results must be counted again.
        """
        window = self._strategy.window()  # a new one: `restore` may raise half-way
        if snapshot.saved is None or snapshot.strategy != described(self._strategy):
            return False
        if not isinstance(window, Savable):
            return False
        window.restore(snapshot.saved)
        self._window, self._sample = window, FailureSample()
        for instance, label, count in snapshot.failures:
            self._sample.add(instance, label, count)
        self._newest = snapshot.newest
        self.has_begun = True
        return True
