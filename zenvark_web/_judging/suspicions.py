"""What a leader tells of suspects and common causes: events, log lines, counts and the audit."""

from __future__ import annotations

from collections.abc import Sequence

from .._core.common_cause import CommonCause
from .._core.order import Lease
from .._core.states import Suspect, Suspicion
from .._core.surroundings import Contradiction
from .._runtime.clock import Frame
from .._runtime.instance import Instance
from ..backends.base import Backend
from ..exceptions import CommonCauseError

TOLD_EVERY = 60.0
"""Seconds in which a suspect of a circuit is reported once."""

MOST_TOLD = 10_000
MOST_UNWRITTEN = 100
SHOWN_CIRCUITS = 10


class Suspicions:
    """Reports the suspects of one leader's circuits.

    Args:
        instance: This instance.
        frame: The leader's clock.
        common_cause: Its decisions are reported, too.
    """

    def __init__(self, instance: Instance, frame: Frame, common_cause: CommonCause | None) -> None:
        self._instance = instance
        self._frame = frame
        self._common_cause = common_cause
        self._told: dict[tuple[str, str], float] = {}
        self._unwritten: list[Suspect] = []

    def refused(self, circuit: str, suspicions: Sequence[Suspicion]) -> None:
        """Report a decision that did not reach its quorum, with those who caused it."""
        self._instance.statistics.quorum_refused(circuit)
        for suspicion in suspicions:
            bad = suspicion.failures + suspicion.slow
            self._tell(circuit, suspicion.instance, bad, suspicion.calls, suspicion.since)

    def contradicted(self, circuit: str, contradiction: Contradiction) -> None:
        """Report that calls of another instance pass, though this leader's checks fail."""
        failed, me = contradiction.failed, self._instance.id
        told = f"{contradiction.error}; {contradiction.holder} made a call that passed"
        self._instance.notifier.checks_contradicted(circuit, told)
        self._tell(circuit, me, failed, failed, self._frame.now())

    def report_common_cause(self) -> None:
        """Report that no further circuits open, if that was decided."""
        if self._common_cause is None:
            return
        found = self._common_cause.found
        while found:
            held = found.pop(0)
            names = ", ".join(held.tripped[:SHOWN_CIRCUITS])
            told = f"{len(held.tripped)} of {held.called} called circuits failed together ({names})"
            self._instance.notifier.report_error(CommonCauseError(told))

    def _tell(self, circuit: str, who: str, failures: int, calls: int, since: float) -> None:
        now = self._frame.now()
        if now - self._told.get((circuit, who), float("-inf")) < TOLD_EVERY:
            return
        self._told.pop((circuit, who), None)
        self._told[circuit, who] = now
        if len(self._told) > MOST_TOLD:
            del self._told[next(iter(self._told))]
        calls = max(calls, failures)
        event = Suspect(circuit, who, failures, calls, self._frame.leaving(since))
        self._instance.notifier.suspected(event)
        if len(self._unwritten) < MOST_UNWRITTEN:
            self._unwritten.append(event)

    async def write(self, backend: Backend, lease: Lease) -> None:
        """Write what was told since the last time into the audit.

        Raises:
            BackendError: They are not written, and are tried again.
        """
        suspects = tuple(self._unwritten)
        if suspects:
            await backend.note_suspects(lease, *suspects)
            del self._unwritten[: len(suspects)]
