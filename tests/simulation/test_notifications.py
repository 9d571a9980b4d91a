"""Every transition is notified of, whatever happens to the leaders."""

from zenvark_web.testing import SimulationSettings, simulate
from zenvark_web.testing.simulation.faults import Fault, FaultKind

SETTINGS = SimulationSettings(notify=True, shards=2, seconds=60.0)


def test_through_hosts_that_die_stop_and_freeze() -> None:
    kinds = [
        FaultKind.HOST_DIES,
        FaultKind.PROCESS_RESTARTS,
        FaultKind.HOST_SLEEPS,
    ]
    faults = [Fault(2.0, FaultKind.UPSTREAM_FAILS, -1, 55.0, 0.5)]
    faults += [Fault(5.0 + 6 * number, kinds[number % 3], number, 3.0, 0.5) for number in range(8)]
    summary = simulate(2, SETTINGS, faults)
    assert summary.transitions > 10
    assert summary.notifications >= summary.transitions
