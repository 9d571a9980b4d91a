"""For FastAPI: dependencies, an exception handler, and the answer's place in the OpenAPI schema.

    @app.post("/checkout", dependencies=[Depends(requires("payments"))], responses=unavailable())
    async def checkout(payments: Annotated[Breaker, Depends(breaker("payments"))]) -> Receipt: ...

FastAPI itself is not imported: these are plain functions for its `Depends`, and they work with
websockets as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from ._core._checks import check_name
from ._http.problem import CIRCUIT_OPEN, MEDIA_TYPE, ROUTE_UNAVAILABLE, STATUS
from ._rejections import handling, rejection_in
from .asgi._answers import problem_response
from .asgi._middleware import COORDINATOR
from .asgi._routes import longest, refusals
from .breaker import Breaker
from .coordinator import Coordinator

__all__ = ["breaker", "circuit_open_handler", "requires", "unavailable"]


def breaker(
    name: str, coordinator: Coordinator | None = None
) -> Callable[[HTTPConnection], Awaitable[Breaker]]:
    """A dependency that gives a breaker: `Depends(breaker("payments"))`.

    Args:
        name: The circuit's name.
        coordinator: Whose breaker. Default: that of the `BreakerMiddleware` around the app.

    Raises:
        TypeError, ValueError: A setting is not usable.
        RuntimeError: In a request: there is no `BreakerMiddleware` around the app.
    """
    check_name("a circuit's name", name)
    _check_coordinator(coordinator)

    async def give_breaker(connection: HTTPConnection) -> Breaker:
        return (coordinator or _coordinator_of(connection)).breaker(name)

    return give_breaker


def requires(
    *names: str, coordinator: Coordinator | None = None
) -> Callable[[HTTPConnection], Awaitable[None]]:
    """A dependency that ends a request early while a circuit is open that it will need:
    `dependencies=[Depends(requires("payments"))]`.

    The request ends with `CircuitOpenError`, of the circuit with the longest wait, which the
    middleware or `circuit_open_handler` answers with 503. FastAPI reads the body before it looks
    at dependencies; the middleware's `routes` come before that.

    Args:
        names: The circuits' names.
        coordinator: Whose circuits. Default: those of the `BreakerMiddleware` around the app.

    Raises:
        TypeError, ValueError: A setting is not usable.
        RuntimeError: In a request: there is no `BreakerMiddleware` around the app.
    """
    if not names:
        raise ValueError("requires needs the names of circuits")
    for name in names:
        check_name("a circuit's name", name)
    _check_coordinator(coordinator)

    async def require(connection: HTTPConnection) -> None:
        if errors := refusals(coordinator or _coordinator_of(connection), names):
            raise longest(errors)

    return require


async def circuit_open_handler(connection: Request, error: Exception) -> Response:
    """Answers `CircuitOpenError` with 503 and a problem document:
    `app.add_exception_handler(CircuitOpenError, circuit_open_handler)`.

    For apps without the middleware, and for those whose other middleware is to see a response
    rather than an exception. It serves for classes as well in which a rejection can arrive, such
    as `ExceptionGroup` (from task groups) and `httpx.HTTPStatusError` (`raise_for_status()` of the
    transport's own 503): what holds anything else goes on. In a websocket the error goes on to the
    middleware.
    """
    rejection = rejection_in(error)
    if rejection is None or connection.scope["type"] != "http":
        raise error
    handling(rejection)  # the middleware around the app is told
    return problem_response(connection.scope, rejection)


def unavailable() -> dict[int | str, dict[str, Any]]:
    """The 503 answer for the OpenAPI schema: `@app.get("/price", responses=unavailable())`.

    With further ones: `responses={**unavailable(), 404: {...}}`. A router and an app take it as
    well, for all of their routes.
    """
    return {
        STATUS: {
            "description": "A circuit is open.",
            "headers": {
                "Retry-After": {
                    "description": "Seconds to wait before the next attempt.",
                    "required": True,
                    "schema": {"type": "integer", "minimum": 1},
                }
            },
            "content": {MEDIA_TYPE: {"schema": _schema()}},
        }
    }


def _schema() -> dict[str, Any]:
    kinds = (CIRCUIT_OPEN, ROUTE_UNAVAILABLE)
    properties = {
        "type": {"type": "string", "enum": [kind.uri for kind in kinds]},
        "title": {"type": "string"},
        "status": {"type": "integer", "const": STATUS},
        "detail": {"type": "string"},
        "retry_after": {"type": "integer", "minimum": 1},
    }
    return {
        "title": "Problem",
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }


def _check_coordinator(coordinator: object) -> None:
    if coordinator is not None and not isinstance(coordinator, Coordinator):
        raise TypeError(f"coordinator must be a Coordinator, not {coordinator!r}")


def _coordinator_of(connection: HTTPConnection) -> Coordinator:
    coordinator: object = connection.scope.get(COORDINATOR)
    if isinstance(coordinator, Coordinator):
        return coordinator
    raise RuntimeError(
        "no BreakerMiddleware is around this app: add one with app.add_middleware("
        "BreakerMiddleware, coordinator=coordinator), or pass the coordinator here"
    )
