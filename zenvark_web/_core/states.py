"""The values of the core: states, outcomes, and the records that instances exchange.

Times in exchanged records are seconds of the shared clock (the clock of Redis), never of a host.
Times in a leader's circuits are in the leader's own seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Any

from .failure_kinds import FailureKind
from .order import START, Position
from .ramp import Ramp


class State(StrEnum):
    """The state of a circuit."""

    CLOSED = "closed"
    """All calls are permitted."""
    OPEN = "open"
    """All calls are rejected."""
    HALF_OPEN = "half_open"
    """A fixed number of trial calls, or the growing share of calls of a ramp, is permitted; all
    other calls are rejected."""


class Outcome(Enum):
    """The outcome of one call for its circuit."""

    SUCCESS = "success"
    FAILURE = "failure"
    IGNORED = "ignored"
    """The call says nothing about the upstream: the caller cancelled or broke it."""
    ANSWERED = "answered"
    """The upstream responded, but the response says nothing about its health (an HTTP 404). Ignored
    while the circuit is closed; passes a trial call."""


SUCCESS, FAILURE = Outcome.SUCCESS, Outcome.FAILURE
IGNORED, ANSWERED = Outcome.IGNORED, Outcome.ANSWERED
"""The same, for the path of each call: CPython 3.11 takes twenty times as long to read a member
from its class."""


class Role(StrEnum):
    """The role of an instance in its namespace."""

    LEADER = "leader"
    FOLLOWER = "follower"


class HealthCheckType(StrEnum):
    """The purpose of a health check."""

    RECOVERY = "recovery"
    """The circuit is open; a passed check contributes to closing it."""
    IDLE = "idle"
    """The circuit is closed and without calls; a failed check opens it."""


class Cause(StrEnum):
    """The cause of a transition."""

    INITIAL = "initial"
    """The initial state of a circuit."""
    TRIPPED = "tripped"
    IDLE_CHECK_FAILED = "idle_check_failed"
    CHECK_FAILED = "check_failed"
    CHECK_PASSED = "check_passed"
    TRIAL = "trial"
    TRIAL_FAILED = "trial_failed"
    TRIAL_PASSED = "trial_passed"
    RAMP = "ramp"
    """The checks or trial calls have passed, and a growing share of calls is permitted."""
    RAMP_FAILED = "ramp_failed"
    RAMP_PASSED = "ramp_passed"
    RETRY_AFTER = "retry_after"
    """The upstream sent a later Retry-After deadline."""
    THROTTLED = "throttled"
    """The upstream named a wait, for which the circuit is open (`throttle="open"`)."""
    FORCED = "forced"
    """An operator holds the circuit open (`Override.FORCE_OPEN`)."""
    PROBE = "probe"
    """An operator asked for a recovery attempt at once."""
    REPAIRED = "repaired"
    """Redis had lost the circuit's state, which was written again from an instance's memory."""
    OTHER = "other"
    """A cause of a newer version, whose word is in the detail."""


TRANSITIONS: Mapping[tuple[State, Cause], State] = MappingProxyType(
    {
        (State.CLOSED, Cause.TRIPPED): State.OPEN,
        (State.CLOSED, Cause.IDLE_CHECK_FAILED): State.OPEN,
        (State.CLOSED, Cause.THROTTLED): State.OPEN,
        (State.CLOSED, Cause.FORCED): State.OPEN,
        (State.CLOSED, Cause.REPAIRED): State.CLOSED,
        (State.OPEN, Cause.CHECK_FAILED): State.OPEN,
        (State.OPEN, Cause.CHECK_PASSED): State.CLOSED,
        (State.OPEN, Cause.RETRY_AFTER): State.OPEN,
        (State.OPEN, Cause.THROTTLED): State.OPEN,
        (State.OPEN, Cause.PROBE): State.OPEN,
        (State.OPEN, Cause.TRIAL): State.HALF_OPEN,
        (State.OPEN, Cause.RAMP): State.HALF_OPEN,
        (State.OPEN, Cause.REPAIRED): State.OPEN,
        (State.HALF_OPEN, Cause.THROTTLED): State.OPEN,
        (State.HALF_OPEN, Cause.FORCED): State.OPEN,
        (State.HALF_OPEN, Cause.TRIAL): State.HALF_OPEN,
        (State.HALF_OPEN, Cause.TRIAL_FAILED): State.OPEN,
        (State.HALF_OPEN, Cause.TRIAL_PASSED): State.CLOSED,
        (State.HALF_OPEN, Cause.RAMP): State.HALF_OPEN,
        (State.HALF_OPEN, Cause.RAMP_FAILED): State.OPEN,
        (State.HALF_OPEN, Cause.RAMP_PASSED): State.CLOSED,
        # Only where a new policy brought a health check while a trial was under way.
        (State.HALF_OPEN, Cause.CHECK_FAILED): State.OPEN,
        (State.HALF_OPEN, Cause.CHECK_PASSED): State.CLOSED,
        (State.HALF_OPEN, Cause.REPAIRED): State.OPEN,
    }
)
"""All legal transitions. Any other raises and changes nothing. (A repair also leads to any state
that an instance reports: see `KnownState`.)"""


LONGEST_LEAP = 2**32
"""The maximum number of generations by which a transition may be ahead of the known one, or of
none: a larger one is not the fleet's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """The explanation of a transition, for people.

    Args:
        cause: The cause of the transition.
        detail: One sentence with the strategy and its numbers, or the check's error.
        instances: The instances whose calls were decisive, with the number of their failures and of
            their slow calls in flight.
        failures: The most frequent failures, with their numbers.
        slow_share: The share of slow calls in the window, 0..1.
        kinds: The number of failures of each kind: "connect", "timeout", "status", "body", "pool",
            "other".
    """

    cause: Cause
    detail: str = ""
    instances: Mapping[str, int] = field(default_factory=dict[str, int])
    failures: Mapping[str, int] = field(default_factory=dict[str, int])
    slow_share: float = 0.0
    kinds: Mapping[str, int] = field(default_factory=dict[str, int])

    def __str__(self) -> str:
        return self.detail or self.cause.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Trial permits for one instance.

    Args:
        holder: The instance that may make the calls.
        permits: The number of permits.
        passed: The number of consecutive trial calls that had passed before this grant.
    """

    holder: str
    permits: int
    passed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One numbered transition of one circuit, which the leader publishes and all instances apply.

    Args:
        circuit: The circuit's name.
        generation: The number of the transition, one more than the previous one. A call belongs to
            the generation in which it started.
        previous: The previous state.
        state: The new state.
        at: The time of the decision.
        since: The time at which the decisive result was reported, or `at`.
        attempt: The number of an open circuit's current wait, from one. A closed circuit keeps its
            last one, which decreases with the time for which it stays closed (`next_attempt`).
        delay: The length of that wait in seconds; the next recovery attempt is due at
            `at + delay`, never before the Retry-After deadline.
        grant: In `HALF_OPEN`, the trial permits and their holder, unless there is a ramp.
        ramp: In `HALF_OPEN`, the schedule of the ramp, which began at `at`.
        reason: The explanation.
        position: The result entry up to which results have been counted.
        epoch: The lease under which it was written.
        leader: The instance that wrote it.
        unknown_state: The word for a state that this version does not know, if the writer names no
            known state to take instead. The circuit then stays in its last state: see `after`.
    """

    circuit: str
    generation: int = 0
    previous: State = State.CLOSED
    state: State = State.CLOSED
    at: float = 0.0
    since: float = 0.0
    attempt: int = 0
    delay: float = 0.0
    grant: Grant | None = None
    ramp: Ramp | None = None
    reason: Reason = Reason(cause=Cause.INITIAL)
    position: Position = START
    epoch: int = 0
    leader: str = ""
    unknown_state: str = ""

    @property
    def retry_at(self) -> float:
        """The time at which an open circuit's next recovery attempt is due."""
        return self.at + self.delay

    def next(self, reason: Reason, **changes: Any) -> Transition:
        """Create the transition that follows for a reason, which is not written yet.

        Args:
            reason: The reason of the transition.
            changes: The fields that differ from this transition, or from the usual next one.

        Raises:
            KeyError: The reason's cause does not lead out of this state.
        """
        made: dict[str, Any] = {
            "generation": self.generation + 1,
            "previous": self.state,
            "state": TRANSITIONS[self.state, reason.cause],
            "grant": None,
            "ramp": None,
            "reason": reason,
            "position": START,
            "epoch": 0,
            "leader": "",
        }
        return replace(self, **made | changes)

    def after(self, known: Transition) -> Transition:
        """Return the transition as it applies after the known one: one with an unknown state keeps
        the last state and its wait, and counts as a new generation without trial permits."""
        if not self.unknown_state:
            return self
        return replace(
            self,
            state=known.state,
            at=known.at,
            attempt=known.attempt,
            delay=known.delay,
            grant=None,
            ramp=known.ramp,
            unknown_state="",
        )

    def leaps(self, known: Transition) -> bool:
        """Whether the transition is implausibly far ahead of the known one."""
        return self.generation > known.generation + LONGEST_LEAP

    @property
    def order(self) -> tuple[int, int]:
        """The order of a circuit's transitions."""
        return self.generation, self.epoch


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive calls on one instance with the same outcome.

    Args:
        generation: The generation in which they started.
        failed: Whether they failed.
        slow: Whether they were slow.
        count: The number of calls.
        age: The seconds between the end of the last call and its arrival in the store.
        label: The name of the failure (of an exception, or a status); empty otherwise.
        failure_kind: Where they failed; None if they did not, or it is not known.
    """

    generation: int
    failed: bool
    slow: bool
    count: int
    age: float = 0.0
    label: str = ""
    failure_kind: FailureKind | None = None


@dataclass(frozen=True, slots=True)
class TrialNote:
    """The use of a grant, which its holder sends with each report, or an instance's calls of a ramp
    in flight.

    Permits that are neither unused, nor held, nor settled by a result were returned.

    Args:
        generation: The generation of the grant or ramp.
        unused: Permits that can still be taken.
        held: Calls in flight.
    """

    generation: int
    unused: int
    held: int


@dataclass(frozen=True, slots=True)
class KnownState:
    """The state of a circuit as an instance knows it, for a leader to restore what the store has
    lost.

    Args:
        state: The circuit's state.
        attempt: The number of its latest wait.
        delay: The seconds of that wait.
        left: The remaining seconds of that wait.
        grant: In `HALF_OPEN`, the grant.
        ramp: In `HALF_OPEN`, the schedule of the ramp.
        elapsed: The seconds since the ramp began.
    """

    state: State
    attempt: int = 0
    delay: float = 0.0
    left: float = 0.0
    grant: Grant | None = None
    ramp: Ramp | None = None
    elapsed: float = 0.0

    def as_of(self, at: float) -> dict[str, Any]:
        """Return the fields of a transition to this state, as it was reported at a time."""
        began = at - self.elapsed if self.ramp else at + self.left - self.delay
        return {
            "state": self.state,
            "at": began,
            "attempt": self.attempt,
            "delay": self.delay,
            "grant": self.grant,
            "ramp": self.ramp,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """What one instance reports about one circuit.

    Args:
        circuit: The circuit's name.
        runs: Results, oldest first.
        blocked: The number of rejected calls since the last report.
        trial: The holder's note on its grant.
        generation: The latest generation that the instance knows.
        retry_after: The seconds until the Retry-After deadline that the instance knows; None if it
            knows none. Each report repeats it.
        overdue: The number of slow calls of that generation that are in flight.
        known_state: The circuit's state in that generation. None: the initial one, or not reported.
        protects_itself: Whether the instance rejects calls by its own decision (`quorum`).
        uncounted: The number of those rejected calls that passed nevertheless, because an override
            or `observe` permitted them.
    """

    circuit: str
    runs: tuple[Run, ...] = ()
    blocked: int = 0
    trial: TrialNote | None = None
    generation: int = 0
    retry_after: float | None = None
    overdue: int = 0
    known_state: KnownState | None = None
    protects_itself: bool = False
    uncounted: int = 0


@dataclass(frozen=True, slots=True)
class WindowSnapshot:
    """The window of a circuit that is closed, or in a ramp.

    Args:
        strategy: The strategy that made the window.
        saved: The window as it saved itself; None if it cannot.
        failures: The newest failures, each with its instance, label and number.
        newest: The newest time in the window, in that leader's own seconds.
    """

    strategy: str
    saved: str | None
    failures: tuple[tuple[str, str, int], ...] = ()
    newest: float = 0.0


@dataclass(frozen=True, slots=True)
class TrialResults:
    """The results of the trial calls of the current grant, or of the calls of the current ramp.

    Args:
        passed: The number of passed calls.
        failed: The number of failed calls.
        failures: The failures by label.
    """

    passed: int
    failed: int
    failures: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class Suspicion:
    """An instance whose failures did not open the circuit, because no other instance had enough.

    Times are in the leader's own seconds; in a `CircuitSnapshot`, of the shared clock.

    Args:
        instance: The suspect.
        failures: The number of its failed calls in the window at that moment.
        slow: The number of its slow calls.
        calls: The number of its calls.
        since: When it became a suspect, the first time in a row.
        until: When the suspicion ends.
        length: Seconds of the suspicion.
    """

    instance: str
    failures: int
    slow: int
    calls: int
    since: float
    until: float
    length: float


@dataclass(frozen=True, slots=True)
class Suspect:
    """An instance whose failures did not open a circuit: its quorum was not reached, so the cause
    is probably the instance's own (its egress, its configuration, its host).

    Args:
        circuit: The circuit's name.
        instance: The suspect. Its results do not count for a while.
        failures: The number of its failed calls in the window, slow calls included.
        calls: The number of its calls in the window.
        since: The time at which it became a suspect, in seconds of Redis' clock.
    """

    circuit: str
    instance: str
    failures: int
    calls: int
    since: float


@dataclass(frozen=True, slots=True)
class Protection:
    """The decision by which an instance protects itself, as it announces it to operators.

    Args:
        circuit: The circuit.
        state: The instance's own verdict: open, or half-open during its trial call.
        since: When it opened, in seconds of the shared clock.
        detail: What its calls were like: the reason to open.
        failures: The most frequent failures, with their numbers.
    """

    circuit: str
    state: State
    since: float
    detail: str = ""
    failures: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class CircuitSnapshot:
    """What a circuit has counted since its latest transition, for the next leader.

    Args:
        generation: The generation of that transition.
        position: The result entry up to which results are in it.
        window: Its window, if it is closed or in a ramp.
        trial: The results of its trial calls or of its ramp, if it is half-open.
        retry_after_until: The Retry-After deadline in seconds of the shared clock, or 0.
        suspects: The instances whose results do not count for a while.
    """

    generation: int
    position: Position = START
    window: WindowSnapshot | None = None
    trial: TrialResults | None = None
    retry_after_until: float = 0.0
    suspects: tuple[Suspicion, ...] = ()
