"""The transport that a `BreakerTransport` is around."""

from __future__ import annotations

from threading import RLock
from typing import Any

from .._runtime import forks
from .library import Library

BASES = ("AsyncBaseTransport", "BaseTransport")


class Inner:
    """A wrapped transport, or the library's own, made for the side that is used when it is.

    Args:
        library: The client library.
        transport: The wrapped transport, or None.

    Raises:
        TypeError: It is no transport, or one of the other library.
    """

    __slots__ = ("__weakref__", "_async", "_given", "_library", "_making", "_sync")

    def __init__(self, library: Library, transport: Any) -> None:
        check_transport(library, "transport", transport)
        self._library = library
        self._given = transport
        self._async = transport if hasattr(transport, "handle_async_request") else None
        self._sync = transport if hasattr(transport, "handle_request") else None
        self._begin_anew()
        forks.watch(self, Inner._begin_anew)

    def _begin_anew(self) -> None:
        self._making = RLock()  # after a fork as well, when another thread may have held it

    def __repr__(self) -> str:
        return repr(self._given) if self._given is not None else f"{self._library.name}'s own"

    def for_async(self) -> Any:
        """The transport for an asynchronous client.

        Raises:
            RuntimeError: The wrapped one serves synchronous clients only.
        """
        return self._async if self._async is not None else self._make_async()

    def for_sync(self) -> Any:
        """The transport for a synchronous client.

        Raises:
            RuntimeError: The wrapped one serves asynchronous clients only.
        """
        return self._sync if self._sync is not None else self._make_sync()

    @property
    def open_async(self) -> Any:
        """What there is to close on the asynchronous side, or None."""
        return self._async

    @property
    def open_sync(self) -> Any:
        """What there is to close on the synchronous side, or None."""
        return self._sync

    def _make_async(self) -> Any:
        if self._given is not None:
            raise RuntimeError(f"{self._given!r} serves {self._library.name}.Client only")
        with self._making:  # a TLS context takes a while
            if self._async is None:
                self._async = self._library.module.AsyncHTTPTransport()
            return self._async

    def _make_sync(self) -> Any:
        if self._given is not None:
            raise RuntimeError(f"{self._given!r} serves {self._library.name}.AsyncClient only")
        with self._making:
            if self._sync is None:
                self._sync = self._library.module.HTTPTransport()
            return self._sync


def check_transport(library: Library, what: str, transport: object) -> None:
    """Refuse what is no transport of this library.

    Raises:
        TypeError: The message says what to pass.
    """
    if transport is None:
        return
    if library.is_foreign(transport, *BASES):
        raise TypeError(
            f"{what} must be a transport of {library.name}, {transport!r} belongs to another "
            "library: use the BreakerTransport of the module of that name in zenvark_web"
        )
    known = hasattr(transport, "handle_async_request") or hasattr(transport, "handle_request")
    if isinstance(transport, type) or not known:
        raise TypeError(
            f"{what} must be an {library.name}.AsyncBaseTransport or a {library.name}."
            f"BaseTransport, not {transport!r}"
        )
