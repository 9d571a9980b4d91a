"""The world of a simulated fleet: time, chance, servers, upstreams, and the history."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Sequence

from .._loop import VirtualLoop
from .._network import Server
from .settings import SimulationSettings, SimulationSummary, ViolationError

CHECKED = "checked-*"
"""The names of circuits with a health check."""

KEPT = 400
"""Lines of history to keep."""


class ColdUpstream:
    """An upstream that has just come back: it bears few calls until it has served many.

    Args:
        bears: The calls that it serves in each second while it is cold.
        warm_after: The number of served calls after which it bears any load.
    """

    def __init__(self, bears: float, warm_after: float) -> None:
        self._bears = bears
        self._left = warm_after
        self._second = 0
        self._calls = 0

    @property
    def is_warm(self) -> bool:
        """Whether it bears any load."""
        return self._left <= 0

    def serves(self, now: float) -> bool:
        """Whether it serves a call that arrives now."""
        if self.is_warm:
            return True
        if int(now) != self._second:
            self._second, self._calls = int(now), 0
        self._calls += 1
        if self._calls > self._bears:
            return False
        self._left -= 1
        return True


class World:
    """The shared state of one run.

    Args:
        seed: Determines all random choices.
        settings: The settings of the simulation.
        schedule: The faults, for the message of a violation.

    Attributes:
        chance: The source of random numbers.
        loop: The source of time.
        circuits: The circuits' names.
        down: The circuits whose upstreams are down.
        cold: The upstreams that have come back cold, by circuit.
        clocks_set_at: The virtual time of the last change of any clock.
        touched: The circuits whose upstreams were ever down, or that an operator ever held open.
        overrides: The virtual seconds at which overrides were set and end, by number.
        servers: The stores' servers, one for each shard.
        summary: The summary of the run.
        history: The events, the newest lines.
        violation: The violation, once there is one.
    """

    def __init__(self, seed: int, settings: SimulationSettings, schedule: Iterable[object]) -> None:
        self._call = f"simulate({seed}, {settings!r}, [\n"
        self._call += "".join(f"    {fault!r},\n" for fault in schedule) + "])"
        self.seed: int = seed
        self.settings: SimulationSettings = settings
        self.chance: random.Random = random.Random(seed)
        self.loop: VirtualLoop = VirtualLoop()
        self.circuits: Sequence[str] = [
            CHECKED.replace("*", str(n)) if n % 3 == 2 else f"upstream-{n}"
            for n in range(settings.circuits)
        ]
        self.down: set[str] = set()
        self.cold: dict[str, ColdUpstream] = {}
        self.clocks_set_at: float = 0.0
        self.touched: set[str] = set()
        self.overrides: dict[int, tuple[float, float]] = {}
        self.servers: Sequence[Server] = [Server(self.loop) for _ in range(settings.shards)]
        self.summary: SimulationSummary = SimulationSummary()
        self.history: deque[str] = deque(maxlen=KEPT)
        self.violation: ViolationError | None = None

    def serves(self, circuit: str) -> bool:
        """Whether a circuit's upstream serves a call that arrives now."""
        if circuit in self.down:
            return False
        cold = self.cold.get(circuit)
        return cold is None or cold.serves(self.loop.now)

    def tell(self, who: str, what: str) -> None:
        """Note something in the history."""
        self.history.append(f"{self.loop.now:10.3f}  {who:12}  {what}")

    def require(self, holds: bool, what: str) -> None:
        """Note a violation unless something holds; the run ends with the first one."""
        if not holds and self.violation is None:
            self.violation = ViolationError(
                f"seed {self.seed}, at {self.loop.now:.3f}: {what}\n\n"
                f"{self._call}\n\n" + "\n".join(self.history)
            )
