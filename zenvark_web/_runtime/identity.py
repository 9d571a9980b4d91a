"""The unique name of an instance in its fleet."""

from __future__ import annotations

from threading import Lock

from .host import Host

STOOD_STILL = 1.0
"""Seconds by which the clocks of a machine differ only after a freeze or a change of its clock."""


class Identity:
    """An instance's name.

    The name is assigned as late as possible: copies of a machine image, or of a process, would
    otherwise share it, and each would consider itself the leader.

    Args:
        host: Creates names, and has the clocks.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._lock = Lock()
        self._shown = False
        self._taken_at = self._drift()
        self.name: str = ""

    def show(self) -> str:
        """Return the name to users, who may store it."""
        with self._lock:
            if not self.name:
                self._take()
            self._shown = True
        return self.name

    def for_a_run(self, *, bound: bool) -> str:
        """Return the name for a new run: the same as before if it was shown, unless the machine was
        frozen meanwhile, as it is when its image is taken.

        Args:
            bound: Whether results under the previous name are still to be acknowledged.
        """
        with self._lock:
            # A restored image: the monotonic clock stopped, and the wall clock did not.
            stood_still = abs(self._drift() - self._taken_at) > STOOD_STILL
            if not (self.name and (self._shown or bound)) or stood_still:
                self._take()
        return self.name

    def begin_anew(self) -> None:
        """Remove the name in a forked process."""
        self.name, self._shown = "", False
        self._lock = Lock()

    def _take(self) -> None:
        self.name = self._host.unique_id()
        self._shown = False
        self._taken_at = self._drift()

    def _drift(self) -> float:
        """Return the seconds by which the wall clock is ahead of the clock that stops with the
        machine."""
        return self._host.wall() - self._host.monotonic()
