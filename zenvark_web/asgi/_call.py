"""One call of a route that has a circuit of its own. It is settled once, whatever happens to it.

A request ends with the last message of its response body, not when the app returns: background
tasks run in between. A failure counts at once, with the status. Exchanges without a definite end
settle at their beginning, so that they are neither slow calls nor endless trials: a websocket when
the app accepts or refuses it, an event stream (`text/event-stream`) at its start, and every
response to a trial call, because its length and the client's speed say nothing about the route.

A failure response does not count if a circuit further in rejected a call of the same request: the
app may turn a rejection into any response. An exception that escapes is judged by itself.
Starlette responds to it before it raises it again, so such a call is settled only when the app
returns.

Time counts only while the app works: not while it waits for the next part of the request, and not
after the start of its response.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Message, Receive

from .._core.states import FAILURE, IGNORED, SUCCESS, Outcome
from .._rejections import Rejections
from ..breaker import Permit

ClassifyStart = Callable[[Message], Outcome]
"""Returns the outcome by the first message of a response."""

STARTS = frozenset({"http.response.start", "websocket.http.response.start"})
PARTS = frozenset(
    {
        "http.response.body",
        "http.response.pathsend",
        "http.response.zerocopysend",
        "websocket.http.response.body",
    }
)
CONTENT_TYPE = b"content-type"
DISCONNECTS = frozenset({"http.disconnect", "websocket.disconnect"})


class RouteCall:
    """A call that is under way.

    Settling never awaits, so it is atomic for an event loop.

    Args:
        permit: Lets the call pass.
        classify: Returns the outcome of a response.
        met: The rejections by circuits further in.
        uploading: Whether parts of the request may still arrive.
    """

    __slots__ = (
        "_carrier",
        "_classify",
        "_doubtful",
        "_met",
        "_outcome",
        "_permit",
        "_uploading",
        "_waiting",
    )

    def __init__(
        self, permit: Permit, classify: ClassifyStart, met: Rejections, uploading: bool
    ) -> None:
        self._permit: Permit | None = permit
        self._carrier = permit
        self._classify = classify
        self._met = met
        self._outcome = FAILURE
        self._uploading = uploading
        self._waiting = 0
        self._doubtful = False

    def begin(self) -> None:
        """Make calls of the same circuit part of this one."""
        self._carrier.carry()

    def end(self) -> None:
        """End what `begin` has begun."""
        self._carrier.set_down()

    def settle(self, outcome: Outcome, label: str = "") -> None:
        """Settle the call, unless it is settled."""
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.record(outcome, label)

    def sent(self, message: Message) -> None:
        """Process a message from the app."""
        kind = message["type"]
        if kind in PARTS:
            if not message.get("more_body", False) and not self._doubtful:
                self.settle(self._outcome, "no start of a response")
        elif kind == "websocket.accept":
            self.settle(SUCCESS)
        elif self._permit is None:
            return
        elif kind in STARTS:
            self._started(self._permit, message)
        elif kind == "websocket.close":  # before it was accepted
            self.settle(self._outcome_of(message), f"websocket closed with {message.get('code')}")

    def _started(self, permit: Permit, message: Message) -> None:
        permit.stop_clock()  # a client that reads slowly makes no slow call
        self._outcome = outcome = self._outcome_of(message)
        if self._doubtful:
            return  # an exception may follow, from which this response was made
        if outcome is FAILURE or permit.on_trial or _is_event_stream(message):
            self.settle(outcome, f"HTTP {message['status']}")

    def _outcome_of(self, answer: Message) -> Outcome:
        outcome = self._classify(answer)
        if outcome is not FAILURE:
            return outcome
        self._doubtful = bool(self._met.count)
        return self._failure

    @property
    def _failure(self) -> Outcome:
        """The outcome of a failure: it does not count after a rejection by an inner circuit."""
        return IGNORED if self._met.count else FAILURE

    def received(self, message: Message) -> None:
        """Process a message from the server: a client that disconnects does not count."""
        if message["type"] in DISCONNECTS:
            self.settle(IGNORED)
        if not message.get("more_body", False):
            self._uploading = False

    def raised(self, error: BaseException) -> None:
        """Settle: the app raised. The policy's classifier returns the outcome. Rejections by
        another circuit and cancellations do not count."""
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.raised(error)

    def returned(self) -> None:
        """Settle: the app returned. Without a complete response that is a failure."""
        self.settle(self._failure, "no complete response")

    def watched_receive(self, receive: Receive) -> Receive:
        """The `receive` for the app."""

        async def receive_watched() -> Message:
            if not self._uploading:  # the app waits for a disconnect beside its work
                message = await receive()
            else:
                self.wait_for_the_client()
                try:
                    message = await receive()
                finally:
                    self.go_on()
            self.received(message)
            return message

        return receive_watched

    def wait_for_the_client(self) -> None:
        """Stop the clock: the app waits for the next part of the request."""
        self._waiting += 1  # tasks of the app may wait side by side
        if self._permit is not None:
            self._permit.pause_clock()

    def go_on(self) -> None:
        """Undo `wait_for_the_client`."""
        self._waiting -= 1
        if self._permit is not None and not self._waiting:
            self._permit.resume_clock()


def _is_event_stream(message: Message) -> bool:
    for name, value in message.get("headers", ()):
        if len(name) == len(CONTENT_TYPE) and name.lower() == CONTENT_TYPE:
            return bool(value.lower().startswith(b"text/event-stream"))
    return False
