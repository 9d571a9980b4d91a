"""The fleet in virtual time, for the tests of this package and of its users.

`Fleet` provides coordinators that share a store in memory and a manual clock, for tests of code
that uses a coordinator; `override` puts an app's own coordinator on such a fleet, and `set_active`
switches all breakers off. `zenvark_web.testing.pytest` provides fixtures; pytest finds it.

`simulate` runs a whole fleet through faults, and checks the invariants after every step.

Each name imports its module on first access: pytest imports this package in every run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._fleet import Fleet
    from ._override import override, set_active
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
    "override",
    "schedule_of",
    "set_active",
    "simulate",
]

_HOMES = {
    "Fleet": "_fleet",
    "override": "_override",
    "set_active": "_override",
    "SimulationSettings": "simulation.settings",
    "SimulationSummary": "simulation.settings",
    "ViolationError": "simulation.settings",
    "simulate": "simulation.run",
}
"""The modules of names. The rest is in `simulation.faults`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOMES.get(name, 'simulation.faults')}")
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return __all__
