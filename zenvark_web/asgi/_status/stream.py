"""Server-sent events: a snapshot of the fleet, then its changes.

A viewer that comes back names the last change it has seen (`Last-Event-ID`), and receives what has
changed since. Viewers are bounded, and each stream ends by itself after a while, so that none is
left behind by a proxy that lost its client.
"""

from __future__ import annotations

import time

import anyio
from starlette.types import Receive, Scope, Send

from .answers import PART, SAFETY, start
from .listening import Listener, listener_of
from .watch import GLANCE, Watch

LIFETIME = 55.0
"""Seconds after which a stream ends. (Proxies cut idle ones after 60, and see no idle one here.)"""

QUIET = 15.0
"""Seconds without an event after which a comment is sent."""

LONGEST_SEND = 10.0
"""Seconds after which a viewer that does not read is dropped."""

RETRY = 1_000
"""Milliseconds after which a viewer comes back."""


class EventStream:
    """The response to one viewer: an ASGI app.

    Args:
        watch: What is known of the fleet.
        mark: The last change that the viewer has seen; empty if it is new.
        greeting: The data of the first event, which is for this viewer.
    """

    def __init__(self, watch: Watch, mark: str, greeting: bytes) -> None:
        self._watch = watch
        self._seen = watch.board.number_of(mark)
        self._greeting = greeting
        self._sent = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {"content-type": "text/event-stream", "cache-control": "no-store", **SAFETY}
        await send(start(200, {**headers, "x-accel-buffering": "no"}))  # a proxy must not wait
        has_read_all = False
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_when_gone, receive, tasks.cancel_scope)
            has_read_all = scope["method"] == "HEAD" or await self._feed(send, listener_of(scope))
            tasks.cancel_scope.cancel()
        if has_read_all:
            # Not in the group: to some servers, the end of a response is a disconnect, and they
            # close the connection in this send, which must not be cancelled.
            await send({"type": "http.response.body", "body": b""})

    async def _feed(self, send: Send, listener: Listener | None) -> bool:
        """Send events; return whether the viewer has read them all."""
        ends = time.monotonic() + LIFETIME
        text = f"retry: {RETRY}\nevent: greeting\ndata: ".encode() + self._greeting + b"\n\n"
        while await _sent(send, text, ends):
            self._sent = time.monotonic()
            found = await self._event(listener, ends)
            if found is None:
                return True
            text = found
        return False

    async def _event(self, listener: Listener | None, ends: float) -> bytes | None:
        """Wait for the next event. None: the stream is over."""
        while self._continues(listener, ends):
            await self._watch.refresh()
            if text := self._next():
                return text
            await anyio.sleep(GLANCE)
        return None

    def _continues(self, listener: Listener | None, ends: float) -> bool:
        if listener is not None and not listener.is_open:  # the server stops
            return False
        return self._watch.coordinator.running and time.monotonic() < ends

    def _next(self) -> bytes | None:
        """Return the next event, or a comment if there has been none for long, or None."""
        board = self._watch.board
        name = "change" if self._seen is not None else "snapshot"
        data = b"".join(board.snapshot() if self._seen is None else board.since(self._seen))
        if not data:
            return b":\n\n" if time.monotonic() - self._sent >= QUIET else None
        self._seen = board.number
        return f"event: {name}\nid: {board.mark}\ndata: ".encode() + data + b"\n\n"


async def _sent(send: Send, text: bytes, ends: float) -> bool:
    """Send an event; return whether the viewer takes it."""
    for begin in range(0, len(text), PART):
        part = text[begin : begin + PART]
        left = max(0.0, min(LONGEST_SEND, ends + QUIET - time.monotonic()))
        with anyio.move_on_after(left) as patience:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        if patience.cancelled_caught:
            return False
    return True


async def _cancel_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
