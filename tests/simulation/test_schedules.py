"""Schedules of faults: generated ones, which shrink to the fewest that break something, and those
that once did."""

import os
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.spanning import spanning
from zenvark_web import BreakerPolicy, CountWindow, TimeWindow
from zenvark_web.testing import Fault, FaultKind, SimulationSettings, ViolationError, simulate

pytestmark = pytest.mark.untraced

EXAMPLES = int(os.environ.get("SIMULATED_SCHEDULES", "4"))

tenths = st.integers(0, 600).map(lambda number: number / 10)
faults = st.builds(
    Fault,
    at=tenths,
    kind=st.sampled_from(FaultKind),
    target=st.integers(-1, 5),
    lasts=st.integers(0, 20).map(float),
    amount=st.sampled_from([-1.0, -0.3, 0.3, 1.0]),
)
schedules = st.lists(faults, max_size=12)
policies = st.sampled_from(
    [
        None,
        BreakerPolicy(strategy=CountWindow(10, 0.5, 5), trial_calls=3, healthy_after=2),
        BreakerPolicy(strategy=TimeWindow(20, 0.5, 3)),
    ]
)
worlds = st.builds(
    SimulationSettings,
    instances=st.integers(1, 6),
    circuits=st.integers(1, 4),
    shards=st.integers(1, 3),
    cut_off=st.sampled_from(["hold", "local"]),
    calls=st.sampled_from([3.0, 6.0, 12.0]),
    lease_ttl=st.sampled_from([0.5, 2.0, 10.0]),
    policy=policies,
)


