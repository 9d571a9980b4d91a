"""The promise of a backend on Redis Streams: Redis 6.2 or newer, or Valkey.

All keys of a namespace share one hash tag, so scripts stay atomic on a cluster. A process holds
two connections: one for commands, taken in turn, and one that waits for new entries. Both have
short timeouts and no hidden retries, because redis-py's defaults (which have moved twice) let a
command on a hung server wait for a minute, and break blocking reads.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import files
from typing import Any, Protocol, TypeAlias, cast

import redis.asyncio
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.client import NEVER_DECODE
from redis.exceptions import NoScriptError, RedisError

from .. import _forks
from .._core._checks import check_name
from .._core.states import Tally, Transition
from ..exceptions import BackendError, FencedError, MalformedEntryError
from . import _codec, _replies
from ._turns import Turn
from .base import (
    Account,
    Batch,
    Entry,
    Heartbeat,
    Presence,
    Snapshot,
)

RedisLike: TypeAlias = "redis.asyncio.Redis | redis.asyncio.RedisCluster"

COMMAND_TIMEOUT = 1.0
LONGEST_WAIT = 2.0
READ_SLACK = 3.0
"""Seconds that a blocking read may take longer than it was told to wait."""

KEYS = ("leader", "epoch", "results", "states", "circuits", "instances", "accounts", "tallies")
MAX_RESULTS = 100_000
MAX_STATES = 10_000
READ_COUNT = 250


class RedisBackend:
    """A store in Redis.

    Args:
        server: A URL (`redis://`, `rediss://`, `unix://`), or a client, which stays yours: it is
            never closed. Prefer a URL: the timeouts are then chosen to fit.
        namespace: The fleet that shares circuits.

    Raises:
        TypeError, ValueError: One of them is not usable.
    """

    def __init__(self, server: str | RedisLike, namespace: str) -> None:
        check_name("namespace", namespace)
        if "{" in namespace or "}" in namespace:
            raise ValueError(
                f"namespace must hold no braces, they mark the hash tag: {namespace!r}"
            )
        self._clients = _OwnClients(server) if isinstance(server, str) else _GivenClient(server)
        self._keys = {name: f"zenvark:{{{namespace}}}:{name}" for name in KEYS}
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<RedisBackend {self._clients!r} {self._keys['leader'].rpartition(':')[0]}>"

    def open(self) -> None:
        self._turn = asyncio.Lock()
        self._clients.open()

    async def close(self) -> None:
        await self._clients.close()

    async def heartbeat(
        self, me: Presence, ttl: float, epoch_floor: int, *, brief: bool = False
    ) -> Heartbeat:
        epoch, leader, left, *news = await self._script(
            "heartbeat",
            ("leader", "epoch", "states", "instances", "circuits", "accounts"),
            me.instance,
            round(ttl * 1000),
            epoch_floor,
            "" if brief else _codec.encode_presence(me),
            _codec.VERSION,
            MAX_STATES,
        )
        return Heartbeat(
            int(epoch),
            _replies.text(leader),
            int(left) / 1000,
            _replies.news(*news) if news else None,
        )

    async def resign(self, instance: str) -> None:
        keys = ("leader", "states", "instances")
        await self._script("resign", keys, instance, _codec.VERSION, MAX_STATES)

    async def load(self, *, leading: bool = False) -> Snapshot:
        keys = ("circuits", "states", "results", "accounts", "tallies")
        return await _replies.snapshot(await self._script("load", keys, int(leading)))

    async def append(self, batch: Batch) -> float:
        fields = [part for field in _codec.encode_batch(batch).items() for part in field]
        sent = round(batch.sent * 1000)
        return int(await self._script("append", ("results",), MAX_RESULTS, sent, *fields)) / 1000

    async def publish(self, *transitions: Transition) -> bool:
        args: list[str | int] = []
        turn = Turn()
        for transition in transitions:
            await turn.share()
            text = _codec.encode_transition(transition)
            args += transition.circuit, transition.generation, text
        return await self._fenced("publish", transitions[0], MAX_STATES, *args)

    async def forget(self, *transitions: Transition) -> bool:
        args: list[str | int] = []
        for transition in transitions:
            args += transition.circuit, transition.generation
        return await self._fenced("forget", transitions[0], _codec.VERSION, MAX_STATES, *args)

    async def _fenced(self, name: str, signed: Transition, *args: str | int) -> bool:
        """Run a script on the states under the lease that a transition names."""
        keys = ("leader", "circuits", "states")
        done = await self._script(name, keys, f"{signed.epoch}:{signed.leader}", *args)
        return _done(done, signed.epoch)

    async def settle(
        self,
        epoch: int,
        leader: str,
        position: str,
        accounts: Mapping[str, Account],
        tallies: Mapping[str, Tally | None],
    ) -> None:
        pairs: list[str] = []
        for instance, account in accounts.items():
            pairs += instance, _codec.encode_account(account)
        turn = Turn()
        for circuit, tally in tallies.items():
            await turn.share()
            pairs += circuit, "" if tally is None else _codec.encode_tally(tally)
        keys = ("leader", "accounts", "tallies")
        lease = f"{epoch}:{leader}"
        done = await self._script(
            "settle", keys, lease, len(accounts), *pairs, _replies.POSITION, position
        )
        _done(done, epoch)

    async def read(self, states: str, results: str | None, wait: float) -> Sequence[Entry]:
        keys, positions = [self._keys["states"]], [states]
        if results is not None:
            keys.append(self._keys["results"])
            positions.append(results)
        wait = min(wait, self._clients.longest_wait)
        block = ("BLOCK", max(1, round(wait * 1000))) if wait > 0 else ()
        with _surfaced("XREAD"):
            async with asyncio.timeout(wait + READ_SLACK):
                reply = await self._clients.reader.execute_command(
                    "XREAD", "COUNT", READ_COUNT, *block, "STREAMS", *keys, *positions,
                    **{NEVER_DECODE: True},
                )  # fmt: skip
            entries: list[Entry] = []
            turn = Turn()
            for entry in _replies.entries(reply, self._keys["states"]):
                entries.append(entry)
                await turn.share()
            return entries

    async def tidy(self, results_age: float, instance_age: float) -> Sequence[Presence]:
        stored = await self._script(
            "tidy",
            ("results", "instances", "accounts"),
            round(results_age * 1000),
            round(instance_age * 1000),
        )
        present: list[Presence | MalformedEntryError] = []
        for instance, text in zip(stored[::2], stored[1::2], strict=True):
            presence = _replies.text(text).split(" ", 2)[-1]
            present.append(_codec.decode_presence(_replies.text(instance), presence))
        return [item for item in present if isinstance(item, Presence)]

    async def _script(self, name: str, keys: Sequence[str], *args: str | int) -> Any:
        source, digest = _SCRIPTS[name]
        call = (len(keys), *(self._keys[key] for key in keys), *args)
        try:
            return await self._command("EVALSHA", digest, *call)
        except BackendError as error:
            if not isinstance(error.__cause__, NoScriptError):
                raise
        return await self._command("EVAL", source, *call)

    async def _command(self, *args: str | int) -> Any:
        # The lock keeps commands to one connection, and so in the order they were asked for.
        with _surfaced(str(args[0])):
            async with asyncio.timeout(COMMAND_TIMEOUT), self._turn:
                return await self._clients.commands.execute_command(*args, **{NEVER_DECODE: True})


class _Executor(Protocol):
    async def execute_command(self, *args: Any, **options: Any) -> Any: ...


class _OwnClients:
    """Two clients made for a URL: one for commands, one that may block."""

    commands: _Executor
    reader: _Executor
    longest_wait = LONGEST_WAIT

    def __init__(self, url: str) -> None:
        try:
            self._place = _place(url)
        except ValueError:
            # Neither the URL nor what is wrong with it is shown: a password may be part of both.
            raise ValueError(
                "redis must be a URL such as 'redis://localhost:6379/0' (special characters of a "
                "password percent-encoded); what was given is not"
            ) from None
        self._url = url
        self._open: list[redis.asyncio.Redis] = []
        _forks.watch(self, _OwnClients._begin_anew)

    def __repr__(self) -> str:
        return self._place

    def open(self) -> None:
        self._open = [self._client(), self._client()]
        self.commands, self.reader = self._open
        self.longest_wait = _longest_wait(self._open[1].connection_pool.connection_kwargs)

    def _client(self) -> redis.asyncio.Redis:
        return redis.asyncio.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
            self._url,
            protocol=2,
            socket_timeout=None,  # each command has a deadline of its own, see `_command`
            socket_connect_timeout=COMMAND_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
            client_name="zenvark_web",
        )

    async def close(self) -> None:
        for client in self._open:
            with suppress(RedisError, OSError):  # it was on its way out anyhow
                await client.aclose()
        self._open = []

    def _begin_anew(self) -> object:
        inherited, self._open = self._open, []
        return inherited


class _GivenClient:
    """The user's own client, for everything: its timeouts and its pool are his."""

    def __init__(self, client: RedisLike) -> None:
        if not isinstance(client, redis.asyncio.Redis | redis.asyncio.RedisCluster):
            raise TypeError(
                "redis must be a URL, a redis.asyncio.Redis or RedisCluster, a Backend or None, "
                f"not {client!r}"
            )
        self._client = client
        self.commands = self.reader = cast(_Executor, client)
        if isinstance(client, redis.asyncio.Redis):
            self.longest_wait = _longest_wait(client.connection_pool.connection_kwargs)
        else:
            self.longest_wait = _longest_wait(client.connection_kwargs)

    def __repr__(self) -> str:
        return f"{type(self._client).__name__}(given)"

    def open(self) -> None:
        pass

    async def close(self) -> None:
        pass


