"""The lines of the logger `zenvark_web`, with one constant template for each kind of line.

A template says what happened and what to do. All variable parts are its arguments, so that error
trackers that group by template keep the kinds apart. The record's `extra` fields contain the same
facts, for formatters that write JSON; docs/logging.md lists both.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress

from .._core.overrides import Override
from .._core.states import Cause, Role, State, Suspect
from ..events import OverrideChange, StateChange
from ..exceptions import (
    BackendError,
    CallbackError,
    ClassifierError,
    CommonCauseError,
    FencedError,
    HealthCheckError,
    MalformedEntryError,
    MetricsError,
    OverloadedError,
    PolicyMismatchError,
    ResultsLostError,
    RoutingError,
    StopError,
    StrategyError,
    ZenvarkError,
    described,
    text_of,
)

logger = logging.getLogger("zenvark_web")

WHERE = " [namespace=%s circuit=%s instance=%s]"

ERRORS: Mapping[type[ZenvarkError], str] = {
    BackendError: (
        "The store (Redis) is unavailable or refused a request: %s. Circuits keep their states, "
        "and this instance retries automatically. If it continues, check Redis and the network."
    ),
    FencedError: (
        "The write of a former leader was refused: %s. Nothing was written, and this instance is a "
        "follower now. If this happens often, check what blocks its event loop."
    ),
    MalformedEntryError: (
        "An unreadable entry in Redis was skipped: %s. Another version of this package, or another "
        "program, writes to this namespace's keys."
    ),
    ResultsLostError: (
        "Results were lost: %s. Circuits may open late. Check whether Redis was unavailable, "
        "whether there is a leader, and what blocks this instance's event loop."
    ),
    PolicyMismatchError: (
        "Instances of this namespace have different settings: %s. Deploy the same policies and "
        "number of shards everywhere, or give each group its own namespace."
    ),
    OverloadedError: (
        "The leader is overloaded: %s. Calls of the skipped circuits are permitted without "
        "protection; all other circuits are evaluated in time."
    ),
    CommonCauseError: (
        "The fleet opens no further circuits for 30 s: %s. The cause is probably its own, such as "
        "its egress, DNS or a deployment. Each instance rejects calls by its own results."
    ),
    ClassifierError: (
        "A classifier failed: %s. The default rules apply instead. Fix the classifier to return an "
        "Outcome for every result and exception."
    ),
    RoutingError: (
        "The circuit or settings of a request could not be determined: %s. Unusable settings are "
        "ignored, and a request without a circuit is sent without a breaker. Fix the mapping."
    ),
    StrategyError: (
        "A strategy or backoff failed: %s. Its circuit keeps its state, and is not protected until "
        "the strategy or backoff is fixed."
    ),
    HealthCheckError: (
        "A health check is faulty: %s. Its circuit stays open until the check is fixed."
    ),
    CallbackError: "A callback failed: %s. Other callbacks are not affected. Fix the callback.",
    MetricsError: "A metrics recorder failed: %s. Circuits are not affected. Fix the recorder.",
    StopError: (
        "A task or thread did not end with the coordinator and was abandoned: %s. Make it end "
        "when it is cancelled."
    ),
    ZenvarkError: "A background task failed: %s.",
}

UNEXPECTED = (
    "An unexpected exception occurred in the background: %s. The interrupted work is repeated. "
    "Please report it with its traceback, unless your code raised it."
)

HELD_BACK = (
    "There are many %ss: for the next %g s, some are only counted (zenvark_errors_total). At least "
    "one of each circuit and source has been logged."
)

IS_OPEN = "Circuit %s is open: %s; failures: %s. Its calls are rejected until it has recovered."
IS_OBSERVED = (
    "Circuit %s is open: %s; failures: %s. Its calls would have been rejected, but %s: they pass."
)
STAYS_OPEN = "Circuit %s stays open: %s; failures: %s. The next recovery attempt follows later."
HALF_OPEN = "Circuit %s is half-open: %s. Trial calls determine whether it has recovered."
RAMP = "Circuit %s is half-open: %s. It closes after that, unless calls fail."
CLOSED = "Circuit %s is closed: %s. Its calls are permitted."

PERMITTING: Mapping[Override, str] = {
    Override.OBSERVE: "the circuit is only observed here",
    Override.FORCE_CLOSED: "an operator has forced the circuit closed",
}

LEADS = "This instance leads: it evaluates the results of all instances and publishes transitions."
FOLLOWS = "This instance follows: another instance leads and publishes transitions."
OVERRIDE_SET = "Override %s applies to %s: %s (set by %s)."
OVERRIDE_LIFTED = "Override %s of %s was lifted: %s (by %s). The fleet's verdict applies again."
OVERRIDE_EXPIRED = (
    "Override %s of %s has expired: %s (set by %s). The fleet's verdict applies again."
)

CONNECTED_AGAIN = "The store (Redis) answers again: this instance has loaded the current states."

OVERRIDES = {"set": OVERRIDE_SET, "lifted": OVERRIDE_LIFTED, "expired": OVERRIDE_EXPIRED}

NEVER_STARTED = (
    "The coordinator was not started in this process: the results of circuit %s are not evaluated, "
    "and it never opens. Start the coordinator with the program: `async with coordinator` in the "
    "lifespan, BreakerMiddleware around the outermost app, or `with coordinator` in synchronous "
    "code."
)
NOT_RUNNING = (
    "The coordinator does not run (it was stopped, or the process was forked): it receives no news "
    "of the recovery of circuit %s, whose calls are permitted because its wait is over. Start the "
    "coordinator again, in each process that makes calls."
)
NO_LONGER_RUNNING = (
    "The coordinator does not run any more (it was stopped, or its event loop was closed): the "
    "results of circuit %s are not evaluated, and it never opens. Keep the coordinator running "
    "while calls are made, or start it again."
)
TOO_MANY_NEW = (
    "Too many new circuits are requested at once: %s and others are not protected, and their calls "
    "are permitted and not counted, until the rate falls. Each becomes protected with its first "
    "call within the limit; circuits named in `policies` are always protected. Choose circuit "
    "names from a bounded set (no user ids, no paths)."
)
CHANGES_HELD_BACK = (
    "Too many circuits change their states: further changes are not logged within %g s; the "
    "callback and the metrics contain them. If callers can make up names, name circuits after "
    "upstreams."
)
CHECK_FAILS = (
    "The health check of circuit %s fails: %s. Until it passes, the circuit stays or becomes open."
)

UNKNOWN_ENTRY = (
    "An entry of an unknown kind in Redis was skipped: %s. A newer version of this package writes "
    "to this namespace. Upgrade this instance; further entries of this kind are only counted "
    "(zenvark_unknown_entries_total)."
)
HELD_UP = (
    "The leader does without %s, because these instances run a version without it: %s. Upgrade "
    "them; the leader then uses it."
)
OVERRIDES_IGNORED = (
    "An override is in force that these instances ignore, because they run an older version: %s. "
    "Their calls meet the fleet's verdict. Upgrade them."
)
CHECKS_CONTRADICTED = (
    "The health checks of circuit %s fail on this leader only: %s. Its recovery goes on. Check "
    "this host's egress, proxy and DNS."
)
SUSPECTED = (
    "Circuit %s stays closed, though %s of %s calls of instance %s failed: the quorum was not "
    "reached, and its results do not count for a while. Check that host's egress, proxy and "
    "configuration."
)

CHECKS_WAIT = (
    "Health checks are delayed, first that of circuit %s: %s. Their circuits keep their states. "
    "Give plain health checks a timeout of their own, so that none hangs."
)


class Log:
    """The lines of one coordinator.

    Args:
        namespace: Its namespace.

    Attributes:
        instance: Its name in the fleet, which may change.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self.instance = ""

    def error(self, error: Exception) -> None:
        """Log a background error."""
        name = type(error).__name__
        template, told, circuit = UNEXPECTED, described(error), None
        if isinstance(error, ZenvarkError):
            template = next(ERRORS[kind] for kind in type(error).__mro__ if kind in ERRORS)
            told, circuit = text_of(error) or name, error.circuit
        told = told.rstrip(".")  # the template goes on with a sentence of its own
        self._write(
            logging.ERROR, "error", template, told, circuit=circuit, raised=error, error=name
        )

    def held_back(self, kind: str, seconds: float) -> None:
        """Log that errors of a class are only counted for a while."""
        self._write(logging.ERROR, "errors_held_back", HELD_BACK, kind, seconds, error=kind)

    def changes_held_back(self, seconds: float) -> None:
        """Log that state changes are not logged for a while."""
        self._write(logging.WARNING, "changes_held_back", CHANGES_HELD_BACK, seconds)

    def state_changed(self, change: StateChange, mode: Override | None = None) -> None:
        """Log a state change on this instance: an opening is a warning.

        Args:
            change: The change.
            mode: What calls meet instead of the verdict, if anything.
        """
        template, event = _of_change(change)
        reason = change.reason
        failures = _listed(reason.failures)
        told: tuple[str, ...] = (failures,) if change.state is State.OPEN else ()
        if template is IS_OPEN and mode is not None and mode in PERMITTING:
            template, told = IS_OBSERVED, (failures, PERMITTING[mode])
        opens = change.previous is State.CLOSED and change.state is not State.CLOSED
        self._write(
            logging.WARNING if opens else logging.INFO,
            event,
            template,
            change.name,
            str(reason),
            *told,
            circuit=change.name,
            state=change.state.value,
            previous=change.previous.value,
            generation=change.generation,
            cause=reason.cause.value,
            detail=str(reason),
            failures=failures,
            mode=mode and mode.value,
        )

    def role_changed(self, role: Role) -> None:
        """Log that this instance has become the leader or a follower."""
        template = LEADS if role is Role.LEADER else FOLLOWS
        self._write(logging.INFO, "role", template, role=role.value)

    def override_changed(self, change: OverrideChange) -> None:
        """Log that an override takes effect or ends on this instance, which is a warning."""
        override, source = change.override, change.lifted or change.override
        self._write(
            logging.WARNING,
            f"override_{change.kind}",
            OVERRIDES[change.kind],
            override.mode,
            change.circuit,
            source.reason,
            source.actor,
            circuit=change.circuit,
            mode=override.mode and override.mode.value,
            reason=source.reason,
            actor=source.actor,
            number=source.number,
        )

    def connected_again(self) -> None:
        """Log that Redis answers after an outage."""
        self._write(logging.INFO, "connected_again", CONNECTED_AGAIN)

    def never_started(self, circuit: str) -> None:
        """Log that calls are made although the coordinator was never started."""
        self._write(logging.WARNING, "never_started", NEVER_STARTED, circuit, circuit=circuit)

    def not_running(self, circuit: str) -> None:
        """Log that calls of an open circuit are permitted because the coordinator does not run."""
        self._write(logging.WARNING, "not_running", NOT_RUNNING, circuit, circuit=circuit)

    def no_longer_running(self, circuit: str) -> None:
        """Log that calls are made after the coordinator has ended."""
        self._write(
            logging.WARNING, "no_longer_running", NO_LONGER_RUNNING, circuit, circuit=circuit
        )

    def too_many_new(self, circuit: str) -> None:
        """Log that circuits are unprotected because too many new ones are requested."""
        self._write(logging.WARNING, "too_many_new", TOO_MANY_NEW, circuit, circuit=circuit)

    def unknown_entry(self, kind: str) -> None:
        """Log that an entry of a newer version was skipped."""
        self._write(logging.WARNING, "unknown_entry", UNKNOWN_ENTRY, kind, detail=kind)

    def held_up(self, capability: str, instances: str) -> None:
        """Log that the leader does without a capability that some instances lack."""
        self._write(
            logging.WARNING,
            "held_up",
            HELD_UP,
            capability,
            instances,
            detail=f"{capability}: {instances}",
        )

    def overrides_ignored(self, instances: str) -> None:
        """Log that some instances ignore the overrides in force."""
        self._write(
            logging.WARNING,
            "overrides_ignored",
            OVERRIDES_IGNORED,
            instances,
            detail=instances,
        )

    def check_fails(self, circuit: str, told: str) -> None:
        """Log that a health check fails after a passed one, or in a different way than before."""
        self._write(
            logging.WARNING, "check_fails", CHECK_FAILS, circuit, told, circuit=circuit, detail=told
        )

    def checks_wait(self, circuit: str, told: str) -> None:
        """Log that health checks are not run because all threads are taken by hanging ones."""
        self._write(
            logging.WARNING, "checks_wait", CHECKS_WAIT, circuit, told, circuit=circuit, detail=told
        )

    def checks_contradicted(self, circuit: str, told: str) -> None:
        """Log that this leader's health checks fail, though a call of another instance passed."""
        self._write(
            logging.WARNING,
            "checks_contradicted",
            CHECKS_CONTRADICTED,
            circuit,
            told,
            circuit=circuit,
            detail=told,
        )

    def suspected(self, suspect: Suspect) -> None:
        """Log that an instance is a suspect."""
        self._write(
            logging.WARNING,
            "suspect",
            SUSPECTED,
            suspect.circuit,
            suspect.failures,
            suspect.calls,
            suspect.instance,
            circuit=suspect.circuit,
            suspect=suspect.instance,
            failures=suspect.failures,
            calls=suspect.calls,
        )

    def _write(
        self,
        level: int,
        event: str,
        template: str,
        *told: object,
        circuit: str | None = None,
        raised: Exception | None = None,
        **facts: object,
    ) -> None:
        if not logger.isEnabledFor(level):
            return
        text = template + WHERE
        facts |= {
            "event": event,
            "namespace": self._namespace,
            "instance": self.instance,
            "circuit": circuit,
        }
        # An exception of a user's handler or filter must not affect a call or a decision.
        with suppress(Exception):
            logger.log(
                level,
                text,
                *told,
                self._namespace,
                circuit or "-",
                self.instance,
                exc_info=raised if raised is not None and _is_traced(raised) else None,
                extra={f"zenvark_{name}": fact for name, fact in facts.items()},
            )


def _of_change(change: StateChange) -> tuple[str, str]:
    if change.state is State.CLOSED:
        return CLOSED, "circuit_closed"
    if change.reason.cause is Cause.RAMP:
        return RAMP, "circuit_half_open"
    if change.state is State.HALF_OPEN:
        return HALF_OPEN, "circuit_half_open"
    if change.previous is State.CLOSED:
        return IS_OPEN, "circuit_open"
    return STAYS_OPEN, "circuit_stays_open"


def _listed(failures: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {what}" for what, count in failures.items()) or "none reported"


def _is_traced(error: Exception) -> bool:
    """Whether to log the traceback of an error, if it has one."""
    # An outage of the store is no bug: its text says which command failed and how, and eighty lines
    # of redis-py, again with each retry, would hide it.
    if isinstance(error, BackendError) and not logger.isEnabledFor(logging.DEBUG):
        return False
    return error.__traceback__ is not None or error.__cause__ is not None
