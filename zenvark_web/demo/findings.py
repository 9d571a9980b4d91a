"""What an incident comes to, in numbers, and whether the fleet behaved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .._core.states import State
from .errors import MisbehaviourError
from .incident import Incident
from .traffic import Calls
from .upstream import Hit


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """An incident in numbers; times are in seconds.

    Args:
        apps: The apps that took part.
        survivors: The apps that took part to the end.
        open_after: From the first failure to the open circuit in the last app.
        decided_after: The same from the deciding failure, according to the fleet's metrics.
        closed_after: From the upstream's recovery to the closed circuit in the last app.
        takeover: From the leader's end to the next leader.
        spared: Calls that an open circuit kept from the upstream.
        failed: Failures that were passed on to callers.
        checks: The number of health checks.
        checkers: The apps that ran them, in order.
        trials: The number of trial calls.
        trials_allowed: The number of granted trial calls.
        strays: Calls that reached the upstream although their app knew that the circuit was open.
        unanswered: Calls without a response from their app.
    """

    apps: Sequence[str]
    survivors: Sequence[str]
    open_after: float
    decided_after: float
    closed_after: float
    takeover: float | None
    spared: int
    failed: int
    checks: int
    checkers: Sequence[str]
    trials: int
    trials_allowed: int
    strays: int
    unanswered: int

    @property
    def problems(self) -> Sequence[str]:
        """What a fleet that behaves doesn't do."""
        return [
            problem
            for wrong, problem in (
                (self.strays, f"calls that got through an open circuit: {self.strays}"),
                (
                    self.trials > self.trials_allowed,
                    f"trial calls: {self.trials} made, {self.trials_allowed} granted",
                ),
                (self.unanswered, f"calls that got no answer from their app: {self.unanswered}"),
            )
            if wrong
        ]


def find(
    incident: Incident,
    hits: Sequence[Hit],
    calls: Mapping[str, Calls],
    *,
    trial: bool,
    ramp: bool = False,
) -> Findings:
    """Work the numbers out, for an incident that is over."""
    opened, closed = incident.open_everywhere, incident.closed_everywhere
    if opened is None or closed is None or incident.mended_at is None:
        raise ValueError("the incident is not over")
    meanwhile = _asked_while_open(incident, hits)
    trials = sum(hit.state == State.HALF_OPEN for hit in meanwhile)
    takeover = incident.takeover
    return Findings(
        apps=incident.apps,
        survivors=incident.survivors,
        open_after=opened - first_failure(hits).answered,
        decided_after=max(event.effect for app in incident.apps if (event := incident.opened(app))),
        closed_after=closed - incident.mended_at,
        takeover=takeover.at - incident.killed_at if takeover and incident.killed_at else None,
        spared=_since(incident, calls, "rejected"),
        failed=_since(incident, calls, "failed"),
        checks=len(incident.checks),
        checkers=list(dict.fromkeys(event.app for event in incident.checks)),
        trials=trials,
        trials_allowed=_granted(incident) - ramp if trial else 0,
        strays=len(meanwhile) - trials,
        unanswered=_since(incident, calls, "unanswered"),
    )


def first_failure(hits: Sequence[Hit]) -> Hit:
    """The first call that the upstream failed.

    Raises:
        MisbehaviourError: There is none.
    """
    failed = [hit for hit in hits if hit.app and not hit.ok]
    if not failed:
        raise MisbehaviourError("the circuit opened although no call of the upstream had failed")
    return min(failed, key=lambda hit: hit.answered)


def _asked_while_open(incident: Incident, hits: Sequence[Hit]) -> Sequence[Hit]:
    """The calls that got through although the circuit can't have been closed."""
    well_again = min((hit.answered for hit in hits if hit.ok), default=float("inf"))
    opened = {app: event.at for app in incident.apps if (event := incident.opened(app))}
    return [hit for hit in hits if opened.get(hit.app, well_again) < hit.asked < well_again]


def _granted(incident: Incident) -> int:
    """How many trial calls there may have been: every transition between opening and closing
    is a grant, unless it is a failed trial or the closing itself."""
    return min(
        closed.generation - opened.generation - incident.reopened(app) - 1
        for app in incident.survivors
        if (opened := incident.opened(app)) and (closed := incident.closed(app))
    )


def _since(incident: Incident, calls: Mapping[str, Calls], what: str) -> int:
    return sum(
        getattr(calls[app], what) - getattr(before, what) for app, before in incident.before.items()
    )
