"""One request, or one websocket, on its way through the app."""

from __future__ import annotations

import sys

from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .._core.states import Outcome
from .._rejections import Rejections, rejection_in
from ..exceptions import CircuitOpenError
from ._call import STARTS, RouteCall
from ._classify import status_of

ANSWERS = STARTS | {"websocket.accept", "websocket.close"}  # hints and such may come before

CRASHED = 500
"""What frameworks make of an exception that nobody has handled."""


class Exchange:
    """One request, or one websocket, on its way through the app.

    Many frameworks answer an exception themselves that no handler has caught, with a plain 500: no
    exception reaches the middleware. Where a rejection is what became a 500, it is held back.

    Args:
        app: The app.
        met: The rejections that the request meets.
        guesses: Whether a 500 of an app that answers its exceptions itself is taken for one of
            those. Not where the app is known to answer for rejections otherwise.

    Attributes:
        answered: Whether the app has begun to answer.
        rejection: What there is to answer in the app's place.
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
        """Let the app answer.

        Args:
            call: What counts, if its route has a circuit.
            scope, receive, send: The request.

        Raises:
            Exception: What the app raised, unless it is a rejection that can still be answered.
        """
        self._around = scope.get("app")
        send_on = send if call is None else call.speaking(send)

        async def watched_send(message: Message) -> None:
            if message["type"] in ANSWERS and not self.answered and self.rejection is None:
                self.rejection = self._crashed_by(scope, message)
                self.answered = self.rejection is None
            if self.rejection is None:
                await send_on(message)
            elif call is not None:
                call.settle(Outcome.IGNORED)

        try:
            if call is None:
                await self._app(scope, receive, watched_send)
            else:
                await self._counted(call, scope, receive, watched_send)
        except Exception as error:
            rejection = None if self.answered else rejection_in(error)
            if rejection is None:
                raise
            self.rejection = rejection

    async def _counted(self, call: RouteCall, scope: Scope, receive: Receive, send: Send) -> None:
        call.begin()
        try:
            await self._app(scope, call.listening(receive), send)
        except BaseException as error:
            call.raised(error)
            raise
        finally:
            call.end()
        call.returned()

    def _crashed_by(self, scope: Scope, answer: Message) -> CircuitOpenError | None:
        """The rejection that a framework has made a plain 500 of."""
        handled = self._handled()
        if handled is not None and not self._met.count:  # it was met where nobody collects them
            self._met.add(handled.name, handled.retry_after)
        if status_of(answer) != CRASHED:
            return None
        app = scope.get("app")
        if isinstance(app, Starlette):
            # What escapes comes here as an exception, but from an app further in that answers for
            # its exceptions while it handles them. Any other 500 is what the app wants to say.
            return None if app is self._around else handled
        return handled or (self._met.longest if self._guesses else None)

    def _handled(self) -> CircuitOpenError | None:
        """The rejection that is being handled while the app answers, if one is."""
        error = sys.exc_info()[1]
        return None if error is None or error is self._outside else rejection_in(error)