def _longest_wait(settings: Mapping[str, Any]) -> float:
    """A blocking read must end before the client's own socket timeout, which a URL may set."""
    timeout = settings.get("socket_timeout")
    return LONGEST_WAIT if timeout is None else min(LONGEST_WAIT, timeout / 2)


@contextmanager
def _surfaced(what: str) -> Generator[None, None, None]:
    """Turns whatever a client raises into a `BackendError`, with the cause kept."""
    try:
        yield
    except Exception as error:
        message = str(error) or "no answer in time"
        raise BackendError(f"Redis, {what}: {type(error).__name__}: {message}") from error


def _done(answer: int, epoch: int) -> bool:
    """What a fenced script's answer means."""
    if answer == -1:
        raise FencedError.of(epoch)
    return bool(answer)


def _load_scripts() -> Mapping[str, tuple[str, str]]:
    scripts: dict[str, tuple[str, str]] = {}
    for file in files(__name__.rpartition(".")[0]).joinpath("scripts").iterdir():
        if file.name.endswith(".lua"):
            source = file.read_text("utf-8")
            digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
            scripts[file.name.removesuffix(".lua")] = (source, digest)
    return scripts


_SCRIPTS = _load_scripts()


def _place(url: str) -> str:
    """Where a URL leads to, without whatever else it may hold."""
    settings = parse_url(url)
    if "path" in settings:
        return f"unix://{settings['path']}"
    scheme = url.partition("://")[0]
    host, port = settings.get("host", "localhost"), settings.get("port", 6379)
    return f"{scheme}://{host}:{port}/{settings.get('db', 0)}"
