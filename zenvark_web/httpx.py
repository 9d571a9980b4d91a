"""For httpx: a transport that asks a breaker before each request, and a health check."""

from __future__ import annotations

import asyncio
import inspect
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Mapping
from types import TracebackType
from typing import Literal, TypeAlias, cast

import httpx

from . import exceptions
from ._core._checks import check_number
from ._core.states import HealthCheckType, Outcome
from ._http.call import Call
from ._http.classify import default_outcome
from ._http.problem import STATUS, BreakerStatus, problem
from ._http.routes import Routes, host_name
from .breaker import Breaker
from .coordinator import Coordinator
from .exceptions import ZenvarkError

__all__ = [
    "BreakerStatus",
    "BreakerTransport",
    "CircuitOpenError",
    "HttpHealthCheck",
    "by_host",
    "default_classify",
]

Circuits: TypeAlias = Mapping[str, str] | Callable[[httpx.Request], str | None]
Classify: TypeAlias = Callable[[httpx.Request, httpx.Response | Exception], Outcome]
Fallback: TypeAlias = Callable[
    [httpx.Request, exceptions.CircuitOpenError], httpx.Response | Awaitable[httpx.Response]
]


class CircuitOpenError(exceptions.CircuitOpenError, httpx.TransportError):
    """The circuit is open: the request was not sent.

    Both this package's `CircuitOpenError` and an `httpx.TransportError`, but neither a
    `NetworkError` nor a timeout: retry rules key on those, and a rejection is not to be retried.
    """

    def __init__(self, name: str, retry_after: float) -> None:
        httpx.TransportError.__init__(self, "")
        exceptions.CircuitOpenError.__init__(self, name, retry_after)
        Exception.__init__(self, name, retry_after)


def by_host(request: httpx.Request) -> str | None:
    """A request's circuit: its host, with the port when that is not the scheme's default."""
    return host_name(request.url)


def default_classify(request: httpx.Request, ended: httpx.Response | Exception) -> Outcome:
    """What an exchange says about its upstream.

    A failure: transport errors and timeouts, a body that breaks, and the statuses 429, 500, 502,
    503 and 504. Ignored: errors of the caller's making and `PoolTimeout`, a local limit.
    Anything else is a success, also the other 4xx.
    """
    return default_outcome(ended)


