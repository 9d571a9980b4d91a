"""The same app in other frameworks: one page and one websocket that call an upstream."""

import asyncio
import itertools
import re
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import django
import flask
import httpx
import litestar
import quart
from asgiref.wsgi import WsgiToAsgi
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from litestar.middleware import DefineMiddleware
from starlette.types import ASGIApp

from tests.examples.pages import Block, blocks
from tests.helpers.processes import ROOT
from zenvark_web import BreakerMiddleware, CircuitOpenError, Coordinator

PAGE = ROOT / "docs/frameworks.md"
FROM = re.compile(r"^from (\S+) import", re.MULTILINE)
BLOCKS = {module: block for block in blocks(PAGE) for module in FROM.findall(block.text)}
"""The page's blocks, by a module that only one of them imports from."""
FORMS = (CircuitOpenError, ExceptionGroup, httpx.HTTPStatusError)
"""What the page's handlers are registered for, where it is by class."""

Call: TypeAlias = Callable[[], Any]
Wrap: TypeAlias = Callable[[ASGIApp], ASGIApp]


def ran(block: Block, **replaced: str) -> dict[str, Any]:
    """What a block of the page defines."""
    text = block.text
    for old, new in replaced.items():
        text = text.replace(old, new)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile("\n" * block.line + text, block.page, "exec", dont_inherit=True), names)
    return names


@dataclass
class Site:
    """What an app is made of.

    Args:
        call: What the page does.
        handled: Whether the app has the documented exception handler.
        wrap: Puts the middleware around an app.
        coordinator: For what is no wrapping.
        routes: For what is no wrapping.
    """

    call: Call
    handled: bool
    coordinator: Coordinator
    routes: Any = None

    def wrap(self, app: ASGIApp) -> ASGIApp:
        return BreakerMiddleware(app, coordinator=self.coordinator, routes=self.routes)


_numbers = itertools.count()


def configure_django() -> None:
    """Configure Django once in a process."""
    if not settings.configured:
        settings.configure(SECRET_KEY="x", ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None, MIDDLEWARE=[])
        django.setup()


def _django(site: Site, view: Callable[..., Any]) -> ASGIApp:
    configure_django()
    name = f"django_site_{next(_numbers)}"
    module: Any = types.ModuleType(name)
    module.urlpatterns = [path("page", view)]
    module.CircuitOpen = ran(BLOCKS["django.http"])["CircuitOpen"]
    sys.modules[name] = module
    settings.ROOT_URLCONF = name
    settings.MIDDLEWARE = [f"{name}.CircuitOpen"] if site.handled else []
    inner = get_asgi_application()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":  # apps of several tests live side by side
            settings.ROOT_URLCONF = name
        await inner(scope, receive, send)

    return site.wrap(app)


def django_async(site: Site) -> ASGIApp:
    async def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(await site.call()))

    return _django(site, view)


def django_sync(site: Site) -> ASGIApp:
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(asyncio.run(site.call())))

    return _django(site, view)


def _litestar(site: Site, **settings: Any) -> litestar.Litestar:
    @litestar.get("/page")
    async def page() -> str:
        return str(await site.call())

    @litestar.websocket("/live")
    async def live(socket: litestar.WebSocket[Any, Any, Any]) -> None:
        await site.call()
        await socket.accept()

    handler = ran(BLOCKS["typing"])["circuit_open"]
    handlers: dict[Any, Any] = {CircuitOpenError: handler} if site.handled else {}
    return litestar.Litestar(
        [page, live],
        exception_handlers=handlers,
        openapi_config=None,
        logging_config=None,
        **settings,
    )


def litestar_around(site: Site) -> ASGIApp:
    return site.wrap(_litestar(site))  # type: ignore[arg-type]


def litestar_inside(site: Site) -> ASGIApp:
    middleware = DefineMiddleware(
        BreakerMiddleware,  # type: ignore[arg-type]
        coordinator=site.coordinator,
        routes=site.routes,
    )
    return _litestar(site, middleware=[middleware])  # type: ignore[return-value]


def quart_app(site: Site) -> ASGIApp:
    app = quart.Quart("site")
    app.asgi_app = site.wrap(app.asgi_app)  # type: ignore[assignment, arg-type]

    @app.get("/page")
    async def page() -> str:
        return str(await site.call())

    @app.websocket("/live")
    async def live() -> None:
        await site.call()
        await quart.websocket.accept()

    if site.handled:
        handler = ran(BLOCKS["quart"])["circuit_open"]
        for form in FORMS:
            app.register_error_handler(form, handler)
    return app  # type: ignore[return-value]


def flask_app(site: Site) -> ASGIApp:
    app = flask.Flask("site")

    @app.get("/page")
    def page() -> str:
        return str(asyncio.run(site.call()))

    if site.handled:
        handler = ran(BLOCKS["flask"])["circuit_open"]
        for form in FORMS:
            app.register_error_handler(form, handler)
    return site.wrap(WsgiToAsgi(app))


MAKERS = [django_async, django_sync, litestar_around, litestar_inside, quart_app, flask_app]
WITH_WEBSOCKETS = [litestar_around, litestar_inside, quart_app]
