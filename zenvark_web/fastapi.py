"""For FastAPI: dependencies, an exception handler, and the 503 response in the OpenAPI schema.

    @app.post("/checkout", dependencies=[Depends(requires("payments"))], responses=unavailable())
    async def checkout(payments: Annotated[Breaker, Depends(breaker("payments"))]) -> Receipt: ...

This module does not import FastAPI: it contains plain functions for `Depends`, which also work with
websockets.
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
    """A dependency that returns a breaker: `Depends(breaker("payments"))`.

    Args:
        name: The circuit's name.
        coordinator: The coordinator of the breaker. Default: the coordinator of the
            `BreakerMiddleware` around the app.

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
    """A dependency that rejects a request while a circuit that it needs is open:
    `dependencies=[Depends(requires("payments"))]`.

    The request ends with the `CircuitOpenError` of the circuit with the longest wait, which the
    middleware or `circuit_open_handler` turns into a 503. FastAPI reads the body before it resolves
    dependencies; the middleware's `routes` apply before that.

    Args:
        names: The circuits' names.
        coordinator: The coordinator of the circuits. Default: the coordinator of the
            `BreakerMiddleware` around the app.

    Raises:
        TypeError, ValueError: A setting is not usable.
        RuntimeError: In a request: there is no `BreakerMiddleware` around the app.
    """
    if not names:
        raise ValueError("requires() needs at least one circuit's name")
    for name in names:
        check_name("a circuit's name", name)
    _check_coordinator(coordinator)

    async def require(connection: HTTPConnection) -> None:
        if errors := refusals(coordinator or _coordinator_of(connection), names):
            raise longest(errors)

    return require


async def circuit_open_handler(connection: Request, error: Exception) -> Response:
    """Responds to `CircuitOpenError` with 503 and a problem document:
    `app.add_exception_handler(CircuitOpenError, circuit_open_handler)`.

    For apps without the middleware, and for apps whose other middleware must see a response instead
    of an exception. The handler also accepts classes that can contain a rejection, such as
    `ExceptionGroup` (from task groups) and `httpx.HTTPStatusError` (`raise_for_status()` of the
    transport's own 503), and re-raises all other errors. In a websocket, it re-raises the error for
    the middleware.
    """
    rejection = rejection_in(error)
    if rejection is None or connection.scope["type"] != "http":
        raise error
    handling(rejection)  # the middleware around the app reads this
    return problem_response(connection.scope, rejection)


def unavailable() -> dict[int | str, dict[str, Any]]:
    """The 503 response for the OpenAPI schema: `@app.get("/price", responses=unavailable())`.

    With further responses: `responses={**unavailable(), 404: {...}}`. Routers and apps accept it
    too, for all of their routes.
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
        "properties": properties | {"forced": {"type": "boolean", "const": True}},
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
        "this app has no BreakerMiddleware: add one with app.add_middleware("
        "BreakerMiddleware, coordinator=coordinator), or pass the coordinator here"
    )
