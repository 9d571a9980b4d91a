"""The state machine of one circuit: reports and time go in, transitions come out.

    CLOSED ──tripped, idle check failed──▶ OPEN ──check passed──▶ CLOSED
           ──throttled───────────────────▶  │ ▲ └─check failed, retry after─▶ OPEN (a longer wait)
                               trial, ramp  │ │ trial failed, ramp failed, throttled
                                            ▼ │
                                         HALF_OPEN ──trial passed, ramp passed──▶ CLOSED

A circuit with a health check recovers from OPEN to CLOSED when the check passes. A circuit without
one recovers by trial calls, each of which costs a user's call, so they are counted exactly. A
*grant* gives `trial_calls` permits to one instance with blocked callers. All permits are used, then
their results decide together: after one failure the circuit waits again, for longer. Each report
of the holder contains the number of unused permits and of calls in flight. A permit that is
neither, and that no result has settled, was returned (by a cancelled call or a recall), and is
granted again.

A grant goes to the instance with the most blocked callers, or, if instances have calls in turn, to
the next one, and stays there until it is used. If only other instances have calls meanwhile, the
unused permits are recalled. A silent holder is replaced; it uses no permit after `HOLDER_SILENCE`
without a reply from the store.

With a policy's `ramp`, the passed check or trial leads to a ramp instead of CLOSED: HALF_OPEN with
a schedule, in which each instance permits a growing share of its calls. The whole ramp is one
generation, and its results are counted like those of a closed circuit, with a fresh window.

With `throttle="open"`, an upstream that names a wait has the circuit opened for that wait. This is
no failed attempt, so the backoff does not grow. The upstream has said when it wants calls again:
the ramp, if there is one, follows without a check or trial.

An operator may hold a circuit open. It counts nothing then, and makes no attempt to recover. When
it is released, the next attempt is due, so that it recovers like any other open circuit: the end of
an override never lets all calls pass at once.

Only results of the current generation count, so every transition resets the counts. Two inputs are
not results. A call in flight may be slow already, so a window may trip before the call ends. And a
Retry-After deadline applies whichever call received it: no attempt to recover is made before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .ascent import Ascent
from .callers import Callers
from .counting import Counting, counting_of
from .lull import Lull
from .order import START
from .policy import BreakerPolicy
from .quorum import Jury, is_shared
from .ramp import Ramp, of_calls
from .states import (
    LONGEST_LEAP,
    Cause,
    CircuitSnapshot,
    Grant,
    HealthCheckType,
    Reason,
    Report,
    Run,
    State,
    Transition,
    TrialNote,
)
from .surroundings import ALONE, Check, Contradiction, Recall, Surroundings
from .trial import Trial, times
from .waits import Waits

CHECK_AGAIN = 1.0
"""Seconds after which a circuit requests a health check again that could not be run."""

LEAST_TOLD_WAIT = 0.1
"""Seconds of a named wait that must be left to open a circuit for it: a shorter one would be over
before all instances know."""

IDLE_CHECKS_WITH_QUORUM = 3
"""The number of idle checks in a row that must fail before a circuit with a quorum opens."""

SECOND_OPINION = 3
"""Failed recovery checks after which another instance makes a trial call, if there is a quorum."""


class Circuit:
    """The state machine of one circuit, without a clock and without I/O.

    Args:
        policy: The circuit's policy.
        latest: The circuit's latest transition.
        now: The leader's seconds. All times here are in these.
        chance: Returns random numbers from 0 to 1, for jitter.
        surroundings: What it cannot know from its own reports.

    Attributes:
        latest: The circuit's latest transition.
        heard_at: When an instance last reported the circuit.
        faults: Errors of a user's strategy or backoff, which a default has replaced. The owner of
            the circuit reports and clears them.
        jury: The reporting instances and the suspects, if the policy has a quorum. The owner of the
            circuit takes its refusals.
        contradictions: Second opinions. The owner of the circuit reports and clears them.
    """

    def __init__(
        self,
        policy: BreakerPolicy,
        latest: Transition,
        now: float,
        chance: Callable[[], float],
        surroundings: Surroundings = ALONE,
    ) -> None:
        self.policy = policy
        self.latest = latest
        self.heard_at = now
        self.faults: list[Exception] = []
        self.jury: Jury | None = None
        if is_shared(policy.quorum):
            self.jury = Jury(policy.quorum, surroundings.expected, surroundings.expected_until)
        self.contradictions: list[Contradiction] = []
        self._surroundings = surroundings
        self._failed_checks = 0
        self._last_error = ""
        self._asks_another = False
        self._waits = Waits(policy, chance, self.faults)
        self._retry_after = self._waits.asked
        self._callers = Callers()
        self._next_attempt_at: float | None = None
        self._recalls = 0
        self._held = False
        self._enter(now, self._fresh_counting())

    @property
    def held(self) -> bool:
        """Whether an operator holds it open."""
        return self._held

    @property
    def deadline(self) -> float | None:
        """When to call `due` next, unless something happens before."""
        if self._held:
            return None
        if self._trial is not None:
            return self._trial.deadline
        if self._ascent is not None:
            return self._ascent.deadline
        if self._next_attempt_at is None:
            return None
        return max(self._next_attempt_at, self._retry_after.until)

    @property
    def has_failures(self) -> bool:
        """Whether it has counted failures since its latest transition."""
        return self._counting.has_failures

    def adopt(self, latest: Transition, now: float) -> None:
        """Continue from a transition that is in force. Retry-After deadlines stay."""
        counting = self._fresh_counting()
        self.latest = latest
        self._callers.forget_blocked()
        self._enter(now, counting)

    def report(
        self,
        instance: str,
        report: Report,
        *,
        at: float,
        now: float,
        replayed: bool = False,
    ) -> Transition | Recall | None:
        """Apply the report of one instance.

        Args:
            instance: The sender.
            report: The report.
            at: When it arrived in the store, in the leader's seconds: not ahead of `now`.
            now: The leader's seconds.
            replayed: Whether a new leader reads it again. Its results count; its blocked callers
                and calls in flight are those of the past, and do not.

        Returns:
            The transition that follows, a recall, or None. Results after the deciding one belong
            to an earlier generation then, and are left out.
        """
        self.heard_at = now
        self._retry_after.extend(report.retry_after, at)
        self._note_reporter(instance, report, now)
        if not replayed:
            self._note_callers(instance, report, now)
        if self._held:
            return None
        # First: the failure that brings a wait may also trip the window.
        throttled = self._obey(instance, report, at, now)
        return throttled or self._decide(instance, report, at, now, replayed=replayed)

    def _decide(
        self, instance: str, report: Report, at: float, now: float, *, replayed: bool
    ) -> Transition | Recall | None:
        for run in report.runs:
            # Calls of earlier generations would decide twice on what their own has decided.
            if run.generation == self.latest.generation:
                transition = self._count(instance, run, at - run.age, now)
                if transition is not None:
                    return transition
        if self.latest.state is State.CLOSED or self._ascent is not None:
            reason = self._counting.look_ahead(at, now, self.faults) or self._agreement(now)
            return self._end_ramp(now) if reason is None else self._trip(reason, now, since=at)
        if self._trial is not None:
            if instance == self._trial.grant.holder:
                return self._apply_note(self._trial, report.trial, now)
            return self._take_from_holder(self._trial, now, replayed=replayed)
        transition = self._extend_wait(instance, at, now)
        if transition is None and report.blocked and not replayed:
            return self._grant_if_due(now)
        return transition

    def lull(self) -> Lull | None:
        """Begin to sum up successes for `end_lull`, if they can decide nothing. The sum must be
        recorded before any other call of this circuit's methods."""
        if self.jury is not None or self._surroundings.common_cause is not None:
            return None  # both depend on who reports, and when
        step = self._counting.lull_step if self.latest.state is State.CLOSED else None
        return None if step is None else Lull(self.latest.generation, step)

    def end_lull(self, lull: Lull) -> Transition | None:
        """Record the sum of successes, as their reports would have."""
        self.heard_at = lull.heard_at
        for instance, calls in lull.callers:
            self._callers.note(instance, calls, 0, lull.heard_at)
        if lull.generation != self.latest.generation:  # an operator has opened it meanwhile
            return None
        run = Run(lull.generation, failed=False, slow=False, count=lull.count)
        return self._count(lull.callers[-1][0], run, lull.newest, lull.heard_at)

    def due(self, now: float) -> Transition | Check | Recall | None:
        """Make the due decision.

        Returns:
            A transition, a health check to run (its result goes to `checked`), a recall, or None.
        """
        deadline = self.deadline
        if deadline is None or now < deadline:
            return None
        if self._trial is not None:
            if now >= self._trial.lost_at:
                return self._replace_holder(self._trial, now)
            return self._recall(self._trial, now)
        if self._ascent is not None:
            return self._end_ramp(now)
        self._next_attempt_at = None
        if self.policy.health_check is not None:
            return self._resume(now) or self._ask_another(now) or self._check()
        return self._grant_if_due(now)

    def checked(self, check: Check, error: str | None, now: float) -> Transition | None:
        """Apply the result of a health check: None if it passed, else its error (for people)."""
        if self._held or check.generation != self.latest.generation:
            return None
        idle = check.type is HealthCheckType.IDLE
        if error is not None:
            return self._check_failed(idle, error, now)
        self._failed_checks = 0
        if idle:
            self._schedule_idle_check(now)
            return None
        self._passed += 1
        if self._passed >= self.policy.healthy_after:
            detail = f"{times(self._passed, 'health check')} passed"
            return self._recover(Reason(cause=Cause.CHECK_PASSED, detail=detail), now)
        self._next_attempt_at = now + self._waits.before(1)
        return None

    def _check_failed(self, idle: bool, error: str, now: float) -> Transition | None:
        """With a quorum, one failed check of an idle circuit may be the leader's own fault."""
        self._failed_checks += 1
        self._last_error = error
        if idle and self.jury is not None and self._failed_checks < IDLE_CHECKS_WITH_QUORUM:
            self._next_attempt_at = now + CHECK_AGAIN
            return None
        if idle:
            self._failed_checks = 0
        cause = Cause.IDLE_CHECK_FAILED if idle else Cause.CHECK_FAILED
        return self._open(Reason(cause=cause, detail=error), now)

    def put_off(self, check: Check, now: float) -> None:
        """Request a health check again that could not be run."""
        if check.generation == self.latest.generation and self._next_attempt_at is None:
            self._next_attempt_at = now + CHECK_AGAIN

    # Operators

    def hold(self, detail: str, now: float) -> Transition | None:
        """Hold it open until `release`.

        Args:
            detail: The operator and the reason, for people.
            now: The leader's seconds.

        Returns:
            The transition that opens it, unless it is open.
        """
        self._held = True
        if self.latest.state is State.OPEN:
            return None
        reason = Reason(cause=Cause.FORCED, detail=detail)
        attempt = max(1, self._waits.next_attempt(self.latest, now) - 1)
        return self._move(reason, now, attempt=attempt, delay=self._waits.before(attempt))

    def release(self, now: float) -> None:
        """Hold it open no longer: the next attempt to recover is due, or after its wait."""
        self._held = False
        self._passed = 0
        self._next_attempt_at = max(now, self.latest.retry_at)

    def hurry(self, detail: str, now: float) -> Transition | None:
        """Have the next attempt to recover made at once, even before a Retry-After deadline.

        Args:
            detail: The operator and the reason, for people.
            now: The leader's seconds.

        Returns:
            The transition that ends the wait, if it waits.
        """
        if self._held or self.latest.state is not State.OPEN:
            return None
        self._retry_after.drop()
        return self._move(Reason(cause=Cause.PROBE, detail=detail), now, delay=0.0)

    def repair(self, report: Report, *, at: float, now: float) -> Transition | None:
        """Restore a state that the store has lost from the report of an instance. An instance with
        less information never decides against one with more.

        Args:
            report: The report. A generation far ahead of all others is ignored.
            at: When it arrived in the store.
            now: The leader's seconds.
        """
        seen, known = report.generation, self.latest.generation
        if not known < seen <= known + LONGEST_LEAP:
            return None
        detail = f"an instance knew generation {seen}, the store only {known}"
        reason = Reason(cause=Cause.REPAIRED, detail=detail)
        if report.known_state is None:  # from a version that does not report the state
            return self._move(reason, now, generation=seen + 1)
        known_state = report.known_state.as_of(at)
        return self._move(reason, now, generation=seen, since=now, **known_state)

    # Window snapshots, from one leader to the next

    def save(self, now: float) -> CircuitSnapshot | None:
        """Return the window snapshot since the latest transition, if anything was counted."""
        window = self._counting.save() if self._counting.has_begun else None
        trial = self._trial or self._ascent
        results = None if trial is None else trial.save()
        deadline = self._retry_after.until if self._retry_after.until > now else 0.0
        suspects = () if self.jury is None else tuple(self.jury.suspects.current(now))
        if window or results or deadline or suspects:
            generation = self.latest.generation
            return CircuitSnapshot(generation, START, window, results, deadline, suspects)
        return None

    def restore(self, snapshot: CircuitSnapshot, now: float) -> bool:
        """Continue from what another leader's circuit has saved.

        Args:
            snapshot: What it has saved. Of another generation, only the Retry-After deadline.
            now: The leader's seconds.

        Returns:
            Whether everything was restored. If not, the results must be counted again.
        """
        self._retry_after.extend(snapshot.retry_after_until - now, now)
        if self.jury is not None:
            for suspicion in snapshot.suspects:
                self.jury.suspects.restore(suspicion)
        if snapshot.generation != self.latest.generation:
            return True
        trial = self._trial or self._ascent
        if snapshot.trial is not None and trial is not None:
            trial.restore(snapshot.trial)
        return snapshot.window is None or self._counting.restore(snapshot.window)

    # Transitions

    def _enter(self, now: float, counting: Counting) -> None:
        latest = self.latest
        self._counting = counting
        if self.jury is not None:
            self.jury.begin_generation()
        self._trial: Trial | None = None
        self._ascent: Ascent | None = None
        self._owed: tuple[int, int] | None = None
        self._passed = 0
        self._next_attempt_at = None
        if self._asks_another and latest.state is not State.HALF_OPEN:
            self._asks_another = False
            self._failed_checks = 0
        if latest.state is not State.HALF_OPEN:
            self._recalls = 0  # the patience with holders grows within one recovery only
        if latest.state is State.CLOSED:
            self._schedule_idle_check(now)
        elif latest.ramp is not None:
            self._ascent = Ascent(latest.ramp, began=latest.at, known_since=now)
        elif latest.state is State.OPEN or not self._is_tried:
            self._next_attempt_at = latest.retry_at
        elif latest.grant is not None:
            self._trial = Trial(latest.grant, reported_at=now, recalls=self._recalls)

    @property
    def _is_tried(self) -> bool:
        """Whether it recovers by trial calls now."""
        return self.policy.health_check is None or self._asks_another

    def _fresh_counting(self) -> Counting:
        return counting_of(self.policy.strategy, self.jury)

    def _move(self, reason: Reason, now: float, **changes: Any) -> Transition:
        counting = self._fresh_counting()  # first: a user's strategy may raise
        self.latest = self.latest.next(reason, **{"at": now, "since": now} | changes)
        self._enter(now, counting)
        return self.latest

    def _note_reporter(self, instance: str, report: Report, now: float) -> None:
        calls = report.runs or report.blocked or report.overdue or report.trial
        if self._surroundings.common_cause is not None and report.runs:
            self._surroundings.common_cause.note_called(report.circuit, now)
        if self.jury is not None and calls:
            # A sender that knows an older generation protects itself from what is over.
            is_current = report.generation == self.latest.generation
            protects_itself = report.protects_itself and is_current
            self.jury.note(instance, protects_itself=protects_itself, now=now)

    def _agreement(self, now: float) -> Reason | None:
        """The reason to open because enough instances protect themselves."""
        convinced = () if self.jury is None else self.jury.agrees(now)
        if not convinced:
            return None
        shown = ", ".join(convinced[:10])
        detail = f"{times(len(convinced), 'instance')} reject calls by their own results: {shown}"
        return Reason(cause=Cause.TRIPPED, detail=detail[:500])

    def _note_callers(self, instance: str, report: Report, now: float) -> None:
        calls = report.blocked + sum(run.count for run in report.runs)
        self._callers.note(instance, calls, report.blocked, now)
        if report.blocked and self._trial is not None and instance != self._trial.grant.holder:
            self._trial.note_rival(instance, report.blocked, self._callers.next)
        is_current = report.generation == self.latest.generation
        self._counting.note_overdue(instance, report.overdue if is_current else 0, now)
        note = report.trial
        if self._ascent is not None and note and note.generation == self.latest.generation:
            self._ascent.note_in_flight(instance, note.held, now)

    # Closed, and in a ramp: counting

    def _count(self, instance: str, run: Run, at: float, now: float) -> Transition | None:
        if self._trial is not None and instance == self._trial.grant.holder:
            self._trial.count(run)
        if self.latest.state is State.CLOSED:
            self._schedule_idle_check(now)
        elif self._ascent is not None:
            self._ascent.count(run)
        else:
            return None
        reason = self._counting.record(instance, run, at, now, self.faults)
        return None if reason is None else self._trip(reason, now, since=at)

    def _trip(self, reason: Reason, now: float, *, since: float) -> Transition | None:
        """Open, unless too many circuits trip together."""
        common_cause = self._surroundings.common_cause
        if common_cause is not None and common_cause.holds_back(self.latest.circuit, now):
            self._counting = self._fresh_counting()
            return None
        if self._ascent is not None:
            detail = f"at {of_calls(self._ascent.share(now))}, {reason}"
            reason = replace(reason, cause=Cause.RAMP_FAILED, detail=detail)
        return self._open(reason, now, since=since)

    def _schedule_idle_check(self, now: float) -> None:
        if self.policy.idle_interval is not None:
            self._next_attempt_at = now + self.policy.idle_interval

    # Open: waiting

    def _open(self, reason: Reason, now: float, *, since: float | None = None) -> Transition:
        attempt = self._waits.next_attempt(self.latest, now)
        delay, reason = self._waits.held(self._waits.before(attempt), reason, now)
        since = now if since is None else since
        return self._move(reason, now, attempt=attempt, delay=delay, since=since)

    def _extend_wait(self, instance: str, at: float, now: float) -> Transition | None:
        """The transition that publishes a Retry-After deadline beyond the current wait."""
        if self.latest.state is not State.OPEN or not self._waits.is_too_short(self.latest, now):
            return None
        delay = self._retry_after.until - now
        detail = f"the upstream asked {instance} to wait {delay:.1f} s more"
        cause = Cause.THROTTLED if self._is_throttled else Cause.RETRY_AFTER
        return self._move(Reason(cause=cause, detail=detail), now, delay=delay, since=at)

    # Open: as told

    @property
    def _is_throttled(self) -> bool:
        """Whether it is open only because the upstream has named a wait."""
        return self.latest.state is State.OPEN and self.latest.reason.cause is Cause.THROTTLED

    def _obey(self, instance: str, report: Report, at: float, now: float) -> Transition | None:
        """Open for a wait that the upstream has named, whichever call was told. One report is
        enough, whatever the quorum: the wait is about the fleet's calls, and not about the health
        of one instance."""
        if self.policy.throttle != "open" or self.latest.state is State.OPEN:
            return None
        wait = self._retry_after.until - now
        if wait < LEAST_TOLD_WAIT:
            return None
        told = instance if report.retry_after is not None else "an instance"
        reason = Reason(
            cause=Cause.THROTTLED, detail=f"the upstream told {told} to wait {wait:.1f} s"
        )
        attempt = self._waits.next_attempt(self.latest, now) - 1
        return self._move(reason, now, attempt=attempt, delay=wait, since=at)

    def _resume(self, now: float) -> Transition | None:
        """Begin the ramp after a wait that the upstream has named."""
        end = max(self.latest.retry_at, self._retry_after.until)
        if not self._is_throttled or now < end:
            return None
        return self._begin_ramp("the wait that the upstream named is over", now)

    # Half-open: trials

    def _grant_if_due(self, now: float) -> Transition | None:
        """Grant permits if the wait is over, no other grant exists, and an instance has blocked
        callers. (The circuit is not closed.)"""
        latest = self.latest
        if not self._is_tried or self._trial is not None:
            return None
        if latest.state is State.OPEN and now < latest.retry_at:
            return None
        permits, passed = self._owed or (self.policy.trial_calls, 0)
        return self._resume(now) or self._grant(permits, passed, now)

    def _check(self) -> Check:
        idle = self.latest.state is State.CLOSED
        type_ = HealthCheckType.IDLE if idle else HealthCheckType.RECOVERY
        return Check(type_, self.latest.generation)

    def _ask_another(self, now: float) -> Transition | None:
        """Grant one trial call to another instance, if one has blocked callers: the leader's checks
        may fail for a reason of its own."""
        holder = self._callers.likeliest(now, besides=self._surroundings.leader)
        enough = self._failed_checks >= SECOND_OPINION and self.latest.state is State.OPEN
        if self.jury is None or holder is None or not enough:
            return None
        self._asks_another = True
        reason = Reason(
            cause=Cause.TRIAL,
            detail=f"{times(self._failed_checks, 'health check')} failed: "
            f"one trial call granted to {holder} for a second opinion",
        )
        return self._move(reason, now, grant=Grant(holder=holder, permits=1))

    def _grant(self, permits: int, passed: int, now: float) -> Transition | None:
        holder = self._next_holder(now)
        if holder is None and self._asks_another:  # back to health checks
            detail = "no instance had a call for a second opinion"
            return self._open(Reason(cause=Cause.CHECK_FAILED, detail=detail), now)
        if holder is None:
            held = now < self._retry_after.until
            self._owed = (permits, passed)
            self._next_attempt_at = self._retry_after.until if held else None
            return None
        detail = f"{times(permits, 'trial call')} granted to {holder}"
        return self._move(
            Reason(cause=Cause.TRIAL, detail=detail),
            now,
            grant=Grant(holder=holder, permits=permits, passed=passed),
        )

    def _next_holder(self, now: float) -> str | None:
        """The instance to grant permits to now, or None."""
        if now < self._retry_after.until:
            return None
        me = self._surroundings.leader if self._asks_another else ""
        return self._callers.likeliest(now, besides=me)

    def _replace_holder(self, trial: Trial, now: float) -> Transition | None:
        self._callers.discard(trial.grant.holder)
        if trial.failed:
            return self._trial_failed(trial, now)
        if trial.outstanding and not self._asks_another and self._next_holder(now) is None:
            trial.lose_holder()
            return None
        return self._continue_trial(trial, now)

    def _take_from_holder(
        self, trial: Trial, now: float, *, replayed: bool
    ) -> Transition | Recall | None:
        """Another instance reports: it may get the permits of a lost holder, or have unused ones
        recalled."""
        if not trial.lost:
            return self._recall(trial, now)
        return None if replayed else self._replace_holder(trial, now)

    def _recall(self, trial: Trial, now: float) -> Recall | None:
        """Recall unused permits. They are granted again only after the holder has reported their
        return, so that no permit is ever used twice."""
        if trial.recall_at is None or now < trial.recall_at:
            return None
        self._recalls += trial.note_recall(now)
        return Recall(self.latest)

    def _apply_note(self, trial: Trial, note: TrialNote | None, now: float) -> Transition | None:
        if note is None or note.generation != self.latest.generation:
            return None  # it does not know its grant yet, or the note is old
        trial.apply_note(note, now)
        return self._decide_trial(trial, note, now)

    def _decide_trial(self, trial: Trial, note: TrialNote, now: float) -> Transition | None:
        if trial.failed and not note.unused:  # calls in flight cannot change that
            return self._trial_failed(trial, now)
        if note.unused or note.held:
            return None
        return self._continue_trial(trial, now)

    def _continue_trial(self, trial: Trial, now: float) -> Transition | None:
        """Grant returned permits again, else a further round if one is needed, else close."""
        passed = trial.grant.passed + trial.passed
        if not trial.outstanding and passed >= self.policy.healthy_after:
            detail = f"{times(passed, 'trial call')} passed"
            self._note_contradiction(trial)
            return self._recover(Reason(cause=Cause.TRIAL_PASSED, detail=detail), now)
        self._trial = None
        return self._grant(trial.outstanding or self.policy.trial_calls, passed, now)

    def _note_contradiction(self, trial: Trial) -> None:
        if self._asks_another:
            told = trial.grant.holder, self._failed_checks, self._last_error
            self.contradictions.append(Contradiction(*told))

    def _trial_failed(self, trial: Trial, now: float) -> Transition:
        return self._open(trial.failure(), now)

    # Recovered: the ramp

    def _recover(self, reason: Reason, now: float) -> Transition:
        """Close, or begin the policy's ramp."""
        return self._begin_ramp(str(reason), now) or self._move(reason, now)

    def _begin_ramp(self, why: str, now: float) -> Transition | None:
        """Begin the policy's ramp, if there is one that all instances can read."""
        if not self.policy.ramp or not self._surroundings.may_ramp():
            return None
        ramp = Ramp(tuple(self.policy.ramp), self.policy.ramp_step)
        detail = f"{why}: {of_calls(*ramp.shares)} are permitted for {ramp.step:g} s each"
        return self._move(Reason(cause=Cause.RAMP, detail=detail), now, ramp=ramp)

    def _end_ramp(self, now: float) -> Transition | None:
        """End the ramp, if it can be decided."""
        reason = None if self._ascent is None else self._ascent.verdict(now)
        if reason is None:
            return None
        failed = reason.cause is Cause.RAMP_FAILED
        return self._open(reason, now) if failed else self._move(reason, now)
