"""The calls that one instance permits on one circuit, decided from local memory alone.

Times here are the instance's own monotonic seconds: nothing in this module is compared between
hosts.
"""

from __future__ import annotations

from fractions import Fraction

from .overrides import Override, OverrideRecord
from .ramp import Credit, Ramp, first_credit
from .states import Grant, State, Transition, TrialNote

CUT_OFF = 3.0
"""Seconds after which an instance stops using a permit, unless it has read the states, reported the
permit to the leader, and received both replies. A leader replaces a holder that is silent for as
long (`HOLDER_SILENCE`). For the same time without a read of the states, the share of a ramp grows:
the circuit may be open again."""

TRIAL_RETRY_AFTER = 1.0
"""The Retry-After of a rejection while trial calls are in flight, or due: their end is not known.
Never 0, at which callers would retry at once, again and again."""

FORCED_RETRY_AFTER = 60.0
"""The Retry-After of a rejection while an operator holds the circuit open without an end."""

NEVER = float("-inf")
NEVER_KNOWN = float("inf")


class Admission:
    """The admission to one circuit on one instance.

    An operator's override comes before the verdict of the fleet, and after that the policy's
    `observe`: the verdict, `state` and `closed`, is the same under all of them.

    Args:
        instance: This instance's id, which its grants name.
        observes: Whether the verdict is only observed here, unless an operator has decided.

    Attributes:
        instance: The same.
        state: The verdict.
        closed: Whether the circuit is closed.
        generation: The generation of a call that starts now.
        plain: The generation of a call that starts now, if every call is permitted and counted;
            otherwise None. A call reads it first, and asks for nothing else if it is set: whatever
            may reject a call, or let it pass uncounted, must clear it.
        shut_until: The monotonic second until which every call is rejected. A call that finds
            `plain` cleared reads it next, and is rejected without asking for anything else.
    """

    __slots__ = (
        "_ascent",
        "_granted",
        "_observes",
        "_override",
        "_override_until",
        "_retry_at",
        "_trial",
        "closed",
        "generation",
        "instance",
        "plain",
        "shut_until",
        "state",
    )

    def __init__(self, instance: str, *, observes: bool = False) -> None:
        self.instance: str = instance
        self._observes = observes
        self._override: OverrideRecord | None = None
        self._override_until = float("inf")
        self.state: State = State.CLOSED
        self.closed: bool = True
        self.generation: int = 0
        self.plain: int | None = 0
        self.shut_until: float = NEVER
        self._retry_at = 0.0
        self._trial: _Permits | None = None
        self._granted: _Permits | None = None  # the fleet's, also while this instance is alone
        self._ascent: _Ascent | None = None

    def begin_anew(self, instance: str) -> None:
        """Drop the permits and the calls of the parent, in a forked process.

        Args:
            instance: The id of this process, or nothing before it is assigned.
        """
        self.instance = instance
        self._trial = self._granted = self._ascent = None

    def apply(
        self, transition: Transition, now: float, retry_in: float, elapsed: float = 0.0
    ) -> None:
        """Apply a newer transition.

        Args:
            transition: The transition.
            now: Monotonic seconds.
            retry_in: Seconds from now until an open circuit's next attempt to recover.
            elapsed: Seconds since the transition.
        """
        self._ascent = self._climb(transition, now, elapsed)
        self._trial = self._permits(transition)
        if transition.generation >= 0:
            self._granted = self._trial
        self.closed = transition.state is State.CLOSED
        self.generation = transition.generation
        self._retry_at = now + retry_in
        self._set_shortcuts(transition.state)
        # Last: the next call of another thread that reads the new state meets it.
        self.state = transition.state

    def _set_shortcuts(self, state: State) -> None:
        """Decide whether calls pass, or are rejected, without asking for anything else. Only the
        verdict takes the shortcuts: under an override, a call asks for its end."""
        override = self._override
        forced = override is not None and override.mode is Override.FORCE_OPEN
        plainly_shut = state is State.OPEN and override is None and not self._observes
        self.shut_until = self._retry_at if plainly_shut else NEVER
        # Last: a call of another thread that reads None then reads the rest. And one value, so that
        # it reads whether it passes and the generation that it counts in at one moment.
        self.plain = self.generation if self.closed and not forced else None

    def put_under(self, override: OverrideRecord | None, until: float) -> None:
        """Apply an override, or none.

        Args:
            override: The override.
            until: The monotonic second at which it ends.
        """
        # First: the next call of another thread that reads the override asks for it.
        self.plain = None
        self._override, self._override_until = override, until
        self._set_shortcuts(self.state)

    def override(self, now: float) -> OverrideRecord | None:
        """The override in force at this monotonic second."""
        return self._override if now < self._override_until else None

    def mode(self, now: float) -> Override | None:
        """What calls meet instead of the verdict, if anything."""
        override = self.override(now)
        if override is not None:
            return override.mode
        return Override.OBSERVE if self._observes else None

    def met(self, now: float) -> State:
        """The state that calls meet."""
        mode = self.mode(now)
        if mode is None:
            return self.state
        return State.OPEN if mode is Override.FORCE_OPEN else State.CLOSED

    def forced_for(self, now: float) -> float:
        """The Retry-After of a circuit that an operator holds open: the rest of the override."""
        left = self._override_until - now
        return max(TRIAL_RETRY_AFTER, left) if left < float("inf") else FORCED_RETRY_AFTER

    @property
    def trying(self) -> bool:
        """Whether this instance holds a grant."""
        return self._trial is not None

    @property
    def climbing(self) -> bool:
        """Whether a ramp permits a share of the calls."""
        return self._ascent is not None

    @property
    def urgent(self) -> bool:
        """Whether each result may decide, so that none waits for others."""
        return not self.closed and self._ascent is None

    def share(self, now: float) -> float:
        """The permitted share of calls: 1 when closed, 0 when open or in a trial. Under an
        override, all of them or none."""
        mode = self.mode(now)
        if mode is not None:
            return float(mode is not Override.FORCE_OPEN)
        ascent = self._ascent
        return float(self.closed) if ascent is None else ascent.share(now)

    def elapsed(self, now: float) -> float:
        """The seconds since the current ramp began; 0 without one."""
        return 0.0 if self._ascent is None else now - self._ascent.began

    @property
    def retry_at(self) -> float:
        """The monotonic second at which an open circuit's next attempt to recover is due."""
        return self._retry_at

    def retry_after(self, now: float) -> float:
        """Seconds until the next attempt to recover, or the next step of a ramp: 0 only when
        closed."""
        if self.closed:
            return 0.0
        ascent = self._ascent
        if ascent is not None:
            return max(TRIAL_RETRY_AFTER, ascent.until_next_step(now))
        return TRIAL_RETRY_AFTER if self.due(now) else self._retry_at - now

    def due(self, now: float) -> bool:
        """Whether the wait of a circuit that is not closed is over, or its ramp."""
        if self._ascent is not None:
            return self.elapsed(now) >= self._ascent.ramp.length
        return self.state is State.HALF_OPEN or now >= self._retry_at

    def can_take(self, now: float) -> bool:
        """Whether there is an unused trial permit."""
        trial = self._trial
        return trial is not None and trial.unused > 0 and now < trial.until

    def lets_pass(self, now: float, draw: float) -> bool:
        """Whether a caller that waits may try a call.

        Args:
            now: Monotonic seconds.
            draw: A number of the caller's from 0 to 1, by which a ramp lets a share of those who
                wait pass at each of its steps, and not all of them at the first.
        """
        if self.plain is not None:
            return True
        mode = self.mode(now)
        if mode is not None:
            return mode is not Override.FORCE_OPEN
        return self.can_take(now) or draw < self.share(now)

    def take(self, now: float) -> bool:
        """Take a trial permit, if there is an unused one."""
        trial = self._trial
        if trial is None or not self.can_take(now):
            return False
        trial.unused -= 1
        trial.held += 1
        return True

    def climb(self, now: float) -> bool:
        """Whether a ramp permits the next call. If so, the call is in flight until `release`."""
        ascent = self._ascent
        if ascent is None or not ascent.credit.spend(ascent.share(now)):
            return False
        ascent.held += 1
        return True

    def heard(self, asked: float) -> None:
        """Record that a read of the states was answered."""
        for known in (self._granted, self._ascent):
            if known is not None:
                known.heard = max(known.heard, asked)

    def told(self, generation: int, asked: float, answered: float) -> None:
        """Record that the store has received a note on a grant.

        Args:
            generation: The grant's generation.
            asked: The monotonic second at which the note was sent for the first time.
            answered: The monotonic second of the reply.
        """
        if self._granted is not None and self._granted.generation == generation:
            self._granted.tell(asked, answered)

    @property
    def unconfirmed(self) -> bool:
        """Whether this instance holds unused permits, and has not yet read the states after its
        first note."""
        granted = self._granted
        return granted is not None and granted.unused > 0 and granted.heard <= granted.known_since

    def recall(self, generation: int) -> bool:
        """Return the unused permits of a grant; the result is whether there is such a grant."""
        granted = self._granted
        if granted is None or granted.generation != generation:
            return False
        granted.unused = 0
        return True

    def release(self, generation: int, *, unused: bool) -> None:
        """Release the permit of a trial call, or of a call in a ramp; an unused one of a trial can
        be taken again."""
        ascent = self._ascent
        if ascent is not None and ascent.generation == generation:
            ascent.held = max(
                0, ascent.held - 1
            )  # it may have begun before this instance was alone
            return
        trial = self._trial
        if trial is None or trial.generation != generation:
            trial = self._granted
        if trial is None or trial.generation != generation or not trial.held:
            return  # the fleet has moved on
        trial.held -= 1
        trial.unused += unused

    def note(self) -> TrialNote | None:
        """The use of this instance's grant, or its calls of a ramp in flight, for the next
        report."""
        trial, ascent = self._trial, self._ascent
        if ascent is not None:
            return TrialNote(ascent.generation, 0, ascent.held)
        return None if trial is None else TrialNote(self.generation, trial.unused, trial.held)

    def _permits(self, transition: Transition) -> _Permits | None:
        grant = transition.grant
        if grant is None or grant.holder != self.instance:
            return None
        generation = transition.generation
        known = self._granted
        if known and (known.grant, known.generation) == (grant, generation):
            return known  # written again, or in force again after this instance was alone
        return _Permits(grant, generation)

    def _climb(self, transition: Transition, now: float, elapsed: float) -> _Ascent | None:
        ramp, generation, known = transition.ramp, transition.generation, self._ascent
        if ramp is None:
            return None
        if known is not None and (known.ramp, known.generation) == (ramp, generation):
            return known  # its time is taken once: the shared clock may have been set since
        began = now - max(0.0, elapsed)
        return _Ascent(ramp, generation, began, now, first_credit(self.instance, generation))


