"""The transport of both libraries, for asynchronous and synchronous clients.

The two kinds of clients differ only in what they await; the decisions are made in functions that
they share.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

from ..coordinator import Coordinator
from ..exceptions import CircuitOpenError
from .api import (
    Circuits,
    ClassifyExchange,
    ErrorT,
    Fallback,
    RequestT,
    ResponseT,
    default_classify,
    is_route,
)
from .circuit_names import by_host
from .classify import DEFAULT, safe
from .client import ClientAdapter
from .closing import First, each_once
from .fallbacks import Fallbacks, OtherUpstream
from .incidents import Incidents
from .judge_chunk import JudgeChunk, checked_judge
from .rejected_request import RejectedRequest
from .resolver import CircuitResolver
from .settings import ResolvedSettings, WhenOpen, check_classify, check_when_open
from .stream_call import call_of
from .trial_flows import TrialFlows
from .wrapped_transport import WrappedTransport, check_transport

TransportT = TypeVar("TransportT")


class GuardedTransport(Generic[RequestT, ResponseT, ErrorT, TransportT]):
    """The `BreakerTransport` of both libraries."""

    _client: ClassVar[ClientAdapter]

    def __init__(
        self,
        coordinator: Coordinator,
        transport: TransportT | None = None,
        *,
        circuits: Circuits[RequestT, ResponseT, ErrorT] = by_host,
        classify: ClassifyExchange[RequestT, ResponseT] = default_classify,
        fallback: (
            Fallback[RequestT, ErrorT, ResponseT]
            | Mapping[str, Fallback[RequestT, ErrorT, ResponseT]]
            | None
        ) = None,
        when_open: WhenOpen = "respond",
        judge_chunk: JudgeChunk | None = None,
    ) -> None:
        """Wrap a transport.

        Args:
            coordinator: Shares the circuits.
            transport: Sends the requests. Default: the library's `AsyncHTTPTransport()` or
                `HTTPTransport()`, made on first use.
            circuits: The circuit of a request: a mapping from URL patterns (hosts with `*`,
                optionally with a scheme, a port and a path prefix) to names, or a function that
                returns a name, or None for a request without protection. A `CircuitRoute` in
                place of a name has settings of its own, and a `Scoped` names the circuits of a
                provider and of a key. A single request overrides this by
                `extensions={"breaker": name or None or RequestSettings(...)}`.
            classify: Returns the outcome of an exchange.
            fallback: Makes the response while the circuit is open, sync or async: a response,
                bytes, text or JSON, or None for the default. Its exceptions propagate to the
                caller. A mapping selects fallbacks by circuit name, with `*` and `?`.
            when_open: Without a response by a fallback: `"respond"` with 503 and a problem
                document, or `"raise"` `CircuitOpenError`.
            judge_chunk: Receives the value of each `data:` line of an event stream with a good
                status, as bytes, and returns the outcome that it means, or None to go on. Its
                exceptions are reported and ignored. Lines of more than 65,536 bytes and bodies
                with a content-encoding are not judged.

        Raises:
            TypeError, ValueError: A setting is not usable; the message says what to pass.
        """
        if not isinstance(coordinator, Coordinator):
            raise TypeError(f"coordinator must be a Coordinator, not {coordinator!r}")
        check_classify(classify)
        check_when_open(when_open)
        fallbacks = Fallbacks(fallback)
        others = [*fallbacks.transports, *_transports_of_routes(circuits)]
        for other in others:
            check_transport(self._client, "the transport of OtherUpstream", other)
        by_identity = {id(other): other for other in others if other is not transport}
        self._others = list(by_identity.values())  # to be closed, each once
        classify = DEFAULT if classify is default_classify else classify
        report = coordinator.report_error
        judge = None if judge_chunk is None else checked_judge(judge_chunk, report)
        settings = ResolvedSettings(safe(classify, report), fallbacks, when_open, judge)
        self._wrapped = WrappedTransport(self._client, transport)
        self._incidents = Incidents()
        self._flows = TrialFlows(self._client)
        self._resolve = CircuitResolver(coordinator, self._client, circuits, settings).resolve

    def __repr__(self) -> str:
        return f"<BreakerTransport around {self._wrapped!r}>"

    async def handle_async_request(self, request: RequestT) -> ResponseT:
        """Send a request, unless its circuit is open."""
        wrapped = self._wrapped.for_async()
        resolved = self._resolve(request)
        if resolved is None:
            return cast(ResponseT, await wrapped.handle_async_request(request))
        breaker, settings = resolved
        admitted = self._flows.admit(breaker, request)
        if isinstance(admitted, CircuitOpenError):
            rejected = RejectedRequest(self._client, breaker, admitted, request)
            return await self._replace_async(rejected, settings)
        call = call_of(admitted, settings, request, self._incidents)
        client = self._client
        if type(request.stream) is not client.bytes_stream:
            call.watch_upload(client.async_stream, client.async_upload)
        with call:
            response: ResponseT = await wrapped.handle_async_request(request)
        needs_body = call.needs_body(response, breaker)
        if call.served_on_trial:
            self._flows.served(breaker, request)
        if needs_body:
            if isinstance(response.stream, client.async_stream):
                response.stream = client.async_body(response.stream, call)
            else:  # a stream for synchronous clients, which this one is about to refuse
                call.closed()
        return response

    def handle_request(self, request: RequestT) -> ResponseT:
        """Send a request, unless its circuit is open."""
        wrapped = self._wrapped.for_sync()
        resolved = self._resolve(request)
        if resolved is None:
            return cast(ResponseT, wrapped.handle_request(request))
        breaker, settings = resolved
        admitted = self._flows.admit(breaker, request)
        if isinstance(admitted, CircuitOpenError):
            rejected = RejectedRequest(self._client, breaker, admitted, request)
            return self._replace(rejected, settings)
        call = call_of(admitted, settings, request, self._incidents)
        client = self._client
        if type(request.stream) is not client.bytes_stream:
            call.watch_upload(client.sync_stream, client.sync_upload)
        with call:
            response: ResponseT = wrapped.handle_request(request)
        needs_body = call.needs_body(response, breaker)
        if call.served_on_trial:
            self._flows.served(breaker, request)
        if needs_body:
            if isinstance(response.stream, client.sync_stream):
                response.stream = client.sync_body(response.stream, call)
            else:  # a stream for asynchronous clients, which this one is about to refuse
                call.closed()
        return response

    async def _replace_async(
        self, rejected: RejectedRequest, settings: ResolvedSettings
    ) -> ResponseT:
        """The response of the fallback, or without one that of the open circuit."""
        fallback = settings.fallbacks.of(rejected.name)
        response = None
        if isinstance(fallback, OtherUpstream):
            other = fallback.readdressed(rejected.request, settings.overrides)
            # Through this transport again: the other upstream has a circuit as well.
            sender = self if fallback.transport is None else fallback.transport
            response = rejected.response(await sender.handle_async_request(other))
        elif fallback is not None:
            made = fallback(rejected.request, rejected.error)
            response = rejected.response(await made if inspect.isawaitable(made) else made)
        response = rejected.answer(settings.when_open) if response is None else response
        return cast(ResponseT, response)

    def _replace(self, rejected: RejectedRequest, settings: ResolvedSettings) -> ResponseT:
        """The same for synchronous clients."""
        fallback = settings.fallbacks.of(rejected.name)
        response = None
        if isinstance(fallback, OtherUpstream):
            other = fallback.readdressed(rejected.request, settings.overrides)
            sender = self if fallback.transport is None else fallback.transport
            response = rejected.response(sender.handle_request(other))
        elif fallback is not None:
            made = fallback(rejected.request, rejected.error)
            response = rejected.response(rejected.made_now(made))
        response = rejected.answer(settings.when_open) if response is None else response
        return cast(ResponseT, response)

    async def aclose(self) -> None:
        """Close the transports that asynchronous clients have used."""
        async with self._closing_async() as first:
            # A transport may serve both kinds of clients: close what this kind has opened.
            wrapped = self._wrapped.open_async
            if wrapped is not None and first(wrapped):
                await wrapped.aclose()

    def close(self) -> None:
        """Close the transports that synchronous clients have used."""
        with self._closing() as first:
            wrapped = self._wrapped.open_sync
            if wrapped is not None and first(wrapped):
                wrapped.close()

    async def __aenter__(self) -> Self:
        await self._wrapped.for_async().__aenter__()
        return self

    def __enter__(self) -> Self:
        self._wrapped.for_sync().__enter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        async with self._closing_async() as first:
            if first(self._wrapped.for_async()):
                await self._wrapped.for_async().__aexit__(exc_type, exc_value, traceback)

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        with self._closing() as first:
            if first(self._wrapped.for_sync()):
                self._wrapped.for_sync().__exit__(exc_type, exc_value, traceback)

    @asynccontextmanager
    async def _closing_async(self) -> AsyncGenerator[First]:
        """Close the transports of other upstreams after this one, also if that raises."""
        async with AsyncExitStack() as stack:
            first = stack.enter_context(each_once())
            stack.enter_context(self._incidents.closing())
            for other in self._others:
                if hasattr(other, "aclose") and first(other):
                    stack.push_async_callback(other.aclose)
            yield first

    @contextmanager
    def _closing(self) -> Generator[First]:
        with ExitStack() as stack:
            first = stack.enter_context(each_once())
            stack.enter_context(self._incidents.closing())
            for other in self._others:
                if hasattr(other, "close") and first(other):
                    stack.callback(other.close)
            yield first


def _transports_of_routes(circuits: object) -> list[Any]:
    """The transports of other upstreams in the fallbacks of a mapping's routes."""
    if not isinstance(circuits, Mapping):
        return []
    targets = cast(Mapping[str, object], circuits).values()
    routes = [target for target in targets if is_route(target)]
    return [other for route in routes for other in Fallbacks(route.fallback).transports]
