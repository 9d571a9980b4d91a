"""What all instances of a fleet can read, as far as its leader knows."""

from __future__ import annotations

from collections.abc import Sequence

from .._core.capabilities import Capability
from .._runtime.notifier import Notifier
from ..backends.base import Presence

NAMED = 10
"""The number of instances that a warning names."""


class SharedCapabilities:
    """The capabilities that all present instances have.

    Args:
        notifier: Receives a warning if instances hold up a capability that would be used.
    """

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._present: Sequence[Presence] | None = None
        self._refused: set[Capability] = set()

    def note_present(self, present: Sequence[Presence]) -> None:
        """Record which instances are registered."""
        self._present = present

    def allow(self, capability: Capability) -> bool:
        """Return whether everybody has a capability. False before it is known who is present."""
        if self._present is None:
            return False
        lacking = self._first_lacking(capability)
        if lacking:
            self._notifier.held_up(str(capability), lacking)
        return capability not in self._refused

    def warn_of_ignored_overrides(self) -> None:
        """Warn once of instances that ignore the overrides in force: those need no leader, so
        nothing holds them up."""
        ignoring = self._first_lacking(Capability.OVERRIDE)
        if ignoring:
            self._notifier.overrides_ignored(ignoring)

    def _first_lacking(self, capability: Capability) -> str:
        """Return the names of those who lack a capability, when somebody begins to, or nothing."""
        lacking = [each.instance for each in self._present or () if capability not in each.can]
        if not lacking:
            self._refused.discard(capability)
            return ""
        if capability in self._refused:
            return ""
        self._refused.add(capability)
        more = f" and {len(lacking) - NAMED} more" if len(lacking) > NAMED else ""
        return ", ".join(lacking[:NAMED]) + more
