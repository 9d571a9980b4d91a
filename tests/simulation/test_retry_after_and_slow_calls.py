"""What upstreams ask for, and calls that hang, in virtual time."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.helpers.spanning import spanning
from zenvark_web import (
    BreakerPolicy,
    Cause,
    ConsecutiveFailures,
    CountWindow,
    ExponentialBackoff,
    Outcome,
    Permit,
)
from zenvark_web._core.states import Transition
from zenvark_web.testing import Fault, FaultKind, SimulationSettings, simulate
from zenvark_web.testing._network import Server
from zenvark_web.testing.simulation.checks import InvariantChecks
from zenvark_web.testing.simulation.command import variants
from zenvark_web.testing.simulation.run import Simulation

pytestmark = pytest.mark.untraced

SLOW = BreakerPolicy(
    strategy=CountWindow(20, 0.5, 5, slow_rate=0.6),
    slow_call=1.0,
    backoff=ExponentialBackoff(1, 2, 8),
)
TRIES = {Cause.TRIAL, Cause.CHECK_PASSED, Cause.CHECK_FAILED}

CLOCKS_APART = 0.05
"""Seconds by which a leader's idea of the shared time may be off."""

HEARD_BY_THEN = 1.0
"""Seconds in which a leader, whoever it is, has heard what an instance was told."""

LEADERS_GO = [
    Fault(5, FaultKind.UPSTREAM_FAILS, 0, 20),
    Fault(6, FaultKind.UPSTREAM_FAILS, 1, 30),
    Fault(8, FaultKind.UPSTREAM_FAILS, 2, 30),
    *[Fault(at, FaultKind.PROCESS_RESTARTS, -1) for at in (10, 18, 27, 41, 53)],
    Fault(45, FaultKind.UPSTREAM_FAILS, 1, 20),
    Fault(46, FaultKind.UPSTREAM_FAILS, 2, 20),
]


@pytest.mark.parametrize("seed", spanning(range(3), {0}))
def test_faults_of_a_seed_with_slow_calls(seed: int) -> None:
    summary = simulate(seed, replace(variants(seed, SimulationSettings(seconds=100)), policy=SLOW))
    assert summary.transitions > 5


@dataclass
class Log:
    """What upstreams asked for, and when somebody tried."""

    told: list[tuple[str, float, float]] = field(default_factory=list)
    lengthened: int = 0
    too_early: list[str] = field(default_factory=list)

    def published(self, transition: Transition, now: float) -> None:
        self.lengthened += "asked" in transition.reason.detail
        if transition.reason.cause not in TRIES:
            return
        for circuit, at, until in self.told:
            known = circuit == transition.circuit and at < now - HEARD_BY_THEN
            if known and now < until - CLOCKS_APART:
                self.too_early.append(f"{now:.3f}: {transition}, told until {until:.3f}")


@pytest.mark.parametrize("seed", spanning(range(3), {0}))
def test_nobody_tries_before_whoever_leads(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    policy = BreakerPolicy(
        strategy=ConsecutiveFailures(3), backoff=ExponentialBackoff(0.1, 2, 0.5), trial_calls=2
    )
    simulation = Simulation(seed, SimulationSettings(policy=policy, calls=12), LEADERS_GO)
    world = simulation.world
    record, published = Permit.record, InvariantChecks.published

    def note_what_is_told(
        self: Permit, outcome: Outcome, label: str = "", *, retry_after: float | None = None
    ) -> None:
        now = world.loop.now
        if retry_after:
            log.told.append((self._local.name, now, now + retry_after))
        record(self, outcome, label, retry_after=retry_after)

    def note_who_tries(self: InvariantChecks, server: Server, transition: Transition) -> Any:
        log.published(transition, world.loop.now)
        published(self, server, transition)

    monkeypatch.setattr(Permit, "record", note_what_is_told)
    monkeypatch.setattr(InvariantChecks, "published", note_who_tries)
    simulation.run()
    assert len(log.told) > 10
    assert log.lengthened > 3
    assert log.too_early == []
