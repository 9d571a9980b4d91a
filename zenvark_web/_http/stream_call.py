"""One HTTP call whose chunks matter: the policy has clocks for streams, or events are judged.

A class of its own, so that all other calls cost nothing for it.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, ClassVar

from .._circuits.permits import stream_clock
from .._circuits.stream_clocks import StreamClock
from .._core.failure_kinds import EVENT
from .._core.states import FAILURE, SUCCESS, Outcome
from ..breaker import Permit
from .call import HttpCall, is_event_stream
from .incidents import Incidents
from .judge_chunk import JudgedEvents
from .protocols import ResponseLike
from .settings import ResolvedSettings

CONTENT_ENCODING = b"content-encoding"


class DecidedBy(Enum):
    """The part of a good response that makes its call a success."""

    HEADERS = auto()
    FIRST_CHUNK = auto()
    FIRST_LINE = auto()  # of those that are judged
    END = auto()


class StreamCall(HttpCall):
    """A call with a clock, or with a judge of events.

    Args:
        permit: Lets the call pass.
        settings: Those that apply to the request.
        request: The request.
        incidents: Those of the transport.
        clock: The clock of the upstream's chunks, if there is one.
    """

    __slots__ = ("_clock", "_decided_by", "_events")

    follows: ClassVar[bool] = True

    def __init__(
        self,
        permit: Permit,
        settings: ResolvedSettings,
        request: Any,
        incidents: Incidents,
        clock: StreamClock | None,
    ) -> None:
        super().__init__(permit, settings, request, incidents)
        self._clock = clock
        self._decided_by = DecidedBy.END
        self._events: JudgedEvents | None = None

    def __enter__(self) -> None:
        super().__enter__()
        self.waits()

    def waits(self) -> None:
        """Start the clock: the caller waits for the upstream."""
        if self._clock is not None:
            self._clock.start()

    def took(self, chunk: bytes) -> None:
        """Stop the clock, since a chunk has arrived, and judge it."""
        self._stop_clock(chunk)
        if self._permit is not None:
            self._decide(self._outcome_so_far(chunk))

    def pause(self) -> None:
        if self._waiting:
            self._stop_clock()
        super().pause()

    def go_on(self) -> None:
        super().go_on()
        if self._waiting:
            self.waits()

    def _is_undecided(self, response: ResponseLike) -> bool:
        self._stop_clock()
        undecided = super()._is_undecided(response)
        if not undecided:
            self._clock = None
        return undecided

    def _is_open_to_the_end(self, response: ResponseLike, permit: Permit) -> bool:
        """Whether the body, or the beginning of it, decides: clocks and a judge of events ask for
        more than the headers."""
        self._decided_by = self._what_decides(response, permit)
        return self._decided_by is not DecidedBy.HEADERS

    def _what_decides(self, response: ResponseLike, permit: Permit) -> DecidedBy:
        if super()._is_open_to_the_end(response, permit):
            return DecidedBy.END
        if response.status_code == 101 or response.is_closed:
            return DecidedBy.HEADERS
        judge = self._settings.judge_chunk
        if judge is not None and is_event_stream(response) and not _is_encoded(response):
            self._events = JudgedEvents(judge, self._request)
            return DecidedBy.FIRST_LINE if permit.on_trial else DecidedBy.END
        clock = self._clock
        if clock is not None and clock.limits_gaps and not permit.on_trial:
            return DecidedBy.END
        awaited = clock is not None and clock.awaits_first_chunk
        return DecidedBy.FIRST_CHUNK if awaited else DecidedBy.HEADERS

    def _outcome_so_far(self, chunk: bytes) -> Outcome | None:
        """The outcome that a chunk means, or None if the call goes on."""
        events = self._events
        if events is None:
            return SUCCESS if self._decided_by is DecidedBy.FIRST_CHUNK and chunk else None
        outcome = events.outcome(chunk)
        if outcome is None and self._decided_by is DecidedBy.FIRST_LINE and events.lines:
            return SUCCESS
        return outcome

    def _stop_clock(self, chunk: bytes = b"") -> None:
        """Stop the clock, since a chunk has arrived or something else has happened. If it has
        passed its limit, the call is settled."""
        clock = self._clock
        if clock is None or (clock.chunk() if chunk else clock.stop()):
            return
        self._permit = self._clock = None
        self.recorder = None  # a failure must not replace the last good response

    def _decide(self, outcome: Outcome | None) -> None:
        """Settle, unless the outcome is None, or the call is settled already."""
        permit = self._permit
        if outcome is None or permit is None:
            return
        self._permit = self._clock = self._events = None
        if outcome is FAILURE:
            self.recorder = None
        permit.record(outcome, EVENT if outcome is FAILURE else "")

    def stop_following(self) -> None:
        super().stop_following()
        self._events = None

    def finished(self) -> None:
        self._stop_clock()
        if self._events is not None:
            self._decide(self._events.last())
        super().finished()

    def closed(self) -> None:
        self._stop_clock()
        super().closed()

    def broke(self, error: BaseException) -> None:
        self._stop_clock()
        super().broke(error)


def call_of(
    permit: Permit, settings: ResolvedSettings, request: Any, incidents: Incidents
) -> HttpCall:
    """The call that a permit lets pass."""
    # The common case, in as few steps as possible.
    local = permit._local  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if local.stream_clocks is None and settings.judge_chunk is None:
        return HttpCall(permit, settings, request, incidents)
    return StreamCall(permit, settings, request, incidents, stream_clock(permit))


def _is_encoded(response: ResponseLike) -> bool:
    """Whether the chunks of the body are compressed, so that they contain no lines."""
    encodings = [value for name, value in response.headers.raw if name.lower() == CONTENT_ENCODING]
    return any(value.strip().lower() not in (b"", b"identity") for value in encodings)
