"""The transport inside a `BreakerTransport`."""

from __future__ import annotations

from threading import RLock
from typing import Any

from .._runtime import forks
from .client import ClientAdapter

BASES = ("AsyncBaseTransport", "BaseTransport")


class WrappedTransport:
    """The given transport, or the library's own, made for each kind of client on first use.

    Args:
        client: The client library.
        transport: The given transport, or None.

    Raises:
        TypeError: It is not a transport of this library.
    """

    __slots__ = ("__weakref__", "_async", "_client", "_given", "_making", "_sync")

    def __init__(self, client: ClientAdapter, transport: Any) -> None:
        check_transport(client, "transport", transport)
        self._client = client
        self._given = transport
        self._async = transport if hasattr(transport, "handle_async_request") else None
        self._sync = transport if hasattr(transport, "handle_request") else None
        self._begin_anew()
        forks.watch(self, WrappedTransport._begin_anew)

    def _begin_anew(self) -> None:
        self._making = RLock()  # after a fork as well, when another thread may have held it

    def __repr__(self) -> str:
        return repr(self._given) if self._given is not None else f"{self._client.name}'s own"

    def for_async(self) -> Any:
        """The transport for an asynchronous client.

        Raises:
            RuntimeError: The given one serves synchronous clients only.
        """
        return self._async if self._async is not None else self._make_async()

    def for_sync(self) -> Any:
        """The transport for a synchronous client.

        Raises:
            RuntimeError: The given one serves asynchronous clients only.
        """
        return self._sync if self._sync is not None else self._make_sync()

    @property
    def open_async(self) -> Any:
        """The transport to close for asynchronous clients, or None."""
        return self._async

    @property
    def open_sync(self) -> Any:
        """The transport to close for synchronous clients, or None."""
        return self._sync

    def _make_async(self) -> Any:
        self._refuse("AsyncClient", "Client")
        with self._making:  # a TLS context takes a while
            if self._async is None:
                self._async = self._client.module.AsyncHTTPTransport()
            return self._async

    def _make_sync(self) -> Any:
        self._refuse("Client", "AsyncClient")
        with self._making:
            if self._sync is None:
                self._sync = self._client.module.HTTPTransport()
            return self._sync

    def _refuse(self, asking: str, served: str) -> None:
        if self._given is not None:
            name = self._client.name
            raise RuntimeError(
                f"{self._given!r} serves {name}.{served} only: give the {name}.{asking} a "
                "BreakerTransport of its own"
            )


def check_transport(client: ClientAdapter, what: str, transport: object) -> None:
    """Refuse an object that is not a transport of this library.

    Raises:
        TypeError: The message says what to pass.
    """
    if transport is None:
        return
    if client.is_foreign(transport, *BASES):
        raise TypeError(
            f"{what} must be a transport of {client.name}, {transport!r} belongs to another "
            "library: use the BreakerTransport of the module of that name in zenvark_web"
        )
    known = hasattr(transport, "handle_async_request") or hasattr(transport, "handle_request")
    if isinstance(transport, type) or not known:
        raise TypeError(
            f"{what} must be an {client.name}.AsyncBaseTransport or a {client.name}."
            f"BaseTransport, not {transport!r}"
        )
