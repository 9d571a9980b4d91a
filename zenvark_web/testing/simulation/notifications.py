"""The invariants of the fleet's notifications in a simulation.

No transition is without a call of `on_published`, unless the store has lost it. A leader calls it
once, in the order of the stream; another one repeats a call only in a later lease.
"""

from __future__ import annotations

from ..._circuits.shard import shard_of
from ..._core.order import Position
from ..._core.states import Transition
from ...events import PublishedChange
from .._network import Server
from .world import World


class NotificationChecks:
    """Observes the calls of `on_published` in a fleet.

    Args:
        world: The world.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._pending: set[tuple[str, int]] = set()
        self._calls: dict[tuple[int, str], list[tuple[str, int]]] = {}
        self._last: dict[tuple[str, int, int], Position] = {}

    def published(self, server: Server, transition: Transition) -> None:
        """A transition is in force. (Before the first record, and after a loss, a leader that dies
        at once leaves none.)"""
        if self._world.settings.notify and not server.lives and server.store.notified is not None:
            self._pending.add((transition.circuit, transition.generation))

    def notified(self, instance: str, change: PublishedChange) -> None:
        """An instance calls `on_published`."""
        server = self._world.servers[shard_of(change.name, len(self._world.servers))]
        self._pending.discard((change.name, change.generation))
        self._world.summary.notifications += 1
        if server.lives:
            return
        epoch, position = server.store.epoch, Position.parse(change.position)
        calls = self._calls.setdefault((change.generation, change.name), [])
        self._world.require(
            (instance, epoch) not in calls and len(calls) < epoch,
            f"{instance} was notified again of {change.name} {change.generation}",
        )
        calls.append((instance, epoch))
        last = self._last.get((instance, epoch, id(server)))
        self._world.require(
            last is None or position > last, f"{instance} was notified out of order of {change}"
        )
        self._last[instance, epoch, id(server)] = position

    def close(self) -> None:
        """Check that each transition was reported."""
        if not any(server.lives for server in self._world.servers):
            self._world.require(
                not self._pending, f"nobody was notified of {sorted(self._pending)}"
            )
