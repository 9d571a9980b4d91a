"""The requests of operators who are not instances of the fleet."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

from . import _requests
from ._scripts import Script, load_scripts
from .base import OverrideRecord, OverrideRequest, Probe
from .inspection import Inspector
from .views import Parts

_SCRIPTS = load_scripts()


class Operator:
    """Sends requests to the shards of a namespace. They need neither a leader nor a lease.

    Args:
        inspector: The connection to the namespace.
        shards: Its number of shards.

    Every method raises `InspectionError` if a command fails. It may have been executed; repeating
    it is harmless.
    """

    def __init__(self, inspector: Inspector, shards: int) -> None:
        self._inspector = inspector
        self._shards = shards

    async def override(
        self, request: OverrideRequest, numbers: Sequence[int]
    ) -> Parts[OverrideRecord]:
        """Set or lift an override in some shards, as `Backend.override` does.

        Raises:
            OverrideConflictError: The override in force is not the expected one.
            OverrideLimitError: There are as many overrides as there may be.
        """
        return await self._inspector.of_each(
            numbers, lambda shard: _requests.override(self._script_of(shard), request, above=0)
        )

    async def probe(self, probe: Probe, shard: int) -> None:
        """Ask for an attempt to recover, as `Backend.probe` does."""
        await _requests.probe(self._script_of(shard), probe)

    def _script_of(self, shard: int) -> Script:
        def run(name: str, keys: Sequence[str], *args: str | int) -> Awaitable[Any]:
            named = [self._inspector.key(key, shard, self._shards) for key in keys]
            source, _ = _SCRIPTS[name]
            return self._inspector.server.ask("EVAL", source, len(named), *named, *args)

        return run
