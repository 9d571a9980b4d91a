"""What type checkers make of the httpx transport and the ASGI middleware. Checked, never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true, reportUnusedFunction=false

from collections.abc import Sequence
from typing import Annotated, assert_type

import httpx
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Scope

import zenvark_web.httpx
from zenvark_web import (
    Answer,
    Breaker,
    BreakerMiddleware,
    BreakerStatus,
    BreakerTransport,
    CircuitOpenError,
    Coordinator,
    HttpClassifier,
    Outcome,
    ProtectedRoute,
    State,
    ZenvarkError,
    by_host,
    default_classify,
)
from zenvark_web.asgi import RouteAnswer, rejection_answer
from zenvark_web.fastapi import breaker, circuit_open_handler, requires, unavailable

coordinator = Coordinator()

# The transport fits into clients, and around transports.
httpx.AsyncClient(transport=BreakerTransport(coordinator))
httpx.AsyncClient(mounts={"https://": BreakerTransport(coordinator), "http://": None})
BreakerTransport(coordinator, httpx.AsyncHTTPTransport(http2=True))
BreakerTransport(coordinator, httpx.MockTransport(lambda request: httpx.Response(200)))
BreakerTransport(coordinator, BreakerTransport(coordinator))
BreakerTransport(coordinator, httpx.HTTPTransport())
BreakerTransport(coordinator, httpx.Client())  # type: ignore[arg-type]
BreakerTransport("redis://localhost")  # type: ignore[arg-type]
BreakerTransport(coordinator, None, by_host)  # type: ignore[call-arg]
httpx.Client(transport=BreakerTransport(coordinator))
httpx.Client(mounts={"https://": BreakerTransport(coordinator), "http://": None})


# Which circuit, and what counts.


def by_tenant(request: httpx.Request) -> str | None:
    return None if request.url.path == "/health" else "tenant"


def by_path(request: httpx.Request) -> str:
    return request.url.path


def by_url(url: httpx.URL) -> str:
    return url.path


def classify(request: httpx.Request, ended: httpx.Response | Exception) -> Outcome:
    return Outcome.SUCCESS


def classify_responses(request: httpx.Request, ended: httpx.Response) -> Outcome:
    return Outcome.SUCCESS


BreakerTransport(coordinator, circuits=by_host, classify=default_classify)
BreakerTransport(coordinator, circuits=by_tenant, classify=classify)
BreakerTransport(coordinator, circuits=by_path)
BreakerTransport(coordinator, circuits={"*.stripe.com": "payments"})
BreakerTransport(coordinator, circuits="payments")  # type: ignore[arg-type]
BreakerTransport(coordinator, circuits={"*.stripe.com": None})  # type: ignore[dict-item]
BreakerTransport(coordinator, circuits=by_url)  # type: ignore[arg-type]
BreakerTransport(coordinator, classify=classify_responses)  # type: ignore[arg-type]

# While the circuit is open.


def fallback(request: httpx.Request, error: CircuitOpenError) -> httpx.Response:
    return httpx.Response(200)


async def fallback_async(request: httpx.Request, error: CircuitOpenError) -> httpx.Response:
    return httpx.Response(200)


def fallback_text(request: httpx.Request, error: CircuitOpenError) -> str:
    return "sorry"


BreakerTransport(coordinator, fallback=fallback, when_open="respond")
BreakerTransport(coordinator, fallback=fallback_async, when_open="raise")
BreakerTransport(coordinator, fallback=fallback_text)
BreakerTransport(coordinator, when_open="return")  # type: ignore[arg-type]


async def send(request: httpx.Request) -> None:
    async with BreakerTransport(coordinator) as transport:
        assert_type(transport, BreakerTransport)
        assert_type(await transport.handle_async_request(request), httpx.Response)
    assert_type(by_host(request), str | None)
    assert_type(default_classify(request, httpx.Response(200)), Outcome)


async def errors_are_both(client: httpx.AsyncClient) -> None:
    try:
        await client.get("https://example.com")
    except zenvark_web.httpx.CircuitOpenError as error:
        assert_type(error.name, str)
        assert_type(error.retry_after, float)
        assert_type(error.request, httpx.Request)
        both: tuple[ZenvarkError, httpx.TransportError] = (error, error)
        del both


def status_of(response: httpx.Response) -> None:
    status = response.extensions.get("breaker")
    if isinstance(status, BreakerStatus):
        assert_type(status.name, str)
        assert_type(status.state, State)
        assert_type(status.retry_after, float)


# The middleware.


def answer(request: Request, error: CircuitOpenError) -> Response:
    return Response(status_code=503)


async def answer_async(request: Request, error: CircuitOpenError) -> Response:
    return Response(status_code=503)


def answer_for_httpx(request: httpx.Request, error: CircuitOpenError) -> httpx.Response:
    return httpx.Response(503)


app = FastAPI()
app.add_middleware(BreakerMiddleware, coordinator=coordinator)
app.add_middleware(BreakerMiddleware, coordinator=coordinator, fallback=answer)
app.add_middleware(BreakerMiddleware, coordinator=coordinator, fallback=answer_async)
app.add_middleware(BreakerMiddleware)  # type: ignore[call-arg]
app.add_middleware(BreakerMiddleware, coordinator="redis://localhost")  # type: ignore[arg-type]
app.add_middleware(
    BreakerMiddleware,
    coordinator=coordinator,
    fallback=answer_for_httpx,  # type: ignore[arg-type]
)
Starlette(middleware=[Middleware(BreakerMiddleware, coordinator=coordinator)])
Starlette(middleware=[Middleware(BreakerMiddleware, coordinator)])
BreakerMiddleware(Starlette(), coordinator)


# Routes of the app.


def by_scope(scope: Scope) -> str | None:
    return "orders" if scope["type"] == "http" else None


def by_scope_in_full(scope: Scope) -> ProtectedRoute:
    return ProtectedRoute(circuit="orders", needs=("payments",), fallback=answer_async)


def by_request(request: Request) -> str:
    return request.url.path


names: dict[str, str] = {"/orders": "orders"}


def of_answer(request: HTTPConnection, answer: RouteAnswer) -> Outcome | None:
    return None if "x-shed" in answer.headers else Outcome.IGNORED


BreakerMiddleware(app, coordinator, answer, names)
BreakerMiddleware(app, coordinator, routes=by_scope)
BreakerMiddleware(app, coordinator, routes=by_scope_in_full)
app.add_middleware(
    BreakerMiddleware,
    coordinator=coordinator,
    routes={"/": "all", "/orders": ProtectedRoute(needs=["payments"]), "/healthz": None},
)
BreakerMiddleware(app, coordinator, routes={"/": ["payments"]})  # type: ignore[dict-item]
BreakerMiddleware(app, coordinator, routes="/")  # type: ignore[arg-type]
BreakerMiddleware(app, coordinator, routes=by_request)  # type: ignore[arg-type]
ProtectedRoute(circuit=7)  # type: ignore[arg-type]
ProtectedRoute("orders")  # type: ignore[call-arg]
ProtectedRoute(needs={"payments"})  # type: ignore[arg-type]
ProtectedRoute(circuit="orders").circuit = "x"  # type: ignore[misc]
assert_type(ProtectedRoute(circuit="orders").needs, Sequence[str])
ProtectedRoute(circuit="orders", failure_statuses=range(500, 600), ignored_statuses={503})
ProtectedRoute(circuit="orders", classify=HttpClassifier())
ProtectedRoute(circuit="orders", classify=of_answer)
ProtectedRoute(circuit="orders", ignored_statuses=503)  # type: ignore[arg-type]
ProtectedRoute(circuit="orders", classify=by_scope)  # type: ignore[arg-type]
assert_type(rejection_answer(ValueError()), Answer | None)

# FastAPI.

app.add_exception_handler(CircuitOpenError, circuit_open_handler)
FastAPI(responses=unavailable(), dependencies=[Depends(requires("payments", "stock"))])
Starlette(exception_handlers={CircuitOpenError: circuit_open_handler})
requires("payments", coordinator=coordinator)
requires(7)  # type: ignore[arg-type]
requires("payments", coordinator="redis://localhost")  # type: ignore[arg-type]
breaker(7)  # type: ignore[arg-type]


@app.get("/price", responses={**unavailable(), 404: {"description": "No such thing."}})
async def price(
    payments: Annotated[Breaker, Depends(breaker("payments"))],
    stock: Annotated[Breaker, Depends(breaker("stock", coordinator))],
) -> str:
    assert_type(payments, Breaker)
    payments.require()
    return payments.name + stock.name


async def dependencies_can_be_called(connection: HTTPConnection) -> None:
    assert_type(await breaker("payments")(connection), Breaker)
    await requires("payments")(connection)