class _Permits:
    __slots__ = ("generation", "grant", "heard", "held", "known_since", "told", "unused")

    def __init__(self, grant: Grant, generation: int) -> None:
        self.grant = grant
        self.generation = generation
        self.unused = grant.permits
        self.held = 0
        self.heard = self.told = NEVER
        self.known_since = NEVER_KNOWN

    def tell(self, asked: float, answered: float) -> None:
        """Record that the store has received a note, which was sent at one second and answered at
        another."""
        if asked > self.told + CUT_OFF:
            self.known_since = answered
        self.told = max(self.told, asked)

    @property
    def until(self) -> float:
        """The time until which the permits may be used. An instance that decides alone (in
        generations below zero) has no such limit.

        After its first note, and the first one after a silence, a holder waits for a read of the
        states that was asked for after the reply: the leader may have replaced it before.
        """
        if self.generation < 0:
            return float("inf")
        return min(self.heard, self.told) + CUT_OFF if self.heard > self.known_since else NEVER


class _Ascent:
    """A ramp on this instance.

    Args:
        ramp: The schedule.
        generation: Its generation.
        began: The monotonic second at which it began.
        heard: The monotonic second of the newest read of the states.
        credit: The credit before its first call.
    """

    __slots__ = ("began", "credit", "generation", "heard", "held", "ramp")

    def __init__(
        self, ramp: Ramp, generation: int, began: float, heard: float, credit: Fraction
    ) -> None:
        self.ramp = ramp
        self.generation = generation
        self.began = began
        self.heard = heard
        self.credit = Credit(credit)
        self.held = 0

    def share(self, now: float) -> float:
        """The permitted share. It does not grow while this instance is cut off, unless the instance
        decides alone (in generations below zero)."""
        return self.ramp.share_at(self._reached(now))

    def until_next_step(self, now: float) -> float:
        """The seconds until the current step ends; 0 in the last one, after its time."""
        return self.ramp.until_next_step(self._reached(now))

    def _reached(self, now: float) -> float:
        known = now if self.generation < 0 else min(now, self.heard + CUT_OFF)
        return known - self.began
