"""What an HTTP exchange says about its upstream.

Errors are told apart by the names of their classes, which httpx and httpx2 share, so that this
module needs neither.
"""

from __future__ import annotations

from typing import Protocol

from .._core.states import Outcome

FAILURE_STATUSES = frozenset({429, 500, 502, 503, 504})

IGNORED_ERRORS = frozenset({"PoolTimeout", "UnsupportedProtocol", "LocalProtocolError"})
"""Transport errors that are the caller's own doing, or a limit of this process."""


class HasStatus(Protocol):
    """What classifying needs of a response."""

    @property
    def status_code(self) -> int:
        """The status."""
        ...


def default_outcome(ended: HasStatus | Exception) -> Outcome:
    """The outcome of one HTTP call.

    A failure: transport errors and timeouts, and the statuses 429, 500, 502, 503 and 504.
    Ignored: errors of the caller's making, local limits, and what is no transport error at all.
    Anything else is a success.
    """
    if isinstance(ended, Exception):
        return _outcome_of_error(ended)
    return Outcome.FAILURE if ended.status_code in FAILURE_STATUSES else Outcome.SUCCESS


def _outcome_of_error(error: Exception) -> Outcome:
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & IGNORED_ERRORS or "CircuitOpenError" in names:
        return Outcome.IGNORED
    if "TransportError" in names or isinstance(error, OSError):
        return Outcome.FAILURE
    return Outcome.IGNORED


def label(ended: HasStatus | Exception) -> str:
    """What a failure is called when a trip is explained."""
    return type(ended).__name__ if isinstance(ended, Exception) else f"HTTP {ended.status_code}"
