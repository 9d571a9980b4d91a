"""What the logger `zenvark_web` is told: one constant template for each kind of line.

A template names what happened and what to do; the numbers are its arguments, so that whatever
groups lines by their template tells kinds apart. The same facts are in the record's `extra`
fields, for formatters that write JSON; docs/logging.md lists both.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress

from .._core.states import Role, State
from ..events import StateChange
from ..exceptions import (
    BackendError,
    CallbackError,
    ClassifierError,
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
        "The store did not do what it was asked: %s. Circuits keep their states, and this "
        "instance tries again by itself; if that lasts, look at the store and the way to it."
    ),
    FencedError: (
        "This instance wrote as a leader when another one led already: %s. Nothing was written, "
        "and it follows now; if that comes often, something blocks its event loop."
    ),
    MalformedEntryError: (
        "An entry in the store was skipped, since it can't be read: %s. Another version of this "
        "package or somebody else writes into this namespace's keys."
    ),
    ResultsLostError: (
        "Results were lost: %s. Circuits may open late; look whether the store was away, whether "
        "somebody leads, and what blocks this instance's event loop."
    ),
    PolicyMismatchError: (
        "Instances of this namespace have different settings: %s. Deploy the same policies and "
        "number of shards everywhere, or give each group a namespace of its own."
    ),
    OverloadedError: (
        "The leader is behind: %s. Their calls pass unprotected; other circuits are judged in time."
    ),
    ClassifierError: (
        "A classifier is broken: %s. Until it is mended, the default rules decide whenever it "
        "raises; it has to return an Outcome for all that it is given."
    ),
    RoutingError: (
        "A request's circuit can't be told: %s. Such requests are not protected, or by the "
        "settings without what is unusable; mend what tells their circuits."
    ),
    StrategyError: (
        "A strategy or backoff is broken: %s. Its circuit stays as it is, and is not protected "
        "until that is mended."
    ),
    HealthCheckError: (
        "A health check can't do its work: %s. Its circuit stays open until the check is mended."
    ),
    CallbackError: "A callback is broken: %s. The others go on; mend it.",
    MetricsError: "A metrics recorder is broken: %s. The circuits go on; mend the recorder.",
    StopError: (
        "Something did not end with the coordinator: %s. It was left behind; let it be cancelled."
    ),
    ZenvarkError: "Something went wrong in the background: %s.",
}

UNEXPECTED = (
    "Something unexpected was raised in the background: %s. What was under way is tried again; "
    "please report this with its traceback, unless the error is your own."
)

HELD_BACK = (
    "There are many %ss: for the next %g s, some are only counted (zenvark_errors_total). Each "
    "circuit and source has been told of."
)

IS_OPEN = "Circuit %s is open: %s; failures: %s. Its calls are rejected until it has recovered."
STAYS_OPEN = "Circuit %s stays open: %s; failures: %s. Its recovery is tried again later."
HALF_OPEN = "Circuit %s is half-open: %s. A few calls try whether it has recovered."
CLOSED = "Circuit %s is closed: %s. Its calls pass."

LEADS = "This instance leads: it judges the results of all, and decides."
FOLLOWS = "This instance follows: another one judges and decides."
CONNECTED_AGAIN = "The store answers again: this instance has caught up with the others."

NEVER_STARTED = (
    "The coordinator was not started in this process, so nobody judges the results of circuit %s "
    "and it never opens. Start it with the program: `async with coordinator` in the lifespan, "
    "BreakerMiddleware around the outermost app, or `with coordinator` in synchronous code."
)
NOT_RUNNING = (
    "The coordinator does not run (it was stopped, or the process was forked), so nobody finds out "
    "whether circuit %s has recovered: its wait is over and its calls pass. Start the coordinator "
    "again, in each process that makes calls."
)
NO_LONGER_RUNNING = (
    "The coordinator does not run any more (it was stopped, or its event loop was closed), so "
    "nobody judges the results of circuit %s and it never opens. Let it run as long as calls are "
    "made, or start it again."
)
TOO_MANY_NEW = (
    "Too many new circuits come at once: %s and others are not protected, their calls pass and do "
    "not count, until fewer come. Breakers taken meanwhile are protected from the first call that "
    "is not one too many; circuits named in `policies` always are. Give circuits names of which "
    "there is a bounded number (no user ids, no paths)."
)
CHANGES_HELD_BACK = (
    "So many circuits change their states that further changes are not logged within %g s; the "
    "callback and the metrics have them. If somebody makes names up, name circuits after upstreams."
)
CHECK_FAILS = (
    "The health check of circuit %s fails: %s. Until it passes, the circuit stays or becomes open."
)

CHECKS_WAIT = (
    "Health checks have to wait, that of circuit %s first: %s. Circuits whose checks wait stay as "
    "they are; give plain health checks a time limit of their own, so that none hangs."
)


class Log:
    """The lines of one coordinator.

    Args:
        namespace: Its namespace.
        instance: Tells its name in the fleet, which may change.
    """

    def __init__(self, namespace: str, instance: Callable[[], str]) -> None:
        self._namespace = namespace
        self._instance = instance

    def error(self, error: Exception) -> None:
        """An error of the background."""
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
        """Errors of a class are only counted for a while."""
        self._write(logging.ERROR, "errors_held_back", HELD_BACK, kind, seconds, error=kind)

    def changes_held_back(self, seconds: float) -> None:
        """Changes of circuits are not told for a while."""
        self._write(logging.WARNING, "changes_held_back", CHANGES_HELD_BACK, seconds)

    def state_changed(self, change: StateChange) -> None:
        """A circuit changed its state here. That it opens is a warning."""
        template, event = _of_change(change)
        reason = change.reason
        failures = _listed(reason.failures)
        told = (failures,) if change.state is State.OPEN else ()
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
        )

    def role_changed(self, role: Role) -> None:
        """This instance leads now, or no longer."""
        template = LEADS if role is Role.LEADER else FOLLOWS
        self._write(logging.INFO, "role", template, role=role.value)

    def connected_again(self) -> None:
        """The store answers after an outage."""
        self._write(logging.INFO, "connected_again", CONNECTED_AGAIN)

    def never_started(self, circuit: str) -> None:
        """Results come in, and nobody will judge them."""
        self._write(logging.WARNING, "never_started", NEVER_STARTED, circuit, circuit=circuit)

    def not_running(self, circuit: str) -> None:
        """Calls of an open circuit pass because nobody finds out how its upstream is."""
        self._write(logging.WARNING, "not_running", NOT_RUNNING, circuit, circuit=circuit)

    def no_longer_running(self, circuit: str) -> None:
        """Results come in after the coordinator has ended."""
        self._write(
            logging.WARNING, "no_longer_running", NO_LONGER_RUNNING, circuit, circuit=circuit
        )

    def too_many_new(self, circuit: str) -> None:
        """Circuits are not protected, since too many new ones come."""
        self._write(logging.WARNING, "too_many_new", TOO_MANY_NEW, circuit, circuit=circuit)

    def check_fails(self, circuit: str, told: str) -> None:
        """A health check fails, after it passed or in another way than before."""
        self._write(
            logging.WARNING, "check_fails", CHECK_FAILS, circuit, told, circuit=circuit, detail=told
        )

    def checks_wait(self, circuit: str, told: str) -> None:
        """Health checks are not run, for others hang in all threads there are."""
        self._write(
            logging.WARNING, "checks_wait", CHECKS_WAIT, circuit, told, circuit=circuit, detail=told
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
        instance = self._instance()
        text = template + WHERE
        facts |= {
            "event": event,
            "namespace": self._namespace,
            "instance": instance,
            "circuit": circuit,
        }
        # A handler or filter of the user's that raises costs no call and no decision.
        with suppress(Exception):
            logger.log(
                level,
                text,
                *told,
                self._namespace,
                circuit or "-",
                instance,
                exc_info=raised if raised is not None and _was_raised(raised) else None,
                extra={f"zenvark_{name}": fact for name, fact in facts.items()},
            )


def _of_change(change: StateChange) -> tuple[str, str]:
    if change.state is State.CLOSED:
        return CLOSED, "circuit_closed"
    if change.state is State.HALF_OPEN:
        return HALF_OPEN, "circuit_half_open"
    if change.previous is State.CLOSED:
        return IS_OPEN, "circuit_open"
    return STAYS_OPEN, "circuit_stays_open"


def _listed(failures: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {what}" for what, count in failures.items()) or "none told"


def _was_raised(error: Exception) -> bool:
    """Whether there is a traceback that tells more than the error's text."""
    return error.__traceback__ is not None or error.__cause__ is not None
