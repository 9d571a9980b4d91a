"""The stores that pass the suite, and each way there is to be given a Redis."""

import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import redis.asyncio

from tests.helpers.clients import close_client
from tests.helpers.inside import store_of
from tests.helpers.servers import ServerHandle
from zenvark_web import Override, State
from zenvark_web._core.order import START, Lease, Position
from zenvark_web._core.states import Grant, Report, Run, Transition
from zenvark_web.backends import Backend, MemoryBackend, RedisBackend
from zenvark_web.backends._encoding import encode_batch
from zenvark_web.backends.base import (
    Batch,
    OverrideRequest,
    Presence,
    ResultEntry,
    StateEntry,
    StreamEntry,
)
from zenvark_web.backends.redis import KEYS

TTL = 30.0
"""A lease that no test outlives."""

Client = redis.asyncio.Redis | redis.asyncio.RedisCluster
Way = Callable[[str], str | Client]


def by_url(url: str) -> str:
    return url


def by_client(**options: Any) -> Way:
    """A client of the user's, with redis-py's own timeouts and retries."""
    return lambda url: redis.asyncio.Redis.from_url(url, **options)


def by_cluster_client(url: str) -> Client:
    return redis.asyncio.RedisCluster.from_url(url)


def _new_responses() -> dict[str, Any]:
    """Answers that look alike whatever the protocol, where redis-py has them."""
    known = inspect.signature(redis.asyncio.Redis).parameters
    return {"legacy_responses": False} if "legacy_responses" in known else {}


@dataclass(frozen=True)
class Kind:
    """A server, and how the backend gets to it. Without a server: in memory."""

    server: str = ""
    way: Way = by_url


KINDS = {
    "memory": Kind(),
    "url": Kind("redis_server"),
    "url-oldest": Kind("oldest_redis_server"),
    "client": Kind("redis_server", by_client()),
    "client-oldest": Kind("oldest_redis_server", by_client(protocol=3, decode_responses=True)),
    "cluster": Kind("cluster_server", by_cluster_client),
}
"""What passes the whole suite."""

CLIENTS = {
    "resp2": by_client(protocol=2),
    "resp2-decoding": by_client(protocol=2, decode_responses=True),
    "resp3": by_client(protocol=3),
    "resp3-decoding": by_client(protocol=3, decode_responses=True),
    "new-responses": by_client(**_new_responses()),
    "new-responses-resp3": by_client(**_new_responses(), protocol=3),
    "new-responses-decoding": by_client(**_new_responses(), decode_responses=True),
    "short-timeout": by_client(socket_timeout=0.5),
    "latin-1": by_client(encoding="latin-1"),
    "two-connections": by_client(max_connections=2),
    "url-with-options": lambda url: f"{url}?protocol=3&decode_responses=true&socket_timeout=0.5",
}
"""Further ways that differ in what the client answers."""


class Store:
    """One namespace, as several instances see it."""

    def __init__(self) -> None:
        self._opened: list[Backend] = []

    def make(self) -> Backend:
        """Another instance's way to the store, not open yet."""
        raise NotImplementedError

    def lose_everything(self) -> None:
        """What a server does that comes back empty."""
        raise NotImplementedError

    def put_old_results(self, batches: Sequence[Batch]) -> None:
        """Entries from long ago, in an empty stream of results."""
        raise NotImplementedError

    def open(self) -> Backend:
        """Another instance's way to the store."""
        backend = self.make()
        backend.open()
        self._opened.append(backend)
        return backend

    async def close(self) -> None:
        for backend in self._opened:
            await backend.close()


def _clock() -> float:
    """A host's seconds, also of one that has just been switched on: some results are hours old."""
    return time.monotonic() + 1e6


class MemoryStore(Store):
    """Instances in one process share the backend itself."""

    def __init__(self) -> None:
        super().__init__()
        self._backend = MemoryBackend(_clock)

    def make(self) -> Backend:
        return self._backend

    def lose_everything(self) -> None:
        self._backend.__init__(_clock)  # type: ignore[misc]

    def put_old_results(self, batches: Sequence[Batch]) -> None:
        for ms, old in enumerate(batches, start=1):
            store_of(self._backend)._results._entries.append((Position(ms), encode_batch(old)))


