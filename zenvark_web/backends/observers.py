"""Which instances only observe which circuits, as read from the texts of their local settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from .._core.patterns import NamePatterns

MARK = ": observe="
DEFAULT = "(default)"


class Observers(NamedTuple):
    """How many instances only observe a circuit.

    Args:
        number: The number of those whose policy has `observe=True`.
        of: The number of all instances with known settings.
    """

    number: int = 0
    of: int = 0

    @property
    def are_all(self) -> bool:
        """Whether every instance only observes, so that no call is rejected."""
        return 0 < self.number == self.of


NOBODY = Observers()


class ObservedNames:
    """The circuits that an instance only observes.

    Args:
        text: Its local settings, as `PolicyBook.local_text` writes them.

    Raises:
        TypeError, ValueError: The text is of another origin.
    """

    def __init__(self, text: str) -> None:
        lines = [line.rpartition(MARK) for line in text.splitlines() if MARK in line]
        observed = {name: value == "True" for name, _, value in lines}
        self._default = observed.pop(DEFAULT, False)
        self._named = NamePatterns("policies", observed)
        self._is_empty = not (self._default or any(observed.values()))

    def __contains__(self, circuit: str) -> bool:
        if self._is_empty:
            return False
        named = self._named.find(circuit)
        return self._default if named is None else named


def read_observed(texts: Mapping[str, str]) -> Mapping[str, ObservedNames]:
    """Read the texts of policies, by their digests. Other texts than local settings are left out,
    and so are unreadable ones."""
    read: dict[str, ObservedNames] = {}
    for digest, text in texts.items():
        if MARK in text:
            try:
                read[digest] = ObservedNames(text)
            except (TypeError, ValueError):
                continue
    return read


def observers_of(
    circuit: str, present: Counter[str], observed: Mapping[str, ObservedNames]
) -> Observers:
    """Return how many instances only observe a circuit.

    Args:
        circuit: The name of the circuit.
        present: The numbers of instances, by the digests of their local settings.
        observed: What each digest stands for.
    """
    known = [(observed[digest], count) for digest, count in present.items() if digest in observed]
    number = sum(count for names, count in known if circuit in names)
    return Observers(number, sum(count for _, count in known))
