"""One HTTP call under a breaker. It is settled once, whatever happens to it."""

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
from .classify import FAILURE, IGNORED, SUCCESS, Classifier, is_rejection, label
from .errors import end_of_connection
from .protocols import RequestLike, ResponseLike
from .retry_after import RETRY_AFTER_STATUSES, seconds_to_wait

EVENT_STREAM = "text/event-stream"

CAUSES = 64
"""How many errors are remembered, so that a connection that breaks counts once."""


class Incidents:
    """Events of a transport that end several calls at once.

    Attributes:
        closings: How often closing the transport has begun or ended.
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
        """Close the transport. Calls that began before the end of this block are broken by it; a
        later call uses the transport anew."""
        self.closings += 1
        try:
            yield
        finally:
            self.closings += 1

    def is_news(self, error: BaseException) -> bool:
        """Whether an error is the first from its cause. All streams of an HTTP/2 connection end
        by one event or error."""
        cause = end_of_connection(error)
        if cause is None:
            return True
        with self._lock:
            if any(cause is known() for known in self._causes):
                return False
            self._causes.append(_remembered(cause))
            return True


class HttpCall:
    """A call that is under way.

    Settling never awaits, so it is atomic for an event loop.

    Args:
        permit: Lets the call pass.
        classify: Returns the outcome of a response or an exception.
        request: The request.
        incidents: Those of the transport.

    Attributes:
        good: Whether the headers mean success.
        served_on_trial: Whether it is a trial call whose headers do not mean failure.
        recorder: Records the body, if a fallback needs it later.
        upload_error: The exception of the request's own body.
    """

    __slots__ = (
        "_classify",
        "_closings",
        "_incidents",
        "_permit",
        "_request",
        "_waiting",
        "good",
        "recorder",
        "served_on_trial",
        "upload_error",
    )

    def __init__(
        self, permit: Permit, classify: Classifier, request: RequestLike, incidents: Incidents
    ) -> None:
        self._permit: Permit | None = permit
        self._classify = classify
        self._request = request
        self._incidents = incidents
        self._closings = incidents.closings
        self._waiting = True
        self.good = False
        self.served_on_trial = False
        self.recorder: BodyRecorder | None = None
        self.upload_error: BaseException | None = None

    def pause(self) -> None:
        """Stop the clock while the caller produces the request body."""
        if self._permit is not None and self._waiting:
            self._permit.pause_clock()

    def go_on(self) -> None:
        """Start the clock again, unless the response has arrived."""
        if self._permit is not None and self._waiting:
            self._permit.resume_clock()

    def answered(self, response: ResponseLike) -> bool:
        """Judge the headers of a response.

        Returns:
            Whether the body decides the outcome. It does not if the headers do not mean success,
            after an upgrade (101), for a body that has been read already, for an event stream,
            which may end at any time, and for a trial call: the headers prove that the upstream
            is back.
        """
        permit = self._permit
        if permit is None:
            return False
        permit.stop_clock()
        self._waiting = False
        outcome = IGNORED if is_rejection(response) else self._classify(self._request, response)
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
        """Settle: the body has been read to its end."""
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.record(SUCCESS)
        if self.recorder is not None:
            self.recorder.complete()

    def closed(self) -> None:
        """Settle: the body has been closed. Its headers were good, and the rest is not needed."""
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.record(SUCCESS)

    def broke(self, error: BaseException) -> None:
        """Settle: an exception ended the call, or the reading of its body."""
        permit, self._permit = self._permit, None
        if permit is None:
            return
        if self._closings != self._incidents.closings or self.upload_error is not None:
            permit.record(IGNORED)  # caused by the caller
        elif isinstance(error, Exception):
            permit.record(self._outcome(error), label(error))
        else:  # cancelled, which counts if it came late or unasked, or abandoned
            permit.raised(error)

    def _outcome(self, error: Exception) -> Outcome:
        if rejection_in(error) is not None:
            return IGNORED
        outcome = self._classify(self._request, error)
        if outcome is FAILURE and not self._incidents.is_news(error):
            return IGNORED
        return outcome


def _remembered(cause: object) -> Callable[[], object]:
    """A reference to a cause, weak for an error, which holds frames alive."""
    try:
        return ref(cause) if isinstance(cause, BaseException) else lambda: cause
    except TypeError:  # Python's own errors take no weak reference
        return lambda: cause


def _is_event_stream(response: ResponseLike) -> bool:
    kind: str = response.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower() == EVENT_STREAM


class BodyRecorder:
    """Records a body while it passes."""

    __slots__ = ()

    def add(self, chunk: bytes) -> None:
        """Record a chunk."""
        raise NotImplementedError

    def complete(self) -> None:
        """End the body, which is complete."""
        raise NotImplementedError


def _wait(outcome: Outcome, response: Any) -> float | None:
    if outcome is not FAILURE or response.status_code not in RETRY_AFTER_STATUSES:
        return None
    return seconds_to_wait(response.headers)
