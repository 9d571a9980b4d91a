"""The exchange of one request, or one websocket, with the app."""

from __future__ import annotations

import sys

from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .._core.states import IGNORED
from .._rejections import Rejections, rejection_in
from ..exceptions import CircuitOpenError
from ._call import STARTS, RouteCall
from ._classify import status_of

ANSWERS = STARTS | {"websocket.accept", "websocket.close"}  # early hints may come before

CRASHED = 500
"""The status by which frameworks respond to an unhandled exception."""


class Exchange:
    """One request, or one websocket, and the response of the app.

    Many frameworks respond to an unhandled exception themselves, with a plain 500, and raise
    nothing. Such a 500 is held back if it was made from a rejection.

    Args:
        app: The app.
        met: The rejections by circuits further in.
        guesses: Whether a 500 after a rejection is taken for one that was made from it, in an app
            that responds to exceptions itself. Not where the app handles rejections otherwise.

    Attributes:
        answered: Whether the response of the app has started.
        rejection: The rejection to respond to in place of the app.
    """

    def __init__(self, app: ASGIApp, met: Rejections, guesses: bool) -> None:
        self._app = app
        self._met = met
        self._guesses = guesses
        self._around: object = None
        self._outside = sys.exc_info()[1]
        self.answered = False
        self.rejection: CircuitOpenError | None = None

    async def __call__(
        self, call: RouteCall | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Call the app.

        Args:
            call: The call of a route that has a circuit.
            scope, receive, send: The request.

        Raises:
            Exception: The app raised it, and it is not a rejection, or the response has started.
        """
        self._around = scope.get("app")
        try:
            if call is None:
                await self._app(scope, receive, self._watched(scope, send))
                return
            # Here, not in functions of their own: each coroutine in between takes its time.
            call.begin()
            try:
                await self._app(
                    scope, call.watched_receive(receive), self._counted(call, scope, send)
                )
            except BaseException as error:
                call.raised(error)
                raise
            finally:
                call.end()
            call.returned()
        except Exception as error:
            rejection = None if self.answered else rejection_in(error)
            if rejection is None:
                raise
            self.rejection = rejection

    def _watched(self, scope: Scope, send: Send) -> Send:
        """The `send` for the app."""

        async def watched_send(message: Message) -> None:
            if self.answered or self._goes_on(scope, message):
                await send(message)

        return watched_send

    def _counted(self, call: RouteCall, scope: Scope, send: Send) -> Send:
        """The `send` for the app, in a route that has a circuit."""

        async def counted_send(message: Message) -> None:
            if not (self.answered or self._goes_on(scope, message)):
                call.settle(IGNORED)
                return
            call.sent(message)
            try:
                await send(message)
            except OSError:  # the client has disconnected (ASGI 2.4)
                call.settle(IGNORED)
                raise

        return counted_send

    def _goes_on(self, scope: Scope, message: Message) -> bool:
        """Whether a message is sent on, before the response of the app has started."""
        if self.rejection is None and message["type"] in ANSWERS:
            self.rejection = self._crashed_by(scope, message)
            self.answered = self.rejection is None
        return self.rejection is None

    def _crashed_by(self, scope: Scope, answer: Message) -> CircuitOpenError | None:
        """The rejection from which a framework has made a plain 500."""
        error = sys.exc_info()[1]
        crashed = status_of(answer) == CRASHED
        if error is None and not crashed:  # nearly all answers
            return None
        handled = None if error is None or error is self._outside else rejection_in(error)
        if handled is not None and not self._met.count:  # by another thread or task
            self._met.add(handled.name, handled.retry_after, forced=handled.forced)
        if not crashed:
            return None
        app = scope.get("app")
        if isinstance(app, Starlette):
            # Starlette raises unhandled exceptions again, except those of a mounted app that
            # responds while it handles them. Any other 500 is the app's own response.
            return None if app is self._around else handled
        return handled or (self._met.longest if self._guesses else None)
