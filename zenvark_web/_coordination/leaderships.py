"""How many shards this instance leads, and how many it should."""

from __future__ import annotations

from math import ceil

from .._core.states import Role
from .._runtime.notifier import Surface

HESITATION = 0.05
"""Seconds that an instance lets others go first, for each shard that it leads already."""


class Leaderships:
    """The leases that one instance holds at the moment.

    Args:
        shards: How many there are to hold.
        surface: Told when the instance begins to lead, and when it leads nothing any more.
    """

    def __init__(self, shards: int, surface: Surface) -> None:
        self._shards = shards
        self._surface = surface
        self._held = 0

    @property
    def role(self) -> Role:
        """Whether the instance leads."""
        return Role.LEADER if self._held else Role.FOLLOWER

    def hesitation(self) -> float:
        """The seconds to wait before taking one more, so that they spread over the fleet."""
        return HESITATION * self._held

    def too_many(self, instances: int) -> bool:
        """Whether the instance holds more than its share among so many."""
        return self._held > ceil(self._shards / max(1, instances))

    def taken(self) -> None:
        """One more is held."""
        self._held += 1
        if self._held == 1:
            self._surface.role_changed(Role.LEADER)

    def given_up(self) -> None:
        """One fewer is held."""
        self._held -= 1
        if not self._held:
            self._surface.role_changed(Role.FOLLOWER)
