"""The fleet in virtual time: for this package's own tests, and for those of its users.

`Fleet` makes coordinators that share a store in memory, and a clock that goes on when it is told
to: for tests of what is built upon a coordinator. `zenvark_web.testing.pytest` has it as a
fixture.

`simulate` runs a whole fleet through faults, and checks what must always hold after every step.
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