class RedisStore(Store):
    """Each instance has a connection of its own."""

    def __init__(self, server: ServerHandle, namespace: str, way: Way = by_url) -> None:
        super().__init__()
        self.server = server
        self.namespace = namespace
        self._way = way
        self._clients: list[Client] = []

    def make(self) -> RedisBackend:
        given = self._way(self.server.url)
        if not isinstance(given, str):
            self._clients.append(given)
        return RedisBackend(given, self.namespace)

    def key(self, name: str) -> str:
        return f"zenvark:{{{self.namespace}}}:{name}"

    def command(self, command: str, name: str, *arguments: str | bytes | int) -> Any:
        """A raw command on one of the namespace's keys."""
        return self.server.command(command, self.key(name), *arguments)

    def lose_everything(self) -> None:
        self.server.command("DEL", *map(self.key, KEYS))

    def put_old_results(self, batches: Sequence[Batch]) -> None:
        with self.server.client() as client:
            for ms, old in enumerate(batches, start=1):
                client.xadd(self.key("results"), dict(encode_batch(old)), id=f"{ms}-0")

    async def close(self) -> None:
        await super().close()
        for client in self._clients:
            await close_client(client)


def me(name: str) -> Presence:
    return Presence(name, "1.2.3", "f00d")


async def lead(backend: Backend, name: str = "web-1", ttl: float = TTL) -> Lease:
    """Take the lease."""
    beat = await backend.heartbeat(me(name), ttl, 0)
    assert beat.lease.holder == name
    return beat.lease


async def publish(backend: Backend, *transitions: Transition) -> bool:
    """Publish under the lease that the first one names."""
    return await backend.publish(lease_of(transitions[0]), *transitions)


async def forget(backend: Backend, *transitions: Transition) -> bool:
    """Forget under the lease that the first one names."""
    return await backend.forget(lease_of(transitions[0]), *transitions)


async def recall(backend: Backend, *transitions: Transition) -> None:
    """Recall under the lease that the first one names."""
    await backend.recall(lease_of(transitions[0]), *transitions)


def lease_of(transition: Transition) -> Lease:
    return Lease(transition.epoch, transition.leader)


def transition(
    lease: Lease, generation: int = 1, circuit: str = "payments", **details: Any
) -> Transition:
    """What the leader of this lease may write."""
    return Transition(
        circuit=circuit,
        generation=generation,
        epoch=lease.epoch,
        leader=lease.holder,
        **{"state": State.OPEN, "at": 12.5, "delay": 1.0, **details},
    )


def grant(holder: str = "web-1") -> Grant:
    return Grant(holder=holder, permits=1)


def batch(number: int = 1, *runs: Run, instance: str = "web-1", sent: float = 0.0) -> Batch:
    """A report of one circuit, by default of one failure."""
    report = Report("payments", runs or (Run(0, True, False, 1, 0.0, "boom"),))
    return Batch(instance, number, sent, (report,))


async def states_of(backend: Backend, after: Position = START) -> list[StateEntry]:
    return [entry for entry in await read_all(backend, after) if isinstance(entry, StateEntry)]


async def told(backend: Backend, after: Position = START) -> list[object]:
    """What the stream of states says."""
    return [entry.item for entry in await states_of(backend, after)]


async def results_of(backend: Backend, after: Position = START) -> list[ResultEntry]:
    read = await read_all(backend, results=after)
    return [entry for entry in read if isinstance(entry, ResultEntry)]


async def read_all(
    backend: Backend, states: Position = START, results: Position | None = None
) -> list[StreamEntry]:
    """All there is now, in as many reads as it takes."""
    entries: list[StreamEntry] = []
    while more := await backend.read(states, results, 0):
        for entry in more:
            if isinstance(entry, StateEntry):
                states = entry.position
            else:
                results = entry.position
        entries += more
    return entries


def override(
    circuit: str = "payments",
    mode: Override | None = Override.FORCE_OPEN,
    *,
    expires_in: float | None = 60.0,
    expect: int | None = None,
) -> OverrideRequest:
    """What an operator asks for."""
    return OverrideRequest(
        circuit=circuit,
        mode=mode,
        reason="the supplier is down",
        actor="ops@host",
        expires_in=expires_in,
        expect=expect,
    )
