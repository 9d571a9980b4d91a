"""Records as the string fields that are stored. Nothing that a reader refuses is written.

Instances of several versions share a namespace, so the format only grows:

- `v` is the major version. It changes when older readers must not read the rest at all.
- Whatever is added gets a new field of an entry or a new key of a JSON object, or is appended to an
  array. The meaning of what is there never changes. An element at the end that says nothing is left
  out.
- What only some reports have gets a field of the entry: a list parallel to `reports`, as `words`,
  or an object by circuit, as `ramps`.
- A new state adds the key `as`, with the known state that older readers take instead. In `words`,
  that known state stands in the place of the new one.
- A new kind of entry in `states` has its name as the first field after `v`.

A new word that older readers would misread is written only while everybody present can read it: see
`zenvark_web._core.capabilities`. Frozen examples are in `tests/protocol`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from .._core.overrides import OverrideRecord, OverrideRequest
from .._core.ramp import Ramp
from .._core.states import (
    CircuitSnapshot,
    Grant,
    KnownState,
    Protection,
    Report,
    Run,
    Suspect,
    Suspicion,
    Transition,
    WindowSnapshot,
)
from .base import Account, Batch, Presence

VERSION = "1"

NUMBERS = ""
"""The field of the hash `overrides` that belongs to no circuit: the latest numbers."""

_dump = json.JSONEncoder(separators=(",", ":")).encode


def encode_batch(batch: Batch) -> dict[str, str]:
    """One entry of the stream of results. Ages and times are whole milliseconds."""
    reports = [_pack_report(report) for report in batch.reports]
    states = [report.known_state for report in batch.reports]
    ramps = {
        report.circuit: [*_pack_ramp(known.ramp), milliseconds(known.elapsed)]
        for report, known in zip(batch.reports, states, strict=True)
        if known is not None and known.ramp is not None
    }
    kinds = {report.circuit: _kinds(report) for report in batch.reports if any(_kinds(report))}
    own = [report.circuit for report in batch.reports if report.protects_itself]
    uncounted = {each.circuit: each.uncounted for each in batch.reports if each.uncounted}
    fields = {
        "v": VERSION,
        "instance": batch.instance,
        "number": str(batch.number),
        "sent": str(milliseconds(batch.sent)),
        "reports": _dump(reports),
        "words": _dump([known and _pack_state(known) for known in states]),
    }
    if ramps:
        fields["ramps"] = _dump(ramps)
    if kinds:
        fields["kinds"] = _dump(kinds)
    if own:
        fields["own"] = _dump(own)
    if uncounted:
        fields["uncounted"] = _dump(uncounted)
    return fields


def _pack_report(report: Report) -> list[Any]:
    note = report.trial
    return [
        report.circuit,
        [_pack_run(run) for run in report.runs],
        report.blocked,
        None if note is None else [note.generation, note.unused, note.held],
        report.generation,
        None if report.retry_after is None else milliseconds(report.retry_after),
        report.overdue,
    ]


def _pack_run(run: Run) -> list[Any]:
    kind = run.failed + 2 * run.slow
    label = well_formed(run.label)
    return [run.generation, milliseconds(run.age), kind, run.count, label]


def _kinds(report: Report) -> list[str | None]:
    """The kinds of a report's failures, run by run."""
    return [run.failure_kind for run in report.runs]


def _pack_state(known: KnownState) -> list[Any]:
    grant = _pack_grant(known.grant)
    return [
        known.state.value,
        known.attempt,
        milliseconds(known.delay),
        milliseconds(known.left),
        grant,
    ]


def encode_transition(transition: Transition) -> str:
    """Encode a transition for the hash of circuits and the stream of states."""
    reason, ramp = transition.reason, transition.ramp
    return _dump(
        {
            "v": VERSION,
            "circuit": transition.circuit,
            "generation": transition.generation,
            "previous": transition.previous.value,
            "state": transition.state.value,
            "at": milliseconds(transition.at),
            "since": milliseconds(transition.since),
            "attempt": transition.attempt,
            "delay": milliseconds(transition.delay),
            "grant": _pack_grant(transition.grant),
            "cause": reason.cause.value,
            "detail": well_formed(reason.detail),
            "instances": _well_formed_counts(reason.instances),
            "failures": _well_formed_counts(reason.failures),
            "slow_share": reason.slow_share,
            "position": str(transition.position),
            "epoch": transition.epoch,
            "leader": transition.leader,
        }
        | ({"ramp": _pack_ramp(ramp)} if ramp is not None else {})
        | ({"kinds": _well_formed_counts(reason.kinds)} if reason.kinds else {})
    )


