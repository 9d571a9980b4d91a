"""One HTTP call under a breaker: whatever happens to it, it is settled once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import RLock
from typing import Any
from weakref import ref

from .._core.states import Outcome
from .._rejections import rejection_in
from .._runtime import forks
from ..breaker import Permit
from .classify import FAILURE, IGNORED, SUCCESS, Judge, is_rejection, label
from .errors import end_of_connection
from .library import RequestLike, ResponseLike
from .retry_after import RETRY_AFTER_STATUSES, seconds_to_wait

EVENT_STREAM = "text/event-stream"

CAUSES = 64
"""Errors that are remembered, so that what they come from counts once."""


class Incidents:
    """What befalls a transport, and with it the calls that are under way.

    Attributes:
        closings: How often somebody began, or was done with, closing the transport.
    """

    __slots__ = ("__weakref__", "_causes", "_lock", "closings")

    def __init__(self) -> None:
        self.closings: int = 0
        self._causes: deque[Callable[[], object]] = deque(maxlen=CAUSES)
        self._begin_anew()
        forks.watch(self, Incidents._begin_anew)

    def _begin_anew(self) -> None:
        self._lock = RLock()  # after a fork as well, when another thread may have held it

    @contextmanager
    def closing(self) -> Generator[None]:
        """The transport is being closed. What breaks calls that began before its end is that; one
        that begins later uses it anew."""
        self.closings += 1
        try:
            yield
        finally:
            self.closings += 1

    def is_news(self, error: BaseException) -> bool:
        """Whether no other call has told what an error comes from. All streams of an HTTP/2
        connection end with that, by one and the same event or error."""
        cause = end_of_connection(error)
        if cause is None:
            return True
        with self._lock:
            if any(cause is known() for known in self._causes):
                return False
            self._causes.append(_remembered(cause))
            return True


class Call:
    """A call whose outcome is to come.

    Settling never awaits, so nothing can come between.

    Args:
        permit: What the call was let through with.
        judge: Tells the outcome of a response or an exception.
        request: What was sent.
        incidents: What befalls the transport.

    Attributes:
        good: Whether the headers said success.
        served_on_trial: Whether it was a trial call, and they said no failure.
        keep: Gets the chunks of a body that is wanted later, and is told when it is complete.
        upload_error: What the request's own body raised.
    """

    __slots__ = (
        "_closings",
        "_incidents",
        "_judge",
        "_permit",
        "_request",
        "_waiting",
        "good",
        "keep",
        "served_on_trial",
        "upload_error",
    )

    def __init__(
        self, permit: Permit, judge: Judge, request: RequestLike, incidents: Incidents
    ) -> None:
        self._permit: Permit | None = permit
        self._judge = judge
        self._request = request
        self._incidents = incidents
        self._closings = incidents.closings
        self._waiting = True
        self.good = False
        self.served_on_trial = False
        self.keep: Keep | None = None
        self.upload_error: BaseException | None = None

    def pause(self) -> None:
        """Count no time from here on: the caller's own request body is to come."""
        if self._permit is not None and self._waiting:
            self._permit.pause_clock()

    def go_on(self) -> None:
        """Count the time again, unless the response is there already."""
        if self._permit is not None and self._waiting:
            self._permit.resume_clock()

    def answered(self, response: ResponseLike) -> bool:
        """Take note of a response's headers.

        Returns:
            Whether the body matters still. It does not where the headers say no success, after
            an upgrade (101) or a body that has been read already, for an event stream, which ends
            when and how it likes, nor for a trial call: nobody waits for a body's end to know
            that the upstream is back.
        """
        permit = self._permit
        if permit is None:
            return False
        permit.stop_clock()
        self._waiting = False
        outcome = IGNORED if is_rejection(response) else self._judge(self._request, response)
        self.good = outcome is SUCCESS
        self.served_on_trial = permit.on_trial and outcome is not FAILURE
        if (
            self.good
            and not permit.on_trial
            and response.status_code != 101
            and not response.is_closed
            and not _is_event_stream(response)
        ):
            return True
        self._permit = None
        if self.good:
            permit.record(outcome)
        else:
            permit.record(outcome, label(response), retry_after=_wait(outcome, response))
        return False

    def finished(self) -> None:
        """The body has been read to its end."""
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.record(SUCCESS)
        if self.keep is not None:
            self.keep.complete()

    def closed(self) -> None:
        """The body was closed. Its headers were good, and nobody wants the rest."""
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.record(SUCCESS)

    def broke(self, error: BaseException) -> None:
        """Take note of how the call, or the reading of its body, was cut short."""
        permit, self._permit = self._permit, None
        if permit is None:
            return
        if self._closings != self._incidents.closings or self.upload_error is not None:
            permit.record(IGNORED)  # the caller's own doing
        elif isinstance(error, Exception):
            permit.record(self._outcome(error), label(error))
        else:  # cancelled, which says something if it came late or unasked, or abandoned
            permit.raised(error)

    def _outcome(self, error: Exception) -> Outcome:
        if rejection_in(error) is not None:
            return IGNORED
        outcome = self._judge(self._request, error)
        if outcome is FAILURE and not self._incidents.is_news(error):
            return IGNORED
        return outcome


def _remembered(cause: object) -> Callable[[], object]:
    """A way back to a cause, which does not keep an error with all that hangs on it alive."""
    try:
        return ref(cause) if isinstance(cause, BaseException) else lambda: cause
    except TypeError:  # Python's own errors take no weak reference
        return lambda: cause


def _is_event_stream(response: ResponseLike) -> bool:
    kind: str = response.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower() == EVENT_STREAM


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
    if outcome is not FAILURE or response.status_code not in RETRY_AFTER_STATUSES:
        return None
    return seconds_to_wait(response.headers)
