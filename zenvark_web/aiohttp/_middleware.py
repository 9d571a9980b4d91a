"""The middleware, and the default rules for its outcomes."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp
import httpx
from aiohttp.client_middlewares import ClientHandlerType

from .._core.states import Outcome
from .._http import api
from .._http.circuit_names import by_host
from .._http.classify import FAILURE_ERRORS, IGNORED_ERRORS, HttpClassifier
from .._http.protocols import HasStatus
from .._http.settings import WhenOpen
from ..coordinator import Coordinator
from ..exceptions import RoutingError
from ..httpx import BreakerTransport
from ..httpx import CircuitOpenError as Rejection
from ._errors import CircuitOpenError
from ._exchange import Sender, answer_of, as_httpx

CALLERS_ERRORS = ("InvalidURL", "InvalidUrlClientError", "NonHttpUrlClientError")
"""Errors of aiohttp that are not the upstream's, though they are `ClientError`s."""

_DEFAULT = HttpClassifier(
    failure_errors=(*FAILURE_ERRORS, aiohttp.ClientError),
    ignored_errors=(*IGNORED_ERRORS, *CALLERS_ERRORS),
)


def default_classify(request: object, ended: HasStatus | Exception) -> Outcome:
    """The outcome of an exchange by the rules of `zenvark_web.httpx.default_classify`, applied to
    the errors of aiohttp."""
    return _DEFAULT(request, ended)


class BreakerMiddleware:
    """Sends requests while their circuit is closed, and rejects them while it is open.

        aiohttp.ClientSession(middlewares=[BreakerMiddleware(coordinator)])

    Each request of a redirect has a circuit of its own. A call ends when its response body has been
    read, released, closed or has broken. Put middlewares that retry before it, so that each of
    their attempts is a call. The duration of a call includes the upload of its body.

    Args:
        coordinator: Shares the circuits.
        circuits: The circuit of a request, as for `zenvark_web.httpx.BreakerTransport`: a mapping
            from URL patterns, or a function of an `httpx.Request`.
        classify: Returns the outcome of an exchange: a function of an `httpx.Request`, and an
            `httpx.Response` or an exception of aiohttp.
        fallback: Makes the response while the circuit is open, as for `BreakerTransport`. It is
            called with an `httpx.Request`, whose body is empty. It cannot send the request to
            another upstream: `OtherUpstream` and `Chain` raise `TypeError`.
        when_open: Without a response by a fallback: `"respond"` with 503 and a problem document,
            or `"raise"` `CircuitOpenError`.

    Raises:
        TypeError, ValueError: A setting is not usable; the message says what to pass.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        *,
        circuits: api.Circuits[httpx.Request, httpx.Response, Rejection] = by_host,
        classify: api.ClassifyExchange[httpx.Request, httpx.Response] = default_classify,
        fallback: (
            api.AnyFallback[httpx.Request, Rejection, httpx.Response]
            | Mapping[str, api.AnyFallback[httpx.Request, Rejection, httpx.Response]]
            | None
        ) = None,
        when_open: WhenOpen = "respond",
    ) -> None:
        self._transport = BreakerTransport(
            coordinator,
            Sender(),
            circuits=circuits,
            classify=_DEFAULT if classify is default_classify else classify,
            fallback=fallback,
            when_open=when_open,
        )
        self._report = coordinator.report_error

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send a request, unless its circuit is open.

        Args:
            request: The request.
            handler: The next handler.

        Raises:
            CircuitOpenError: The circuit is open, and `when_open` is `"raise"`.
        """
        try:
            asked = as_httpx(request, handler)
        except httpx.InvalidURL as cause:  # aiohttp accepts more of them
            what = "could not determine the circuit of a request; sent without a breaker"
            self._report(RoutingError.because(cause, what, source="circuits"))
            return await handler(request)
        try:
            answered = await self._transport.handle_async_request(asked)
        except Rejection as error:
            raise CircuitOpenError(error.name, error.retry_after, error.state) from None
        return await answer_of(answered, request)
