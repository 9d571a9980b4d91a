"""What one instance lets pass on one circuit, decided from local memory alone.

Times here are the instance's own monotonic seconds: nothing in this module is compared between
hosts.
"""

from __future__ import annotations

from .states import Grant, State, Transition, TrialNote

CUT_OFF = 3.0
"""Seconds after which an instance uses no permit any more unless it has asked the store for news,
and told the leader that it has the permit, and had answers. A leader that hears nothing of a holder
for as long (`HOLDER_SILENCE`) gives its permits to another."""

TRIAL_RETRY_AFTER = 1.0
"""What a rejected caller is told while trials are under way, or are about to be: when they end is
not known. Never 0, at which callers would come again at once, and again."""


class Admission:
    """One circuit's door on one instance.

    Args:
        instance: This instance, to recognise its own grants.

    Attributes:
        instance: The same.
        closed: Whether all calls pass. The one thing a call looks at in good times.
        generation: The generation a call belongs to that begins now.
    """

    __slots__ = (
        "_granted",
        "_retry_at",
        "_trial",
        "closed",
        "generation",
        "instance",
        "state",
    )

    def __init__(self, instance: str) -> None:
        self.instance: str = instance
        self.state: State = State.CLOSED
        self.closed: bool = True
        self.generation: int = 0
        self._retry_at = 0.0
        self._trial: _Permits | None = None
        self._granted: _Permits | None = None  # the fleet's, also while this instance is alone

    def apply(self, transition: Transition, now: float, retry_in: float) -> None:
        """Take on a newer state.

        Args:
            transition: The newest one.
            now: Monotonic seconds.
            retry_in: Seconds from now until an open circuit's next attempt to recover.
        """
        self._trial = self._permits(transition)
        if transition.generation >= 0:
            self._granted = self._trial
        self.state = transition.state
        self.closed = transition.state is State.CLOSED
        self.generation = transition.generation
        self._retry_at = now + retry_in

    @property
    def trying(self) -> bool:
        """Whether this instance holds a grant."""
        return self._trial is not None

    @property
    def retry_at(self) -> float:
        """The monotonic second at which an open circuit's next attempt to recover is due."""
        return self._retry_at

    def retry_after(self, now: float) -> float:
        """Seconds until the next attempt to recover: 0 only when closed."""
        if self.closed:
            return 0.0
        return TRIAL_RETRY_AFTER if self.due(now) else self._retry_at - now

    def due(self, now: float) -> bool:
        """Whether the wait of a circuit that is not closed is over."""
        return self.state is State.HALF_OPEN or now >= self._retry_at

    def take(self, now: float) -> bool:
        """Take a trial permit, if this instance has one to give."""
        trial = self._trial
        if trial is None or not trial.unused or now >= trial.until:
            return False
        trial.unused -= 1
        trial.held += 1
        return True

    def heard(self, asked: float) -> None:
        """Take note of an answer to the question what is new, from before or after this grant."""
        if self._granted is not None:
            self._granted.heard = max(self._granted.heard, asked)

    def told(self, generation: int, asked: float) -> None:
        """Take note that the store has taken in a note on a grant.

        Args:
            generation: The grant's generation.
            asked: The monotonic second at which the note was sent (for the first time).
        """
        if self._granted is not None and self._granted.generation == generation:
            self._granted.told = max(self._granted.told, asked)

    def recall(self, generation: int) -> bool:
        """Give back the unused permits of a grant; tells whether there is such a grant."""
        granted = self._granted
        if granted is None or granted.generation != generation:
            return False
        granted.unused = 0
        return True

    def settle(self, generation: int, *, returned: bool) -> None:
        """End a trial call; a permit that comes back unused can be taken again."""
        trial = self._trial
        if trial is None or trial.generation != generation:
            trial = self._granted
        if trial is None or trial.generation != generation or not trial.held:
            return  # the fleet has moved on
        trial.held -= 1
        trial.unused += returned

    def note(self) -> TrialNote | None:
        """How far this instance has come with its grant."""
        trial = self._trial
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


class _Permits:
    __slots__ = ("generation", "grant", "heard", "held", "told", "unused")

    def __init__(self, grant: Grant, generation: int) -> None:
        self.grant = grant
        self.generation = generation
        self.unused = grant.permits
        self.held = 0
        self.heard = self.told = float("-inf")

    @property
    def until(self) -> float:
        """Until when they may be used. What an instance decides for itself alone (its generations
        are below zero) it need not tell anyone."""
        return float("inf") if self.generation < 0 else min(self.heard, self.told) + CUT_OFF
