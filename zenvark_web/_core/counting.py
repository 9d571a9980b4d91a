"""The counts of a closed circuit, which outlive the leader that counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from .built_in_windows import BuiltInWindow
from .failure_sample import FailureSample
from .overdue import Overdue
from .policy import described
from .quorum import Evidence, Jury
from .states import Reason, Run, WindowSnapshot
from .strategies import Strategy
from .windows import LookAhead, Savable, Trip, checked

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

    def record(
        self, instance: str, run: Run, at: float, now: float, faults: list[Exception]
    ) -> Reason | None:
        """Count results.

        Args:
            instance: The sender.
            run: The results.
            at: When they ended.
            now: The current time.
            faults: Receives errors of a user's strategy, such as invalid numbers in a decision.

        Returns:
            The reason to open, if there is one.
        """
        trip = self._tripped(instance, run, at, faults)
        return None if trip is None else self._sample.explain(trip, self._strategy, {})

    def look_ahead(self, at: float, now: float, faults: list[Exception]) -> Reason | None:
        """The reason to open because of slow calls in flight, if there is one."""
        trip, in_flight = self._foreseen(at, now, faults)
        return None if trip is None else self._sample.explain(trip, self._strategy, in_flight)

    def _tripped(self, instance: str, run: Run, at: float, faults: list[Exception]) -> Trip | None:
        """Count results. Returns the window's decision, if it makes one."""
        self.has_begun = True
        self._newest = max(self._newest, at)
        told = self._window.record(run.failed, run.slow, run.count, at)
        trip = checked(told, run.count, faults)
        if run.failed:
            # Calls after the deciding one belong to the next generation, not to the explanation.
            counted = run.count if trip is None else trip.after
            self._sample.add(instance, run.label, counted, run.failure_kind)
        return trip

    def _foreseen(
        self, at: float, now: float, faults: list[Exception]
    ) -> tuple[Trip | None, Mapping[str, int]]:
        """The window's decision on slow calls in flight, with their numbers by instance."""
        if not self._overdue.total(now) or not isinstance(self._window, LookAhead):
            return None, {}
        in_flight = self._counts_in_flight(now)
        overdue = sum(in_flight.values())
        if not overdue:
            return None, {}
        return checked(self._window.overdue(overdue, at), overdue, faults), in_flight

    def _counts_in_flight(self, now: float) -> Mapping[str, int]:
        return self._overdue.counts

    @property
    def lull_step(self) -> float | None:
        """The seconds of one step, within which the window counts successes alike, however many
        there are, and none of them can trip it; None if that may not be so."""
        window = self._window
        if len(self._overdue) or not isinstance(window, BuiltInWindow):
            return None
        return window.lull_step

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


class SharedCounting(Counting):
    """The counts of a circuit with a quorum: the jury decides whether a decision stands.

    Args:
        strategy: Creates the window.
        jury: The reporting instances and the suspects, which outlast the window.
    """

    __slots__ = ("_evidence", "_jury")

    def __init__(self, strategy: Strategy, jury: Jury) -> None:
        super().__init__(strategy)
        self._jury = jury
        self._evidence = Evidence()

    def record(
        self, instance: str, run: Run, at: float, now: float, faults: list[Exception]
    ) -> Reason | None:
        """Count results, unless their sender is a suspect."""
        rest = run
        while rest.count and not self._jury.discounts(instance, now):
            trip = self._tripped(instance, rest, at, faults)
            counted = rest.count if trip is None else trip.after
            self._evidence.add(instance, rest.failed, rest.slow, counted)
            if trip is None:
                return None
            reason = self._judged(trip, {}, now, faults)
            if reason is not None:
                return reason
            rest = replace(rest, count=rest.count - counted)
        return None

    def look_ahead(self, at: float, now: float, faults: list[Exception]) -> Reason | None:
        """The reason to open because of slow calls in flight, except those of suspects."""
        trip, in_flight = self._foreseen(at, now, faults)
        return None if trip is None else self._judged(trip, in_flight, now, faults)

    def restore(self, snapshot: WindowSnapshot) -> bool:
        """Continue from counts of another leader, with its sample of failures as evidence."""
        restored = super().restore(snapshot)
        if restored:
            self._evidence = Evidence()
            for instance, _, count in snapshot.failures:
                self._evidence.add(instance, True, False, count)
        return restored

    def _counts_in_flight(self, now: float) -> Mapping[str, int]:
        counts = super()._counts_in_flight(now)
        return {who: count for who, count in counts.items() if not self._jury.discounts(who, now)}

    def _judged(
        self, trip: Trip, in_flight: Mapping[str, int], now: float, faults: list[Exception]
    ) -> Reason | None:
        """The reason to open; None if the decision does not stand, after which counting begins
        anew."""
        tallies = self._evidence.attribute(trip, in_flight)
        if not self._jury.refuses(self._strategy, trip, tallies, now, faults):
            return self._sample.explain(trip, self._strategy, in_flight)
        self._window = self._strategy.window()
        self._sample = FailureSample()
        self._evidence = Evidence()
        return None


def counting_of(strategy: Strategy, jury: Jury | None) -> Counting:
    """Create the counts of a circuit, with a jury if its policy has a quorum."""
    return Counting(strategy) if jury is None else SharedCounting(strategy, jury)
