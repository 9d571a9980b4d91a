"""The reports of a stored batch, of which most are read only as far as a leader needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, TypeAlias, overload

from .._core.states import Report

Successes: TypeAlias = tuple[str, int, int, float, Any]
"""A report of nothing but one run of successes: the circuit, the generation (of the calls, and the
latest that the sender knows), the number of calls, their age in seconds, and the circuit's state as
it is stored."""


COUNT = itemgetter(2)
AGE = itemgetter(3)


class StoredReports(Sequence[Report]):
    """The reports of a batch, as the store has them.

    A record of each successful run would cost a leader more time than the run itself. As a
    sequence, it consists of complete reports like any other.

    Args:
        items: The reports in order, those with nothing but successes in short.
        complete: Makes the report of such an item.

    Attributes:
        items: The same.
        results: The number of results in all reports.
        oldest: The age of the oldest result in seconds; 0 if there is none.
    """

    __slots__ = ("_complete", "items", "oldest", "results")

    def __init__(
        self,
        items: Sequence[Report | Successes],
        complete: Callable[[Successes], Report],
    ) -> None:
        self.items: Sequence[Report | Successes] = items
        self._complete = complete
        short = [item for item in items if isinstance(item, tuple)]
        runs = [run for item in items if not isinstance(item, tuple) for run in item.runs]
        self.results: int = sum(map(COUNT, short)) + sum(run.count for run in runs)
        ages = (max(map(AGE, short), default=0.0), *(run.age for run in runs))
        self.oldest: float = max(ages)

    def complete(self, item: Report | Successes) -> Report:
        """Return the report of an item."""
        return self._complete(item) if isinstance(item, tuple) else item

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Report]:
        return map(self.complete, self.items)

    @overload
    def __getitem__(self, index: int) -> Report: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Report]: ...
    def __getitem__(self, index: int | slice) -> Report | Sequence[Report]:
        if isinstance(index, slice):
            return tuple(map(self.complete, self.items[index]))
        return self.complete(self.items[index])

    def __eq__(self, other: object) -> bool:
        complete = tuple(self)
        return complete == (tuple(other) if isinstance(other, StoredReports) else other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def number_of_results(reports: Sequence[Report]) -> int:
    """Return the number of results in reports."""
    if isinstance(reports, StoredReports):
        return reports.results
    return sum(run.count for report in reports for run in report.runs)
