"""Finds namespaces without instances, and deletes their keys."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from . import _replies
from ._read import MAX_SHARDS
from .asking import Server
from .redis import KEYS
from .together import Together
from .views import SILENCE

FIRST = ("instances", "circuits", "leader")
ORDER = (*FIRST, *(key for key in KEYS if key not in FIRST))
"""The keys of a shard, in the order in which the script expects them."""

_SCRIPT = (
    files(__name__.rpartition(".")[0]).joinpath("scripts/operators/purge.lua").read_text("utf-8")
)
_KEY = re.compile(r"zenvark:\{([^{}/]+)(?:/\d{1,3})?\}:\w+", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What Redis holds of a namespace.

    Args:
        namespace: The namespace.
        now: The server's clock.
        keys: The names of the keys.
        circuits: The number of circuits.
        living: The instances with recent heartbeats, or with a lease.
        last_seen: The last heartbeat, in seconds of the server's clock; None if there is none.
    """

    namespace: str
    now: float
    keys: Sequence[str]
    circuits: int
    living: Sequence[str]
    last_seen: float | None


async def find_namespaces(server: Server) -> Sequence[str]:
    """Return the namespaces of which a server, or a cluster, holds keys.

    Raises:
        InspectionError: A command failed.
    """
    found: set[str] = set()
    async for key in server.scan("zenvark:{*}:*"):
        if namespace := _KEY.fullmatch(_replies.text(key)):
            found.add(namespace[1])
    return sorted(found)


async def look_at(server: Server, namespace: str) -> Remains:
    """Return what there is of a namespace.

    Raises:
        InspectionError: A command failed.
    """
    return await _purge(server, namespace, delete=False)


async def delete(server: Server, namespace: str) -> Remains:
    """Delete the keys of a namespace. A shard in which an instance lives meanwhile keeps its keys.

    Returns:
        What there was.

    Raises:
        InspectionError: A command failed. Repeating is harmless.
    """
    return await _purge(server, namespace, delete=True)


async def _purge(server: Server, namespace: str, *, delete: bool) -> Remains:
    tags = (namespace, *(f"{namespace}/{shard}" for shard in range(MAX_SHARDS)))
    async with Together() as start:
        parts = await asyncio.gather(
            *(start(_of_shard(server, tag, delete=delete)) for tag in tags)
        )
    seen = [part.last_seen for part in parts if part.last_seen is not None]
    return Remains(
        namespace=namespace,
        now=max(part.now for part in parts),
        keys=[key for part in parts for key in part.keys],
        circuits=sum(part.circuits for part in parts),
        living=sorted({name for part in parts for name in part.living}),
        last_seen=max(seen, default=None),
    )


async def _of_shard(server: Server, tag: str, *, delete: bool) -> Remains:
    keys = [f"zenvark:{{{tag}}}:{name}" for name in ORDER]
    silence = round(SILENCE * 1000)
    reply = await server.ask("EVAL", _SCRIPT, len(keys), *keys, int(delete), silence)
    now, living, there, last, circuits = reply
    numbers: Sequence[int] = there
    return Remains(
        namespace=tag,
        now=int(now) / 1000,
        keys=[keys[number - 1] for number in numbers],
        circuits=circuits,
        living=[_replies.text(name) for name in living],
        last_seen=int(last) / 1000 if last else None,
    )
