"""The fleet in virtual time: real coordinators of many hosts in one thread, over a store that fails.

`simulate` runs a fleet against faults that a seed chooses, and checks what must always hold after
every step. The same seed gives the same run.
"""

from .simulation import Outcome, Settings, Simulation, ViolationError, simulate

__all__ = ["Outcome", "Settings", "Simulation", "ViolationError", "simulate"]
