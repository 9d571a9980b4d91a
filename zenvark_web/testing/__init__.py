"""The fleet in virtual time: for this package's own tests, and for those of its users.

`Fleet` makes coordinators that share a store in memory, and a clock that goes on when it is told
to: for tests of what is built upon a coordinator. `zenvark_web.testing.pytest` has it as a
fixture.

`simulate` runs a whole fleet through faults, and checks what must always hold after every step.
"""

from ._faults import Fault, Kind, schedule_of
from ._fleet import Fleet
from ._settings import Settings, Summary, ViolationError
from ._world import simulate

__all__ = [
    "Fault",
    "Fleet",
    "Kind",
    "Settings",
    "Summary",
    "ViolationError",
    "schedule_of",
    "simulate",
]
