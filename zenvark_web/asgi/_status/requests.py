"""Requests to the status page: their paths, parameters and bodies, checked."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeAlias, cast
from urllib.parse import parse_qs, urlsplit

from starlette.types import Receive, Scope

from ..._core.order import Position
from .answers import Problem

Right: TypeAlias = Literal["read", "act"]
Authorize: TypeAlias = Callable[[Scope, Right], "str | Awaitable[str | None] | None"]

MAX_BODY = 64 * 1024
MAX_QUERY = 4_096
MAX_PAGE = 500

NOBODY = (
    "nothing can be changed here: pass `StatusApp(coordinator, authorize=...)` a function that "
    "returns the name of whoever may act"
)
REFUSED = "this request is not authorized"
OWN_HEADER = "send the header `X-Zenvark: 1`, which pages of other sites cannot send"
OTHER_SITE = "requests that pages of other sites make are refused"


def path_of(scope: Scope) -> str:
    """Return the path below the mount, which servers and frameworks tell in two ways."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    if root and (path == root or path.startswith(f"{root}/")):
        return path[len(root) :]
    return path


def header(scope: Scope, name: str) -> str | None:
    """Return the first header of a name."""
    wanted = name.encode()
    found = (value for key, value in scope["headers"] if key.lower() == wanted)
    value = next(found, None)
    return None if value is None else bytes(value).decode("latin-1")


class Query:
    """The parameters of a request.

    Raises:
        Problem: There are too many.
    """

    def __init__(self, scope: Scope) -> None:
        text = bytes(scope.get("query_string", b""))
        if len(text) > MAX_QUERY:
            raise Problem(414, f"the query is longer than {MAX_QUERY} bytes")
        self._given = parse_qs(text.decode("latin-1"), keep_blank_values=True, errors="replace")

    def name(self) -> str:
        """Return the name of a circuit.

        Raises:
            Problem: There is none, or more than one.
        """
        [*names] = self._given.get("name", ())
        if len(names) != 1 or not names[0]:
            raise Problem(400, "pass the name of one circuit: ?name=payments", field="name")
        return names[0]

    def after(self) -> Position | None:
        """Return a position, or None.

        Raises:
            Problem: It is not one.
        """
        text = self._given.get("after", [None])[-1]
        if text is None:
            return None
        if not re.fullmatch(r"\d{1,15}-\d{1,15}", text, re.ASCII):
            raise Problem(400, "pass the `position` of an event: ?after=0-0", field="after")
        return Position.parse(text)

    def limit(self) -> int:
        """Return the most items to return.

        Raises:
            Problem: It is not a number, or out of range.
        """
        text = self._given.get("limit", ["100"])[-1]
        if not re.fullmatch(r"\d{1,4}", text, re.ASCII) or not 1 <= int(text) <= MAX_PAGE:
            raise Problem(400, f"pass a whole number from 1 to {MAX_PAGE}", field="limit")
        return int(text)


async def permitted(authorize: Authorize | None, scope: Scope, right: Right) -> str:
    """Return the name of whoever sends a request; empty if nobody asks for it.

    Raises:
        Problem: The request is not permitted.
    """
    if authorize is None:
        if right == "act":
            raise Problem(403, NOBODY)
        return ""
    name: object = authorize(scope, right)
    if inspect.isawaitable(name):
        name = await name
    if name is None or name == "":
        raise Problem(403, REFUSED)
    if not isinstance(name, str):
        raise TypeError(f"authorize must return the name of the actor or None, not {name!r}")
    return name


def check_origin(scope: Scope) -> None:
    """Refuse a request that a page of another site may have made.

    A page of another site can send neither the header nor JSON without this server's consent, and
    browsers name the origin.

    Raises:
        Problem: The request is refused.
    """
    if header(scope, "x-zenvark") != "1":
        raise Problem(403, OWN_HEADER)
    site, origin = header(scope, "sec-fetch-site"), header(scope, "origin")
    if site is not None:
        if site != "same-origin":
            raise Problem(403, OTHER_SITE)
    elif origin is not None and not _is_own(origin, header(scope, "host")):
        raise Problem(403, OTHER_SITE)
    kind = (header(scope, "content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(415, "send the body as `Content-Type: application/json`")


async def body_of(scope: Scope, receive: Receive) -> Mapping[str, Any]:
    """Return the object in the body of a request.

    Raises:
        Problem: The body is too large, or not a JSON object.
    """
    told = header(scope, "content-length") or "0"
    if told.isdecimal() and int(told) > MAX_BODY:
        raise _too_large()
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "the request ended before its body")
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise _too_large()
        more = message.get("more_body", False)
    try:
        found: object = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Problem(400, 'send a JSON object, such as {"circuit": "payments"}')
    return cast("dict[str, Any]", found)


def _too_large() -> Problem:
    return Problem(413, f"the body is larger than {MAX_BODY} bytes")


def _is_own(origin: str, host: str | None) -> bool:
    try:
        return host is not None and urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False
