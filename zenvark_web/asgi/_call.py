"""One call of the app under a circuit of its own: whatever happens to it, it is settled once.

A request ends with the last message of its response's body, and not when the app returns:
background tasks run in between. A response of the 5xx class counts at once. What may go on for ever
ends when it begins, so that it is neither a slow call nor a trial without an end: a websocket when
the app accepts or refuses it, an event stream (`text/event-stream`) at its start.
"""

from __future__ import annotations

from starlette.types import Message, Receive, Scope, Send

from .._core.states import Outcome
from ..breaker import Permit

KEY = "zenvark_web.call"
"""Where a scope tells the innermost call that is under way."""

STARTS = frozenset({"http.response.start", "websocket.http.response.start"})
PARTS = frozenset(
    {
        "http.response.body",
        "http.response.pathsend",
        "http.response.zerocopysend",
        "websocket.http.response.body",
    }
)
HANDSHAKES = frozenset({"websocket.accept", "websocket.close"})
DISCONNECTS = frozenset({"http.disconnect", "websocket.disconnect"})


class Call:
    """A call whose outcome is to come.

    Settling never awaits, so nothing can come between.

    Args:
        permit: What the call was let through with.
        outer: The call of a middleware further out that this one is part of.
    """

    __slots__ = ("_outer", "_permit")

    def __init__(self, permit: Permit, outer: Call | None = None) -> None:
        self._permit: Permit | None = permit
        self._outer = outer

    def settle(self, outcome: Outcome, label: str = "") -> None:
        """End the call, unless it has ended."""
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.record(outcome, label)

    def said(self, message: Message) -> None:
        """Take note of a message from the app."""
        kind = message["type"]
        if kind in PARTS:
            if not message.get("more_body", False):
                self.settle(Outcome.SUCCESS)
        elif kind in STARTS:
            self._started(message)
        elif kind in HANDSHAKES:  # refusing is an answer, as a status of the 4xx class is
            self.settle(Outcome.SUCCESS)

    def _started(self, message: Message) -> None:
        if message["status"] >= 500:
            self.settle(Outcome.FAILURE, f"HTTP {message['status']}")
        elif _is_event_stream(message):
            self.settle(Outcome.SUCCESS)
        elif self._permit is not None:
            self._permit.stop_clock()  # how fast the client reads makes no slow call

    def heard(self, message: Message) -> None:
        """Take note of a message from the server: a client that leaves says nothing of the app."""
        if message["type"] in DISCONNECTS:
            self.settle(Outcome.IGNORED)

    def raised(self, error: BaseException) -> None:
        """Take note that the app raised; the policy's classifier judges what. A rejection by
        another circuit and a cancellation do not count."""
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.raised(error)

    def returned(self) -> None:
        """Take note that the app is done. One that has not answered by now has failed."""
        self.settle(Outcome.FAILURE, "no complete response")

    def rejected(self) -> None:
        """Take note that an open circuit further in is why the answer is a 503: that is no
        failure of this one, nor of those further out."""
        self.settle(Outcome.IGNORED)
        if self._outer is not None:
            self._outer.rejected()

    def listening(self, receive: Receive) -> Receive:
        """What the app is to receive with."""

        async def watched_receive() -> Message:
            message = await receive()
            self.heard(message)
            return message

        return watched_receive

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


def rejected(scope: Scope) -> None:
    """Tell the calls that a request is part of that an open circuit is why the answer is a 503."""
    call: Call | None = scope.get(KEY)
    if call is not None:
        call.rejected()


def _is_event_stream(message: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.lower().startswith(b"text/event-stream")
        for name, value in message.get("headers", ())
    )
