"""What puts the writes of a fleet in order: positions in streams, and leases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

FAR_AHEAD = 86_400.0
"""Seconds ahead of the clock that no entry of the fleet reaches, even after a change of the clock.
"""


class Position(NamedTuple):
    """The position of an entry in a stream. Positions grow, and are compared as numbers.

    Attributes:
        ms: The millisecond at which the store took the entry in.
        sequence: The entry's number within that millisecond.
    """

    ms: int = 0
    sequence: int = 0

    @classmethod
    def parse(cls, text: str) -> Position:
        """The position that a store's text names.

        Raises:
            ValueError: The text names no position.
        """
        ms, _, sequence = text.partition("-")
        return cls(int(ms), int(sequence))

    @property
    def seconds(self) -> float:
        """The second at which the store took the entry in."""
        return self.ms / 1000

    def __str__(self) -> str:
        return f"{self.ms}-{self.sequence}"


START = Position()
"""The position before a stream's first entry."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one instance to write as leader.

    Args:
        epoch: The lease's number. A later lease has a higher one.
        holder: The instance that holds it.
    """

    epoch: int
    holder: str

    def __str__(self) -> str:
        return f"{self.epoch}:{self.holder}"
