"""One HTTP call under a breaker: whatever happens to it, it is settled once."""

from __future__ import annotations

from typing import Any

from .._core.states import Outcome
from ..breaker import Permit
from .classify import Judge, label
from .library import RequestLike, ResponseLike
from .retry_after import RETRY_AFTER_STATUSES, seconds_to_wait


class Call:
    """A call whose outcome is to come.

    Settling never awaits, so nothing can come between.

    Args:
        permit: What the call was let through with.
        judge: Tells the outcome of a response or an exception.
        request: What was sent.

    Attributes:
        good: Whether the headers said success.
        keep: Gets the chunks of a body that is wanted later, and is told when it is complete.
    """

    __slots__ = ("_judge", "_permit", "_request", "good", "keep")

    def __init__(self, permit: Permit, judge: Judge, request: RequestLike) -> None:
        self._permit: Permit | None = permit
        self._judge = judge
        self._request = request
        self.good = False
        self.keep: Keep | None = None

    def answered(self, response: ResponseLike) -> bool:
        """Take note of a response's headers.

        Returns:
            Whether the body matters still: failures count at once, and an upgrade (101) or a
            body that has been read already brings nothing more.
        """
        permit = self._permit
        if permit is None:
            return False
        permit.stop_clock()
        outcome = self._judge(self._request, response)
        if outcome is Outcome.SUCCESS:
            self.good = True
            if response.status_code != 101 and not response.is_closed:
                return True
            self._permit = None
            permit.record(outcome)
        else:
            self._permit = None
            permit.record(outcome, label(response), retry_after=_wait(outcome, response))
        return False

    def finished(self) -> None:
        """The body has been read to its end."""
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.record(Outcome.SUCCESS)
            if self.keep is not None:
                self.keep.complete()

    def closed(self) -> None:
        """The body was closed. Its headers were good, and nobody wants the rest."""
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.record(Outcome.SUCCESS)

    def broke(self, error: BaseException) -> None:
        """Take note of how the call, or the reading of its body, was cut short."""
        permit, self._permit = self._permit, None
        if permit is None:
            return
        if isinstance(error, Exception):
            permit.record(self._judge(self._request, error), label(error))
        else:  # cancelled, which says something if it came late, or abandoned
            permit.raised(error)


class Keep:
    """Something that keeps a body while it passes."""

    __slots__ = ()

    def add(self, chunk: bytes) -> None:
        """Take note of a chunk."""
        raise NotImplementedError

    def complete(self) -> None:
        """The body was complete."""
        raise NotImplementedError


def _wait(outcome: Outcome, response: Any) -> float | None:
    if outcome is not Outcome.FAILURE or response.status_code not in RETRY_AFTER_STATUSES:
        return None
    return seconds_to_wait(response.headers)
