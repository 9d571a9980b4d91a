"""The transport, but for the names of its library: written once for httpx and httpx2, for
asynchronous and synchronous clients.

The two sides differ only in what they await. What they decide is decided in the same functions.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

from ..breaker import Breaker
from ..coordinator import Coordinator
from ..exceptions import CircuitOpenError
from .api import (
    Circuits,
    Classify,
    ErrorT,
    Fallback,
    RequestT,
    ResponseT,
    by_host,
    default_classify,
    is_route,
)
from .call import Call, Incidents
from .circuits import Circuits as Router
from .classify import DEFAULT, judge
from .closing import First, each_once
from .fallbacks import Fallbacks, OtherUpstream
from .flows import Flows
from .inner import Inner, check_transport
from .library import Library
from .rejection import Rejection, made_now
from .settings import Plan, WhenOpen, check_classify, check_when_open

TransportT = TypeVar("TransportT")


class GuardedTransport(Generic[RequestT, ResponseT, ErrorT, TransportT]):
    """What both libraries' `BreakerTransport` do."""

    _library: ClassVar[Library]

    def __init__(
        self,
        coordinator: Coordinator,
        transport: TransportT | None = None,
        *,
        circuits: Circuits[RequestT, ResponseT, ErrorT] = by_host,
        classify: Classify[RequestT, ResponseT] = default_classify,
        fallback: (
            Fallback[RequestT, ErrorT, ResponseT]
            | Mapping[str, Fallback[RequestT, ErrorT, ResponseT]]
            | None
        ) = None,
        when_open: WhenOpen = "respond",
    ) -> None:
        """Protect the requests that a transport sends.

        Args:
            coordinator: Shares the circuits.
            transport: Sends the requests. Default: the library's `AsyncHTTPTransport()` or
                `HTTPTransport()`, made when it is first needed.
            circuits: A request's circuit: a mapping from URL patterns (hosts with `*`, optionally
                with scheme, port and the beginning of a path) to names, or a function that may
                return None: not protected. In place of a name, a `CircuitRoute` has settings of
                its own. One request: `extensions={"breaker": name or None or
                RequestSettings(...)}`.
            classify: Tells the outcome of an exchange.
            fallback: Makes the answer while the circuit is open, sync or async: a response, or
                bytes, text or JSON; None if it has none. What it raises, the caller gets. A
                mapping gives fallbacks by circuit name, with `*` and `?`.
            when_open: If no fallback answers: `"respond"` with 503 and a problem document, or
                `"raise"` `CircuitOpenError`.

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
            check_transport(self._library, "the transport of OtherUpstream", other)
        by_identity = {id(other): other for other in others if other is not transport}
        self._others = list(by_identity.values())  # to be closed, each once
        classify = DEFAULT if classify is default_classify else classify
        plan = Plan(judge(classify, coordinator.surface), fallbacks, when_open)
        self._inner = Inner(self._library, transport)
        self._incidents = Incidents()
        self._flows = Flows(self._library)
        self._guard = Router(coordinator, self._library, circuits, plan).guard

    def __repr__(self) -> str:
        return f"<BreakerTransport around {self._inner!r}>"

    async def handle_async_request(self, request: RequestT) -> ResponseT:
        """Send a request, unless its circuit is open."""
        inner = self._inner.for_async()
        guard = self._guard(request)
        if guard is None:
            return cast(ResponseT, await inner.handle_async_request(request))
        breaker, plan = guard
        try:
            permit = self._flows.permit(breaker, request)
        except CircuitOpenError as error:
            return await self._instead_async(
                request, plan, Rejection(self._library, breaker, error, request)
            )
        call = Call(permit, plan.judge, request, self._incidents)
        library = self._library
        upload = _watched(request, call, library, library.async_stream, library.async_upload)
        permit.carry()  # a breaker further in may have the same circuit
        try:
            response: ResponseT = await inner.handle_async_request(request)
        except BaseException as error:
            call.broke(error)
            raise
        finally:
            permit.set_down()
            if upload is not None:
                upload.leave(request)
        if self._matters(call, breaker, plan, request, response):
            if isinstance(response.stream, library.async_stream):
                response.stream = library.async_body(response.stream, call)
            else:  # a stream for synchronous clients, which this one is about to refuse
                call.closed()
        return response

    def handle_request(self, request: RequestT) -> ResponseT:
        """Send a request, unless its circuit is open."""
        inner = self._inner.for_sync()
        guard = self._guard(request)
        if guard is None:
            return cast(ResponseT, inner.handle_request(request))
        breaker, plan = guard
        try:
            permit = self._flows.permit(breaker, request)
        except CircuitOpenError as error:
            return self._instead(request, plan, Rejection(self._library, breaker, error, request))
        call = Call(permit, plan.judge, request, self._incidents)
        library = self._library
        upload = _watched(request, call, library, library.sync_stream, library.sync_upload)
        permit.carry()  # a breaker further in may have the same circuit
        try:
            response: ResponseT = inner.handle_request(request)
        except BaseException as error:
            call.broke(error)
            raise
        finally:
            permit.set_down()
            if upload is not None:
                upload.leave(request)
        if self._matters(call, breaker, plan, request, response):
            if isinstance(response.stream, library.sync_stream):
                response.stream = library.sync_body(response.stream, call)
            else:  # a stream for asynchronous clients, which this one is about to refuse
                call.closed()
        return response

    def _matters(
        self, call: Call, breaker: Breaker, plan: Plan, request: RequestT, response: ResponseT
    ) -> bool:
        """Take note of a response's headers, and tell whether anybody looks at its body."""
        matters = call.answered(response)
        if call.served_on_trial:
            self._flows.served(breaker, request)
        if plan.fallbacks.keep:
            plan.fallbacks.answered(breaker.name, request, response, call)
            matters = matters or call.keep is not None
        return matters

    async def _instead_async(
        self, request: RequestT, plan: Plan, rejection: Rejection
    ) -> ResponseT:
        fallback = plan.fallbacks.of(rejection.error.name)
        response = None
        if isinstance(fallback, OtherUpstream):
            other = fallback.readdressed(request, plan.told)
            sender = self if fallback.transport is None else fallback.transport
            response = rejection.response(await sender.handle_async_request(other))
        elif fallback is not None:
            made = fallback(request, rejection.error)
            response = rejection.response(await made if inspect.isawaitable(made) else made)
        return cast(ResponseT, rejection.answer(plan.when_open) if response is None else response)

    def _instead(self, request: RequestT, plan: Plan, rejection: Rejection) -> ResponseT:
        fallback = plan.fallbacks.of(rejection.error.name)
        response = None
        if isinstance(fallback, OtherUpstream):
            other = fallback.readdressed(request, plan.told)
            sender = self if fallback.transport is None else fallback.transport
            response = rejection.response(sender.handle_request(other))
        elif fallback is not None:
            response = rejection.response(made_now(fallback, fallback(request, rejection.error)))
        return cast(ResponseT, rejection.answer(plan.when_open) if response is None else response)

    async def aclose(self) -> None:
        """Close what asynchronous clients used."""
        async with self._closing_async() as first:
            inner = self._inner.open_async
            if inner is not None and first(inner):
                await inner.aclose()

    def close(self) -> None:
        """Close what synchronous clients used."""
        with self._closing() as first:
            inner = self._inner.open_sync
            if inner is not None and first(inner):
                inner.close()

    async def __aenter__(self) -> Self:
        await self._inner.for_async().__aenter__()
        return self

    def __enter__(self) -> Self:
        self._inner.for_sync().__enter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        async with self._closing_async() as first:
            if first(self._inner.for_async()):
                await self._inner.for_async().__aexit__(exc_type, exc_value, traceback)

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        with self._closing() as first:
            if first(self._inner.for_sync()):
                self._inner.for_sync().__exit__(exc_type, exc_value, traceback)

    @asynccontextmanager
    async def _closing_async(self) -> AsyncGenerator[First]:
        """Close the other upstreams' transports after this one's, whatever closing brings."""
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


def _watched(
    request: Any, call: Call, library: Library, stream: type[Any], watching: type[Any]
) -> Any:
    """Watch a request's body that the caller makes while it is sent. None: it is there already."""
    body = request.stream
    if body.__class__ is library.bytes_stream or not isinstance(body, stream):
        return None
    request.stream = upload = watching(body, call)
    return upload


def _transports_of_routes(circuits: object) -> list[Any]:
    """The transports of other upstreams that a mapping's routes have as fallbacks."""
    if not isinstance(circuits, Mapping):
        return []
    targets = cast(Mapping[str, object], circuits).values()
    routes = [target for target in targets if is_route(target)]
    return [other for route in routes for other in Fallbacks(route.fallback).transports]
