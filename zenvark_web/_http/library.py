"""What the shared code gets from a client library: httpx and httpx2 have the same names."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any, Protocol

from .._core.states import State

NAMES = frozenset({"httpx", "httpx2"})


class RequestLike(Protocol):
    """What is needed of a request."""

    @property
    def method(self) -> str:
        """In capitals."""
        ...

    @property
    def url(self) -> Any:
        """The library's URL."""
        ...

    @property
    def headers(self) -> Any:
        """The library's headers."""
        ...

    @property
    def extensions(self) -> Any:
        """A mapping."""
        ...


class ResponseLike(Protocol):
    """What is needed of a response."""

    stream: Any

    @property
    def status_code(self) -> int:
        """The status."""
        ...

    @property
    def is_closed(self) -> bool:
        """Whether the body has been read, or never will be."""
        ...

    @property
    def headers(self) -> Any:
        """The library's headers."""
        ...


class Library:
    """One client library.

    Args:
        module: `httpx` or `httpx2`.
        async_body: Its stream for a response's watched body.
        sync_body: The same for synchronous clients.
        async_upload: Its stream for a request's watched body.
        sync_upload: The same for synchronous clients.
        open_error: Its `CircuitOpenError`.
    """

    __slots__ = (
        "async_body",
        "async_stream",
        "async_upload",
        "bytes_stream",
        "clients",
        "module",
        "open_error",
        "sync_body",
        "sync_stream",
        "sync_upload",
    )

    def __init__(
        self,
        module: Any,
        *,
        async_body: type[Any],
        sync_body: type[Any],
        async_upload: type[Any],
        sync_upload: type[Any],
        open_error: Callable[[str, float, State], Any],
    ) -> None:
        self.module = module
        self.async_body = async_body
        self.sync_body = sync_body
        self.async_upload = async_upload
        self.sync_upload = sync_upload
        self.open_error = open_error
        self.async_stream: type[Any] = module.AsyncByteStream
        self.sync_stream: type[Any] = module.SyncByteStream
        self.bytes_stream: type[Any] = module.ByteStream
        self.clients: tuple[type[Any], ...] = (module.AsyncClient, module.Client)

    @property
    def name(self) -> str:
        """What it is called (with `httpx2.alias_httpx()`, `httpx` is httpx2)."""
        return str(self.module.__name__)

    def is_foreign(self, thing: object, *bases: str) -> bool:
        """Whether something derives from one of these classes of the other library only."""
        if isinstance(thing, self._classes(self.module, bases)):
            return False
        # Not by the names of modules: there are packages that put their own name on classes of
        # httpx. Of a library that nobody has imported there is no object, either.
        others = [sys.modules.get(name) for name in NAMES]
        return any(isinstance(thing, self._classes(other, bases)) for other in others if other)

    def _classes(self, module: Any, names: tuple[str, ...]) -> tuple[type[Any], ...]:
        return tuple(getattr(module, name) for name in names)


def redacted(url: str) -> str:
    """A URL or pattern for messages and logs: without user name and password."""
    return re.sub(r"(^|//)[^/?#]*@", r"\1[secure]@", url)


def missing(name: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """The error to raise when a client library is not installed: it says what to install."""
    if error.name != name:  # something that the library itself needs
        return error
    return ModuleNotFoundError(f"zenvark_web.{name} needs {name}: pip install {name}", name=name)
