"""A verdict that no single instance can cause: who failed, and whether the verdict stands without.

A circuit with a quorum q opens only if calls of at least q reporting instances have failed. When
its window trips, its bad calls are attributed to instances, and the worst are left out, q - 1 of
them at most. If the decision still stands, the circuit opens. If not, nothing opens: those left out
become *suspects*, whose results do not feed the window for a while. Suspects count towards the
quorum, so if the upstream fails for the others as well, the circuit opens.

An instance that protects itself reports so, and counts as a suspect while it does; its results feed
the window. If as many instances as the quorum protect themselves, the circuit opens, too.

The rule extends Envoy's outlier detection (a minimum number of hosts, and a limit to ejections)
from the hosts of one caller to the callers of one upstream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

from ._checks import is_number
from .states import Suspicion
from .strategies import QuorumAware, Strategy, judges_slow_calls
from .windows import Trip

MOST_EVIDENCE = 4_096
"""Runs of results that are kept for attribution. Failures of older runs, if a window is longer, are
attributed in the proportion of the newer ones."""

REPORTING = 30.0
"""Seconds for which a report makes an instance count as reporting."""

FIRST_SUSPICION = 30.0
LONGEST_SUSPICION = 600.0
"""Seconds for which an instance is a suspect: twice as long each time in a row, up to the longest.
"""

# The names come from the stream of results, in which any writer can make them up.
MOST_INSTANCES = 10_000
MOST_SUSPECTS = 1_000
LARGEST_QUORUM = 1_000

ROUNDING = 1e-9
"""Tolerance when a share of the instances is rounded up: a tenth of thirty is three."""


def check_quorum(value: object) -> None:
    """Refuse a value that is neither a number of instances nor a share of them.

    Raises:
        TypeError: It is not a number (a `bool` is not one either).
        ValueError: It is out of range.
    """
    wanted = f"quorum must be a whole number of instances from 1 to {LARGEST_QUORUM}, or a share"
    if not is_number(value):
        raise TypeError(f"{wanted} above 0 and up to 1, not {value!r}")
    usable = 1 <= value <= LARGEST_QUORUM if isinstance(value, int) else 0 < value <= 1
    if not usable:
        raise ValueError(f"{wanted} above 0 and up to 1, not {value!r}")


def is_shared(quorum: float) -> bool:
    """Whether a quorum requires more than any one instance. (1 does not; 1.0 requires all.)"""
    return isinstance(quorum, float) or quorum != 1


def instances_needed(quorum: float, reporting: int) -> int:
    """Return the number of instances whose calls must fail.

    Args:
        quorum: A number of instances, or a share of them.
        reporting: The number of reporting instances.
    """
    if isinstance(quorum, float):
        return max(1, ceil(quorum * reporting - ROUNDING))
    return max(1, min(quorum, reporting))


@dataclass(frozen=True, slots=True)
class Tally:
    """The part of one instance in a decision.

    Args:
        instance: The instance.
        failures: The number of its failed calls in the window.
        slow: The number of its slow calls in the window, those in flight included.
        calls: The number of its calls in the window.
    """

    instance: str
    failures: int = 0
    slow: int = 0
    calls: int = 0

    @property
    def bad(self) -> int:
        """The number by which the worst are found."""
        return self.failures + self.slow


class Evidence:
    """The newest runs of a window, each with its instance."""

    __slots__ = ("_runs",)

    def __init__(self) -> None:
        self._runs: deque[tuple[str, bool, bool, int]] = deque(maxlen=MOST_EVIDENCE)

    def add(self, instance: str, failed: bool, slow: bool, count: int) -> None:
        """Add a run of calls with the same outcome. Equal runs in a row become one."""
        runs = self._runs
        if runs and runs[-1][:3] == (instance, failed, slow):
            count += runs.pop()[3]
        runs.append((instance, failed, slow, count))

    def attribute(self, trip: Trip, in_flight: Mapping[str, int]) -> Sequence[Tally]:
        """Attribute the calls of a decision to instances, newest first.

        Args:
            trip: The decision.
            in_flight: Slow calls in flight that the decision includes, by instance.

        Returns:
            The tallies of instances with bad calls, worst first. Those of calls that are older than
            the evidence are missing.
        """
        tallies = {name: Tally(name, 0, count, count) for name, count in in_flight.items()}
        pending = sum(in_flight.values())
        calls, failures, slow = trip.calls - pending, trip.failures, trip.slow - pending
        for instance, failed, was_slow, count in reversed(self._runs):
            if calls <= 0 and failures <= 0 and slow <= 0:
                break
            known = tallies.get(instance, Tally(instance))
            ours = max(0, min(count, calls))
            bad = max(0, min(count, failures)) if failed else 0
            late = max(0, min(count, slow)) if was_slow else 0
            calls, failures, slow = calls - ours, failures - bad, slow - late
            tallies[instance] = Tally(
                instance, known.failures + bad, known.slow + late, known.calls + ours
            )
        accused = [tally for tally in tallies.values() if tally.bad]
        return sorted(accused, key=lambda tally: (-tally.bad, tally.instance))


def least_left_out(
    strategy: Strategy,
    trip: Trip,
    tallies: Sequence[Tally],
    most: int,
    faults: list[Exception],
) -> Sequence[Tally] | None:
    """Return the fewest of the worst instances without whose calls a decision does not stand.

    Args:
        strategy: The strategy that decided.
        trip: The decision.
        tallies: The instances with bad calls, worst first.
        most: The maximum number to leave out.
        faults: Receives the error of a user's strategy; the number of instances decides then.

    Returns:
        Those to leave out, or None if the decision stands without any of them. Empty if nothing is
        known of who failed: such a decision does not stand either.
    """
    if most < 1:
        return None
    if not tallies:
        return ()
    stands = _standing(strategy, trip, tallies, faults)
    for number in range(1, min(most, len(tallies)) + 1):
        if not stands(tallies[:number]):
            return tallies[:number]
    return None


def _standing(
    strategy: Strategy, trip: Trip, tallies: Sequence[Tally], faults: list[Exception]
) -> Callable[[Sequence[Tally]], bool]:
    """Return the function that tells whether the decision stands without some instances."""

    def has_others(left_out: Sequence[Tally]) -> bool:
        return len(tallies) > len(left_out)

    if not isinstance(strategy, QuorumAware):
        return has_others
    aware = strategy

    def stands(left_out: Sequence[Tally]) -> bool:
        try:
            return _stands(aware, trip, tallies, left_out)
        except Exception as error:
            faults.append(error)
            return has_others(left_out)

    return stands


def _stands(
    strategy: QuorumAware, trip: Trip, tallies: Sequence[Tally], left_out: Sequence[Tally]
) -> bool:
    failures = _without(
        trip.failures,
        sum(tally.failures for tally in tallies),
        sum(tally.failures for tally in left_out),
    )
    if not judges_slow_calls(strategy):
        return bool(strategy.stands(trip, failures))
    slow = _without(
        trip.slow, sum(tally.slow for tally in tallies), sum(tally.slow for tally in left_out)
    )
    # One after the other: failures of those left out are no reason to subtract slow calls.
    by_failures, by_slow = replace(trip, slow=0), replace(trip, failures=0)
    return bool(strategy.stands(by_failures, failures) or strategy.stands(by_slow, slow))


def _without(total: int, attributed: int, left_out: int) -> int:
    """Return the number of bad calls of those left out. Calls that nothing is known of are
    attributed in proportion, rounded up."""
    if not attributed or attributed >= total:
        return left_out
    return -(-total * left_out // attributed)


class Suspects:
    """The suspects of one circuit, in the order of the newest accusation."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, Suspicion] = {}

    def accuse(self, tally: Tally, now: float) -> Suspicion:
        """Make an instance a suspect: for twice as long as before, if that was not long ago."""
        before = self._known.pop(tally.instance, None)
        in_a_row = before is not None and now <= before.until + before.length
        length = min(2 * before.length, LONGEST_SUSPICION) if before and in_a_row else None
        length = FIRST_SUSPICION if length is None else length
        since = before.since if before and in_a_row else now
        made = Suspicion(
            tally.instance, tally.failures, tally.slow, tally.calls, since, now + length, length
        )
        self.restore(made)
        return made

    def restore(self, suspicion: Suspicion) -> None:
        """Add a suspicion, the newest one."""
        self._known[suspicion.instance] = suspicion
        if len(self._known) > MOST_SUSPECTS:
            del self._known[next(iter(self._known))]

    def current(self, now: float) -> Sequence[Suspicion]:
        """Return the suspicions that are not over."""
        return [each for each in self._known.values() if now < each.until]

    def holds(self, instance: str, now: float) -> bool:
        """Return whether an instance is a suspect."""
        known = self._known.get(instance)
        return known is not None and now < known.until

    def clear(self) -> None:
        """Drop every suspicion."""
        self._known.clear()


