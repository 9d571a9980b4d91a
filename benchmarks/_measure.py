"""Timing that survives a noisy machine: rounds in turn, medians, ratios within one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Mapping

ROUNDS = 7


async def microseconds(
    contestants: Mapping[str, Callable[[], Awaitable[object]]], calls: int
) -> dict[str, float]:
    """The median microseconds of CPU time per call, all contestants in turn in each round."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, call in contestants.items():
            began = time.process_time()
            for _ in range(calls):
                await call()
            taken[name].append((time.process_time() - began) / calls * 1e6)
    return {name: statistics.median(times) for name, times in taken.items()}


def show(title: str, rows: Mapping[str, float], unit: str, baseline: str) -> None:
    """Print a table with each row's ratio to the baseline."""
    print(f"\n{title}")
    for name, value in rows.items():
        print(f"  {name:<48} {value:10.2f} {unit:<4} {value / rows[baseline]:8.2f} x")
