"""An instance's ledger: the batches that it has sent, and of which no leader has told yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .._runtime.notifier import Surface
from ..backends.base import Account
from ..exceptions import ResultsLostError
from ..statistics import Statistics

MAX_BATCHES = 10_000

GIVEN_UP_AFTER = 30.0
"""Seconds after which a batch that was sent, and that no account tells of, was lost. (Leaders tell
within ten; what they find later has expired.)"""

LOSSES_INTERVAL = 10.0
"""Lost results are told at most once in so many seconds; the counters know each."""


class Ledger:
    """The batches of this instance that are not accounted for yet.

    Args:
        statistics: Counts what became of results.
        surface: Told of losses.
        monotonic: This host's monotonic seconds.
    """

    def __init__(
        self, statistics: Statistics, surface: Surface, monotonic: Callable[[], float]
    ) -> None:
        self._statistics = statistics
        self._surface = surface
        self._monotonic = monotonic
        self._batches: deque[_Sent] = deque()
        self._account = Account(0, 0)
        self._told = (0, 0)
        self._told_at = float("-inf")

    def __len__(self) -> int:
        return len(self._batches)

    def enter(self, number: int, results: int) -> None:
        """A batch is about to be sent."""
        self._batches.append(_Sent(number, results))
        if len(self._batches) > MAX_BATCHES:  # nobody has led for long
            oldest = self._batches.popleft()
            self._batches[0].results += oldest.results

    def sent(self) -> None:
        """The store has taken the batch entered last."""
        if self._batches:
            self._batches[-1].at = self._monotonic()

    def give_up(self) -> None:
        """The batch entered last will not be sent again."""
        if self._batches:
            self._statistics.dropped += self._batches.pop().results

    def review(self, account: Account | None) -> None:
        """Take in the account that stands in the store, if there is one, and give up what it
        should have told of by now."""
        if account is not None:
            self.settle(account)
        before = self._monotonic() - GIVEN_UP_AFTER
        while self._batches and self._batches[0].at < before:
            self._statistics.dropped += self._batches.popleft().results

    def settle(self, account: Account) -> None:
        """Take in what leaders have made of the batches up to now. What is missing in it never
        reached one: the store has lost it, or never kept it."""
        known = self._account
        if account.first == known.first and account.last <= known.last:
            return
        if account.first != known.first:  # the store has lost the account, and it began anew
            known = Account(0, 0)
        results = self._settled(account.last)
        expired = min(max(0, account.expired - known.expired), results)
        evaluated = min(max(0, account.evaluated - known.evaluated), results - expired)
        self._statistics.expired += expired
        self._statistics.evaluated += evaluated
        self._statistics.dropped += results - expired - evaluated
        self._account = account

    def _settled(self, last: int) -> int:
        results = 0
        while self._batches and self._batches[0].number <= last:
            results += self._batches.popleft().results
        return results

    def tell_losses(self) -> None:
        """Surface what was lost since the last time, unless that was a moment ago."""
        lost = (self._statistics.dropped, self._statistics.expired)
        now = self._monotonic()
        if lost == self._told or now - self._told_at < LOSSES_INTERVAL:
            return
        dropped, expired = (new - old for new, old in zip(lost, self._told, strict=True))
        self._told, self._told_at = lost, now
        self._surface.error(ResultsLostError(dropped, expired))


class _Sent:
    """A batch on its way: its number, how many results it holds, and when it was taken."""

    __slots__ = ("at", "number", "results")

    def __init__(self, number: int, results: int) -> None:
        self.number = number
        self.results = results
        self.at = float("inf")
