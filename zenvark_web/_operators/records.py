"""The records of `--json`, described by `schemas/`. Times are seconds of the store's clock."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .._core.states import Protection, Suspect, Suspicion, Transition
from ..backends.base import (
    Forgotten,
    LeaderChange,
    OverrideRecord,
    OverridesRestored,
    Probe,
    Recalled,
    UnknownEntry,
)
from ..backends.observers import Observers
from ..backends.views import CircuitView, Event, Recent
from ..exceptions import MalformedEntryError
from .overview import Member, Overview, SeenCircuit

VERSION = 1


def dumped(record: Mapping[str, Any], *, indent: int | None = 2) -> str:
    """Return a record as JSON without control characters."""
    return json.dumps(record, indent=indent).replace("\x7f", "\\u007f")


def of_overview(overview: Overview) -> dict[str, Any]:
    """Return the record of `status`."""
    circuits = [of_seen_circuit(each, overview.now) for each in overview.circuits]
    return {"version": VERSION, **of_fleet(overview), "circuits": circuits}


def of_fleet(overview: Overview) -> dict[str, Any]:
    """Return the part of the record of `status` that concerns no single circuit."""
    return {
        "namespace": overview.namespace,
        "server": overview.server,
        "now": overview.now,
        "all_closed": overview.all_closed,
        "counts": {state.value: count for state, count in overview.counts.items()},
        "shards": [
            {
                "number": view.number,
                "leader": view.lease.holder if view.lease else None,
                "epoch": view.lease.epoch if view.lease else None,
                "error": None,
            }
            for view in overview.views
        ]
        + [
            {"number": number, "leader": None, "epoch": None, "error": str(error)}
            for number, error in overview.unread.items()
        ],
        "overrides": [of_override(each) for each in overview.overrides],
        "suspects": [
            {"circuit": circuit, **of_suspicion(suspicion)}
            for circuit, suspicion in overview.suspects
        ],
        "protections": [of_protection(*each) for each in overview.protections],
        "instances": [_member(each) for each in overview.members],
        "unreadable": overview.unreadable,
        "omitted": overview.omitted,
    }


def of_event(event: Event) -> dict[str, Any]:
    """Return the record of an event."""
    entry = event.entry
    head = {"version": VERSION, "position": str(entry.position), "shard": event.shard}
    item = entry.item
    match item:
        case Transition():
            return head | {"event": "transition", **of_transition(item)}
        case LeaderChange():
            return head | {"event": "leader", "leader": item.leader, "epoch": item.epoch}
        case Forgotten():
            event_name = "forgotten"
        case Recalled():
            event_name = "recalled"
        case UnknownEntry():
            return head | {"event": "unknown", "detail": item.kind}
        case OverrideRecord() | Probe() | OverridesRestored() | Suspect():
            return head | _of_audit(item)
        case MalformedEntryError():
            return head | {"event": "unreadable", "detail": str(item)}
    return head | {"event": event_name, "circuit": item.circuit, "generation": item.generation}


def of_circuit(name: str, view: CircuitView, advice: str) -> dict[str, Any]:
    """Return the record of `why`."""
    lease, since = view.lease, view.since
    deadline = view.snapshot.retry_after_until if view.snapshot else 0.0
    return {
        "version": VERSION,
        "circuit": name,
        "shard": view.shard,
        "now": view.now,
        "leader": lease.holder if lease else None,
        "state": view.current.state.value if view.current else "closed",
        "current": of_transition(view.current) if view.current else None,
        "opening": of_transition(since.transition) if since and since.exact else None,
        "override": of_override(view.override) if view.override else None,
        "observers": _observers(view.observers),
        "history": [of_transition(each) for each in view.history],
        "counting": _window(view),
        "suspects": [of_suspicion(each) for each in view.suspects],
        "protections": [of_protection(*each) for each in view.protections],
        "trial": _trial(view),
        "retry_after_until": deadline or None,
        "recent": _recent(view.recent),
        "what_next": advice,
    }


def of_operation(
    action: str, item: OverrideRecord | Probe, overview: Overview, failed: Sequence[int]
) -> dict[str, Any]:
    """Return the record of an operator's request.

    Args:
        action: The name of the command.
        item: The request, as the store has written it.
        overview: The fleet afterwards.
        failed: The shards in which it was not written.
    """
    replaced = item.replaced if isinstance(item, OverrideRecord) else None
    return {
        "version": VERSION,
        "namespace": overview.namespace,
        "server": overview.server,
        "action": action,
        "circuit": item.circuit,
        "actor": item.actor,
        "reason": item.reason,
        "override": of_override(item) if isinstance(item, OverrideRecord) else None,
        "replaced": of_override(replaced) if replaced else None,
        "circuits": [each.name for each in overview.matching(item.circuit)],
        "instances": sum(each.seen.is_alive for each in overview.members),
        "failed": list(failed),
    }


def _of_audit(item: OverrideRecord | Probe | OverridesRestored | Suspect) -> dict[str, Any]:
    match item:
        case OverrideRecord():
            return {"event": "override", **of_override(item)}
        case Probe():
            who = {"actor": item.actor, "reason": item.reason}
            return {"event": "probe", "circuit": item.circuit, **who}
        case OverridesRestored():
            return {"event": "overrides_restored", "number": item.number}
        case Suspect():
            return {"event": "suspect", **_of_suspect(item)}


def of_override(record: OverrideRecord) -> dict[str, Any]:
    """Return the record of an override, or of its end."""
    return {
        "circuit": record.circuit,
        "mode": None if record.mode is None else record.mode.value,
        "reason": record.reason,
        "actor": record.actor,
        "at": record.at,
        "until": record.until,
        "number": record.number,
        "expired": record.has_expired,
    }


def of_transition(transition: Transition) -> dict[str, Any]:
    """Return the record of a transition."""
    reason, grant, ramp = transition.reason, transition.grant, transition.ramp
    return {
        "circuit": transition.circuit,
        "generation": transition.generation,
        "previous": transition.previous.value,
        "state": transition.state.value,
        "at": transition.at,
        "attempt": transition.attempt,
        "delay": transition.delay,
        "grant": None
        if grant is None
        else {"holder": grant.holder, "permits": grant.permits, "passed": grant.passed},
        "ramp": None if ramp is None else {"shares": list(ramp.shares), "step": ramp.step},
        "cause": reason.cause.value,
        "detail": reason.detail,
        "failures": dict(reason.failures),
        "instances": dict(reason.instances),
        "slow_share": reason.slow_share,
        "kinds": dict(reason.kinds),
        "leader": transition.leader,
        "epoch": transition.epoch,
    }


def of_seen_circuit(circuit: SeenCircuit, now: float) -> dict[str, Any]:
    """Return the record of a circuit in `status`.

    Args:
        circuit: The circuit.
        now: The server's clock, for the share of calls that pass.
    """
    since = circuit.since
    return {
        "name": circuit.name,
        "shard": circuit.shard,
        "state": circuit.state.value,
        "share": circuit.share(now),
        "observers": _observers(circuit.observers),
        "since": since.at if since else None,
        "since_is_exact": since.exact if since else True,
        "transition": of_transition(circuit.transition) if circuit.transition else None,
        "override": of_override(circuit.override) if circuit.override else None,
    }


def _observers(observers: Observers) -> dict[str, int]:
    return {"number": observers.number, "of": observers.of}


def of_suspicion(suspicion: Suspicion) -> dict[str, Any]:
    """Return the record of a suspect."""
    return {
        "instance": suspicion.instance,
        "failures": suspicion.failures,
        "slow": suspicion.slow,
        "calls": suspicion.calls,
        "since": suspicion.since,
        "until": suspicion.until,
    }


def _of_suspect(suspect: Suspect) -> dict[str, Any]:
    return {
        "circuit": suspect.circuit,
        "instance": suspect.instance,
        "failures": suspect.failures,
        "calls": suspect.calls,
        "since": suspect.since,
    }


def of_protection(instance: str, protection: Protection) -> dict[str, Any]:
    """Return the record of an instance that protects itself."""
    return {
        "instance": instance,
        "circuit": protection.circuit,
        "state": protection.state.value,
        "since": protection.since,
        "detail": protection.detail,
        "failures": dict(protection.failures),
    }


def _member(member: Member) -> dict[str, Any]:
    seen = member.seen
    return {
        "name": seen.name,
        "leads": list(member.leads),
        "silence": seen.silence,
        "alive": seen.is_alive,
        "package": seen.version,
        "policies": seen.policies,
        "shards": seen.shards,
        "follows_overrides": seen.follows_overrides,
    }


def _window(view: CircuitView) -> dict[str, Any] | None:
    window = view.current_snapshot.window if view.current_snapshot else None
    if window is None:
        return None
    failures = [
        {"instance": who, "failure": what, "count": count} for who, what, count in window.failures
    ]
    return {"strategy": window.strategy, "failures": failures}


def _trial(view: CircuitView) -> dict[str, Any] | None:
    trial = view.current_snapshot.trial if view.current_snapshot else None
    if trial is None:
        return None
    return {"passed": trial.passed, "failed": trial.failed, "failures": dict(trial.failures)}


def _recent(recent: Recent) -> dict[str, Any]:
    return {
        "seconds": recent.span,
        "calls": recent.calls,
        "failed": recent.failed,
        "slow": recent.slow,
        "blocked": recent.blocked,
        "uncounted": recent.uncounted,
        "overdue": recent.overdue,
        "failures": dict(recent.failures),
        "instances": dict(recent.instances),
    }
