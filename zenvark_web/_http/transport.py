"""The transport of both libraries, for asynchronous and synchronous clients.

The two kinds of clients differ only in what they await; the decisions are made in functions that
they share.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

from ..breaker import Breaker
from ..coordinator import Coordinator, replaced_call
from ..exceptions import CircuitOpenError
from .api import (
    AnyFallback,
    Circuits,
    ClassifyExchange,
    ErrorT,
    RequestT,
    ResponseT,
    default_classify,
    is_route,
)
from .attempted_request import AttemptedRequest
from .call import HttpCall
from .chain import Chain, Upstream
from .chain_run import ChainRun
from .circuit_names import by_host
from .classify import DEFAULT, safe
from .client import ClientAdapter
from .closing import First, each_once
from .fallbacks import Fallback, Fallbacks, OtherUpstream
from .incidents import Incidents
from .judge_chunk import JudgeChunk, checked_judge
from .rejected_request import RejectedRequest
from .replaceable import ReplaceableRequest
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
            AnyFallback[RequestT, ErrorT, ResponseT]
            | Mapping[str, AnyFallback[RequestT, ErrorT, ResponseT]]
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
                caller. A mapping selects fallbacks by circuit name, with `*` and `?`. A `Fallback`
                may also replace calls that fail.
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
        fallbacks = Fallbacks(fallback, coordinator.report_error)
        others = [*fallbacks.transports, *_transports_of_routes(circuits)]
        for other in others:
            check_transport(self._client, "the transport of another upstream", other)
        by_identity = {id(other): other for other in others if other is not transport}
        self._others = list(by_identity.values())  # to be closed, each once
        classify = DEFAULT if classify is default_classify else classify
        self._replaced = partial(replaced_call, coordinator)
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
        if settings.fallbacks.covers_failures:
            attempt = await self._attempt_async(wrapped, call, breaker, request)
            return await self._replace_async(attempt, settings)
        return cast(ResponseT, await self._send_async(wrapped, call, breaker, request))

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
        if settings.fallbacks.covers_failures:
            return self._replace(self._attempt(wrapped, call, breaker, request), settings)
        return cast(ResponseT, self._send(wrapped, call, breaker, request))

    # One call

    async def _send_async(
        self, wrapped: Any, call: HttpCall, breaker: Breaker, request: Any
    ) -> Any:
        client = self._client
        if type(request.stream) is not client.bytes_stream:
            call.watch_upload(client.async_stream, client.async_upload)
        with call:
            response = await wrapped.handle_async_request(request)
        needs_body = call.needs_body(response, breaker)
        if call.served_on_trial:
            self._flows.served(breaker, request)
        if needs_body:
            if isinstance(response.stream, client.async_stream):
                response.stream = client.async_body(response.stream, call)
            else:  # a stream for synchronous clients, which this one is about to refuse
                call.closed()
        return response

    def _send(self, wrapped: Any, call: HttpCall, breaker: Breaker, request: Any) -> Any:
        client = self._client
        if type(request.stream) is not client.bytes_stream:
            call.watch_upload(client.sync_stream, client.sync_upload)
        with call:
            response = wrapped.handle_request(request)
        needs_body = call.needs_body(response, breaker)
        if call.served_on_trial:
            self._flows.served(breaker, request)
        if needs_body:
            if isinstance(response.stream, client.sync_stream):
                response.stream = client.sync_body(response.stream, call)
            else:  # a stream for asynchronous clients, which this one is about to refuse
                call.closed()
        return response

    async def _attempt_async(
        self, wrapped: Any, call: HttpCall, breaker: Breaker, request: Any
    ) -> AttemptedRequest:
        """Make a call that may be replaced if it fails."""
        attempt = AttemptedRequest(self._client, breaker, call, request)
        try:
            attempt.end(await self._send_async(wrapped, call, breaker, request))
        except Exception as error:
            attempt.end(error)
        return attempt

    def _attempt(
        self, wrapped: Any, call: HttpCall, breaker: Breaker, request: Any
    ) -> AttemptedRequest:
        """The same for synchronous clients."""
        attempt = AttemptedRequest(self._client, breaker, call, request)
        try:
            attempt.end(self._send(wrapped, call, breaker, request))
        except Exception as error:
            attempt.end(error)
        return attempt

    # Fallbacks

    async def _replace_async(
        self, missed: ReplaceableRequest, settings: ResolvedSettings
    ) -> ResponseT:
        """The response of the fallback, or without one that of the open circuit or of the call."""
        fallback = settings.fallbacks.of(missed.name)
        response = None
        if fallback is not None and fallback.covers(missed.misses):
            try:
                response = await self._made_async(fallback, missed, settings)
            except BaseException:
                await missed.aclose()
                raise
        if response is None:
            return cast(ResponseT, missed.answer(settings.when_open))
        if response is not missed.ended:
            await missed.aclose()
            self._replaced(missed.name)
        return cast(ResponseT, response)

    def _replace(self, missed: ReplaceableRequest, settings: ResolvedSettings) -> ResponseT:
        """The same for synchronous clients."""
        fallback = settings.fallbacks.of(missed.name)
        response = None
        if fallback is not None and fallback.covers(missed.misses):
            try:
                response = self._made(fallback, missed, settings)
            except BaseException:
                missed.close()
                raise
        if response is None:
            return cast(ResponseT, missed.answer(settings.when_open))
        if response is not missed.ended:
            missed.close()
            self._replaced(missed.name)
        return cast(ResponseT, response)

    async def _made_async(
        self, fallback: Fallback, missed: ReplaceableRequest, settings: ResolvedSettings
    ) -> Any:
        make = fallback.make
        if isinstance(make, Chain):
            return await self._follow_async(ChainRun(make, fallback, missed))
        if isinstance(make, OtherUpstream):
            missed.check_body()
            other = make.readdressed(missed.request, settings.overrides)
            await missed.aclose()  # first: both may share the last connection of a pool
            # Through this transport again: the other upstream has a circuit as well.
            sender = self if make.transport is None else make.transport
            return missed.response(await sender.handle_async_request(other))
        made = make(missed.request, missed.error)
        return missed.response(await made if inspect.isawaitable(made) else made)

    def _made(
        self, fallback: Fallback, missed: ReplaceableRequest, settings: ResolvedSettings
    ) -> Any:
        make = fallback.make
        if isinstance(make, Chain):
            return self._follow(ChainRun(make, fallback, missed))
        if isinstance(make, OtherUpstream):
            missed.check_body()
            other = make.readdressed(missed.request, settings.overrides)
            missed.close()
            sender = self if make.transport is None else make.transport
            return missed.response(sender.handle_request(other))
        return missed.response(missed.made_now(make(missed.request, missed.error)))

    async def _follow_async(self, run: ChainRun) -> Any:
        for upstream in run.upstreams():
            try:
                step = self._step(run, upstream)
            except Exception:
                await run.last.aclose()
                raise
            if step is None:
                continue
            call, breaker, request = step
            wrapped = upstream.transport or self._wrapped.for_async()
            with call.broken_by_cancellation():
                await run.last.aclose()
            run.went(await self._attempt_async(wrapped, call, breaker, request))
        return run.response()

    def _follow(self, run: ChainRun) -> Any:
        for upstream in run.upstreams():
            try:
                step = self._step(run, upstream)
            except Exception:
                run.last.close()
                raise
            if step is None:
                continue
            call, breaker, request = step
            wrapped = upstream.transport or self._wrapped.for_sync()
            with call.broken_by_cancellation():
                run.last.close()
            run.went(self._attempt(wrapped, call, breaker, request))
        return run.response()

    def _step(self, run: ChainRun, upstream: Upstream) -> tuple[HttpCall, Breaker, Any] | None:
        """The next call of a chain, unless the circuit of its upstream rejects it."""
        request = run.request_to(upstream)
        resolved = self._resolve(request)
        if resolved is None:
            return None
        breaker, settings = resolved
        admitted = self._flows.admit(breaker, request)
        if isinstance(admitted, CircuitOpenError):
            run.passed_over()
            return None
        return call_of(admitted, settings, request, self._incidents), breaker, request

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
