"""The redis-py clients of a backend, and checks of those that users pass."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol, TypeAlias, cast

import redis
import redis.asyncio
import redis.sentinel
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)

from .._runtime import forks
from ._urls import UNUSABLE, check_database, client_of, close_client, example_of, place_of

RedisLike: TypeAlias = "redis.asyncio.Redis | redis.asyncio.RedisCluster"

LONGEST_WAIT = 2.0

CONNECTIONS = 2
"""The connections of a backend: one for commands, and one that waits for new entries."""

STALE = (ReadOnlyError, BusyLoadingError, ClusterError, AskError, TryAgainError)
"""Replies of a server that cannot serve this address at the moment: a demoted primary that keeps
its connections (READONLY, MASTERDOWN, MOVED), or a server that restarts (LOADING). The address may
lead to another server by now, but only new connections get there."""

STALE_CODES = re.compile(
    r"(?:^|[^A-Za-z])"
    r"(?:READONLY|MASTERDOWN|LOADING|MISCONF|CLUSTERDOWN|NOREPLICAS|UNBLOCKED)\b"
)
"""These and further replies by their codes. Redis 6.2 puts them inside the error of a script, and
redis-py has no class for MISCONF and NOREPLICAS (a primary that refuses writes) or for UNBLOCKED
(a primary that was demoted during a blocking read)."""

KINDS = (
    "redis must be a URL, a redis.asyncio.Redis or RedisCluster, a Backend or None, "
    "not {given!r}{hint}"
)


def is_stale(error: BaseException) -> bool:
    """Whether an error means that only a new connection can work."""
    if isinstance(error, STALE):
        return True
    return isinstance(error, RedisError) and STALE_CODES.search(str(error)) is not None


class Executor(Protocol):
    """The method of a client that a backend uses."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command and return its reply."""
        ...


class OwnClients:
    """Two clients made for a URL: one for commands, one that may block.

    Args:
        url: The URL of the server.
        connect_timeout: The most seconds for a connection attempt.
        name: The name of the connections on the server; None for no name.

    Raises:
        ValueError: The URL is invalid, or has settings with which no connection can be made.
    """

    commands: Executor
    reader: Executor
    longest_wait = LONGEST_WAIT

    def __init__(
        self, url: str, connect_timeout: float, *, name: str | None = "zenvark_web"
    ) -> None:
        try:
            self._place = place_of(url)
        except ValueError:
            # Neither the URL nor what is wrong with it is shown: a password may be part of both.
            raise ValueError(
                f"redis must be a URL such as '{example_of(url)}' (special characters of a "
                "password percent-encoded); what was given is not"
            ) from None
        check_database(url)
        self._url = url
        self._connect_timeout = connect_timeout
        self._name = name
        self._open: list[redis.asyncio.Redis] = []
        _check_settings(self._client())
        forks.watch(self, OwnClients._begin_anew)

    def __repr__(self) -> str:
        return self._place

    def open(self) -> None:
        """Prepare for use in the running event loop."""
        self._open = [self._client(), self._client()]
        self.commands, self.reader = self._open
        self.longest_wait = _longest_wait(self._open[1].connection_pool.connection_kwargs)

    async def let_go(self) -> None:
        """Close the idle connections; the next commands open new ones."""
        for client in self._open:
            await _close_idle(client)

    async def close(self) -> None:
        """Close all connections. Never raises."""
        for client in self._open:
            with suppress(RedisError, OSError):  # it was on its way out anyhow
                await close_client(client)
        self._open = []

    def _client(self) -> redis.asyncio.Redis:
        return client_of(
            self._url,
            protocol=2,
            socket_timeout=None,  # each command has a deadline of its own
            socket_connect_timeout=self._connect_timeout,
            retry=Retry(NoBackoff(), 0),
            client_name=self._name,
        )

    def _begin_anew(self) -> object:
        inherited, self._open = self._open, []
        return inherited


