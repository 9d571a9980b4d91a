"""Whether this instance reaches the store, and how long its loops wait before they try again."""

from __future__ import annotations

import asyncio
from enum import Enum

from .._core.backoff import ExponentialBackoff
from ..exceptions import BackendError
from .instance import Instance
from .notifier import Notifier

PAUSES = ExponentialBackoff(initial=0.05, multiplier=2, maximum=1.0, jitter=0.5)


class Asker(Enum):
    """A loop that asks the store."""

    ELECTION = "election"
    READER = "reader"
    REPORTER = "reporter"


class ConnectionStatus:
    """The result of each loop's newest request to the store.

    Args:
        notifier: Reports that all loops are answered again after an outage.

    A request that is still under way changes nothing: a start is no outage.
    """

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._answered = dict.fromkeys(Asker, False)
        self._failed = dict.fromkeys(Asker, False)
        self._changed = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether the store answered when it was last asked for states and leadership."""
        return self._answered[Asker.ELECTION] and self._answered[Asker.READER]

    @property
    def answers(self) -> bool:
        """Whether the store has answered a loop and has failed none."""
        return any(self._answered.values()) and not self.cut_off

    @property
    def cut_off(self) -> bool:
        """Whether any loop's newest request failed: then this instance's results are not judged,
        or it does not learn of the verdict."""
        return any(self._failed.values())

    def answered(self, asker: Asker) -> None:
        """A loop's request was answered."""
        self._note(asker, True)

    def failed(self, asker: Asker) -> None:
        """A loop's request failed."""
        self._note(asker, False)

    def _note(self, asker: Asker, answered: bool) -> None:
        if self._answered[asker] is answered and self._failed[asker] is not answered:
            return
        before = self.cut_off
        self._answered[asker] = answered
        self._failed[asker] = not answered
        if self.cut_off is not before:
            self._changed.set()
            if before:
                self._notifier.connected_again()

    async def changes(self) -> None:
        """Wait until `cut_off` changes."""
        self._changed.clear()
        await self._changed.wait()


class RetryBackoff:
    """Counts a loop's failures in a row.

    Args:
        instance: Reports the first failure of an outage, and each one of another kind.
    """

    def __init__(self, instance: Instance) -> None:
        self._notifier = instance.notifier
        self._chance = instance.host.chance
        self._failures = 0
        self._reported: type[BaseException | None] | None = None

    def failed(self, error: BackendError) -> float:
        """Count a failure.

        Returns:
            The seconds to wait before the next try.
        """
        kind = type(error.__cause__)
        if kind is not self._reported:
            self._reported = kind
            self._notifier.report_error(error)
        self._failures += 1
        return PAUSES.delay(self._failures, self._chance())

    def over(self) -> None:
        """The store answers."""
        self._failures = 0
        self._reported = None
