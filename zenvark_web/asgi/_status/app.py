"""The status page as an ASGI app."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from ..._core._checks import check_call, check_name
from ..._operators import records
from ..._operators.advice import what_next
from ...coordinator import Coordinator
from ...exceptions import BackendError
from .acts import ACTS, perform
from .answers import Answer, Problem, of_json
from .requests import (
    Authorize,
    Query,
    body_of,
    check_origin,
    header,
    path_of,
    permitted,
)
from .stream import EventStream
from .watch import Watch

MAX_VIEWERS = 20
"""Event streams in one process."""

API = "/api/v1/"
FILES: Mapping[str, tuple[str, str]] = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
READ = ("GET", "HEAD")

STOPPED = "the coordinator does not run in this process"
AWAY = "Redis does not answer this process"


class StatusApp:
    """A live status page of the fleet, and the same as an API: an ASGI app to be mounted.

        app = Starlette(routes=[Mount("/circuits", StatusApp(coordinator))])

    The page shows circuits with the reasons of their states, instances and events, and updates
    itself. It consists of files of this package; it loads nothing from elsewhere, and sets no
    cookie. A request to it never delays a call.

    Args:
        coordinator: The coordinator whose fleet is shown. It must run: the page does not start it.
        authorize: Called with the ASGI scope of each request and `"read"` or `"act"`; may be
            asynchronous. It returns the name of whoever sends the request, which the audit shows,
            or None to refuse with 403. Default: whoever reaches the page may read, and nobody may
            act.
        title: The heading of the page.

    Raises:
        TypeError, ValueError: An argument is not usable.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        *,
        authorize: Authorize | None = None,
        title: str = "circuits",
    ) -> None:
        if not isinstance(coordinator, Coordinator):
            raise TypeError(f"coordinator must be a Coordinator, not {coordinator!r}")
        if authorize is not None:
            check_call("authorize", authorize, "the scope and a right", {}, "read")
        check_name("title", title)
        self._coordinator = coordinator
        self._authorize = authorize
        self._title = title
        self._watch = Watch(coordinator)
        self._viewers = 0
        self._files = {path: _load(*each) for path, each in FILES.items()}
        self._reads: Mapping[str, Callable[[Scope], Awaitable[ASGIApp]]] = {
            "status": self._status,
            "circuit": self._circuit,
            "events": self._events,
            "policies": self._policies,
            "stream": self._stream,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        if scope["type"] != "http":
            return
        try:
            answer = await self._answer(scope, receive)
        except Problem as problem:
            answer = problem.answer
        except BackendError as error:
            answer = Problem(503, f"{AWAY}: {error}").answer
        await answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        path = path_of(scope)
        if path == "":  # relative addresses on the page need the slash
            here = str(scope["path"]).rpartition("/")[2]
            return Answer(308, "text/plain", headers={"location": f"{here}/"})
        if path == f"{API}health":
            return self._health(scope)
        if path in self._files:
            _check_method(scope, READ)
            await permitted(self._authorize, scope, "read")
            return self._file(scope, self._files[path])
        name = path.removeprefix(API) if path.startswith(API) else ""
        if name in ACTS:
            return await self._act(name, scope, receive)
        read = self._reads.get(name)
        if read is None:
            raise Problem(404, "there is nothing at this path")
        _check_method(scope, READ)
        await permitted(self._authorize, scope, "read")
        if not self._coordinator.running:
            raise Problem(503, STOPPED)
        return await read(scope)

    def _health(self, scope: Scope) -> ASGIApp:
        """Say whether the coordinator runs, whatever circuits do: an upstream that is down is no
        reason to restart this process."""
        _check_method(scope, READ)
        if not self._coordinator.running:
            raise Problem(503, STOPPED)
        return of_json({"running": True, "connected": self._coordinator.connected})

    def _file(self, scope: Scope, file: _File) -> ASGIApp:
        headers = {"cache-control": "no-cache", "etag": file.tag}
        if header(scope, "if-none-match") == file.tag:
            return Answer(304, file.media_type, headers=headers)
        return Answer(200, file.media_type, [file.content], headers)

    async def _act(self, name: str, scope: Scope, receive: Receive) -> ASGIApp:
        _check_method(scope, ("POST",))
        check_origin(scope)
        actor = await permitted(self._authorize, scope, "act")
        body = await body_of(scope, receive)
        if not self._coordinator.running:
            raise Problem(503, STOPPED)
        return of_json(await perform(name, self._coordinator, body, actor))

    async def _status(self, _: Scope) -> ASGIApp:
        await self._watch.refresh()
        status = self._watch.board.status(self._watch.overview())
        return Answer(200, "application/json", status)

    async def _circuit(self, scope: Scope) -> ASGIApp:
        name = Query(scope).name()
        view = await self._watch.circuit(name)
        if not (view.is_known or name in self._coordinator.breakers):
            raise Problem(404, "the fleet has no circuit of this name", field="name")
        return of_json(records.of_circuit(name, view, what_next(view)))

    async def _events(self, scope: Scope) -> ASGIApp:
        query = Query(scope)
        found = await self._watch.events(query.after(), query.limit())
        return of_json({"version": records.VERSION, "events": [*map(records.of_event, found)]})

    async def _policies(self, _: Scope) -> ASGIApp:
        texts = await self._watch.policies()
        return of_json({"version": records.VERSION, "policies": dict(texts)})

    async def _stream(self, scope: Scope) -> ASGIApp:
        acts = await self._may_act(scope)  # before the count: what follows is one step
        if self._viewers >= MAX_VIEWERS:
            full = f"{MAX_VIEWERS} viewers are connected to this process already"
            raise Problem(503, full, headers={"retry-after": "5"})
        greeting = {"title": self._title, "instance": self._coordinator.instance_id, "acts": acts}
        mark = header(scope, "last-event-id") or ""
        stream = EventStream(self._watch, mark, json.dumps(greeting).encode())

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            self._viewers += 1
            try:
                await stream(scope, receive, send)
            finally:
                self._viewers -= 1

        return counted

    async def _may_act(self, scope: Scope) -> bool:
        try:
            await permitted(self._authorize, scope, "act")
        except Problem:
            return False
        return True


class _File(NamedTuple):
    content: bytes
    media_type: str
    tag: str


def _load(name: str, media_type: str) -> _File:
    content = files(__package__ or "").joinpath("static", name).read_bytes()
    return _File(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:16]}"')


def _check_method(scope: Scope, allowed: tuple[str, ...]) -> None:
    if scope["method"] not in allowed:
        allow = ", ".join(allowed)
        raise Problem(405, f"send {' or '.join(allowed)}", headers={"allow": allow})
