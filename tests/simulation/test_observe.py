"""Under `observe`, the transitions equal those of a twin fleet that blocks, fed with the same
outcomes: uncounted calls change nothing, and show demand exactly as rejected calls do."""

import random
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest

from zenvark_web import (
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    CountWindow,
    ExponentialBackoff,
    Outcome,
    Permit,
)
from zenvark_web._core.states import Transition
from zenvark_web.backends.base import Batch
from zenvark_web.testing import Fleet
from zenvark_web.testing._network import Server

INSTANCES = 3
STEPS = 120
MESSAGES = 0.05
"""Seconds that messages take at most: their order is not the same in every run of a process."""
OUTCOMES = (Outcome.FAILURE, Outcome.SUCCESS, Outcome.IGNORED, Outcome.ANSWERED)


@dataclass
class Seen:
    """What a fleet has published, and the calls that it rejected, or would have."""

    transitions: list[tuple[object, ...]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)

    def published(self, server: Server, transition: Transition) -> None:
        reason = transition.reason
        self.transitions.append(
            (transition.generation, transition.state, reason.cause, str(reason))
        )
        self.times.append(transition.at)

    def appended(self, server: Server, batch: Batch) -> None:
        """Batches are the same as well, as far as they matter."""


def policy_of(chance: random.Random) -> BreakerPolicy:
    return BreakerPolicy(
        strategy=chance.choice([ConsecutiveFailures(3), CountWindow(8, 0.5, 4)]),
        backoff=ExponentialBackoff(1, 2, 8),
        trial_calls=chance.choice([1, 2]),
        healthy_after=chance.choice([1, 2]),
        ramp=chance.choice([(), (0.25, 0.5)]),
        ramp_step=chance.choice([1.0, 3.0]),
        slow_call=chance.choice([None, 2.0]),
    )


def lived(seed: int, *, observe: bool) -> Seen:
    chance, seen = random.Random(seed), Seen()
    policy = replace(policy_of(chance), observe=observe)
    with Fleet(policy=policy) as fleet:
        fleet._server.observer = seen
        breakers = [fleet.coordinator().breaker("upstream") for _ in range(INSTANCES)]
        under_way: list[tuple[int, Permit, Outcome, float | None]] = []
        is_down = False
        for step in range(STEPS):
            # Each run draws the same numbers, whatever becomes of its calls.
            fleet.advance(chance.choice([0.05, 0.25, 1.0]))
            is_down ^= chance.random() < 0.06
            for _ in range(chance.randrange(5)):
                breaker = breakers[chance.randrange(INSTANCES)]
                lasts = chance.choice([0, 0, 1, 6])
                good = OUTCOMES[chance.choice([1, 1, 1, 1, 2, 3])]
                asks = chance.choice([None, None, None, 3.0])
                with suppress(CircuitOpenError):
                    outcome = Outcome.FAILURE if is_down else good
                    under_way.append((step + lasts, breaker.acquire(), outcome, asks))
            for _, permit, outcome, asks in [each for each in under_way if each[0] <= step]:
                asked = asks if outcome is Outcome.FAILURE else None
                permit.record(outcome, "boom" * (asked is not None), retry_after=asked)
            under_way = [each for each in under_way if each[0] > step]
        fleet.advance()
        seen.refused = [each.would_block if observe else each.blocked for each in breakers]
        for _, permit, _, _ in under_way:
            permit.record(Outcome.IGNORED)
    return seen


SLOW = [pytest.param(range(n, n + 20), marks=pytest.mark.slow) for n in range(20, 200, 20)]


@pytest.mark.parametrize("seeds", [range(20), *SLOW], ids=lambda each: f"from-{each.start}")
def test_the_shadow_moves_as_its_twin_does(seeds: range) -> None:
    moved = 0
    for seed in seeds:
        shadow, twin = lived(seed, observe=True), lived(seed, observe=False)
        assert shadow.transitions == twin.transitions, seed
        assert shadow.times == pytest.approx(twin.times, rel=0, abs=MESSAGES), seed
        assert shadow.refused == twin.refused, seed
        moved += len(twin.transitions)
    assert moved > 2 * len(seeds), "something opens"
