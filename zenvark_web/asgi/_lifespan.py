"""Start and stop of the coordinator with the app."""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..coordinator import Coordinator

_logger = logging.getLogger("zenvark_web")


class Lifespan:
    """One lifespan of the app. The coordinator starts before the app and stops after it.

    The coordinator counts its users: of several apps, or an app that enters it itself, the last
    one to end stops it.
    """

    def __init__(self, app: ASGIApp, coordinator: Coordinator) -> None:
        self._app = app
        self._coordinator = coordinator
        self._entered = False
        self._answered = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        startup = await receive()
        try:
            await self._start(send)
            await self._run(scope, _preceded(startup, receive), send)
            if not self._answered:
                await self._stand_in(receive, send)
        finally:
            await self._stop()

    async def _start(self, send: Send) -> None:
        try:
            await self._coordinator.__aenter__()
            self._entered = True
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise

    async def _stop(self) -> None:
        if self._entered:
            self._entered = False
            await self._coordinator.__aexit__(None, None, None)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watched_send(message: Message) -> None:
            self._answered = True
            if message["type"] != "lifespan.startup.complete":
                await self._stop()
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except Exception as error:
            if self._answered:
                raise
            _logger.info(
                "the app raised in its lifespan; it is taken for one without lifespan support",
                exc_info=error,
            )

    async def _stand_in(self, receive: Receive, send: Send) -> None:
        """Answer for an app without lifespan support, which raised or returned."""
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stop()
        await send({"type": "lifespan.shutdown.complete"})


def _preceded(first: Message, receive: Receive) -> Receive:
    messages = [first]

    async def next_message() -> Message:
        return messages.pop() if messages else await receive()

    return next_message
