"""A grant of trial permits, and who has calls to make with one: the leader's bookkeeping."""

from __future__ import annotations

from collections import Counter

from .states import Grant, Run, TrialNote, TrialResults

HOLDER_SILENCE = 3.0
"""Seconds without a word from a grant's holder after which its permits go to another."""

TRIAL_PATIENCE = 60.0
"""Seconds after which a trial call that has not ended is taken for failed."""

FRESH_DEMAND = 3.0
"""Seconds for which a report of blocked calls tells that an instance has calls to make."""

MAX_DEMAND = 64


class Demand:
    """Which instances had calls blocked lately."""

    __slots__ = ("_blocked_at",)

    def __init__(self) -> None:
        self._blocked_at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._blocked_at)

    def note(self, instance: str, now: float) -> None:
        """Take note of blocked calls."""
        self._blocked_at.pop(instance, None)  # so that the dict stays in order of time
        self._blocked_at[instance] = now
        if len(self._blocked_at) > MAX_DEMAND:
            del self._blocked_at[next(iter(self._blocked_at))]

    def discard(self, instance: str) -> None:
        """Count on an instance no longer, until it reports again."""
        self._blocked_at.pop(instance, None)

    def newest(self, now: float) -> str | None:
        """The instance that had calls blocked last, if that is not long ago."""
        instance = next(reversed(self._blocked_at), None)
        if instance is None or now - self._blocked_at[instance] > FRESH_DEMAND:
            return None
        return instance


class Trial:
    """A grant, and what has become of its permits.

    Args:
        grant: The grant.
        heard_at: When it was made.
    """

    __slots__ = ("_busy_since", "failed", "grant", "heard_at", "labels", "passed")

    def __init__(self, grant: Grant, heard_at: float) -> None:
        self.grant = grant
        self.heard_at = heard_at
        self.passed = 0
        self.failed = 0
        self.labels: Counter[str] = Counter()
        self._busy_since: float | None = None

    @property
    def deadline(self) -> float:
        """When the holder counts as lost, unless it is heard of."""
        return self.heard_at + HOLDER_SILENCE

    @property
    def outstanding(self) -> int:
        """Permits that no result has settled."""
        return max(0, self.grant.permits - self.passed - self.failed)

    def settle(self, run: Run) -> None:
        """Count results. A slow call does not pass."""
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
        if not note.held:
            self._busy_since = None
        elif self._busy_since is None:
            self._busy_since = now
        elif now - self._busy_since > TRIAL_PATIENCE:
            more = max(0, note.held - self.labels["no answer"])  # each of them once
            self.failed += more
            self.labels["no answer"] += more
