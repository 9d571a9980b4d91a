"""Builds a batch of reports from the results of local circuits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias

from .._core.failure_kinds import kind_of
from .._core.states import Report, Run, TrialNote
from ..statistics import Statistics
from .local import LocalCircuit
from .runs import MAX_AGE, PendingRun
from .table import Table

_Part: TypeAlias = tuple[LocalCircuit, list[PendingRun], tuple[int, int], TrialNote | None]
"""A circuit, its results, its rejected calls with those that passed uncounted, and its note."""


class BatchBuilder:
    """The content of one batch. It is kept until it is written, so that it can be sent again.

    Args:
        number: The batch's number.
        statistics: Counts expired results.

    Attributes:
        words: The circuits whose state is sent without results.
        sent_at: The monotonic second of the first send.
    """

    def __init__(self, number: int, statistics: Statistics) -> None:
        self.number = number
        self.sent_at = float("inf")
        self._statistics = statistics
        self._parts: list[_Part] = []
        self.words: Iterable[str] = ()

    def add(self, circuit: LocalCircuit, now: float) -> int:
        """Take a circuit's results except expired ones; return the number of runs."""
        runs: list[PendingRun] = []
        for run in circuit.take():
            if run.generation < 0:  # begun and evaluated while this instance was alone
                self._statistics.evaluated += run.count
            elif now - run.ended > MAX_AGE:
                self._statistics.expired += run.count
            else:
                runs.append(run)
        # The note must fit the runs, also when they are sent again later.
        note = circuit.note()
        if note is not None and note.generation < 0:
            note = None
        self._parts.append((circuit, runs, circuit.take_blocked(), note))
        return len(runs)

    def stored(self) -> None:
        """Record that the store has the batch, or its first copy, whose reply was lost."""
        for circuit, _, _, note in self._parts:
            if note is not None:
                circuit.admission.told(note.generation, self.sent_at, circuit.monotonic())

    @property
    def runs(self) -> Iterable[tuple[LocalCircuit, Sequence[PendingRun]]]:
        """The results in the batch."""
        return [(circuit, runs) for circuit, runs, *_ in self._parts]

    @property
    def results(self) -> int:
        """The number of results in the batch. It does not change, because the store may have a copy
        whose reply was lost."""
        return sum(run.count for _, runs, *_ in self._parts for run in runs)

    def reports(self, now: float, table: Table) -> tuple[Report, ...]:
        """Return the reports as of the monotonic second `now`.

        Args:
            now: The second.
            table: Has the circuits' states.
        """
        reports = [
            _with_state(_with_own_state(self._report(*part, now), table), table)
            for part in self._parts
        ]
        named = {report.circuit for report in reports}
        for name in self.words:
            if name not in named:
                report = Report(name, generation=table.known(name).generation)
                reports.append(_with_state(report, table))
        return tuple(reports)

    def _report(
        self,
        circuit: LocalCircuit,
        runs: list[PendingRun],
        blocked: tuple[int, int],
        note: TrialNote | None,
        now: float,
    ) -> Report:
        alone = circuit.admission.generation < 0
        return Report(
            circuit=circuit.name,
            generation=0 if alone else circuit.admission.generation,
            runs=tuple(_run(run, now) for run in runs),
            blocked=blocked[0],
            uncounted=blocked[1],
            trial=note,
            retry_after=circuit.retry_after_left(now),
            overdue=0 if alone else circuit.slow_in_flight(now)[0],
        )


def _run(run: PendingRun, now: float) -> Run:
    kind = kind_of(run.label) if run.failed else None
    age = now - run.ended
    return Run(run.generation, run.failed, run.slow, run.count, age, run.label, kind)


def _with_own_state(report: Report, table: Table) -> Report:
    """Add to a report that the instance protects itself, in the fleet's generation."""
    if table.own(report.circuit) is None:
        return report
    generation = table.known(report.circuit).generation
    return replace(report, generation=generation, protects_itself=True)


def _with_state(report: Report, table: Table) -> Report:
    """Add its circuit's state to a report, unless that is the initial state."""
    if not report.generation:
        return report
    return replace(report, known_state=table.known_state(report.circuit))