class Reporters:
    """The instances that report a circuit, and whether they protect themselves."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, bool]] = {}

    def note(self, instance: str, protects_itself: bool, now: float) -> None:
        """Record a report."""
        self._seen.pop(instance, None)  # the dict stays in order of time
        self._seen[instance] = now, protects_itself
        if len(self._seen) > MOST_INSTANCES:
            del self._seen[next(iter(self._seen))]

    def present(self, now: float) -> Mapping[str, bool]:
        """Return the reporting instances, and whether each protects itself."""
        while self._seen:
            instance, (at, _) = next(iter(self._seen.items()))
            if now - at <= REPORTING:
                break
            del self._seen[instance]
        return {instance: protects for instance, (_, protects) in self._seen.items()}

    def forget_protection(self) -> None:
        """Forget which instances protect themselves: the fleet's circuit has opened."""
        self._seen = {instance: (at, False) for instance, (at, _) in self._seen.items()}


class Jury:
    """Who reports one circuit, and who is a suspect: what outlasts its windows.

    Args:
        quorum: The policy's quorum.
        expected: The number of instances that may report the circuit, whether they have or not.
        expected_until: Until when they are expected.

    Attributes:
        refusals: The suspicions of each decision that did not stand. The owner takes them.
        suspects: The suspects.
    """

    __slots__ = ("_expected", "_expected_until", "_quorum", "_reporters", "refusals", "suspects")

    def __init__(self, quorum: float, expected: int = 0, expected_until: float = 0.0) -> None:
        self._quorum = quorum
        self._expected = expected
        self._expected_until = expected_until
        self._reporters = Reporters()
        self.suspects = Suspects()
        self.refusals: list[Sequence[Suspicion]] = []

    def begin_generation(self) -> None:
        """Forget which instances protect themselves: a transition overrules them."""
        self._reporters.forget_protection()

    def note(self, instance: str, *, protects_itself: bool, now: float) -> None:
        """Record that an instance reports the circuit."""
        self._reporters.note(instance, protects_itself, now)

    def discounts(self, instance: str, now: float) -> bool:
        """Return whether results of an instance do not count."""
        return self.suspects.holds(instance, now)

    def may_leave_out(self, tallies: Sequence[Tally], now: float) -> int:
        """Return how many instances may be left out of a decision: fewer, if others than those in
        it have been suspects before, or protect themselves."""
        present = self._reporters.present(now)
        judged = {tally.instance for tally in tallies}
        others = [
            name
            for name, protects in present.items()
            if name not in judged and (protects or self.suspects.holds(name, now))
        ]
        return max(0, self._needed(len(present), now) - 1 - len(others))

    def agrees(self, now: float) -> Sequence[str]:
        """Return the instances that protect themselves, if they are enough for the quorum: then the
        circuit opens without a decision of its window."""
        present = self._reporters.present(now)
        convinced = [name for name, protects in present.items() if protects]
        if not convinced or len(convinced) < self._needed(len(present), now):
            return ()
        self._forget()
        return convinced

    def _needed(self, reporting: int, now: float) -> int:
        if now < self._expected_until:
            reporting = max(reporting, self._expected)
        return instances_needed(self._quorum, reporting)

    def _forget(self) -> None:
        """Forget suspects and protection: the fleet's circuit opens."""
        self.suspects.clear()
        self._reporters.forget_protection()

    def refuses(
        self,
        strategy: Strategy,
        trip: Trip,
        tallies: Sequence[Tally],
        now: float,
        faults: list[Exception],
    ) -> bool:
        """Decide about a window's decision. If it does not stand, those left out become suspects.

        Args:
            strategy: The strategy that decided.
            trip: Its decision.
            tallies: The instances with bad calls, worst first.
            now: The leader's seconds.
            faults: Receives errors of a user's strategy.
        """
        most = self.may_leave_out(tallies, now)
        left_out = least_left_out(strategy, trip, tallies, most, faults)
        if left_out is None:
            self._forget()
            return False
        self.refusals.append([self.suspects.accuse(tally, now) for tally in left_out])
        return True

    def take_refusals(self) -> Iterable[Sequence[Suspicion]]:
        """Return the new refusals, once."""
        refusals, self.refusals = self.refusals, []
        return refusals
