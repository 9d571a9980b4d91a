"""`python -m zenvark_web.testing` simulates many seeds, or one seed and prints its history."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from .hosts import POLICY
from .run import simulate
from .settings import SimulationSettings, ViolationError

RAMPED = replace(POLICY, ramp=(0.2, 0.5), ramp_step=2.0)
"""As the simulation's own policy, with a ramp that is short beside its faults."""

Outcome: TypeAlias = tuple[int, float, str]
"""A seed, its virtual hours, and the violation (empty if none)."""


def variants(seed: int, settings: SimulationSettings) -> SimulationSettings:
    """Settings that depend on the seed: one to three shards, either `cut_off`, a ramp for two of
    four seeds, a quorum for four of eight, waits as told for one of five, and notifications for one
    of three."""
    return replace(
        settings,
        shards=1 + seed % 3,
        notify=seed % 3 == 1,
        cut_off="local" if seed % 2 else "hold",
        policy=replace(
            RAMPED if seed % 4 > 1 else POLICY,
            quorum=2 if seed % 8 > 3 else 1,
            throttle="count" if seed % 5 else "open",
        ),
    )


def main() -> None:
    """Run the command; the exit code is 1 if an invariant did not hold."""
    parser = argparse.ArgumentParser(prog="python -m zenvark_web.testing", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="number of seeds (200)")
    parser.add_argument("--first", type=int, default=0, help="first seed (0)")
    parser.add_argument("--seed", type=int, help="run only this seed, and print its history")
    parser.add_argument("--jobs", type=int, default=1, help="seeds that run at a time (1)")
    parser.add_argument("--instances", type=int, default=SimulationSettings.instances)
    parser.add_argument("--circuits", type=int, default=SimulationSettings.circuits)
    parser.add_argument(
        "--calls",
        type=float,
        default=SimulationSettings.calls,
        help="calls per second of each instance",
    )
    parser.add_argument(
        "--hours",
        type=float,
        default=SimulationSettings.seconds / 3600,
        help="virtual hours with faults",
    )
    options = parser.parse_args()
    try:
        settings = SimulationSettings(
            instances=options.instances,
            circuits=options.circuits,
            calls=options.calls,
            seconds=options.hours * 3600,
        )
    except ValueError as error:
        parser.error(str(error))
    if options.seed is not None:
        print("\n".join(simulate(options.seed, variants(options.seed, settings)).history))
        return
    began = time.perf_counter()
    seeds = range(options.first, options.first + options.seeds)
    failed = list(_failures(_run_all(seeds, settings, options.jobs)))
    print(f"{len(seeds)} seeds in {time.perf_counter() - began:.0f} s", end="; ")
    print(f"{len(failed)} failed{': --seed ' if failed else ''}{', '.join(map(str, failed))}")
    sys.exit(bool(failed))


def _run_all(seeds: range, settings: SimulationSettings, jobs: int) -> Iterator[Outcome]:
    run = partial(_run, settings=settings)
    if jobs == 1:
        yield from map(run, seeds)
        return
    with ProcessPoolExecutor(jobs) as processes:
        yield from processes.map(run, seeds)


def _run(seed: int, settings: SimulationSettings) -> Outcome:
    try:
        return seed, simulate(seed, variants(seed, settings)).seconds / 3600, ""
    except ViolationError as error:
        return seed, 0.0, str(error).partition("\n")[0]


def _failures(outcomes: Iterable[Outcome]) -> Iterator[int]:
    hours = 0.0
    for seed, more, violation in outcomes:
        hours += more
        if violation:
            print(violation, flush=True)
            yield seed
    print(f"{hours:.1f} virtual hours", end=", ")