class GivenClient:
    """The user's own client, with its own timeouts and pool.

    Args:
        client: The client.
        shards: The number of backends that share it.

    Raises:
        TypeError: The client has the wrong type.
        ValueError: The client has settings with which a backend cannot work.
    """

    def __init__(self, client: RedisLike, shards: int) -> None:
        _check_kind(client)
        _check_room(client, CONNECTIONS * shards)
        _check_settings(client)
        self._client = client
        self.commands = self.reader = cast(Executor, client)
        self.longest_wait = _longest_wait(_settings(client))

    def __repr__(self) -> str:
        return f"{type(self._client).__name__}(given)"

    def open(self) -> None:
        """Do nothing: the client connects on its own."""

    async def let_go(self) -> None:
        """Close the idle connections; the others stay with their users."""
        await _close_idle(self._client)

    async def close(self) -> None:
        """Leave the client to the user."""


async def _close_idle(client: RedisLike) -> None:
    closing: list[Callable[[], Awaitable[object]]]
    if isinstance(client, redis.asyncio.Redis):
        pool = client.connection_pool
        closing = [lambda: pool.disconnect(inuse_connections=False)]
    else:
        nodes: Iterable[Any] = client.get_nodes()
        # Before redis-py 7 a node can only close all.
        closing = [getattr(node, "disconnect_free_connections", node.disconnect) for node in nodes]
    for close in closing:
        with suppress(RedisError, OSError, TimeoutError):
            await close()


def _settings(client: RedisLike) -> Mapping[str, Any]:
    if isinstance(client, redis.asyncio.Redis):
        return client.connection_pool.connection_kwargs
    return client.connection_kwargs


def _longest_wait(settings: Mapping[str, Any]) -> float:
    """The longest wait of a blocking read: it must end before the client's own socket timeout."""
    timeout = settings.get("socket_timeout")
    return LONGEST_WAIT if timeout is None else min(LONGEST_WAIT, timeout / 2)


# Checks of clients: each error says what to pass instead


def _check_kind(client: object) -> None:
    if isinstance(client, Pipeline):  # a subclass of Redis that only collects commands
        raise TypeError(KINDS.format(given=client, hint=": give the client that it was made by"))
    if not isinstance(client, redis.asyncio.Redis | redis.asyncio.RedisCluster):
        raise TypeError(KINDS.format(given=client, hint=_hint(client)))
    pool: Any = getattr(client, "connection_pool", None)
    if isinstance(pool, SentinelConnectionPool) and not cast(Any, pool).is_master:
        raise ValueError(
            "redis is a client for replicas, which take no writes: "
            "make it by `sentinel.master_for(...)`, not `slave_for`"
        )


def _hint(given: object) -> str:
    if isinstance(given, redis.Redis | redis.RedisCluster):
        return ": give the asynchronous client, of the same name in redis.asyncio, or the URL"
    if isinstance(given, redis.sentinel.Sentinel):
        return ": give the client that `redis.asyncio.Sentinel(...).master_for(...)` makes"
    if isinstance(given, redis.asyncio.Sentinel):
        return ": give the client that `sentinel.master_for(...)` makes"
    if isinstance(given, redis.asyncio.ConnectionPool):
        return ": give `redis.asyncio.Redis(connection_pool=pool)`"
    return ""


def _check_room(client: RedisLike, needed: int) -> None:
    """A waiting read holds its connection, and commands must not wait for it."""
    if isinstance(client, redis.asyncio.RedisCluster):
        room = _settings(client).get("max_connections", needed)
    else:
        if client.single_connection_client:
            raise ValueError(
                "redis is a client with single_connection_client=True, whose one connection would "
                "be held by reads that wait: leave that setting out, or give the URL"
            )
        room = client.connection_pool.max_connections
    if room < needed:
        raise ValueError(
            f"redis is a client with max_connections={room}, but a coordinator holds {CONNECTIONS} "
            f"connections for each shard, {needed} in all: raise max_connections to {needed} "
            "and what else the client is used for, or give the URL"
        )


def _check_settings(client: RedisLike) -> None:
    settings = _settings(client)
    encoding = settings.get("encoding", "utf-8")
    if "zenvark_web".encode(encoding) != b"zenvark_web":
        raise ValueError(
            f"redis has encoding={encoding!r}, in which a server understands nothing: "
            "leave it out, or make it 'utf-8'"
        )
    if isinstance(client, redis.asyncio.Redis):
        pool: Any = client.connection_pool
        try:
            pool.make_connection()
        except (TypeError, ValueError, RedisError) as error:
            raise ValueError(UNUSABLE.format(error=f"{type(error).__name__}: {error}")) from None
