"""The next attempt of a circuit to recover, in words."""

from __future__ import annotations

from .._core.overrides import Override
from .._core.ramp import Ramp, of_calls
from .._core.states import Cause, State, Transition
from ..backends.views import CircuitView, is_closed
from .texts import counted, duration, escaped

CHECKED = {Cause.CHECK_FAILED, Cause.CHECK_PASSED, Cause.IDLE_CHECK_FAILED}
TRIED = {Cause.TRIAL, Cause.TRIAL_FAILED, Cause.TRIAL_PASSED}

NO_LEADER = (
    "There is no leader, so the circuit keeps its state. Start an instance, or run `zenvark-web "
    "doctor` to find out why no instance takes the lease."
)

FORCED_OPEN = (
    "An operator has all calls rejected. When the override ends or is lifted, the circuit recovers "
    "by a health check or trial calls."
)
PERMITTED = "An operator has all calls permitted. The verdict goes on underneath:"
OBSERVED = "All calls are permitted (observe=True). The verdict goes on underneath:"


def what_next(view: CircuitView) -> str:
    """Return the effect of an override, the next attempt, and the condition for closing."""
    mode = view.override.mode if view.override else None
    if mode is Override.FORCE_OPEN:
        return FORCED_OPEN
    told = _of_verdict(view)
    if mode is not None:
        return f"{PERMITTED} {told}"
    return f"{OBSERVED} {told}" if view.observers.are_all and not is_closed(view.current) else told


def _of_verdict(view: CircuitView) -> str:
    current = view.current
    if current is None or is_closed(current):
        return "Calls are permitted."
    if view.lease is None:
        return NO_LEADER
    if current.ramp is not None:
        return _of_ramp(view, current.ramp, view.now - current.at)
    if current.state is State.HALF_OPEN:
        return _of_trial(view, current)
    return _of_wait(view, current)


def _of_ramp(view: CircuitView, ramp: Ramp, elapsed: float) -> str:
    told = f"A ramp permits {of_calls(ramp.share_at(elapsed))}."
    left = ramp.length - elapsed
    when = f"in {duration(left)}" if left > 0 else "with the next call that passes"
    told += f" The circuit closes {when}, unless its strategy trips; then it opens again."
    results = view.current_snapshot.trial if view.current_snapshot else None
    if results is not None:
        told += f" So far, {results.passed} calls passed and {results.failed} failed."
    return told


def _of_trial(view: CircuitView, current: Transition) -> str:
    trial = view.current_snapshot.trial if view.current_snapshot else None
    grant = current.grant
    holder = escaped(grant.holder) if grant else "an instance"
    calls = counted(grant.permits, "trial call") if grant else "trial calls"
    told = f"{holder} makes {calls}. If all pass, the circuit closes; if one fails, it opens."
    if trial is not None:
        told += f" So far, {trial.passed} passed and {trial.failed} failed."
    return told


def _of_wait(view: CircuitView, current: Transition) -> str:
    left = current.retry_at - view.now
    when = f"in {duration(left)}" if left > 0 else f"due for {duration(-left)}"
    causes = [each.reason.cause for each in (current, *view.history)]
    if any(cause in CHECKED for cause in causes):
        leader = escaped(view.lease.holder) if view.lease else "the leader"
        return (
            f"Next attempt {when}: {leader} runs the health check. If the check passes "
            "(`healthy_after` times in a row), the circuit closes."
        )
    if any(cause in TRIED for cause in causes):
        return f"Next attempt {when}: the leader {_trial_calls(view)}"
    return (
        f"Next attempt {when}: the leader runs the health check or, if the policy has none, "
        f"{_trial_calls(view)}"
    )


def _trial_calls(view: CircuitView) -> str:
    told = "grants trial calls to an instance with callers. If they pass, the circuit closes."
    if not (view.recent.blocked or view.recent.uncounted):
        told += " No instance has had callers in the last minute; a trial waits for one."
    return told
