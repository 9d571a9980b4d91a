"""The name under which an instance takes part: one that no other has, nor has had."""

from __future__ import annotations

from threading import Lock

from .host import Host

STOOD_STILL = 1.0
"""Seconds by which the clocks of a machine differ only if it stood still, or its clock was set."""


class Identity:
    """An instance's name.

    It is taken as late as possible: copies of a machine's image, or of a process', would share it,
    and each take itself for the leader.

    Args:
        host: Makes names, and has the clocks.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._lock = Lock()
        self._shown = False
        self._taken_at = self._drift()
        self.name = ""

    def show(self) -> str:
        """The name, for users, who may have put it down somewhere."""
        with self._lock:
            if not self.name:
                self._take()
            self._shown = True
        return self.name

    def for_a_run(self, *, bound: bool) -> str:
        """The name of the run that begins: the same as before if it was shown, unless the machine
        has stood still in between, as it does when its image is taken.

        Args:
            bound: Whether results are still to be acknowledged under the name before.
        """
        with self._lock:
            stood_still = abs(self._drift() - self._taken_at) > STOOD_STILL
            if not (self.name and (self._shown or bound)) or stood_still:
                self._take()
        return self.name

    def begin_anew(self) -> None:
        """Have no name in a forked process."""
        self.name, self._shown = "", False
        self._lock = Lock()

    def _take(self) -> None:
        self.name = self._host.unique_id()
        self._shown = False
        self._taken_at = self._drift()

    def _drift(self) -> float:
        """The seconds by which the day's clock is ahead of the one that stands still with the
        machine."""
        return self._host.wall() - self._host.monotonic()
