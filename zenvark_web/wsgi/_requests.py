"""Requests of WSGI in the terms of ASGI, which the protection of routes uses."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from ..asgi._call import RouteCall

T = TypeVar("T")

ENVIRON = "zenvark_web.environ"
"""The key of the WSGI environment in a scope."""


def scope_of(environ: WSGIEnvironment) -> dict[str, Any]:
    """The scope of a request (ASGI 3, "HTTP connection scope").

    WSGI passes paths as text whose characters are bytes (PEP 3333, "Unicode issues").
    """
    root = _text(environ.get("SCRIPT_NAME", ""))
    headers = [
        (_bytes(name[5:].replace("_", "-").lower()), _bytes(str(value)))
        for name, value in environ.items()
        if name.startswith("HTTP_")
    ]
    return {
        "type": "http",
        "method": environ.get("REQUEST_METHOD", "GET"),
        "path": root + _text(environ.get("PATH_INFO", "")),
        "root_path": root,
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1", "replace"),
        "scheme": environ.get("wsgi.url_scheme", "http"),
        "headers": headers,
        ENVIRON: environ,
    }


def start_message(status: str, headers: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The first message of a response."""
    return {
        "type": "http.response.start",
        "status": int(status[:3]),
        "headers": [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
        ],
    }


def _bytes(text: str) -> bytes:
    return text.encode("latin-1", "replace")


def _text(path: str) -> str:
    return path.encode("latin-1", "replace").decode("utf-8", "replace")


class RequestInput:
    """`wsgi.input`, during whose reads the clock of the call stands still: a client that sends
    slowly makes no slow call.

    Args:
        stream: The server's input.
        call: The call.
    """

    def __init__(self, stream: Any, call: RouteCall) -> None:
        self._stream = stream
        self._call = call

    def __getattr__(self, name: str) -> Any:
        if name == "_stream":  # a copy that is under way has no attributes yet
            raise AttributeError(name)
        return getattr(self._stream, name)

    def __iter__(self) -> Generator[bytes]:
        while line := self.readline():
            yield line

    def read(self, *args: Any) -> bytes:
        """The next bytes."""
        return self._waiting(cast(Callable[..., bytes], self._stream.read), *args)

    def readline(self, *args: Any) -> bytes:
        """The next line."""
        return self._waiting(cast(Callable[..., bytes], self._stream.readline), *args)

    def readlines(self, *args: Any) -> list[bytes]:
        """The remaining lines."""
        return self._waiting(cast(Callable[..., list[bytes]], self._stream.readlines), *args)

    def _waiting(self, read: Callable[..., T], *args: Any) -> T:
        self._call.wait_for_the_client()
        try:
            return read(*args)
        finally:
            self._call.go_on()
