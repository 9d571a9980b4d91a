"""Timing that survives a noisy machine: rounds in turn, and ratios within a round."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

ROUNDS = 21

Loop = Callable[[int], Awaitable[None]]
"""Makes so many calls, without a function around each: that would be a part of what is measured."""


@dataclass(frozen=True)
class Measured:
    """The CPU time of contestants.

    Args:
        rounds: Microseconds per call in each round, by contestant.
    """

    rounds: Mapping[str, list[float]]

    def microseconds(self, name: str, without: str | None = None) -> float:
        """The median of the rounds.

        Args:
            name: The contestant.
            without: What it is made around, and what is subtracted.
        """
        return statistics.median(self._added(name, without))

    def ratio(self, name: str, to: str, without: str | None = None) -> float:
        """The median of the ratios within a round, which a slower machine does not change."""
        pairs = zip(self._added(name, without), self._added(to, without), strict=True)
        return statistics.median(one / other for one, other in pairs)

    def _added(self, name: str, without: str | None) -> list[float]:
        taken = self.rounds[name]
        if without is None:
            return taken
        return [one - bare for one, bare in zip(taken, self.rounds[without], strict=True)]


async def measure(contestants: Mapping[str, Loop], calls: int) -> Measured:
    """Measure the CPU time of contestants, all in turn in each round."""
    rounds: dict[str, list[float]] = {name: [] for name in contestants}
    for loop in contestants.values():
        await loop(calls // 10)  # the interpreter specialises what runs often
    for _ in range(ROUNDS):
        for name, loop in contestants.items():
            began = time.process_time()
            await loop(calls)
            rounds[name].append((time.process_time() - began) / calls * 1e6)
            await asyncio.sleep(0)  # others have their turns, as in a program that waits at times
    return Measured(rounds)


def show(
    title: str,
    measured: Measured,
    to: str,
    without: str | None = None,
    names: Collection[str] | None = None,
) -> None:
    """Print a table: ratios to a contestant first, then microseconds.

    Args:
        title: What was measured.
        measured: The figures.
        to: The contestant of ratio 1.
        without: What all others are made around; it is subtracted from them.
        names: Which contestants. None: all.
    """
    print(f"\n{title}")
    for name in measured.rounds:
        if name != without and (names is None or name in names):
            ratio = measured.ratio(name, to, without)
            print(f"  {ratio:8.2f} x {measured.microseconds(name, without):10.3f} us  {name}")
