"""One HTTP call under a breaker. It is settled once, whatever happens to it."""

from __future__ import annotations

from enum import Enum, auto
from types import TracebackType
from typing import Any

from .._circuits.permits import stream_clock
from .._core.failure_kinds import BODY, EVENT
from .._core.states import ANSWERED, FAILURE, IGNORED, SUCCESS, Outcome
from .._rejections import rejection_in
from ..breaker import Breaker, Permit
from .classify import label
from .incidents import Incidents
from .judge_chunk import JudgedEvents
from .protocols import ResponseLike
from .recorder import BodyRecorder
from .retry_after import RETRY_AFTER_STATUSES, seconds_to_wait, seconds_until_reset
from .settings import ResolvedSettings

CONTENT_TYPE, EVENT_STREAM = b"content-type", b"text/event-stream"
CONTENT_ENCODING = b"content-encoding"


class DecidedBy(Enum):
    """The part of a good response that makes its call a success."""

    HEADERS = auto()
    FIRST_CHUNK = auto()
    FIRST_LINE = auto()  # of those that are judged
    END = auto()


# As constants: to look a member up in its class takes longer.
HEADERS, FIRST_CHUNK, FIRST_LINE, END = DecidedBy


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
        served_on_trial: Whether it is a trial call, or a call in a ramp, whose headers do not mean
            failure.
        recorder: Records the body, if a fallback needs it later.
        clock: The clock of the upstream's chunks, as long as it may run.
        follows: Whether `took` expects the chunks of the body.
        upload_error: The exception of the request's own body.
    """

    __slots__ = (
        "_carrier",
        "_closings",
        "_decided_by",
        "_events",
        "_incidents",
        "_permit",
        "_request",
        "_settings",
        "_upload",
        "_waiting",
        "clock",
        "follows",
        "good",
        "recorder",
        "served_on_trial",
        "upload_error",
    )

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
        self._decided_by = END
        self._events: JudgedEvents | None = None
        self.clock = stream_clock(permit)
        self.follows = False
        self.good = False
        self.served_on_trial = False
        self.recorder: BodyRecorder | None = None
        self.upload_error: BaseException | None = None

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
        if self.clock is not None:
            self.clock.start()

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
        if self._permit is not None and self._waiting and self._is_to_settle():
            self._permit.pause_clock()

    def go_on(self) -> None:
        """Start the clock again, unless the response has arrived."""
        if self._permit is not None and self._waiting:
            self._permit.resume_clock()
            if self.clock is not None:
                self.clock.start()

    def needs_body(self, response: ResponseLike, breaker: Breaker) -> bool:
        """Classify the headers of a response, and return whether its body has to be watched."""
        undecided = self._is_undecided(response)
        # A failure must not replace the last good response.
        if self.good and self._settings.fallbacks.record:
            fallbacks = self._settings.fallbacks
            self.recorder = fallbacks.recorder(breaker.name, self._request, response)
        self.follows = (
            self.recorder is not None or self.clock is not None or self._events is not None
        )
        return undecided or self.recorder is not None

    def _is_undecided(self, response: ResponseLike) -> bool:
        """Whether the body decides the outcome. It does not if the headers do not mean success."""
        permit = self._permit
        if permit is None or (self.clock is not None and not self._is_to_settle()):
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
        if self.good:
            self._decided_by = self._what_decides(response, permit)
            if self._decided_by is not HEADERS:
                return True
        self._permit = self.clock = None
        if self.good:
            permit.record(outcome)
        else:
            asks = outcome is FAILURE and response.status_code in RETRY_AFTER_STATUSES
            wait = seconds_to_wait(response.headers) if asks else None
            permit.record(outcome, label(response), retry_after=wait)
        return False

    def _what_decides(self, response: ResponseLike, permit: Permit) -> DecidedBy:
        """The part of a good response that decides.

        The headers do after an upgrade (101), for a body that has been read already, for an event
        stream, which may end at any time, and for a trial call: they prove that the upstream is
        back. Clocks and a judge of events ask for more.
        """
        if response.status_code == 101 or response.is_closed:
            return HEADERS
        clock, judge = self.clock, self._settings.judge_chunk
        if clock is None and judge is None:
            return HEADERS if permit.on_trial or _is_event_stream(response) else END
        events = _is_event_stream(response)
        if events and judge is not None and not _is_encoded(response):
            self._events = JudgedEvents(judge, self._request)
        if permit.on_trial and self._events is not None:
            return FIRST_LINE
        if not (permit.on_trial or events) or self._events is not None:
            return END
        if clock is not None and clock.limits_gaps and not permit.on_trial:
            return END
        awaits = clock is not None and clock.awaits_first_chunk
        return FIRST_CHUNK if awaits else HEADERS

    def took(self, chunk: bytes) -> None:
        """Follow the body: a chunk has arrived."""
        if self.clock is not None:
            self._is_to_settle(chunk)
        if self.recorder is not None:
            self.recorder.add(chunk)
        if self._permit is not None:
            self._decide(self._outcome_so_far(chunk))

    def _outcome_so_far(self, chunk: bytes) -> Outcome | None:
        """The outcome that a chunk means, or None if the call goes on."""
        events = self._events
        if events is None:
            return SUCCESS if self._decided_by is FIRST_CHUNK and chunk else None
        outcome = events.outcome(chunk)
        if outcome is None and self._decided_by is FIRST_LINE and events.lines:
            return SUCCESS
        return outcome

    def stop_following(self) -> None:
        """Ignore the contents of further chunks: the reader takes the body in another form."""
        self.recorder = self._events = None

    def _is_to_settle(self, chunk: bytes = b"") -> bool:
        """Stop the clock, since a chunk has arrived or something else has happened. Return whether
        the call is still to be settled."""
        clock = self.clock
        if clock is None or (clock.chunk() if chunk else clock.stop()):
            return True
        self._permit = self.clock = None
        self.recorder = None  # a failure must not replace the last good response
        return False

    def _decide(self, outcome: Outcome | None) -> None:
        """Settle, unless the outcome is None, or the call is settled already."""
        permit = self._permit
        if outcome is None or permit is None:
            return
        self._permit = self.clock = self._events = None
        if outcome is FAILURE:
            self.recorder = None
        permit.record(outcome, EVENT if outcome is FAILURE else "")

    def finished(self) -> None:
        """Settle: the body has been read to its end."""
        if self.clock is not None:
            self._is_to_settle()
        if self._events is not None:
            self._decide(self._events.last())
        # Taken first, so that nothing settles the call twice, whatever recording it raises.
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.record(SUCCESS)
        if self.recorder is not None:
            self.recorder.complete()

    def closed(self) -> None:
        """Settle: the body has been closed. Its headers were good, and the rest is not needed."""
        if self.clock is not None:
            self._is_to_settle()
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.record(SUCCESS)

    def broke(self, error: BaseException) -> None:
        """Settle: an exception ended the call, or the reading of its body."""
        if self.clock is not None:
            self._is_to_settle()
        permit, self._permit = self._permit, None
        if permit is None:
            return
        if self._closings != self._incidents.closings or self.upload_error is not None:
            permit.record(IGNORED)  # caused by the caller
        elif isinstance(error, Exception):
            told = label(error) if self._waiting else label(error) + BODY
            permit.record(self._outcome(error), told)
        else:  # cancelled, which counts if it came late or unasked, or abandoned
            permit.raised(error)

    def _outcome(self, error: Exception) -> Outcome:
        if rejection_in(error) is not None:
            return IGNORED
        outcome = self._settings.classify(self._request, error)
        if outcome is FAILURE and not self._incidents.is_news(error):
            return IGNORED
        return outcome


def _is_event_stream(response: ResponseLike) -> bool:
    kind = _first_value(response, CONTENT_TYPE)
    return bool(kind) and kind.partition(b";")[0].strip().lower() == EVENT_STREAM


def _is_encoded(response: ResponseLike) -> bool:
    """Whether the chunks of the body are compressed, so that they contain no lines."""
    return _first_value(response, CONTENT_ENCODING).strip().lower() not in (b"", b"identity")


def _first_value(response: ResponseLike, wanted: bytes) -> bytes:
    # The raw fields: to look for one that is missing takes longer than all else that a call does.
    for name, value in response.headers.raw:
        if len(name) == len(wanted) and name.lower() == wanted:
            found: bytes = value
            return found
    return b""
