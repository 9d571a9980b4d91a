"""The backend protocol on Redis Streams: Redis 6.2 or newer, or Valkey.

All keys of a namespace share one hash tag, so scripts stay atomic on a cluster. A process holds
two connections: one for commands, which take turns, and one that waits for new entries. Both have
short timeouts and no hidden retries, because redis-py's defaults (which have changed twice) let a
command wait for a minute on a hanging server, and break blocking reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from redis.client import NEVER_DECODE
from redis.exceptions import NoScriptError, RedisError

from .._core._checks import check_name
from .._core.order import Lease, Position
from .._core.overrides import KEPT_NUMBERS
from .._core.states import Suspect, Transition
from ..exceptions import (
    BackendError,
    FencedError,
    MalformedEntryError,
)
from . import _decoding, _encoding, _replies, _requests, _slices
from ._clients import GivenClient, OwnClients, RedisLike, is_stale
from ._scripts import MAX_AUDIT, MAX_STATES, load_scripts
from ._time_slices import TimeSlice
from .asking import NOW
from .base import (
    Batch,
    Checkpoint,
    Heartbeat,
    OverrideRecord,
    OverrideRequest,
    OverrideSnapshot,
    Presence,
    Probe,
    Snapshot,
    StateEntry,
    StreamEntry,
)
from .observation import RedisView

COMMAND_TIMEOUT = 1.0
READ_SLACK = 3.0
"""Seconds by which a blocking read may exceed its wait."""

KEYS = (
    *("leader", "epoch", "results", "states", "circuits", "instances", "accounts", "tallies"),
    *("overrides", "audit", "policies", "notified"),
)
HEARTBEAT_KEYS = (
    *("leader", "epoch", "states", "instances", "circuits", "accounts"),
    # so that they are kept
    *("results", "tallies", "overrides", "audit", "policies", "notified"),
)
# The leader trims by age. This bounds the stream of a fleet without a leader.
MAX_RESULTS = 100_000
# Each version of the policies has two texts, so this is room for ten of them during a rollout.
MAX_TEXTS = 20
READ_COUNT = 250

CONNECTING = "; its connections are closed, the address may lead to another server by now"
DEMOTED = f" (a primary that has become a replica, and is READONLY now){CONNECTING}"
INTERRUPTED = "commands reach another server by now; what is read is to come from there, too"


class RedisBackend:
    """A store in Redis.

    Args:
        server: A URL (`redis://`, `rediss://`, `unix://`, `redis+sentinel://`), or your own client,
            which is never closed. Prefer a URL: the backend then chooses the timeouts.
        namespace: The name of the fleet.
        shards: The number of backends that share your client.

    Raises:
        TypeError, ValueError: An argument is not usable.
    """

    def __init__(self, server: str | RedisLike, namespace: str, *, shards: int = 1) -> None:
        check_name("namespace", namespace)
        if "{" in namespace or "}" in namespace:
            raise ValueError(
                f"namespace must hold no braces, they mark the hash tag: {namespace!r}"
            )
        self._clients = (
            OwnClients(server, COMMAND_TIMEOUT)
            if isinstance(server, str)
            else GivenClient(server, shards)
        )
        self._keys = {name: f"zenvark:{{{namespace}}}:{name}" for name in KEYS}
        self._namespace = namespace
        self._turn = asyncio.Lock()
        self._stale = False
        self._moved = False
        self._reading: asyncio.Timeout | None = None
        self._appended = False

    def __repr__(self) -> str:
        return f"<RedisBackend {self._clients!r} {self._keys['leader'].rpartition(':')[0]}>"

    def open(self) -> None:
        self._turn = asyncio.Lock()
        self._stale = False
        self._appended = False
        self._clients.open()

    async def close(self) -> None:
        await self._clients.close()

    async def heartbeat(
        self, me: Presence, ttl: float, epoch_floor: int, *, brief: bool = False
    ) -> Heartbeat:
        epoch, leader, left, *news = await self._script(
            "heartbeat",
            HEARTBEAT_KEYS,
            me.instance,
            round(ttl * 1000),
            epoch_floor,
            "" if brief else _encoding.encode_presence(me),
            _encoding.VERSION,
            MAX_STATES,
            MAX_AUDIT,
        )
        if news:
            await self._written()
        return Heartbeat(
            Lease(int(epoch), _replies.text(leader)),
            int(left) / 1000,
            _replies.news(*news) if news else None,
        )

    async def describe(self, texts: Mapping[str, str]) -> None:
        flat = [part for text in texts.items() for part in text]
        await self._script("describe", ("policies",), MAX_TEXTS, *flat)

    async def resign(self, instance: str) -> None:
        keys = ("leader", "states", "instances")
        await self._script("resign", keys, instance, _encoding.VERSION, MAX_STATES)

    async def load(self, *, leading: bool = False) -> Snapshot:
        keys = ("circuits", "states", "results", "accounts", "tallies", "overrides", "notified")
        reply = await self._script("load", keys, int(leading), _slices.SLICE)
        now, states, results, circuits, accounts, tallies, astray, overrides, notified = reply
        if circuits is None:
            found = await _slices.other_circuits(self._script)
        else:
            found = await _slices.transitions(circuits[1::2])
        if tallies is None:
            tallies = await _slices.whole(self._script, "tallies")
        else:
            tallies = _replies.pairs(tallies)
        malformed = [item for item in found if isinstance(item, MalformedEntryError)]
        malformed += [_replies.began_anew(position) for position in astray]
        checkpoint = await _replies.checkpoint(_replies.pairs(accounts), tallies, malformed)
        known = _decoding.decode_overrides(_replies.pairs(overrides), malformed)
        return Snapshot(
            now=int(now) / 1000,
            transitions=tuple(item for item in found if isinstance(item, Transition)),
            position=_replies.position(states),
            results=_replies.position(results),
            checkpoint=checkpoint,
            malformed=tuple(malformed),
            rest=_slices.ClosedCircuits(self._script) if circuits is None else None,
            overrides=known,
            notified=_replies.notified(notified),
        )

    async def append(self, batch: Batch) -> float:
        fields = [part for field in _encoding.encode_batch(batch).items() for part in field]
        sent = round(batch.sent * 1000)
        now = int(await self._script("append", ("results",), MAX_RESULTS, sent, *fields)) / 1000
        await self._written()
        return now

    async def publish(self, lease: Lease, *transitions: Transition) -> bool:
        args: list[str | int] = []
        time_slice = TimeSlice()
        for transition in transitions:
            await time_slice.yield_if_over()
            text = _encoding.encode_transition(transition)
            args += transition.circuit, transition.generation, text
        keys = ("leader", "circuits", "states", "audit")
        return await self._fenced("publish", keys, lease, MAX_STATES, MAX_AUDIT, *args)

    async def unnotified(self, lease: Lease, notified: Position, most: int) -> Sequence[StateEntry]:
        keys = ("leader", "states", "notified")
        reply = await self._script("unnotified", keys, str(lease), str(notified), most)
        if reply == -1:
            raise FencedError.of(lease.epoch)
        return [_replies.state_entry(*entry) for entry in reply]

    async def forget(self, lease: Lease, *transitions: Transition) -> bool:
        keys = ("leader", "circuits", "states")
        named = _named(transitions)
        return await self._fenced("forget", keys, lease, _encoding.VERSION, MAX_STATES, *named)

    async def recall(self, lease: Lease, *transitions: Transition) -> None:
        named = _named(transitions)
        keys = ("leader", "states")
        await self._fenced("recall", keys, lease, _encoding.VERSION, MAX_STATES, *named)

    async def override(self, request: OverrideRequest, above: int) -> OverrideRecord:
        return await _requests.override(self._script, request, above)

    async def probe(self, probe: Probe) -> None:
        await _requests.probe(self._script, probe)

    async def restore_overrides(self, lost: OverrideSnapshot, restored: OverrideSnapshot) -> bool:
        numbers = [_encoding.encode_numbers(each.numbers) for each in (lost, restored)]
        args: list[str] = []
        for record in restored.records:
            args += record.circuit, _encoding.encode_override(record)
        keys = ("overrides", "states")
        written = await self._script(
            "restore", keys, *numbers, _encoding.VERSION, MAX_STATES, *args
        )
        return bool(written)

    async def expire_overrides(self, lease: Lease, ended: Collection[OverrideRecord]) -> None:
        named = [part for record in ended for part in (record.circuit, record.number)]
        keys = ("leader", "overrides", "states", "audit")
        limits = (KEPT_NUMBERS, MAX_STATES, MAX_AUDIT, _encoding.VERSION)
        await self._fenced("expire", keys, lease, *limits, *named)

    async def note_suspects(self, lease: Lease, *suspects: Suspect) -> None:
        parts = [part for each in suspects for part in _encoding.encode_suspect(each).values()]
        limits = (_encoding.VERSION, MAX_AUDIT)
        await self._fenced("suspects", ("leader", "audit"), lease, *limits, *parts)

    async def audit(self, after: Position, most: int) -> Sequence[StateEntry]:
        reply = await self._script("audit", ("audit",), str(after), most)
        return [_replies.state_entry(*entry) for entry in reversed(reply)]

    async def checkpoint(self, lease: Lease, checkpoint: Checkpoint) -> None:
        pairs: list[str] = []
        for instance, account in checkpoint.accounts.items():
            pairs += instance, _encoding.encode_account(account)
        time_slice = TimeSlice()
        for circuit, snapshot in checkpoint.snapshots.items():
            await time_slice.yield_if_over()
            pairs += circuit, _encoding.encode_snapshot(snapshot)
        for circuit in checkpoint.without:
            pairs += circuit, ""
        # Last: if the script fails before, the next leader counts from the old position.
        pairs += _replies.POSITION, str(checkpoint.position)
        keys = ("leader", "accounts", "tallies")
        await self._fenced("checkpoint", keys, lease, len(checkpoint.accounts), *pairs)

    async def _fenced(self, name: str, keys: Sequence[str], lease: Lease, *args: str | int) -> bool:
        """Run a script that writes only under the current lease."""
        answer = await self._script(name, keys, str(lease), *args)
        if answer == -1:
            raise FencedError.of(lease.epoch)
        return bool(answer)

    async def read(
        self, states: Position, results: Position | None, wait: float
    ) -> Sequence[StreamEntry]:
        keys, positions = [self._keys["states"]], [str(states)]
        if results is not None:
            keys.append(self._keys["results"])
            positions.append(str(results))
        wait = min(wait, self._clients.longest_wait)
        block = ("BLOCK", max(1, round(wait * 1000))) if wait > 0 else ()
        with _surfaced("XREAD"):
            where = ("STREAMS", *keys, *positions)
            reply = await self._read("COUNT", READ_COUNT, *block, *where, wait=wait)
            entries: list[StreamEntry] = []
            time_slice = TimeSlice()
            for entry in _replies.entries(reply, self._keys["states"]):
                entries.append(entry)
                await time_slice.yield_if_over()
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
            present.append(_decoding.decode_presence(_replies.text(instance), presence))
        return [item for item in present if isinstance(item, Presence)]

    def view(self) -> RedisView:
        """Return the view of the store for operators."""
        return RedisView(self, repr(self._clients), self._script, self._namespace)

    async def ask(self, command: str, *arguments: str | int | bytes) -> Any:
        """Send a command that only reads.

        Raises:
            BackendError: The command failed.
        """
        return await self._command(command, *arguments)

    async def time(self, key: str) -> float:
        """Return the clock of the server that holds a key.

        Raises:
            BackendError: The command failed.
        """
        seconds, micros = await self._command("EVAL", NOW, 1, key)
        return int(seconds) + int(micros) / 1e6

    async def _script(self, name: str, keys: Sequence[str], *args: str | int) -> Any:
        source, digest = _SCRIPTS[name]
        call = (len(keys), *(self._keys[key] for key in keys), *args)
        if name == "append" and not self._appended:
            # At once: an event loop that runs during calls only has no time for a second question.
            answer = await self._command("EVAL", source, *call)
            self._appended = True
            return answer
        try:
            return await self._command("EVALSHA", digest, *call)
        except BackendError as error:
            if not isinstance(error.__cause__, NoScriptError):
                raise
        return await self._command("EVAL", source, *call)

    async def _command(self, *args: str | int | bytes) -> Any:
        # The lock keeps commands to one connection, and so in the order they were asked for.
        with _surfaced(str(args[0])):
            async with asyncio.timeout(COMMAND_TIMEOUT), self._turn, self._watched():
                return await self._clients.commands.execute_command(
                    args[0], *_encoded(args[1:]), **{NEVER_DECODE: True}
                )

    async def _read(self, *args: str | int, wait: float) -> Any:
        if self._moved:  # a read may have ended, and left its connection, as the others were closed
            self._moved = False
            await self._clients.let_go()
        try:
            async with asyncio.timeout(wait + READ_SLACK) as self._reading, self._watched():
                return await self._clients.reader.execute_command(
                    "XREAD", *_encoded(args), **{NEVER_DECODE: True}
                )
        except TimeoutError:
            if self._reading is None:
                raise ConnectionError(INTERRUPTED) from None
            raise
        finally:
            self._reading = None

    @asynccontextmanager
    async def _watched(self) -> AsyncGenerator[None]:
        """Close the connections if the server's reply says that only new ones can work."""
        try:
            yield
        except RedisError as error:
            if is_stale(error):
                self._stale = True
                await self._clients.let_go()
            raise

    async def _written(self) -> None:
        """A write succeeded. If earlier ones were refused, this may be another server: reads follow
        it there. (A replica serves reads without an error.)"""
        if not self._stale:
            return
        self._stale = False
        self._moved = True
        await self._clients.let_go()
        reading, self._reading = self._reading, None
        if reading is not None and not reading.expired():
            reading.reschedule(0.0)


@contextmanager
def _surfaced(what: str) -> Generator[None, None, None]:
    """Turn any exception of a client into a `BackendError` with that cause."""
    try:
        yield
    except Exception as error:
        message = str(error) or "no answer in time"
        if is_stale(error):
            message += DEMOTED if message.startswith("UNBLOCKED") else CONNECTING
        raise BackendError(f"Redis, {what}: {type(error).__name__}: {message}") from error


def _encoded(args: Sequence[str | int | bytes]) -> Sequence[bytes | int]:
    """Arguments in UTF-8, which the scripts expect, whatever encoding the client has."""
    return [arg.encode() if isinstance(arg, str) else arg for arg in args]


def _named(transitions: Sequence[Transition]) -> Sequence[str | int]:
    """Names and generations of circuits, alternating."""
    return [part for each in transitions for part in (each.circuit, each.generation)]


_SCRIPTS = load_scripts()
