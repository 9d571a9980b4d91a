"""One HTTP call under a breaker: whatever happens to it, it is settled once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._core.states import Outcome
from ..breaker import Permit
from .classify import label


class Call:
    """A call whose outcome is to come.

    Settling never awaits, so nothing can come between.

    Args:
        permit: What the call was let through with.
        judge: Tells the outcome of a response or an exception.
    """

    __slots__ = ("_judge", "_permit")

    def __init__(self, permit: Permit, judge: Callable[[Any], Outcome]) -> None:
        self._permit: Permit | None = permit
        self._judge = judge

    def settle(self, outcome: Outcome, why: str = "") -> None:
        """End the call, unless it has ended."""
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.record(outcome, why)

    def settle_by(self, ended: Any) -> None:
        """End the call with what a response or an exception says."""
        if self._permit is not None:
            self.settle(self._judge(ended), label(ended))

    def answered(self, response: Any) -> bool:
        """Take note of a response's headers.

        Returns:
            Whether the body matters still: failures count at once, and an upgrade (101) or a
            body that has been read already brings nothing more.
        """
        if self._permit is not None:
            self._permit.stop_clock()
        outcome = self._judge(response)
        if outcome is Outcome.SUCCESS and response.status_code != 101 and not response.is_closed:
            return True
        self.settle(outcome, label(response))
        return False

    def broke(self, error: BaseException) -> None:
        """Take note of how the call, or the reading of its body, was cut short."""
        if isinstance(error, Exception):
            self.settle_by(error)
        else:  # the caller was cancelled, or abandoned
            self.settle(Outcome.IGNORED)
