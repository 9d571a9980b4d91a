"""`python -m zenvark_web.testing`: simulate many seeds, or tell the history of one."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from .run import simulate
from .settings import Settings, ViolationError

Outcome: TypeAlias = tuple[int, float, str]
"""A seed, its virtual hours, and what did not hold (or nothing)."""


def variants(seed: int, settings: Settings) -> Settings:
    """Each seed also chooses between one and three shards, and what being cut off means."""
    return replace(settings, shards=1 + seed % 3, cut_off="local" if seed % 2 else "hold")


def main() -> None:
    """Run what the command line asks for; the exit code tells whether all held."""
    parser = argparse.ArgumentParser(prog="python -m zenvark_web.testing", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many to run (200)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--seed", type=int, help="run this one and print its history")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time (1)")
    parser.add_argument("--instances", type=int, default=Settings.instances)
    parser.add_argument("--circuits", type=int, default=Settings.circuits)
    parser.add_argument("--calls", type=float, default=Settings.calls, help="a second and instance")
    parser.add_argument("--hours", type=float, default=Settings.seconds / 3600, help="of faults")
    options = parser.parse_args()
    try:
        settings = Settings(
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


def _run_all(seeds: range, settings: Settings, jobs: int) -> Iterator[Outcome]:
    run = partial(_run, settings=settings)
    if jobs == 1:
        yield from map(run, seeds)
        return
    with ProcessPoolExecutor(jobs) as processes:
        yield from processes.map(run, seeds)


def _run(seed: int, settings: Settings) -> Outcome:
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
