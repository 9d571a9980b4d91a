"""One HTTP call under a breaker. It is settled once, whatever happens to it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, ClassVar

from .._core.failure_kinds import BODY
from .._core.states import ANSWERED, FAILURE, IGNORED, SUCCESS, Outcome
from .._rejections import rejection_in
from ..breaker import Breaker, Permit
from .classify import label
from .incidents import Incidents
from .misses import FAILED, NONE, THROTTLED
from .protocols import ResponseLike
from .recorder import BodyRecorder
from .retry_after import (
    RETRY_AFTER_STATUSES,
    THROTTLED_STATUSES,
    seconds_to_wait,
    seconds_until_reset,
)
from .settings import ResolvedSettings

CONTENT_TYPE, EVENT_STREAM = b"content-type", b"text/event-stream"


class HttpCall:
    """A call that is under way.

    Settling never awaits, so it is atomic for an event loop.

    Args:
        permit: Lets the call pass.
        settings: Those that apply to the request.
        request: The request.
        incidents: Those of the transport.

    Attributes:
        good: Whether the headers mean success.
        misses: In which ways the call failed before the caller had anything of it.
        served_on_trial: Whether it is a trial call, or a call in a ramp, whose headers do not mean
            failure.
        recorder: Records the body, if a fallback needs it later.
        upload_error: The exception of the request's own body.
        follows: Whether each chunk of the response's body matters (`StreamCall`).
    """

    __slots__ = (
        "_carrier",
        "_closings",
        "_incidents",
        "_permit",
        "_request",
        "_settings",
        "_upload",
        "_waiting",
        "good",
        "misses",
        "recorder",
        "served_on_trial",
        "upload_error",
    )

    follows: ClassVar[bool] = False

    def __init__(
        self,
        permit: Permit,
        settings: ResolvedSettings,
        request: Any,
        incidents: Incidents,
    ) -> None:
        self._permit: Permit | None = permit
        self._carrier = permit
        self._settings = settings
        self._request = request
        self._incidents = incidents
        self._closings = incidents.closings
        self._waiting = True
        self._upload: Any = None
        self.good = False
        self.misses = NONE
        self.served_on_trial = False
        self.recorder: BodyRecorder | None = None
        self.upload_error: BaseException | None = None

    @contextmanager
    def broken_by_cancellation(self) -> Generator[None]:
        """Give the permit back if the caller ends before the call begins."""
        try:
            yield
        except BaseException as error:
            self.broke(error)
            raise

    def watch_upload(self, stream: type[Any], watching: type[Any]) -> None:
        """Watch a request body that the caller produces while it is sent. Bodies in memory need no
        watching.

        Args:
            stream: The library's streams.
            watching: Wraps a stream.
        """
        body = self._request.stream
        if isinstance(body, stream):
            self._request.stream = self._upload = watching(body, self)

    def __enter__(self) -> None:
        """Begin to send. An inner breaker may have the same circuit."""
        self._carrier.carry()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self.broke(error)
        self._carrier.set_down()
        if self._upload is not None:
            self._upload.leave(self._request)

    def pause(self) -> None:
        """Stop the clock while the caller produces the request body."""
        if self._permit is not None and self._waiting:
            self._permit.pause_clock()

    def go_on(self) -> None:
        """Start the clock again, unless the response has arrived."""
        if self._permit is not None and self._waiting:
            self._permit.resume_clock()

    def needs_body(self, response: ResponseLike, breaker: Breaker) -> bool:
        """Classify the headers of a response, and return whether its body has to be watched."""
        undecided = self._is_undecided(response)
        # A failure must not replace the last good response.
        if self.good and self._settings.fallbacks.record:
            fallbacks = self._settings.fallbacks
            self.recorder = fallbacks.recorder(breaker.name, self._request, response)
        return undecided or self.recorder is not None

    def _is_undecided(self, response: ResponseLike) -> bool:
        """Whether the body decides the outcome. It does not if the headers do not mean success."""
        permit = self._permit
        if permit is None:
            self._note_late_failure(response)
            return False
        # Reading the body is up to the caller, and makes no slow call.
        permit.stop_clock()
        self._waiting = False
        outcome = self._settings.classify(self._request, response)
        self.good = outcome is SUCCESS
        if permit.obeys_waits and outcome in (SUCCESS, ANSWERED):
            wait = seconds_until_reset(response.headers)
            if wait is not None:
                permit.hold_off(wait)
        recovering = permit.on_trial or permit.on_ramp
        self.served_on_trial = recovering and outcome is not FAILURE
        if self.good and self._is_open_to_the_end(response, permit):
            return True
        self._permit = None
        if self.good:
            permit.record(outcome)
        else:
            wait = self._failed(response) if outcome is FAILURE else None
            permit.record(outcome, label(response), retry_after=wait)
        return False

    def _failed(self, response: ResponseLike) -> float | None:
        """Note how a call failed by its status, and return the wait that its upstream names."""
        status = response.status_code
        wait = seconds_to_wait(response.headers) if status in RETRY_AFTER_STATUSES else None
        is_throttled = status in THROTTLED_STATUSES or wait is not None
        self.misses = THROTTLED if is_throttled else FAILED
        return wait

    @property
    def body_is_gone(self) -> bool:
        """Whether the request's body cannot be sent again."""
        return self._upload is not None and self._upload.begun

    def _is_open_to_the_end(self, response: ResponseLike, permit: Permit) -> bool:
        """Whether the body of a good response decides.

        It does not after an upgrade (101), for a body that has been read already, for an event
        stream, which may end at any time, and for a trial call: the headers prove that the upstream
        is back.
        """
        return not (
            permit.on_trial
            or response.status_code == 101
            or response.is_closed
            or is_event_stream(response)
        )

    def stop_following(self) -> None:
        """Ignore the contents of further chunks: the reader takes the body in another form than
        decoded."""
        self.recorder = None

    def finished(self) -> None:
        """Settle: the body has been read to its end."""
        # Taken first, so that nothing settles the call twice, whatever recording it raises.
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
        is_callers = self._closings != self._incidents.closings or self.upload_error is not None
        if permit is None:
            if self._waiting and not is_callers and isinstance(error, Exception):
                self._note_late_failure(error)
            return
        if is_callers:
            permit.record(IGNORED)
        elif isinstance(error, Exception):
            told = label(error) if self._waiting else label(error) + BODY
            permit.record(self._outcome(error), told)
        else:  # cancelled, which counts if it came late or unasked, or abandoned
            permit.raised(error)

    def _outcome(self, error: Exception) -> Outcome:
        if rejection_in(error) is not None:
            return IGNORED
        outcome = self._settings.classify(self._request, error)
        if outcome is FAILURE:
            self.misses = FAILED
            if not self._incidents.is_news(error):
                return IGNORED
        return outcome

    def _note_late_failure(self, ended: Any) -> None:
        """Note how a call ended that a clock has settled as a failure, for a fallback."""
        if not self._settings.fallbacks.covers_failures:
            return
        if self._settings.classify(self._request, ended) is FAILURE:
            if isinstance(ended, Exception):
                self.misses = FAILED
            else:
                self._failed(ended)


def is_event_stream(response: ResponseLike) -> bool:
    """Whether the body is an event stream."""
    # The raw fields: to look for one that is missing takes longer than all else that a call does.
    for name, value in response.headers.raw:
        if len(name) == len(CONTENT_TYPE) and name.lower() == CONTENT_TYPE:
            kind: bytes = value
            return kind.partition(b";")[0].strip().lower() == EVENT_STREAM
    return False
