"""The adapter for a client library. httpx and httpx2 have the same names."""

from __future__ import annotations

import sys
from typing import Any

from .stream import AsyncResponseBody, SyncResponseBody
from .upload import AsyncUpload, SyncUpload

NAMES = frozenset({"httpx", "httpx2"})


class ClientAdapter:
    """One client library, with the streams that watch its bodies.

    Args:
        module: `httpx` or `httpx2`.
        open_error: The `CircuitOpenError` for this library.
        body_error: The `BodySentError` for this library.
    """

    __slots__ = (
        "async_body",
        "async_stream",
        "async_upload",
        "body_error",
        "bytes_stream",
        "clients",
        "module",
        "open_error",
        "sync_body",
        "sync_stream",
        "sync_upload",
    )

    def __init__(self, module: Any, open_error: type[Any], body_error: type[Any]) -> None:
        self.module = module
        self.body_error = body_error
        self.open_error = open_error
        self.async_stream: type[Any] = module.AsyncByteStream
        self.sync_stream: type[Any] = module.SyncByteStream
        self.bytes_stream: type[Any] = module.ByteStream
        self.async_body = _derived(AsyncResponseBody, self.async_stream)
        self.sync_body = _derived(SyncResponseBody, self.sync_stream)
        self.async_upload = _derived(AsyncUpload, self.async_stream)
        self.sync_upload = _derived(SyncUpload, self.sync_stream)
        self.clients: tuple[type[Any], ...] = (module.AsyncClient, module.Client)

    @property
    def name(self) -> str:
        """The library's name (with `httpx2.alias_httpx()`, `httpx` is httpx2)."""
        return str(self.module.__name__)

    def is_foreign(self, thing: object, *bases: str) -> bool:
        """Whether an object derives from one of these classes of the other library only."""
        if isinstance(thing, self._classes(self.module, bases)):
            return False
        # Not by module names: some packages replace the module name of httpx classes. A library
        # that has not been imported has no objects.
        others = [sys.modules.get(name) for name in NAMES]
        return any(isinstance(thing, self._classes(other, bases)) for other in others if other)

    def _classes(self, module: Any, names: tuple[str, ...]) -> tuple[type[Any], ...]:
        return tuple(getattr(module, name) for name in names)


def _derived(watched: type[Any], stream: type[Any]) -> type[Any]:
    """A watched body that passes as a stream of the library."""
    return type(watched.__name__, (watched, stream), {})


def missing(name: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """The error for a client library that is not installed: it says what to install."""
    if error.name != name:  # something that the library itself needs
        return error
    return ModuleNotFoundError(f"zenvark_web.{name} needs {name}: pip install {name}", name=name)
