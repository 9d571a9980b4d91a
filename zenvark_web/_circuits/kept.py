"""The local circuits that somebody holds, by name: theirs are the references that keep them.

Circuits are made in any thread and let go of by the garbage collector at any moment, while the
event loop's thread walks over all of them. So nobody walks over the dict itself, and what the
collector lets go of is noted down, and taken out of the dict by whoever puts the next one in.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import AbstractContextManager
from weakref import ref

from .local import LocalCircuit


class LocalCircuits:
    """Local circuits by name, each for as long as someone holds it."""

    def __init__(self) -> None:
        self._lock: AbstractContextManager[bool] = threading.RLock()
        self._circuits: dict[str, ref[LocalCircuit]] = {}
        self._gone: deque[tuple[str, ref[LocalCircuit]]] = deque()

    def get(self, name: str) -> LocalCircuit | None:
        """The circuit of a name, if someone holds it."""
        circuit = self._circuits.get(name)
        return None if circuit is None else circuit()

    def add(self, circuit: LocalCircuit) -> None:
        """Keep a circuit for as long as someone holds it."""
        name, gone = circuit.name, self._gone
        with self._lock:
            self._tidy()
            self._circuits[name] = ref(circuit, lambda it: gone.append((name, it)))

    def all(self) -> list[LocalCircuit]:
        """Those that someone holds now."""
        with self._lock:
            kept = tuple(self._circuits.values())
        return [circuit for it in kept if (circuit := it()) is not None]

    def taken_over(self) -> LocalCircuits:
        """The same in a forked process, where whoever had the lock is no more."""
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