class BreakerTransport(httpx.AsyncBaseTransport):
    """Lets requests pass while their circuit is closed, and answers at once while it is open.

        client = httpx.AsyncClient(transport=BreakerTransport(coordinator))

    Requests and responses pass through as they are, streams included. A call ends when its body
    has been read, closed or has broken.

    Note that a client with a `transport` ignores its own `verify`, `cert`, `http2`, `limits` and
    the proxies of the environment, and that `proxy=` goes past the transport: set all of these
    on the wrapped transport.

    Args:
        coordinator: Shares the circuits.
        transport: Sends the requests. Default: `httpx.AsyncHTTPTransport()`.
        circuits: A request's circuit: a mapping from URL patterns (hosts with `*`, optionally
            with scheme, port and the beginning of a path) to names, or a function that may
            return None: not protected. One request: `extensions={"breaker": name or None}`.
        classify: Tells the outcome of an exchange.
        fallback: Makes the response while the circuit is open, sync or async. What it raises,
            the caller gets.
        when_open: `"respond"` with 503 and a problem document, or `"raise"` `CircuitOpenError`.

    Raises:
        TypeError, ValueError: A setting is not usable; the message says what to pass.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        circuits: Circuits = by_host,
        classify: Classify = default_classify,
        fallback: Fallback | None = None,
        when_open: Literal["respond", "raise"] = "respond",
    ) -> None:
        _check_settings(
            coordinator=coordinator,
            transport=transport,
            circuits=circuits,
            classify=classify,
            fallback=fallback,
            when_open=when_open,
        )
        self._coordinator = coordinator
        self._transport = httpx.AsyncHTTPTransport() if transport is None else transport
        self._circuits = _circuit_finder(circuits)
        self._classify = classify
        self._fallback = fallback
        self._when_open = when_open

    def __repr__(self) -> str:
        return f"<BreakerTransport around {self._transport!r}>"

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        breaker = self._breaker(request)
        if breaker is None:
            return await self._transport.handle_async_request(request)
        try:
            permit = breaker.acquire()
        except exceptions.CircuitOpenError as error:
            return await self._reject(request, breaker, error)
        call = Call(permit, lambda ended: self._outcome(request, ended))
        try:
            response = await self._transport.handle_async_request(request)
        except BaseException as error:
            call.broke(error)
            raise
        if call.answered(response):
            response.stream = _WatchedStream(response.stream, call)
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def __aenter__(self) -> BreakerTransport:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._transport.__aexit__(exc_type, exc_value, traceback)

    def _breaker(self, request: httpx.Request) -> Breaker | None:
        try:
            if "breaker" in request.extensions:
                name = request.extensions["breaker"]
            else:
                name = self._circuits(request)
            return None if name is None else self._coordinator.breaker(name)
        except Exception as error:
            # A mistake in a mapping must not cost the request.
            self._surface("a request's circuit could not be told, it is not protected", error)
            return None

    def _outcome(self, request: httpx.Request, ended: httpx.Response | Exception) -> Outcome:
        try:
            outcome = self._classify(request, ended)
            if not isinstance(outcome, Outcome):
                raise TypeError(f"classify must return an Outcome, not {outcome!r}")
        except Exception as error:
            self._surface("classify failed, the default decides", error)
            return default_outcome(ended)
        return outcome

    def _surface(self, what: str, cause: Exception) -> None:
        error = ZenvarkError(f"{what}: {exceptions.described(cause)}")
        error.__cause__ = cause
        self._coordinator.surface(error)

    async def _reject(
        self, request: httpx.Request, breaker: Breaker, error: exceptions.CircuitOpenError
    ) -> httpx.Response:
        if self._fallback is not None:
            response = self._fallback(request, error)
            return await response if inspect.isawaitable(response) else response
        if self._when_open == "raise":
            raise CircuitOpenError(error.name, error.retry_after) from None
        headers, body = problem(error.retry_after, error.name)
        status = BreakerStatus(error.name, breaker.state, error.retry_after)
        return httpx.Response(STATUS, headers=headers, content=body, extensions={"breaker": status})


class _WatchedStream(httpx.AsyncByteStream):
    """A response's body, handed on as it comes, with an eye on how it ends.

    An iterator and no generator, which asyncio would keep a record of for each response.
    """

    def __init__(self, stream: httpx.SyncByteStream | httpx.AsyncByteStream, call: Call) -> None:
        self._stream = cast(httpx.AsyncByteStream, stream)  # as the client will find out itself
        self._call = call

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._iterator = self._stream.__aiter__()
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._iterator.__anext__()
        except StopAsyncIteration:
            self._call.settle(Outcome.SUCCESS)
            raise
        except BaseException as error:
            self._call.broke(error)
            raise

    async def aclose(self) -> None:
        self._call.settle(Outcome.SUCCESS)  # its headers were good, and nobody wants the rest
        await self._stream.aclose()


class HttpHealthCheck:
    """A health check that asks a URL.

    Args:
        url: Where to ask. `{name}` in it stands for the circuit's name (a host and perhaps a
            port, with the default mapping), so that one check serves many circuits.
        expect: The statuses that mean well.
        timeout: Seconds for the whole exchange; the connection may take half of them.

    Raises:
        TypeError, ValueError: A setting is not usable.
    """

    def __init__(
        self, url: str, *, expect: Container[int] = range(200, 400), timeout: float = 5.0
    ) -> None:
        check_number("timeout", timeout, above=0, unit="seconds")
        _check_health_url(url)
        _check_expected(expect)
        self._url = url
        self._expect = expect
        self._timeout = timeout
        self._tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"HttpHealthCheck({self._url!r})"

    def for_circuit(self, name: str) -> Callable[[HealthCheckType], Awaitable[None]]:
        """The check of one circuit.

        Raises:
            ValueError: The circuit's name can't stand in a URL.
        """
        if "{name}" in self._url and not re.fullmatch(r"[A-Za-z0-9._~:\[\]-]+", name):
            raise ValueError(f"the circuit's name {name!r} can't stand in a URL")
        url = self._url.replace("{name}", name)
        return lambda _: self._check(url)

    async def __call__(self, type_: HealthCheckType) -> None:
        """Ask the URL; for one without `{name}`.

        Raises:
            httpx.HTTPError, TimeoutError: There was no answer, or not in time.
            ZenvarkError: It had another status.
        """
        await self._check(self._url)

    async def _check(self, url: str) -> None:
        verify = self._verify(url)
        # A TLS handshake ends by this limit, before it is cancelled: httpx closes its socket only
        # then.
        limits = httpx.Timeout(self._timeout, connect=self._timeout / 2)
        async with (
            asyncio.timeout(self._timeout),
            httpx.AsyncClient(verify=verify, timeout=limits) as client,
            client.stream("GET", url) as response,
        ):
            if response.status_code not in self._expect:
                raise ZenvarkError(f"status {response.status_code}")

    def _verify(self, url: str) -> ssl.SSLContext | bool:
        """One TLS context for all checks: making one takes a while."""
        if not url.startswith("https:"):
            return False
        if self._tls is None:
            self._tls = httpx.create_ssl_context()
        return self._tls


def _check_health_url(url: object) -> None:
    if not isinstance(url, str):
        raise TypeError(f"url must be a string, not {url!r}")
    try:
        parsed = httpx.URL(url.replace("{name}", "name"))
    except httpx.InvalidURL as error:
        raise _no_health_url(url) from error
    if parsed.scheme not in {"http", "https"} or not parsed.host or (parsed.port or 0) > 65535:
        raise _no_health_url(url)


def _no_health_url(url: str) -> ValueError:
    return ValueError(f"url must be one such as 'https://api.example.com/health', not {url!r}")


def _check_expected(expect: object) -> None:
    if isinstance(expect, str) or not isinstance(expect, Container):
        raise TypeError(f"expect must be a range or set of statuses, not {expect!r}")


def _circuit_finder(circuits: Circuits) -> Callable[[httpx.Request], str | None]:
    if callable(circuits):
        return circuits
    routes = Routes(circuits, httpx.URL)
    return lambda request: routes(request.url)


def _check_settings(
    *,
    coordinator: object,
    transport: object,
    circuits: object,
    classify: object,
    fallback: object,
    when_open: object,
) -> None:
    if not isinstance(coordinator, Coordinator):
        raise TypeError(f"coordinator must be a Coordinator, not {coordinator!r}")
    if isinstance(transport, type) or (
        transport is not None and not hasattr(transport, "handle_async_request")
    ):
        raise TypeError(f"transport must be an httpx.AsyncBaseTransport, not {transport!r}")
    if not callable(circuits) and not isinstance(circuits, Mapping):
        raise TypeError(f"circuits must be a mapping or a function, not {circuits!r}")
    if not callable(classify):
        raise TypeError(f"classify must be callable, not {classify!r}")
    if fallback is not None and not callable(fallback):
        raise TypeError(f"fallback must be callable, not {fallback!r}")
    if when_open not in ("respond", "raise"):
        raise ValueError(f"when_open must be 'respond' or 'raise', not {when_open!r}")
