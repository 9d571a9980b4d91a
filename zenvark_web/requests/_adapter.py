"""The adapter, and the default rules for its outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import httpx
import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter

from .. import exceptions
from .._core.states import Outcome
from .._http import api
from .._http.circuit_names import by_host
from .._http.classify import FAILURE_ERRORS, IGNORED_ERRORS, HttpClassifier
from .._http.judge_chunk import JudgeChunk
from .._http.protocols import HasStatus
from .._http.settings import WhenOpen
from ..coordinator import Coordinator
from ..exceptions import RoutingError
from ..httpx import BreakerTransport
from ..httpx import CircuitOpenError as Rejection
from ._errors import BodySentError, CircuitOpenError
from ._exchange import Exchange, Sender, answer_of

CALLERS_ERRORS = (
    "EmptyPoolError",
    "InvalidHeader",
    "InvalidSchema",
    "InvalidURL",
    "LocationValueError",
    "MissingSchema",
    "UnrewindableBodyError",
)
"""Errors of requests and urllib3 that are not the upstream's, though all errors of requests are
`OSError`s."""

_DEFAULT = HttpClassifier(
    failure_errors=(*FAILURE_ERRORS, urllib3.exceptions.HTTPError),
    ignored_errors=(*IGNORED_ERRORS, *CALLERS_ERRORS),
)


def default_classify(request: object, ended: HasStatus | Exception) -> Outcome:
    """The outcome of an exchange by the rules of `zenvark_web.httpx.default_classify`, applied to
    the errors of requests and urllib3."""
    return _DEFAULT(request, ended)


class BreakerAdapter(BaseAdapter):
    """Sends requests while their circuit is closed, and rejects them while it is open.

    Mount it for the prefixes that it protects: `session.mount("https://", BreakerAdapter(...))`.
    Each request of a redirect has a circuit of its own. The retries of an `HTTPAdapter` happen
    inside, and count as one call. A call ends when its response body has been read, closed or has
    broken.

    Args:
        coordinator: Shares the circuits. In synchronous code, run it with `with coordinator` or
            `coordinator.start_sync()`.
        adapter: Sends the requests. Default: `requests.adapters.HTTPAdapter()`.
        circuits: The circuit of a request, as for `zenvark_web.httpx.BreakerTransport`: a mapping
            from URL patterns, or a function of an `httpx.Request`.
        classify: Returns the outcome of an exchange: a function of an `httpx.Request`, and an
            `httpx.Response` or an exception of requests.
        fallback: Makes the response while the circuit is open, as for `BreakerTransport`. It is
            called with an `httpx.Request`.
        when_open: Without a response by a fallback: `"respond"` with 503 and a problem document,
            or `"raise"` `CircuitOpenError`.
        judge_chunk: As for `BreakerTransport`, for bodies that are read with `iter_lines` or
            `iter_content`.

    Raises:
        TypeError, ValueError: A setting is not usable; the message says what to pass.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        adapter: BaseAdapter | None = None,
        *,
        circuits: api.Circuits[httpx.Request, httpx.Response, Rejection] = by_host,
        classify: api.ClassifyExchange[httpx.Request, httpx.Response] = default_classify,
        fallback: (
            api.AnyFallback[httpx.Request, Rejection, httpx.Response]
            | Mapping[str, api.AnyFallback[httpx.Request, Rejection, httpx.Response]]
            | None
        ) = None,
        when_open: WhenOpen = "respond",
        judge_chunk: JudgeChunk | None = None,
    ) -> None:
        super().__init__()
        if not (adapter is None or isinstance(adapter, BaseAdapter)):
            raise TypeError(f"adapter must be an adapter of requests, not {adapter!r}")
        self._adapter = HTTPAdapter() if adapter is None else adapter
        self._transport = BreakerTransport(
            coordinator,
            Sender(self._adapter),
            circuits=circuits,
            classify=_DEFAULT if classify is default_classify else classify,
            fallback=fallback,
            when_open=when_open,
            judge_chunk=judge_chunk,
        )
        self._report = coordinator.report_error

    def __repr__(self) -> str:
        return f"<BreakerAdapter around {self._adapter!r}>"

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        """Send a request, unless its circuit is open.

        Args:
            request: The request.
            *args: As for `requests.adapters.HTTPAdapter.send`.
            **kwargs: The same.

        Raises:
            CircuitOpenError: The circuit is open, and `when_open` is `"raise"`.
        """
        exchange = Exchange(request, args, kwargs)
        try:
            asked = exchange.as_httpx()
        except httpx.InvalidURL as cause:  # requests accepts more of them
            what = "could not determine the circuit of a request; sent without a breaker"
            self._report(RoutingError.because(cause, what, source="circuits"))
            return self._adapter.send(request, *args, **kwargs)
        try:
            answered = self._transport.handle_request(asked)
        except Rejection as error:
            raise CircuitOpenError(error.name, error.retry_after, error.state, request) from None
        except exceptions.BodySentError as error:
            raise BodySentError(error.name, request) from error.__cause__
        response = answer_of(answered, request)
        # An authentication that sends further requests sends them through this adapter.
        response.connection = cast(HTTPAdapter, self)
        return response

    def close(self) -> None:
        """Close the wrapped adapter."""
        self._transport.close()
