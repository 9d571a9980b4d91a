"""The leader's accounts of a grant of trial permits, and of blocked callers."""

from __future__ import annotations

from collections import Counter

from .failure_kinds import kinds_of
from .states import Cause, Grant, Reason, Run, TrialNote, TrialResults

HOLDER_SILENCE = 3.0
"""Seconds without a report of a grant's holder after which another instance gets its permits."""

TIME_TO_USE = 0.5
"""Seconds in which the holder may use a grant before unused permits are recalled, from its first
report of the grant."""

# A minute at last: about as long as an open circuit waits, so that a holder that has no calls
# costs no more than a failed attempt.
MOST_DOUBLINGS = 7

RIVAL_CALLS = 2
"""Blocked calls of another instance before a recall. One would be too few: where calls are rare,
either instance may have the next one, and permits would always be elsewhere."""

RECALL_AGAIN = 1.0

TRIAL_PATIENCE = 60.0
"""Seconds without a result after which trial calls count as failed."""

NEVER = float("inf")

FRESH_DEMAND = 3.0
"""Seconds for which a report of blocked calls makes an instance a candidate."""

MAX_DEMAND = 64


class Demand:
    """The instances with blocked callers, and how many they had lately."""

    __slots__ = ("_blocked",)

    def __init__(self) -> None:
        self._blocked: dict[str, tuple[float, float]] = {}  # when last, and how many of late

    def __len__(self) -> int:
        return len(self._blocked)

    def note(self, instance: str, blocked: int, now: float) -> None:
        """Record blocked calls."""
        at, before = self._blocked.pop(instance, (now, 0.0))  # the dict stays in order of time
        # Old calls fade: an instance that was busy a minute ago may have none now.
        self._blocked[instance] = now, blocked + before * 0.5 ** ((now - at) / FRESH_DEMAND)
        if len(self._blocked) > MAX_DEMAND:
            del self._blocked[next(iter(self._blocked))]

    def discard(self, instance: str) -> None:
        """Remove an instance until it reports again."""
        self._blocked.pop(instance, None)

    def likeliest(self, now: float, *, besides: str = "") -> str | None:
        """The instance that is most likely to have the next call: the one with the most recently
        rejected calls, and among equals the last one, if there is any.

        Args:
            now: The current time.
            besides: An instance to leave out.
        """
        fresh = [
            (number, place, instance)
            for place, (instance, (at, number)) in enumerate(self._blocked.items())
            if now - at <= FRESH_DEMAND and instance != besides
        ]
        return max(fresh)[2] if fresh else None


class Trial:
    """A grant, and the use of its permits.

    Args:
        grant: The grant.
        reported_at: The time of the grant.
        recalls: The number of recalls since the circuit became half-open. Each one doubles the
            holder's
        time and requires one more call of other instances: with equally many calls on each, permits
            would otherwise be recalled forever and never used.
    """

    __slots__ = (
        "_asked",
        "_busy_since",
        "_may_recall_at",
        "_next",
        "_rival_calls",
        "_rivals",
        "_silent",
        "_time_to_use",
        "_unused",
        "failed",
        "grant",
        "labels",
        "passed",
        "reported_at",
    )

    def __init__(self, grant: Grant, reported_at: float, recalls: int = 0) -> None:
        self.grant = grant
        self.reported_at = reported_at
        self._time_to_use = TIME_TO_USE * 2.0 ** min(recalls, MOST_DOUBLINGS)
        self._rival_calls = RIVAL_CALLS + recalls
        self._asked = False
        self._silent = False
        self._may_recall_at: float | None = None
        self._rivals: Counter[str] = Counter()
        self._next: str | None = None
        self._unused = 0
        self.passed = 0
        self.failed = 0
        self.labels: Counter[str] = Counter()
        self._busy_since: float | None = None

    @property
    def lost_at(self) -> float:
        """When the holder counts as lost, unless it reports."""
        return NEVER if self._silent else self.reported_at + HOLDER_SILENCE

    @property
    def lost(self) -> bool:
        """Whether the holder is lost, and no other instance has had the permits since."""
        return self._silent

    def lose_holder(self) -> None:
        """Record that the holder is lost, while no other instance has callers. It keeps its permits
        until another gets them: it may learn of its grant late, and use it."""
        self._silent = True

    @property
    def recall_at(self) -> float | None:
        """When to recall unused permits: after the holder's time, if another instance had several
        blocked calls meanwhile, or has the next turn."""
        has_rival = max(self._rivals.values(), default=0) >= self._rival_calls
        elsewhere = self._next not in {None, self.grant.holder}
        return self._may_recall_at if self._unused and (has_rival or elsewhere) else None

    @property
    def deadline(self) -> float | None:
        """When something is due, unless the holder reports."""
        if self._silent:
            return None
        recall_at = self.recall_at
        return self.lost_at if recall_at is None else min(self.lost_at, recall_at)

    def note_rival(self, instance: str, blocked: int, following: str | None = None) -> None:
        """Record blocked calls of another instance, and which instance has the next turn."""
        self._next = following
        if instance in self._rivals or len(self._rivals) < MAX_DEMAND:
            self._rivals[instance] += blocked

    def note_recall(self, now: float) -> bool:
        """Record a recall, which is repeated until the holder reacts; returns whether it is the
        first."""
        self._may_recall_at = now + RECALL_AGAIN
        first, self._asked = not self._asked, True
        return first

    @property
    def outstanding(self) -> int:
        """The permits without a result."""
        return max(0, self.grant.permits - self.passed - self.failed)

    def count(self, run: Run) -> None:
        """Count results. A slow call does not pass."""
        self._busy_since = None  # calls end
        if run.failed or run.slow:
            self.failed += run.count
            self.labels[run.label or "slow"] += run.count
        else:
            self.passed += run.count

    def save(self) -> TrialResults | None:
        """The results so far, if there are any."""
        if not self.passed and not self.failed:
            return None
        return TrialResults(self.passed, self.failed, dict(self.labels))

    def restore(self, results: TrialResults) -> None:
        """Continue from the results that another leader counted."""
        self.passed, self.failed = results.passed, results.failed
        self.labels = Counter(results.failures)

    def failure(self) -> Reason:
        """The reason to open again, for a trial of which calls failed."""
        return Reason(
            cause=Cause.TRIAL_FAILED,
            detail=f"{self.failed} of {times(self.grant.permits, 'trial call')} failed",
            instances={self.grant.holder: self.failed},
            failures=dict(self.labels.most_common(5)),
            kinds=kinds_of(self.labels),
        )

    def apply_note(self, note: TrialNote, now: float) -> None:
        """Apply the holder's note. Calls that never end count as failed after a while."""
        self.reported_at = now
        self._silent = False
        self._unused = note.unused
        if self._may_recall_at is None:
            self._may_recall_at = now + self._time_to_use
        if not note.held:
            self._busy_since = None
        elif self._busy_since is None:
            self._busy_since = now
        elif now - self._busy_since > TRIAL_PATIENCE:
            more = max(0, note.held - self.labels["no answer"])  # each of them once
            self.failed += more
            self.labels["no answer"] += more


def times(count: int, what: str) -> str:
    """A number of things, in words."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
