"""The servers that hold the keys of a namespace: one, or the nodes of a cluster.

redis-py's cluster client closes all its connections when one node fails, also those in use. A tool
that shows what is left of a cluster needs connections that fail one by one. It starts at the node
of the URL, and follows the redirection of each hash tag (`MOVED`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from redis.client import NEVER_DECODE
from redis.exceptions import MovedError, RedisError, ResponseError

from ._clients import Executor, OwnClients
from ._urls import at_address

AT_ONCE = 4
"""Concurrent commands for each server, and therefore connections."""

MOST_MOVES = 3
"""Redirections of one command; a slot may move meanwhile."""

T = TypeVar("T")

_TAG = re.compile(r"zenvark:\{(.*)\}:")


class Node:
    """A server.

    Args:
        url: Its URL.
        patience: The most seconds for a command, including the connection.
    """

    def __init__(self, url: str, patience: float) -> None:
        self.clients = OwnClients(url, patience, name=None)
        self._patience = patience
        self._room = asyncio.Semaphore(AT_ONCE)

    def open(self) -> None:
        """Prepare for use in the running event loop."""
        self._room = asyncio.Semaphore(AT_ONCE)
        self.clients.open()

    async def run(self, act: Callable[[Executor], Awaitable[T]]) -> T:
        """Return the result of a command, when there is room for it."""
        async with self._room, asyncio.timeout(self._patience):
            return await act(self.clients.commands)


class Nodes:
    """The servers.

    Args:
        url: The URL of the only one, or of any node of a cluster.
        patience: The most seconds for a command, including the connection.

    Raises:
        ValueError: The URL is invalid.
    """

    def __init__(self, url: str, patience: float) -> None:
        self._url = url
        self._patience = patience
        self._first = Node(url, patience)
        self._others: dict[str, Node] = {}
        self._places: dict[str, Node] = {}
        self.are_many = False

    def __repr__(self) -> str:
        """The address of the first without user and password."""
        return repr(self._first.clients)

    def open(self) -> None:
        """Prepare for use in the running event loop."""
        self._first.open()

    async def close(self) -> None:
        """Close all connections. Never raises."""
        for node in (self._first, *self._others.values()):
            await node.clients.close()
        self._others.clear()
        self._places.clear()

    async def run(self, key: str, act: Callable[[Executor], Awaitable[T]]) -> T:
        """Return the result of a command at the server that holds a key."""
        found = _TAG.match(key)
        tag = found[1] if found else ""
        for _ in range(MOST_MOVES):
            try:
                return await self._places.get(tag, self._first).run(act)
            except MovedError as moved:
                self.are_many = True
                where: Any = moved
                self._places[tag] = self._node_at(where.host, where.port)
            except (RedisError, OSError):
                self._places.pop(tag, None)  # the first node can name the one that was promoted
                raise
        return await self._places[tag].run(act)

    async def all(self) -> Sequence[Node]:
        """Return the server, or all primaries of the cluster."""

        def slots(client: Executor) -> Awaitable[Any]:
            return client.execute_command("CLUSTER SLOTS", **{NEVER_DECODE: True})

        try:
            ranges = await self._first.run(slots)
        except ResponseError as error:
            if "cluster support disabled" not in str(error):
                raise
            return [self._first]
        places = {(part[2][0].decode(), int(part[2][1])) for part in ranges}
        return [self._node_at(*place) for place in sorted(places)]

    def _node_at(self, host: str, port: int) -> Node:
        url = at_address(self._url, host, port)
        node = self._others.get(url)
        if node is None:
            node = self._others[url] = Node(url, self._patience)
            node.open()
        return node
