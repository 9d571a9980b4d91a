"""Single commands to a Redis server, for tools that are not instances of the fleet."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Generator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from typing import Any, cast

import redis.exceptions
from redis.asyncio.sentinel import MasterNotFoundError
from redis.client import NEVER_DECODE
from redis.exceptions import AskError, AuthenticationError, NoPermissionError, RedisError

from ..exceptions import BackendError
from ._clients import Executor
from ._nodes import Nodes

PATIENCE = 5.0
"""Seconds for one command, including the connection. Operators are further away than instances."""

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
    NO_DATABASE = "no_database"
    UNREADY = "unready"
    OTHER = "other"


WORDS: Mapping[Trouble, tuple[str, ...]] = {
    Trouble.LOGIN: ("NOAUTH", "WRONGPASS", "Authentication required", "invalid username-password"),
    Trouble.FORBIDDEN: ("NOPERM", "has no permissions", "No permissions", "can't run this"),
    Trouble.WRONG_TYPE: ("WRONGTYPE", "wrong kind of value"),
    Trouble.READ_ONLY: ("READONLY", "read only replica"),
    Trouble.NO_DATABASE: ("DB index", "SELECT is not allowed"),
    Trouble.UNREADY: ("CLUSTERDOWN", "LOADING", "MASTERDOWN", "is loading"),
}
"""Words in error messages. The message of a script contains that of its failed command."""

KINDS: Mapping[Trouble, tuple[type[Exception], ...]] = {
    Trouble.LOGIN: (AuthenticationError,),
    Trouble.FORBIDDEN: (NoPermissionError,),
    Trouble.SILENT: (redis.exceptions.TimeoutError, TimeoutError),
    Trouble.UNREADY: (AskError,),
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
        self._nodes = Nodes(url, PATIENCE)

    def __repr__(self) -> str:
        """The address without user and password."""
        return repr(self._nodes)

    @property
    def is_cluster(self) -> bool:
        """Whether several servers hold the keys, as far as it is known."""
        return self._nodes.are_many

    def open(self) -> None:
        """Prepare for use in the running event loop."""
        self._nodes.open()

    async def close(self) -> None:
        """Close all connections. Never raises."""
        await self._nodes.close()

    async def ask(self, command: str, *arguments: str | int | bytes) -> Any:
        """Run a command.

        Raises:
            InspectionError: The command failed.
        """
        encoded = [part.encode() if isinstance(part, str) else part for part in arguments]

        def run(client: Executor) -> Awaitable[Any]:
            return client.execute_command(command, *encoded, **{NEVER_DECODE: True})

        with _surfaced(command, arguments):
            return await self._nodes.run(_first_key(arguments), run)

    async def time(self, key: str) -> float:
        """Return the clock of the server that holds a key."""
        seconds, micros = await self.ask("EVAL", NOW, 1, key)
        return int(seconds) + int(micros) / 1e6

    async def scan(self, pattern: str) -> AsyncGenerator[bytes]:
        """Yield the keys that match a pattern, on all nodes.

        Raises:
            InspectionError: A command failed.
        """
        with _surfaced("CLUSTER SLOTS", ()):
            nodes = await self._nodes.all()
        for node in nodes:
            cursor = 0
            while True:
                scan = partial(_scan, cursor=cursor, pattern=pattern)
                with _surfaced("SCAN", ()):
                    cursor, page = await node.run(scan)
                for key in page:
                    yield key
                if cursor == 0:
                    break

    async def info(self, key: str) -> dict[str, Any]:
        """Return the `INFO` of the server that holds a key."""

        def run(client: Executor) -> Awaitable[Any]:
            return client.execute_command("INFO")

        with _surfaced("INFO", ()):
            return dict(cast("dict[str, Any]", await self._nodes.run(key, run)))


async def _scan(client: Executor, *, cursor: int, pattern: str) -> tuple[int, Sequence[bytes]]:
    options = {NEVER_DECODE: True}
    reply = await client.execute_command("SCAN", cursor, "MATCH", pattern, "COUNT", 1000, **options)
    return int(reply[0]), reply[1]


@contextmanager
def _surfaced(command: str, arguments: tuple[Any, ...]) -> Generator[None]:
    try:
        yield
    except Exception as error:
        trouble = _trouble(error)
        told = _text(error)
        what = (
            ""
            if trouble in OF_CONNECTIONS
            else f"{command} {_first_key(arguments)}".rstrip() + ": "
        )
        raise InspectionError(f"{what}{told}", trouble) from error


def _text(error: Exception) -> str:
    if isinstance(error, MasterNotFoundError):
        return "no Sentinel replies that names a working primary for this service"
    return str(error) or f"no reply within {PATIENCE:g} s"


def _first_key(arguments: tuple[Any, ...]) -> str:
    found = (part for part in arguments if isinstance(part, str) and part.startswith("zenvark:"))
    return next(found, "")


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
