"""One circuit as its leader sees it: reports and time go in, transitions come out.

    CLOSED ──tripped, idle check failed──▶ OPEN ──check passed──▶ CLOSED
                                            │ ▲ └─check failed, retry after─▶ OPEN (a longer wait)
                                     trial  │ │ trial failed
                                            ▼ │
                                         HALF_OPEN ──trial passed──▶ CLOSED

A circuit with a health check recovers by it, straight from OPEN. One without recovers by trial
calls, which cost a user's call each, so they are exact: a *grant* gives `trial_calls` permits to
one instance that has calls to make (it reported blocked ones). Each permit is used, then all are
judged together: one failure and the circuit waits again, longer. The holder says with every
report how many permits are unused or under way. What is neither, and has not been settled by a
result, has come back (a cancelled call, permits that were recalled), and is granted anew. A grant
goes to the instance with the most calls to make, or the next one if they have their calls in turn,
and stays there until it is used. If others have calls to make meanwhile and the holder has none, it
is asked for what is unused. A holder that falls
silent is replaced; it uses no permit after `HOLDER_SILENCE` without an answer from the store.

Only results of the current generation count, so every transition starts from nothing. Two things
are not results. A call that is under way for too long is slow already, so a window may trip before
it ends. And an upstream that asks to be left alone for a while (`Retry-After`) is heeded whichever
call it told: no attempt to recover is made before then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from .backoff import ExponentialBackoff, wait_of
from .counting import Counting
from .policy import BreakerPolicy
from .retry_after import RetryAfterDeadline
from .rotation import Rotation
from .states import (
    LONGEST_LEAP,
    Cause,
    Grant,
    HealthCheckType,
    Reason,
    Report,
    Run,
    State,
    Tally,
    Transition,
    TrialNote,
    Word,
)
from .trial import Demand, Trial

STEADY = 10.0
"""A closed circuit forgets how often it had to wait after so many seconds, or after twice its
last wait if that is longer (so that it cannot swing open and shut at the shortest wait)."""

LEAST_LENGTHENING = 1.0
"""A wait that gets longer by fewer seconds is not published anew, though it is kept."""

CHECK_AGAIN = 1.0
"""Seconds after which a circuit asks again for a health check that could not be run."""

DEFAULT_BACKOFF = ExponentialBackoff()


@dataclass(frozen=True, slots=True)
class Check:
    """The circuit asks for a health check to be run.

    Args:
        type: Why.
        generation: The generation that asks; the answer counts in no other.
    """

    type: HealthCheckType
    generation: int


@dataclass(frozen=True, slots=True)
class Recall:
    """The circuit asks the holder of its grant for the permits that are unused.

    Args:
        transition: The one with the grant.
    """

    transition: Transition


class Circuit:
    """The state machine of one circuit. It owns no clock and does no I/O.

    Args:
        policy: Its settings.
        latest: Its newest transition.
        now: The leader's seconds, in which all times here are.
        chance: Makes random numbers from 0 to 1, for jitter.

    Attributes:
        latest: Its newest transition.
        heard_at: When an instance last had something to say of it.
        faults: What a user's strategy or backoff has given that makes no sense; something sensible
            was done instead. For whoever keeps the circuit to tell, and to clear.
    """

    def __init__(
        self, policy: BreakerPolicy, latest: Transition, now: float, chance: Callable[[], float]
    ) -> None:
        self.policy = policy
        self.latest = latest
        self.heard_at = now
        self.faults: list[Exception] = []
        self._chance = chance
        self._demand = Demand()
        self._rotation = Rotation()
        self._retry_after = RetryAfterDeadline(policy.max_retry_after)
        self._next_attempt_at: float | None = None
        self._recalls = 0
        self._enter(now, Counting(policy.strategy))

    @property
    def deadline(self) -> float | None:
        """When `due` wants to be called next, unless something happens before."""
        if self._trial is not None:
            return self._trial.deadline
        if self._next_attempt_at is None:
            return None
        return max(self._next_attempt_at, self._retry_after.until)

    @property
    def has_failures(self) -> bool:
        """Whether it has counted failures since its newest transition."""
        return self._counting.has_failures

    def adopt(self, latest: Transition, now: float) -> None:
        """Go on from a transition that is in force. What upstreams asked for still holds."""
        counting = Counting(self.policy.strategy)
        self.latest = latest
        self._demand = Demand()
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
        """Take in what one instance says.

        Args:
            instance: Who says it.
            report: Its results, oldest first, and what else it has to say.
            at: When it arrived in the store, in the leader's seconds: not ahead of `now`.
            now: The leader's seconds.
            replayed: Whether a new leader reads it again. Old results count, but that calls were
                blocked or under way then tells nothing of now.

        Returns:
            The transition that follows, what is to be asked of a holder, or None. Results after
            the deciding one belong to a generation that is over, and are left out.
        """
        self.heard_at = now
        self._retry_after.extend(report.hold, at)
        if not replayed:
            self._note(instance, report, now)
        for run in report.runs:
            if run.generation == self.latest.generation:
                transition = self._count(instance, run, at - run.age, now)
                if transition is not None:
                    return transition
        if self.latest.state is State.CLOSED:
            reason = self._counting.look_ahead(at, now, self.faults)
            return None if reason is None else self._open(reason, now, since=at)
        if self._trial is not None:
            if instance == self._trial.grant.holder:
                return self._hear(self._trial, report.trial, now)
            return self._recall(self._trial, now)
        wanted = report.blocked > 0 and not replayed
        return self._lengthen(instance, at, now) or (self._answer_demand(now) if wanted else None)

    def due(self, now: float) -> Transition | Check | Recall | None:
        """Do what time asks for, if it is time.

        Returns:
            A transition, a health check to run (answer with `checked`), what is to be asked of a
            holder, or None.
        """
        deadline = self.deadline
        if deadline is None or now < deadline:
            return None
        if self._trial is not None:
            if now >= self._trial.lost_at:
                return self._replace_holder(self._trial, now)
            return self._recall(self._trial, now)
        self._next_attempt_at = None
        if self.policy.health_check is not None:
            idle = self.latest.state is State.CLOSED
            return Check(
                HealthCheckType.IDLE if idle else HealthCheckType.RECOVERY, self.latest.generation
            )
        return self._answer_demand(now)

    def checked(self, check: Check, error: str | None, now: float) -> Transition | None:
        """Take in how a health check ended: with no error, or with one (for people)."""
        if check.generation != self.latest.generation:
            return None
        idle = check.type is HealthCheckType.IDLE
        if error is not None:
            cause = Cause.IDLE_CHECK_FAILED if idle else Cause.CHECK_FAILED
            return self._open(Reason(cause=cause, detail=error), now)
        if idle:
            self._await_quiet(now)
            return None
        self._passed += 1
        if self._passed >= self.policy.healthy_after:
            detail = f"{_times(self._passed, 'health check')} passed"
            return self._move(Reason(cause=Cause.CHECK_PASSED, detail=detail), now)
        self._next_attempt_at = now + self._wait(1)
        return None

    def put_off(self, check: Check, now: float) -> None:
        """Ask for a health check again that could not be run, which tells nothing."""
        if check.generation == self.latest.generation and self._next_attempt_at is None:
            self._next_attempt_at = now + CHECK_AGAIN

    def repair(self, report: Report, *, at: float, now: float) -> Transition | None:
        """Take over what an instance knows and the store has lost: whoever knows less never decides
        against who knows more.

        Args:
            report: What the instance says. A generation far ahead of all others is left alone.
            at: When it arrived in the store.
            now: The leader's seconds.
        """
        seen, known = report.generation, self.latest.generation
        if not known < seen <= known + LONGEST_LEAP:
            return None
        detail = f"an instance knew generation {seen}, the store only {known}"
        reason = Reason(cause=Cause.REPAIRED, detail=detail)
        if report.word is None:  # of a version that does not tell the state
            return self._move(reason, now, generation=seen + 1)
        return self._take_word(report.word, reason, seen, at, now)

    def _take_word(
        self, word: Word, reason: Reason, generation: int, at: float, now: float
    ) -> Transition:
        """Go on as an instance tells it, in the very generation: what belongs to that goes on."""
        return self._move(
            reason,
            now,
            generation=generation,
            state=word.state,
            at=at + word.left - word.delay,
            since=now,
            attempt=word.attempt,
            delay=word.delay,
            grant=word.grant,
        )

    # From one leader to the next

    def save(self, now: float) -> Tally | None:
        """What results have made of it since its newest transition, if it is worth keeping."""
        counted = self._counting.save() if self._counting.has_begun else None
        trial = None if self._trial is None else self._trial.save()
        hold = self._retry_after.until if self._retry_after.until > now else 0.0
        if counted or trial or hold:
            return Tally(self.latest.generation, counted=counted, trial=trial, hold=hold)
        return None

    def restore(self, tally: Tally, now: float) -> bool:
        """Go on from what another leader's circuit has saved.

        Args:
            tally: What it has saved. Of another generation's, only what the upstream asked for
                still holds.
            now: The leader's seconds.

        Returns:
            Whether all that it knew is known now. If not, its results have to be reported again.
        """
        self._retry_after.extend(tally.hold - now, now)
        if tally.generation != self.latest.generation:
            return True
        if tally.trial is not None and self._trial is not None:
            self._trial.restore(tally.trial)
        return tally.counted is None or self._counting.restore(tally.counted)

    # What each state starts with

    def _enter(self, now: float, counting: Counting) -> None:
        latest = self.latest
        self._counting = counting
        self._trial: Trial | None = None
        self._owed: tuple[int, int] | None = None
        self._passed = 0
        self._next_attempt_at = None
        if latest.state is not State.HALF_OPEN:
            self._recalls = 0
        if latest.state is State.CLOSED:
            self._await_quiet(now)
        elif latest.state is State.OPEN or self.policy.health_check is not None:
            self._next_attempt_at = latest.retry_at
        elif latest.grant is not None:
            self._trial = Trial(latest.grant, heard_at=now, recalls=self._recalls)

    def _move(self, reason: Reason, now: float, **changes: Any) -> Transition:
        counting = Counting(self.policy.strategy)  # a user's may raise: then nothing has moved
        self.latest = self.latest.next(reason, **{"at": now, "since": now} | changes)
        self._enter(now, counting)
        return self.latest

    def _note(self, instance: str, report: Report, now: float) -> None:
        calls = report.blocked + sum(run.count for run in report.runs)
        if calls:
            self._rotation.note(instance, calls)
        if report.blocked:
            self._demand.note(instance, report.blocked, now)
            if self._trial is not None and instance != self._trial.grant.holder:
                self._trial.rival(instance, report.blocked, self._rotation.next)
        is_current = report.generation == self.latest.generation
        self._counting.note(instance, report.overdue if is_current else 0, now)

    # Closed: counting

    def _count(self, instance: str, run: Run, at: float, now: float) -> Transition | None:
        if self.latest.state is State.CLOSED:
            self._await_quiet(now)
            reason = self._counting.record(instance, run, at, self.faults)
            return None if reason is None else self._open(reason, now, since=at)
        if self._trial is not None and instance == self._trial.grant.holder:
            self._trial.settle(run)
        return None

    def _await_quiet(self, now: float) -> None:
        if self.policy.idle_interval is not None:
            self._next_attempt_at = now + self.policy.idle_interval

    # Open: waiting

    def _open(self, reason: Reason, now: float, *, since: float | None = None) -> Transition:
        attempt = self._next_attempt(now)
        delay = self._wait(attempt)
        held = self._retry_after.until - now
        if held > delay:
            delay = held
            reason = replace(reason, detail=f"{reason}; the upstream asked to wait {held:.1f} s")
        since = now if since is None else since
        return self._move(reason, now, attempt=attempt, delay=delay, since=since)

    def _wait(self, attempt: int) -> float:
        """The wait before an attempt. A backoff that gives none does not keep the circuit from
        opening."""
        chance = self._chance()
        try:
            return wait_of(self.policy.backoff, attempt, chance)
        except Exception as error:
            self.faults.append(error)
            return DEFAULT_BACKOFF.delay(attempt, chance)

    def _lengthen(self, instance: str, at: float, now: float) -> Transition | None:
        """Let everyone know of a wait that the upstream has made longer."""
        latest, until = self.latest, self._retry_after.until
        if latest.state is not State.OPEN or until < max(latest.retry_at, now) + LEAST_LENGTHENING:
            return None
        detail = f"the upstream asked {instance} to wait {until - now:.1f} s more"
        reason = Reason(cause=Cause.RETRY_AFTER, detail=detail)
        return self._move(reason, now, delay=until - now, since=at)

    def _next_attempt(self, now: float) -> int:
        latest = self.latest
        steady = now - latest.at >= max(STEADY, 2 * latest.delay)
        return 1 if latest.state is State.CLOSED and steady else latest.attempt + 1

    # Half-open: trials

    def _answer_demand(self, now: float) -> Transition | None:
        """Grant permits if they are due, no other grant is out, and someone has calls to make. (It
        is never asked of a closed circuit.)"""
        latest = self.latest
        if self.policy.health_check is not None or self._trial is not None:
            return None
        if latest.state is State.OPEN and now < latest.retry_at:
            return None
        permits, passed = self._owed or (self.policy.trial_calls, 0)
        return self._grant(permits, passed, now)

    def _grant(self, permits: int, passed: int, now: float) -> Transition | None:
        likeliest = self._demand.most(now)
        holder = likeliest and (self._rotation.next or likeliest)
        held = now < self._retry_after.until
        if holder is None or held:
            self._owed = (permits, passed)
            self._next_attempt_at = self._retry_after.until if held else None
            return None
        detail = f"{_times(permits, 'trial call')} granted to {holder}"
        return self._move(
            Reason(cause=Cause.TRIAL, detail=detail),
            now,
            grant=Grant(holder=holder, permits=permits, passed=passed),
        )

    def _replace_holder(self, trial: Trial, now: float) -> Transition | None:
        self._demand.discard(trial.grant.holder)
        self._rotation.discard(trial.grant.holder)
        return self._trial_failed(trial, now) if trial.failed else self._go_on(trial, now)

    def _recall(self, trial: Trial, now: float) -> Recall | None:
        """Ask for what the holder does not use. It is granted to another once the holder has said
        that it has given it back, and to nobody before: so no permit is ever used twice."""
        if trial.recall_at is None or now < trial.recall_at:
            return None
        self._recalls += trial.recalled(now)
        return Recall(self.latest)

    def _hear(self, trial: Trial, note: TrialNote | None, now: float) -> Transition | None:
        if note is None or note.generation != self.latest.generation:
            return None  # it does not know of its grant, or not any more
        trial.hear(note, now)
        return self._judge(trial, note, now)

    def _judge(self, trial: Trial, note: TrialNote, now: float) -> Transition | None:
        if trial.failed and not note.unused:  # calls still under way can't save it
            return self._trial_failed(trial, now)
        if note.unused or note.held:
            return None
        return self._go_on(trial, now)

    def _go_on(self, trial: Trial, now: float) -> Transition | None:
        """Grant anew what has come back, else a further round if one is needed, else close."""
        passed = trial.grant.passed + trial.passed
        if not trial.outstanding and passed >= self.policy.healthy_after:
            detail = f"{_times(passed, 'trial call')} passed"
            return self._move(Reason(cause=Cause.TRIAL_PASSED, detail=detail), now)
        self._trial = None
        return self._grant(trial.outstanding or self.policy.trial_calls, passed, now)

    def _trial_failed(self, trial: Trial, now: float) -> Transition:
        reason = Reason(
            cause=Cause.TRIAL_FAILED,
            detail=f"{trial.failed} of {_times(trial.grant.permits, 'trial call')} failed",
            instances={trial.grant.holder: trial.failed},
            failures=dict(trial.labels.most_common(5)),
        )
        return self._open(reason, now)


def _times(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