def _pack_grant(grant: Grant | None) -> list[Any] | None:
    return None if grant is None else [grant.holder, grant.permits, grant.passed]


def _pack_ramp(ramp: Ramp) -> list[Any]:
    return [list(ramp.shares), milliseconds(ramp.step)]


def encode_suspect(suspect: Suspect) -> dict[str, str]:
    """The fields of an entry of the audit, after the version."""
    return {
        "suspect": suspect.circuit,
        "instance": suspect.instance,
        "failures": str(suspect.failures),
        "calls": str(suspect.calls),
        "since": str(milliseconds(suspect.since)),
    }


def encode_override(record: OverrideRecord) -> str:
    """The field of a circuit in the hash `overrides`, and in the streams."""
    mode = record.mode and record.mode.value
    until = None if record.until is None else milliseconds(record.until)
    head = _head(record.circuit, mode, record.reason, record.actor)
    at = milliseconds(record.at)
    numbers = f'"until":{_dump(until)},"number":{record.number}}}'
    return f'{head}"after":{record.follows},"at":{at},{numbers}'


def encode_request(request: OverrideRequest) -> str:
    """The beginning of a record, to which the store adds the time, the end and the number."""
    return _head(
        request.circuit, request.mode and request.mode.value, request.reason, request.actor
    )


def _head(circuit: str, mode: str | None, reason: str, actor: str) -> str:
    stored = {"v": VERSION, "circuit": circuit, "mode": mode, "reason": reason, "actor": actor}
    return _dump(stored)[:-1] + ","


def encode_numbers(numbers: Sequence[int]) -> str:
    """The latest numbers as one text."""
    return " ".join(map(str, numbers))


def encode_presence(me: Presence) -> str:
    """Encode an announcement for the hash of instances, without the time, which the store adds."""
    stored = {"version": me.version, "fingerprint": me.fingerprint, "local": me.local}
    protects = [_pack_protection(each) for each in me.protects]
    return _dump({**stored, "can": sorted(me.can)} | ({"protects": protects} if protects else {}))


def _pack_protection(protection: Protection) -> list[Any]:
    return [
        protection.circuit,
        protection.state.value,
        milliseconds(protection.since),
        well_formed(protection.detail),
        _well_formed_counts(protection.failures),
    ]


def encode_account(account: Account) -> str:
    """Encode an account for the hash of accounts."""
    numbers = (account.first, account.last, account.evaluated, account.expired)
    return _dump([VERSION, *numbers])


def encode_snapshot(snapshot: CircuitSnapshot) -> str:
    """The field of a circuit in the hash `tallies`."""
    window, trial = snapshot.window, snapshot.trial
    packed = [
        VERSION,
        snapshot.generation,
        str(snapshot.position),
        window and _pack_window(window),
        trial and [trial.passed, trial.failed, _well_formed_counts(trial.failures)],
        milliseconds(snapshot.retry_after_until),
    ]
    if snapshot.suspects:
        packed.append([_pack_suspicion(suspicion) for suspicion in snapshot.suspects])
    return _dump(packed)


def _pack_suspicion(suspicion: Suspicion) -> list[Any]:
    return [
        suspicion.instance,
        suspicion.failures,
        suspicion.slow,
        suspicion.calls,
        milliseconds(suspicion.since),
        milliseconds(suspicion.until),
        milliseconds(suspicion.length),
    ]


def _pack_window(window: WindowSnapshot) -> list[Any]:
    newest = math.ceil(window.newest * 1000)  # what is told after it must not stand before it
    failures = [(who, well_formed(what), count) for who, what, count in window.failures]
    return [window.strategy, window.saved, failures, newest]


def milliseconds(seconds: float) -> int:
    """Seconds as whole milliseconds."""
    return round(seconds * 1000)


def well_formed(text: str) -> str:
    """A text that every reader accepts: lone surrogates are replaced."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _well_formed_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts whose names every reader accepts."""
    return {well_formed(key): count for key, count in counts.items()}
