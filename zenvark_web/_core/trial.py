"""A grant of trial permits, and who has calls to make with one: the leader's bookkeeping."""

from __future__ import annotations

from collections import Counter

from .states import Grant, Run, TrialNote, TrialResults

HOLDER_SILENCE = 3.0
"""Seconds without a word from a grant's holder after which its permits go to another."""

TIME_TO_USE = 0.5
"""Seconds that the holder of a grant has for using it, from when it is known to have it, before
others may get what is unused."""

MOST_DOUBLINGS = 7

RIVAL_CALLS = 2
"""Calls that another instance must have had blocked since. After one, either may have the next:
where calls are rare, permits would always be where there is none."""

RECALL_AGAIN = 1.0

TRIAL_PATIENCE = 60.0
"""Seconds without an answer after which trial calls are taken for failed."""

FRESH_DEMAND = 3.0
"""Seconds for which a report of blocked calls tells that an instance has calls to make."""

MAX_DEMAND = 64


class Demand:
    """Which instances had calls blocked lately, and how many."""

    __slots__ = ("_blocked",)

    def __init__(self) -> None:
        self._blocked: dict[str, tuple[float, float]] = {}  # when last, and how many of late

    def __len__(self) -> int:
        return len(self._blocked)

    def note(self, instance: str, blocked: int, now: float) -> None:
        """Take note of blocked calls."""
        at, before = self._blocked.pop(instance, (now, 0.0))  # the dict stays in order of time
        self._blocked[instance] = now, blocked + before * 0.5 ** ((now - at) / FRESH_DEMAND)
        if len(self._blocked) > MAX_DEMAND:
            del self._blocked[next(iter(self._blocked))]

    def discard(self, instance: str) -> None:
        """Count on an instance no longer, until it reports again."""
        self._blocked.pop(instance, None)

    def most(self, now: float) -> str | None:
        """The instance that had the most calls blocked of late (the last one, if several had as
        many), unless that is long ago. It is the likeliest to have the next call."""
        fresh = [
            (number, place, instance)
            for place, (instance, (at, number)) in enumerate(self._blocked.items())
            if now - at <= FRESH_DEMAND
        ]
        return max(fresh)[2] if fresh else None


class Trial:
    """A grant, and what has become of its permits.

    Args:
        grant: The grant.
        heard_at: When it was made.
        recalls: How often permits were recalled since the circuit is half-open. Each time, the
            holder has twice as long and others must show one call more: they may have as many
            calls as the holder, and a permit that is always under way is never used.
    """

    __slots__ = (
        "_asked",
        "_busy_since",
        "_may_recall_at",
        "_next",
        "_rival_calls",
        "_rivals",
        "_time_to_use",
        "_unused",
        "failed",
        "grant",
        "heard_at",
        "labels",
        "passed",
    )

    def __init__(self, grant: Grant, heard_at: float, recalls: int = 0) -> None:
        self.grant = grant
        self.heard_at = heard_at
        self._time_to_use = TIME_TO_USE * 2.0 ** min(recalls, MOST_DOUBLINGS)
        self._rival_calls = RIVAL_CALLS + recalls
        self._asked = False
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
        """When the holder counts as lost, unless it is heard of."""
        return self.heard_at + HOLDER_SILENCE

    @property
    def recall_at(self) -> float | None:
        """When to ask the holder for what it has not used: it has had the time to, but another
        instance has had several calls blocked meanwhile, or it is another's turn."""
        wanted = max(self._rivals.values(), default=0) >= self._rival_calls
        elsewhere = self._next not in {None, self.grant.holder}
        return self._may_recall_at if self._unused and (wanted or elsewhere) else None

    @property
    def deadline(self) -> float:
        """When something is to be done, unless the holder is heard of."""
        recall_at = self.recall_at
        return self.lost_at if recall_at is None else min(self.lost_at, recall_at)

    def rival(self, instance: str, blocked: int, following: str | None = None) -> None:
        """Take note of calls that another instance would have made, and whose turn is next."""
        self._next = following
        if instance in self._rivals or len(self._rivals) < MAX_DEMAND:
            self._rivals[instance] += blocked

    def recalled(self, now: float) -> bool:
        """The holder was asked. It is asked again if that is lost on it; tells whether it was the
        first time."""
        self._may_recall_at = now + RECALL_AGAIN
        first, self._asked = not self._asked, True
        return first

    @property
    def outstanding(self) -> int:
        """Permits that no result has settled."""
        return max(0, self.grant.permits - self.passed - self.failed)

    def settle(self, run: Run) -> None:
        """Count results. A slow call does not pass."""
        self._busy_since = None  # calls do end
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
        """Take up results that another leader counted."""
        self.passed, self.failed = results.passed, results.failed
        self.labels = Counter(results.failures)

    def hear(self, note: TrialNote, now: float) -> None:
        """Take in the holder's note. Calls that do not end count as failed at last."""
        self.heard_at = now
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
