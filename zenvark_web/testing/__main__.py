"""`python -m zenvark_web.testing`: simulate many seeds, or tell the history of one."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

from ._settings import Settings, ViolationError
from ._world import simulate


def variants(seed: int, settings: Settings) -> Settings:
    """Each seed also chooses between one and three shards, and what being cut off means."""
    return replace(settings, shards=1 + seed % 3, cut_off="local" if seed % 2 else "hold")


def main() -> None:
    """Run what the command line asks for; the exit code tells whether all held."""
    parser = argparse.ArgumentParser(prog="python -m zenvark_web.testing", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many to run (200)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--seed", type=int, help="run this one and print its history")
    parser.add_argument("--instances", type=int, default=Settings.instances)
    parser.add_argument("--circuits", type=int, default=Settings.circuits)
    parser.add_argument("--calls", type=float, default=Settings.calls, help="a second and instance")
    parser.add_argument("--hours", type=float, default=Settings.seconds / 3600, help="of faults")
    options = parser.parse_args()
    settings = Settings(
        instances=options.instances,
        circuits=options.circuits,
        calls=options.calls,
        seconds=options.hours * 3600,
    )
    if options.seed is not None:
        print("\n".join(simulate(options.seed, variants(options.seed, settings)).history))
        return
    began = time.perf_counter()
    seeds = range(options.first, options.first + options.seeds)
    failed = list(_failures(seeds, settings))
    print(f"{len(seeds)} seeds in {time.perf_counter() - began:.0f} s", end="; ")
    print(f"{len(failed)} failed{': --seed ' if failed else ''}{', '.join(map(str, failed))}")
    sys.exit(bool(failed))


def _failures(seeds: range, settings: Settings) -> Iterator[int]:
    hours = 0.0
    for seed in seeds:
        try:
            hours += simulate(seed, variants(seed, settings)).seconds / 3600
        except ViolationError as error:
            print(str(error).partition("\n")[0], flush=True)
            yield seed
    print(f"{hours:.1f} virtual hours", end=", ")


if __name__ == "__main__":
    main()
