"""The connection status of an instance, and the pauses of its loops between attempts."""

from __future__ import annotations

import asyncio
from enum import Enum

from .._core.backoff import ExponentialBackoff
from ..exceptions import BackendError
from .instance import Instance
from .notifier import Notifier

PAUSES = ExponentialBackoff(initial=0.05, multiplier=2, maximum=1.0, jitter=0.5)


class Asker(Enum):
    """A loop that sends requests to the store."""

    ELECTION = "election"
    READER = "reader"
    REPORTER = "reporter"


class ConnectionStatus:
    """The result of each loop's newest request to the store.

    Args:
        notifier: Reports the end of an outage, when all loops have received replies again.

    A pending request changes nothing: a start is not an outage.
    """

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._answered = dict.fromkeys(Asker, False)
        self._failed = dict.fromkeys(Asker, False)
        self._changed = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether the store answered the last requests for states and for the lease."""
        return self._answered[Asker.ELECTION] and self._answered[Asker.READER]

    @property
    def answers(self) -> bool:
        """Whether the store has answered at least one loop, and failed none."""
        return any(self._answered.values()) and not self.cut_off

    @property
    def cut_off(self) -> bool:
        """Whether any loop's newest request failed: the results of this instance are then not
        evaluated, or it does not receive the decisions."""
        return any(self._failed.values())

    def answered(self, asker: Asker) -> None:
        """Record the reply to a loop's request."""
        self._note(asker, True)

    def failed(self, asker: Asker) -> None:
        """Record the failure of a loop's request."""
        self._note(asker, False)

    def _note(self, asker: Asker, answered: bool) -> None:
        if self._answered[asker] is answered and self._failed[asker] is not answered:
            return
        # Only a change wakes whoever waits, however many loops fail.
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
    """Counts a loop's consecutive failures.

    Args:
        instance: Reports the first failure of an outage, and each failure of a new kind.
    """

    def __init__(self, instance: Instance) -> None:
        self._notifier = instance.notifier
        self._chance = instance.host.chance
        self._failures = 0
        self._reported: type[BaseException | None] | None = None

    def failed(self, error: BackendError) -> float:
        """Count a failure.

        Returns:
            The seconds to wait before the next attempt.
        """
        # A refused connection after a timeout tells more; a hundred timeouts tell nothing.
        kind = type(error.__cause__)
        if kind is not self._reported:
            self._reported = kind
            self._notifier.report_error(error)
        self._failures += 1
        return PAUSES.delay(self._failures, self._chance())

    def over(self) -> None:
        """Record that the store answers."""
        self._failures = 0
        self._reported = None
