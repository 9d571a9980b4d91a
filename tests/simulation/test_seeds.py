"""Faults that seeds choose: nothing that must hold is ever broken."""

import os
import subprocess
import sys

import pytest

from tests.helpers.processes import ROOT
from tests.helpers.spanning import spanning
from zenvark_web.testing import SimulationSettings, simulate
from zenvark_web.testing.simulation.command import variants

SEEDS = range(4)
"""A fixed share, of which every run plays the first. `nox -s simulate` runs more, for longer."""


@pytest.mark.parametrize("seed", spanning(SEEDS, {0}))
def test_faults_of_a_seed(seed: int) -> None:
    summary = simulate(seed, variants(seed, SimulationSettings(seconds=120.0, faults=12.0)))
    assert summary.faults > 10
    assert summary.transitions > 10


@pytest.mark.slow
def test_many_instances_and_circuits() -> None:
    fleet = SimulationSettings(instances=40, circuits=400, seconds=10.0, calls=2.0, lease_ttl=10.0)
    summary = simulate(1, fleet)
    assert summary.calls > 1_000


def test_same_seed_is_the_same_run_in_any_process() -> None:
    code = (
        "from zenvark_web.testing import SimulationSettings, simulate\n"
        "summary = simulate(3, SimulationSettings(seconds=60.0, faults=12.0))\n"
        "print(summary.steps, *summary.history, sep='\\n')"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert len(runs[0].splitlines()) > 50
