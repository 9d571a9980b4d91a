"""One call of the app under a circuit of its own: whatever happens to it, it is settled once.

A request ends with the last message of its response's body, and not when the app returns:
background tasks run in between. A failure counts at once, with the status. What may go on for ever
ends when it begins, so that it is neither a slow call nor a trial without an end: a websocket when
the app accepts or refuses it, an event stream (`text/event-stream`) at its start, and any answer of
a trial call: how long it is, and how fast it is read, says nothing of the route.

An answer that would be a failure says nothing where a circuit rejected a call on the way to it:
an app may make any answer of a rejection. What escapes as an exception is judged as what it is.
Starlette answers for it before it lets it go on, so such a call ends only with the app.

Time counts only while the app works: not while it waits for the client's next part of the request,
nor from the start of its response on.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Message, Receive, Send

from .._core.states import Outcome
from .._rejections import Rejections
from ..breaker import Permit

Judge = Callable[[Message], Outcome]
"""Tells the outcome by the message that an answer starts with."""

STARTS = frozenset({"http.response.start", "websocket.http.response.start"})
PARTS = frozenset(
    {
        "http.response.body",
        "http.response.pathsend",
        "http.response.zerocopysend",
        "websocket.http.response.body",
    }
)
DISCONNECTS = frozenset({"http.disconnect", "websocket.disconnect"})


class RouteCall:
    """A call whose outcome is to come.

    Settling never awaits, so nothing can come between.

    Args:
        permit: What the call was let through with.
        judge: Tells the outcome of an answer.
        met: The rejections that the request meets.
        uploading: Whether the request may have a body still to come.
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

    def __init__(self, permit: Permit, judge: Judge, met: Rejections, uploading: bool) -> None:
        self._permit: Permit | None = permit
        self._carrier = permit
        self._classify = judge
        self._met = met
        self._outcome = Outcome.FAILURE
        self._uploading = uploading
        self._waiting = 0
        self._doubtful = False

    def begin(self) -> None:
        """From here on, calls of the same circuit are part of this one."""
        self._carrier.carry()

    def end(self) -> None:
        """From here on they are not."""
        self._carrier.set_down()

    def settle(self, outcome: Outcome, label: str = "") -> None:
        """End the call, unless it has ended."""
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.record(outcome, label)

    def said(self, message: Message) -> None:
        """Take note of a message from the app."""
        kind = message["type"]
        if kind in PARTS:
            if not message.get("more_body", False) and not self._doubtful:
                self.settle(self._outcome, "no start of a response")
        elif kind == "websocket.accept":
            self.settle(Outcome.SUCCESS)
        elif self._permit is None:
            return
        elif kind in STARTS:
            self._started(self._permit, message)
        elif kind == "websocket.close":  # before it was accepted
            self.settle(self._outcome_of(message), f"websocket closed with {message.get('code')}")

    def _started(self, permit: Permit, message: Message) -> None:
        permit.stop_clock()  # how fast the client reads makes no slow call
        self._outcome = outcome = self._outcome_of(message)
        if self._doubtful:
            return  # the exception that it is made of may come yet
        if outcome is Outcome.FAILURE or permit.on_trial or _is_event_stream(message):
            self.settle(outcome, f"HTTP {message['status']}")

    def _outcome_of(self, answer: Message) -> Outcome:
        outcome = self._classify(answer)
        if outcome is not Outcome.FAILURE:
            return outcome
        self._doubtful = bool(self._met.count)
        return self._failure

    @property
    def _failure(self) -> Outcome:
        """What an answer says that would be a failure by itself."""
        return Outcome.IGNORED if self._met.count else Outcome.FAILURE

    def heard(self, message: Message) -> None:
        """Take note of a message from the server: a client that leaves says nothing of the app."""
        if message["type"] in DISCONNECTS:
            self.settle(Outcome.IGNORED)
        if not message.get("more_body", False):
            self._uploading = False

    def raised(self, error: BaseException) -> None:
        """Take note that the app raised; the policy's classifier judges what. A rejection by
        another circuit and a cancellation do not count."""
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.raised(error)

    def returned(self) -> None:
        """Take note that the app is done. One that has not answered by now has failed."""
        self.settle(self._failure, "no complete response")

    def listening(self, receive: Receive) -> Receive:
        """What the app is to receive with."""

        async def watched_receive() -> Message:
            if not self._uploading:  # it waits for the client to leave, beside its work
                message = await receive()
            else:
                self._wait_for_the_client()
                try:
                    message = await receive()
                finally:
                    self._go_on()
            self.heard(message)
            return message

        return watched_receive

    def _wait_for_the_client(self) -> None:
        self._waiting += 1  # tasks of the app may wait side by side
        if self._permit is not None:
            self._permit.pause_clock()

    def _go_on(self) -> None:
        self._waiting -= 1
        if self._permit is not None and not self._waiting:
            self._permit.resume_clock()

    def speaking(self, send: Send) -> Send:
        """What the app is to send with."""

        async def watched_send(message: Message) -> None:
            self.said(message)
            try:
                await send(message)
            except OSError:  # how a server tells, since version 2.4, that the client has left
                self.settle(Outcome.IGNORED)
                raise

        return watched_send


def _is_event_stream(message: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.lower().startswith(b"text/event-stream")
        for name, value in message.get("headers", ())
    )
