"""The exchange of one request with the app."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .._core.states import Outcome
from .._rejections import Rejections, rejection_in
from ..asgi._call import RouteCall
from ..exceptions import CircuitOpenError
from ._requests import start_message

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

CRASHED = "500"
"""The status by which frameworks respond to an unhandled exception."""

END = {"type": "http.response.body"}
LEFT = {"type": "http.disconnect"}


class Exchange:
    """One request, and the response of the app.

    The start of the response is held back until the app returns, and for an app that starts it
    later (PEP 3333 permits this until the first part of the body), until that part: only then it is
    known whether the app fails with a rejection.

    Args:
        start_response: The server's.
        met: The rejections by circuits further in.
        call: The call of a route that has a circuit.
        guesses: Whether a 500 after a rejection is taken for one that was made from it. Frameworks
            respond to unhandled exceptions themselves.
    """

    def __init__(
        self,
        start_response: StartResponse,
        met: Rejections,
        call: RouteCall | None,
        *,
        guesses: bool,
    ) -> None:
        self._start_response = start_response
        self._met = met
        self._call = call
        self._guesses = guesses
        self._head: tuple[str, list[tuple[str, str]], OptExcInfo | None] | None = None
        self._write: Any = None

    def __call__(
        self, app: WSGIApplication, environ: WSGIEnvironment
    ) -> Iterable[bytes] | CircuitOpenError:
        """Call the app.

        Returns:
            The body of its response, or the rejection to respond to in its place.

        Raises:
            Exception: The app raised it, and it is not a rejection.
        """
        if self._call is None:
            return self._begin(app, environ)
        self._call.begin()
        try:
            begun = self._begin(app, environ)
        except BaseException as error:
            self._call.raised(error)
            raise
        finally:
            self._call.end()
        if isinstance(begun, CircuitOpenError):
            self._call.settle(Outcome.IGNORED)
            return begun
        return CountedBody(begun, self._call)

    def _begin(
        self, app: WSGIApplication, environ: WSGIEnvironment
    ) -> Iterable[bytes] | CircuitOpenError:
        body: Iterable[bytes] | None = None
        try:
            body = app(environ, self._start)
            if self._head is None and self._write is None:
                body = _begun(body)
        except Exception as error:
            rejection = None if self._write is not None else rejection_in(error)
            if rejection is None:
                raise
            return rejection
        rejection = self._crashed_by()
        if rejection is not None:
            _close(body)
            return rejection
        self._send_head()
        return body

    def _start(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: OptExcInfo | None = None,
        /,
    ) -> Any:
        """The `start_response` for the app."""
        if self._write is not None:  # the server raises, unless nothing has been sent
            return self._start_response(status, headers, exc_info)
        if self._head is not None and exc_info is None:
            raise AssertionError("start_response was called twice")
        self._head = status, headers, exc_info
        return self._write_now

    def _write_now(self, data: bytes) -> None:
        self._send_head()
        self._write(data)

    def _send_head(self) -> None:
        if self._head is None or self._write is not None:
            return
        status, headers, exc_info = self._head
        if self._call is not None:
            self._call.sent(start_message(status, headers))
        self._write = self._start_response(status, headers, exc_info)

    def _crashed_by(self) -> CircuitOpenError | None:
        """The rejection from which a framework has made a plain 500."""
        if self._write is not None or self._head is None or not self._guesses:
            return None
        return self._met.longest if self._head[0].startswith(CRASHED) else None


class _Begun:
    """A body whose first part has been taken."""

    def __init__(self, body: Iterable[bytes]) -> None:
        self._body = body
        self._rest = iter(body)
        self._first = [*_first(self._rest)]

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return self._first.pop() if self._first else next(self._rest)

    def close(self) -> None:
        _close(self._body)


class CountedBody:
    """A body at whose end the call of its route is settled.

    Args:
        body: The body.
        call: The call.
    """

    def __init__(self, body: Iterable[bytes], call: RouteCall) -> None:
        self._body = body
        self._rest = iter(body)
        self._call = call

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._rest)
        except StopIteration:
            self._call.sent(END)
            raise
        except BaseException as error:
            self._call.raised(error)
            raise

    def close(self) -> None:
        """Settle the call, unless its body has ended: the client has disconnected."""
        self._call.received(LEFT)
        _close(self._body)


def _begun(body: Iterable[bytes]) -> Iterable[bytes]:
    """A body that has begun, with which the app has started its response."""
    try:
        return _Begun(body)
    except BaseException:
        _close(body)
        raise


def _first(rest: Iterator[bytes]) -> Iterator[bytes]:
    for part in rest:
        yield part
        return


def _close(body: object) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()
