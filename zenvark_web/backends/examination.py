"""Facts about a namespace and its server, for a diagnosis, collected without side effects.

A permission is tested with a command that cannot change anything: it names a key that does not
exist, under a condition that requires an existing key, or has one argument too many. Redis checks
permissions before arguments.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .._core.order import Position
from ._scripts import PRELUDE, load_scripts
from .asking import InspectionError, Trouble
from .inspection import HASHES, STREAMS, STRINGS, Inspector
from .views import Layout, ShardView

SAMPLES = 10
INTERVAL = 0.1
"""The number of requests for the server's time, and the seconds between them."""

TRIALS: Mapping[str, tuple[str | int, ...]] = {
    "EVAL": ("return 1", 1, "KEY"),
    "EVALSHA": ("0" * 40, 1, "KEY"),
    "XREAD": ("COUNT", 1, "STREAMS", "KEY", "0"),
    "TIME": (),
    "GET": ("KEY",),
    "SET": ("KEY", "-", "XX", "PX", 1000),
    "DEL": ("KEY",),
    "PTTL": ("KEY",),
    "PEXPIRE": ("KEY", 1000),
    "XADD": ("KEY", "NOMKSTREAM", "*", "-", "-"),
    "XREVRANGE": ("KEY", "+", "-", "COUNT", 1),
    "XTRIM": ("KEY", "MAXLEN", 0),
    "HGET": ("KEY", "-"),
    "HSET": ("KEY", "-", "-", "one too many"),
    "HDEL": ("KEY", "-"),
    "HGETALL": ("KEY",),
    "HLEN": ("KEY",),
    "HSCAN": ("KEY", 0),
    "CLIENT SETNAME": ("zenvark_web-doctor",),
}
"""Each command that an instance needs, with arguments without effect."""

T = TypeVar("T")

USED_BY_PRELUDE: Mapping[str, tuple[str, ...]] = {
    "keep": ("PTTL", "PEXPIRE"),
    "add": ("XADD", "DEL", "PTTL", "PEXPIRE"),
}


NOTHING = Layout(0)