@settings(
    max_examples=EXAMPLES,
    derandomize="SIMULATED_SCHEDULES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(seed=st.integers(0, 100), world=worlds, schedule=schedules)
def test_any_schedule(seed: int, world: SimulationSettings, schedule: list[Fault]) -> None:
    simulate(seed, world, schedule)


# What was found

HANG = [
    Fault(5, FaultKind.SERVER_HANGS, lasts=6),
    Fault(5.1, FaultKind.UPSTREAM_FAILS, target=0, lasts=1),
]


@pytest.mark.parametrize("seed", spanning([2, 8], {2}))
def test_batch_that_comes_three_times_counts_once(seed: int) -> None:
    """A hanging server took each batch as often as it was sent. The second copy made the leader
    forget the first, so that the third one counted again."""
    simulate(seed, SimulationSettings(calls=3.0), HANG)


@pytest.mark.slow
def test_accounts_close_without_a_further_call() -> None:
    """They stayed open for ever when the store had lost one and no call followed."""
    for at in (20.0, 24.0, 28.0):
        simulate(9, SimulationSettings(), [Fault(at, FaultKind.SERVER_LOSES_ALL)])


def test_accounts_close_of_an_instance_that_was_struck_off_the_list() -> None:
    """They stayed open for ever when it was away for so long."""
    simulate(18, SimulationSettings(), [Fault(5, FaultKind.HOST_IS_CUT_OFF, lasts=20)])


@pytest.mark.slow
def test_circuits_that_are_seldom_called_have_the_time_to_agree() -> None:
    """A fleet that had not made the five calls yet was said not to agree."""
    seldom = SimulationSettings(instances=3, circuits=30, calls=0.2)
    down = Fault(0, FaultKind.UPSTREAM_CHANGES, 1)
    assert simulate(300, seldom, [down]).transitions >= 1
    assert simulate(300, seldom, [down, replace(down, at=2000)]).transitions >= 3


LOSS_AND_A_CLOCK_SET_BACK = [
    Fault(9, FaultKind.SERVER_COMES_BACK_OLD, -1, lasts=7.8),
    Fault(11.8, FaultKind.SERVER_CLOCK_JUMPS, -1, amount=-0.8),
    Fault(20, FaultKind.UPSTREAM_FAILS, -1, lasts=17),
]

BAD_MOMENT = [
    Fault(11, FaultKind.NETWORK_IS_BAD, 410, lasts=4.4, amount=-0.84),
    Fault(13.6, FaultKind.HOST_HEARS_NOTHING, 68, lasts=3.2),
]


@pytest.mark.parametrize("shards", [1, 2])
def test_results_count_whose_time_stamps_begin_below_those_that_were_lost(shards: int) -> None:
    """Failures seemed to have ended before successes that were read before the loss."""
    simulate(1396, SimulationSettings(shards=shards), LOSS_AND_A_CLOCK_SET_BACK)


@pytest.mark.parametrize(
    ("seed", "shards"),
    [
        pytest.param(2, 1, id="results were taken for counted"),
        pytest.param(1396, 1, id="a leader held an older lease of its own"),
        pytest.param(2, 2, id="a follower held an older lease of its own"),
    ],
)
def test_leader_of_a_bad_moment_copes_with_such_a_loss(seed: int, shards: int) -> None:
    simulate(seed, SimulationSettings(shards=shards), [*LOSS_AND_A_CLOCK_SET_BACK, *BAD_MOMENT])


@pytest.mark.parametrize(
    "dies", spanning([[26], [26, 33]], [[26]]), ids=["second leader", "third leader"]
)
def test_leader_goes_on_from_what_was_counted_since_such_a_loss(dies: list[float]) -> None:
    """What that had been told stood after all time stamps that its successor found."""
    *loss, fails = LOSS_AND_A_CLOCK_SET_BACK
    deaths = [Fault(at, FaultKind.HOST_DIES, -1) for at in dies]
    simulate(1396, SimulationSettings(), [*loss, *deaths, replace(fails, at=40)])


@pytest.mark.parametrize("target", [0, -1], ids=["trial calls", "health check"])
def test_recovery_does_not_wait_for_such_a_clock(
    target: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which had half a minute to make up. Blocked calls were taken for old ones, and what the
    upstream had asked for for a time still to come."""
    monkeypatch.setattr("zenvark_web.testing.simulation.run.CALM", 15.0)
    loss = LOSS_AND_A_CLOCK_SET_BACK[:2]
    fails = Fault(20, FaultKind.UPSTREAM_FAILS, target, lasts=4)
    simulate(2, SimulationSettings(), [*loss, fails, *BAD_MOMENT])


@pytest.mark.slow
def test_leader_does_not_ask_again_and_again_in_the_last_moment_of_its_lease() -> None:
    """It did, a thousand times over, until the moment had passed."""
    simulate(3009, SimulationSettings(cut_off="local"))


@pytest.mark.parametrize("target", [0, 2], ids=["trial calls", "health check"])
@pytest.mark.parametrize("seed", spanning(range(4), range(1)))
def test_newcomer_that_leads_first_closes_nothing(seed: int, target: int) -> None:
    """It did when it heard of a generation that it did not know: it wrote the state it knew."""
    down = Fault(5, FaultKind.UPSTREAM_CHANGES, target)
    again = [Fault(at, FaultKind.NEWCOMER_LEADS, at, lasts=3) for at in (15, 20, 25)]
    simulate(seed, SimulationSettings(), [down, *again])


# How a violation shows itself


def test_violation_tells_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zenvark_web.testing.simulation.run.CALM", 0.0)
    monkeypatch.setattr("zenvark_web.testing.simulation.run.ENOUGH_CALLS", 0.0)
    schedule = [Fault(0, FaultKind.UPSTREAM_CHANGES, 1), Fault(0.5, FaultKind.HOST_SLEEPS, -1, 2.5)]
    world = SimulationSettings(instances=2)
    with pytest.raises(ViolationError) as raised:
        simulate(7, world, schedule)
    what, call, history = str(raised.value).split("\n\n")
    assert what.startswith("seed 7, at ")
    assert "upstream is down" in history
    with pytest.raises(ViolationError) as again:
        eval(call)
    assert str(again.value) == str(raised.value)


def test_healthy_fleet_has_nothing_to_tell() -> None:
    quiet = replace(SimulationSettings(), calls=1.0)
    summary = simulate(1, quiet, [])
    assert summary.transitions == summary.faults == 0
