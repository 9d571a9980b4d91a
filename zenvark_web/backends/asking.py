"""Single commands to a Redis server, for tools that are not instances of the fleet."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, cast

import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError
from redis.backoff import NoBackoff
from redis.client import NEVER_DECODE
from redis.exceptions import AuthenticationError, MovedError, NoPermissionError, RedisError

from ..exceptions import BackendError
from ._clients import Executor, OwnClients

PATIENCE = 5.0
"""Seconds for one command, including the connection. Operators are further away than instances."""

AT_ONCE = 4
"""Concurrent commands, and therefore connections."""

NOW = "return redis.call('TIME')"


class Trouble(StrEnum):
    """The kind of a failure."""

    UNREACHABLE = "unreachable"
    NO_PRIMARY = "no_primary"
    SILENT = "silent"
    TLS = "tls"
    LOGIN = "login"
    FORBIDDEN = "forbidden"
    WRONG_TYPE = "wrong_type"
    READ_ONLY = "read_only"
    UNREADY = "unready"
    OTHER = "other"


WORDS: Mapping[Trouble, tuple[str, ...]] = {
    Trouble.LOGIN: ("NOAUTH", "WRONGPASS", "Authentication required", "invalid username-password"),
    Trouble.FORBIDDEN: ("NOPERM", "has no permissions", "No permissions", "can't run this"),
    Trouble.WRONG_TYPE: ("WRONGTYPE", "wrong kind of value"),
    Trouble.READ_ONLY: ("READONLY", "read only replica"),
    Trouble.UNREADY: ("CLUSTERDOWN", "LOADING", "MASTERDOWN", "is loading"),
}
"""Words in error messages. The message of a script contains that of its failed command."""

KINDS: Mapping[Trouble, tuple[type[Exception], ...]] = {
    Trouble.LOGIN: (AuthenticationError,),
    Trouble.FORBIDDEN: (NoPermissionError,),
    Trouble.SILENT: (redis.exceptions.TimeoutError, TimeoutError),
    Trouble.UNREACHABLE: (redis.exceptions.ConnectionError, OSError),
}
"""Classes of other errors, subclasses first."""


OF_CONNECTIONS = {
    *(Trouble.UNREACHABLE, Trouble.NO_PRIMARY, Trouble.SILENT, Trouble.TLS, Trouble.LOGIN)
}


class InspectionError(BackendError):
    """A command failed.

    Args:
        message: The command, and the error.
        trouble: The kind of the failure.
    """

    def __init__(self, message: str, trouble: Trouble) -> None:
        super().__init__(message)
        self.trouble = trouble


class Server:
    """Sends commands to a server, or to the cluster of the server.

    Args:
        url: `redis://`, `rediss://`, `unix://`, or `redis+sentinel://` (see `_urls`).

    Raises:
        ValueError: The URL is invalid.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._clients = OwnClients(url, PATIENCE, name=None)
        self._cluster: redis.asyncio.RedisCluster | None = None
        self._room = asyncio.Semaphore(AT_ONCE)

    def __repr__(self) -> str:
        """The address without user and password."""
        return repr(self._clients)

    def open(self) -> None:
        """Prepare for use in the running event loop."""
        self._room = asyncio.Semaphore(AT_ONCE)
        self._clients.open()

    async def close(self) -> None:
        """Close all connections. Never raises."""
        await self._clients.close()
        if self._cluster is not None:
            await self._cluster.aclose()
            self._cluster = None

    async def ask(self, command: str, *arguments: str | int | bytes) -> Any:
        """Run a command.

        Raises:
            InspectionError: The command failed.
        """
        with _surfaced(command, arguments):
            async with asyncio.timeout(PATIENCE), self._room:
                try:
                    return await self._run(self._executor, command, *arguments)
                except MovedError:
                    return await self._run(self._of_cluster(), command, *arguments)

    async def time(self, key: str) -> float:
        """Return the clock of the server that holds a key. (Clusters send `TIME` to all nodes.)"""
        seconds, micros = await self.ask("EVAL", NOW, 1, key)
        return int(seconds) + int(micros) / 1e6

    async def info(self, key: str) -> dict[str, Any]:
        """Return the `INFO` of the server that holds a key."""
        with _surfaced("INFO", ()):
            async with asyncio.timeout(PATIENCE), self._room:
                if self._cluster is None:
                    told = await self._clients.commands.execute_command("INFO")
                else:
                    node: Any = self._cluster.get_node_from_key(key)
                    told = await node.execute_command("INFO")
                return dict(cast("dict[str, Any]", told))

    async def _run(self, client: Executor, command: str, *arguments: str | int | bytes) -> Any:
        encoded = [part.encode() if isinstance(part, str) else part for part in arguments]
        return await client.execute_command(command, *encoded, **{NEVER_DECODE: True})

    @property
    def _executor(self) -> Executor:
        return self._clients.commands if self._cluster is None else cast(Executor, self._cluster)

    def _of_cluster(self) -> Executor:
        """Return the client that finds the node of each key; for a node that replied `MOVED`."""
        if self._cluster is None:
            self._cluster = redis.asyncio.RedisCluster.from_url(
                self._url,
                socket_timeout=PATIENCE,
                socket_connect_timeout=PATIENCE,
                retry=Retry(NoBackoff(), 0),
            )
        return cast(Executor, self._cluster)


@contextmanager
def _surfaced(command: str, arguments: tuple[Any, ...]) -> Generator[None]:
    try:
        yield
    except Exception as error:
        trouble = _trouble(error)
        told = _text(error)
        what = "" if trouble in OF_CONNECTIONS else f"{command}{_first_key(arguments)}: "
        raise InspectionError(f"{what}{told}", trouble) from error


def _text(error: Exception) -> str:
    if isinstance(error, MasterNotFoundError):
        return "no Sentinel replies that names a working primary for this service"
    return str(error) or f"no reply within {PATIENCE:g} s"


def _first_key(arguments: tuple[Any, ...]) -> str:
    found = (part for part in arguments if isinstance(part, str) and part.startswith("zenvark:"))
    return next((f" {key}" for key in found), "")


def _trouble(error: BaseException) -> Trouble:
    if isinstance(error, MasterNotFoundError):
        return Trouble.NO_PRIMARY
    text = str(error)
    if _is_tls(error):
        return Trouble.TLS
    for trouble, words in WORDS.items():
        if any(word in text for word in words):
            return trouble
    for trouble, kinds in KINDS.items():
        if isinstance(error, kinds):
            return trouble
    return Trouble.OTHER


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError) or "SSL" in str(error):
            return True
        error = error.__cause__ if isinstance(error, RedisError) else None
    return False
