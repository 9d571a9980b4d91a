"""The fleet in virtual time, for the tests of this package and of its users.

`Fleet` provides coordinators that share a store in memory and a manual clock, for tests of code
that uses a coordinator. `zenvark_web.testing.pytest` provides it as a fixture.

`simulate` runs a whole fleet through faults, and checks the invariants after every step.
"""

from ._fleet import Fleet
from .simulation.faults import Fault, FaultKind, schedule_of
from .simulation.run import simulate
from .simulation.settings import SimulationSettings, SimulationSummary, ViolationError

__all__ = [
    "Fault",
    "FaultKind",
    "Fleet",
    "SimulationSettings",
    "SimulationSummary",
    "ViolationError",
    "schedule_of",
    "simulate",
]