@dataclass(frozen=True, slots=True)
class Sample:
    """A reading of the server's clock.

    Args:
        asked: The monotonic time of the request.
        answered: The monotonic time of the reply.
        told: The server's time.
    """

    asked: float
    answered: float
    told: float

    @property
    def round_trip(self) -> float:
        """The seconds from the request to the reply."""
        return self.answered - self.asked


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFacts:
    """The facts about a shard.

    Args:
        number: The number of the shard.
        now: The server's clock.
        unread: The error, if the node of a cluster that holds the shard does not reply.
        view: The contents; None if a key is not readable.
        wrong: The errors of keys that are not readable.
        newest: The newest position of each stream, by key.
        policies: The texts of the policies of instances, by their digests.
    """

    number: int
    now: float = 0.0
    unread: InspectionError | None = None
    view: ShardView | None = None
    wrong: Mapping[str, InspectionError] = field(default_factory=dict[str, InspectionError])
    newest: Mapping[str, Position] = field(default_factory=dict[str, Position])
    policies: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts about a namespace and its server.

    Args:
        namespace: The namespace.
        samples: Readings of the server's clock; empty without permission.
        info: The server's `INFO`; None without permission.
        refused: The commands without permission, each with the scripts that need it.
        layout: The number of shards.
        shards: The shards.
        unread: The error, if the shards are not readable.
    """

    namespace: str
    samples: Sequence[Sample] = ()
    info: Mapping[str, Any] | None = None
    refused: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    layout: Layout = NOTHING
    shards: Sequence[ShardFacts] = ()
    unread: InspectionError | None = None


async def examine(inspector: Inspector) -> Facts:
    """Collect the facts.

    Raises:
        InspectionError: The server does not reply.
    """
    layout = await _permitted(inspector.layout(thorough=True))
    found = layout if isinstance(layout, Layout) else NOTHING
    count = max(1, found.shards)
    key = inspector.key("leader", await _reachable(inspector, count), count)
    samples = await _permitted(_samples(inspector, key))
    info = await _permitted(inspector.server.info(key))
    refused = await _refused(inspector, key.removesuffix("leader"))
    shards = await _permitted(_shards(inspector, found.shards))
    unread = next((each for each in (layout, shards) if isinstance(each, InspectionError)), None)
    return Facts(
        namespace=inspector.namespace,
        samples=() if isinstance(samples, InspectionError) else samples,
        info=None if isinstance(info, InspectionError) else info,
        refused=refused,
        layout=found,
        shards=() if isinstance(shards, InspectionError) else shards,
        unread=unread,
    )


async def _permitted(asked: Awaitable[T]) -> T | InspectionError:
    """Return the reply, or the error if this user lacks the permission."""
    try:
        return await asked
    except InspectionError as error:
        if error.trouble is Trouble.FORBIDDEN:
            return error
        raise


def commands_of_scripts() -> Mapping[str, frozenset[str]]:
    """Return the commands of each script."""
    return {name: _commands(source) for name, (source, _) in load_scripts().items()}


def _commands(source: str) -> frozenset[str]:
    own = source.removeprefix(PRELUDE)
    found = set(re.findall(r"redis\.p?call\('(\w+)'", own))
    for function, commands in USED_BY_PRELUDE.items():
        if re.search(rf"\b{function}\(", own):
            found |= set(commands)
    return frozenset(found)


async def _samples(inspector: Inspector, key: str) -> Sequence[Sample]:
    clock = asyncio.get_running_loop().time
    await inspector.server.time(key)  # connects, which takes longer
    found: list[Sample] = []
    for number in range(SAMPLES):
        if number:
            await asyncio.sleep(INTERVAL)
        asked = clock()
        told = await inspector.server.time(key)
        found.append(Sample(asked, clock(), told))
    return found


async def _refused(inspector: Inspector, prefix: str) -> Mapping[str, Sequence[str]]:
    nobodys = f"{prefix}{os.urandom(16).hex()}"
    needed = commands_of_scripts()
    refused: dict[str, Sequence[str]] = {}
    for command, arguments in TRIALS.items():
        put = [nobodys if each == "KEY" else each for each in arguments]
        if await _is_refused(inspector, command, *put):
            refused[command] = sorted(name for name, used in needed.items() if command in used)
    return refused


async def _is_refused(inspector: Inspector, command: str, *arguments: str | int) -> bool:
    try:
        await inspector.server.ask(command, *arguments)
    except InspectionError as error:
        if error.trouble in {Trouble.UNREACHABLE, Trouble.SILENT}:
            raise
        return error.trouble is Trouble.FORBIDDEN
    return False


async def _reachable(inspector: Inspector, shards: int) -> int:
    """Return the first shard whose server replies; in a cluster, a node may be down."""
    for shard in range(shards):
        told = await inspector.tried(inspector.server.time(inspector.key("leader", shard, shards)))
        if isinstance(told, float):
            return shard
    return 0


async def _shards(inspector: Inspector, shards: int) -> Sequence[ShardFacts]:
    found: list[ShardFacts] = []
    for shard in range(shards):
        facts = await inspector.tried(_shard(inspector, shard, shards))
        if isinstance(facts, InspectionError):
            facts = ShardFacts(number=shard, unread=facts)
        found.append(facts)
    return found


async def _shard(inspector: Inspector, shard: int, shards: int) -> ShardFacts:
    def key(name: str) -> str:
        return inspector.key(name, shard, shards)

    wrong: dict[str, InspectionError] = {}
    for name in (*STRINGS, *STREAMS, *HASHES):
        error = await inspector.probe(name, shard, shards)
        if error is not None:
            wrong[key(name)] = error
    streams = [key(name) for name in STREAMS if key(name) not in wrong]
    return ShardFacts(
        number=shard,
        now=await inspector.server.time(key("leader")),
        view=None if wrong else await inspector.view(shard, shards),
        wrong=wrong,
        newest={stream: await inspector.newest(stream) for stream in streams},
        policies={} if wrong else await inspector.policies(shard, shards),
    )
