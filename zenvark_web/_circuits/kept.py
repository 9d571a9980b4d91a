"""The local circuits in use, by name. Only their users' references keep them alive.

Circuits are created in any thread, and the garbage collector removes them at any moment, while the
loop's thread iterates over all of them. So iterations use a copy. The collector's removals are
queued, and the next insertion applies them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection
from contextlib import AbstractContextManager
from weakref import ref

from .local import LocalCircuit


class LocalCircuits:
    """Local circuits by name, each for as long as it is referenced."""

    def __init__(self) -> None:
        self._lock: AbstractContextManager[bool] = threading.RLock()
        self._circuits: dict[str, ref[LocalCircuit]] = {}
        self._gone: deque[tuple[str, ref[LocalCircuit]]] = deque()

    def get(self, name: str) -> LocalCircuit | None:
        """The circuit of a name, if it is in use."""
        circuit = self._circuits.get(name)
        return None if circuit is None else circuit()

    def add(self, circuit: LocalCircuit) -> None:
        """Keep a circuit for as long as it is referenced."""
        name, gone = circuit.name, self._gone
        with self._lock:
            self._tidy()
            self._circuits[name] = ref(circuit, lambda it: gone.append((name, it)))

    def all(self) -> list[LocalCircuit]:
        """The circuits that are in use now."""
        with self._lock:
            kept = tuple(self._circuits.values())
        return [circuit for it in kept if (circuit := it()) is not None]

    @property
    def names(self) -> Collection[str]:
        """The names of the circuits, of which some may be in use no longer."""
        with self._lock:
            return dict.fromkeys(self._circuits)  # in order, so that runs can be repeated

    def taken_over(self) -> LocalCircuits:
        """A copy for a forked process, with a new lock."""
        circuits = LocalCircuits()
        for it in tuple(self._circuits.values()):
            if (circuit := it()) is not None:
                circuits.add(circuit)
        return circuits

    def _tidy(self) -> None:
        while self._gone:
            name, it = self._gone.popleft()
            if self._circuits.get(name) is it:  # not one of the same name that came after it
                del self._circuits[name]
