"""What one instance lets pass on one circuit, decided from local memory alone.

Times here are the instance's own monotonic seconds: nothing in this module is compared between
hosts.
"""

from __future__ import annotations

from .states import Grant, State, Transition, TrialNote

SHORTEST_OFFER = 1.0
LONGEST_OFFER = 120.0
"""An instance keeps an unused permit for at least and at most so many seconds."""

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
        "_blocked_at",
        "_gap",
        "_granted",
        "_lapses",
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
        self._blocked_at = 0.0
        self._gap = SHORTEST_OFFER
        self._lapses = 0

    def apply(self, transition: Transition, now: float, retry_in: float) -> None:
        """Take on a newer state.

        Args:
            transition: The newest one.
            now: Monotonic seconds.
            retry_in: Seconds from now until an open circuit's next attempt to recover.
        """
        if transition.state is State.CLOSED:
            self._lapses = 0
        elif self.closed:
            self._blocked_at = now
        self._trial = self._permits(transition, now)
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

    def settle(self, generation: int, *, returned: bool) -> None:
        """End a trial call; a permit that comes back unused can be taken again."""
        trial = self._trial
        if trial is None or trial.generation != generation:
            trial = self._granted
        if trial is None or trial.generation != generation or not trial.held:
            return  # the fleet has moved on
        trial.held -= 1
        trial.unused += returned

    def block(self, now: float) -> None:
        """Note a call that did not pass: how often they come tells how long to keep a permit."""
        self._gap = now - self._blocked_at
        self._blocked_at = now

    def note(self, now: float) -> TrialNote | None:
        """How far this instance has come with its grant; permits nobody wanted lapse."""
        trial = self._trial
        if trial is None:
            return None
        if trial.unused and now >= trial.until:
            trial.unused = 0
            self._lapses += 1
        return TrialNote(self.generation, trial.unused, trial.held)

    def _permits(self, transition: Transition, now: float) -> _Permits | None:
        grant = transition.grant
        if grant is None or grant.holder != self.instance:
            return None
        generation = transition.generation
        known = self._granted
        if known and (known.grant, known.generation) == (grant, generation):
            return known  # written again, or in force again after this instance was alone
        return _Permits(grant, generation, now + self._offer())

    def _offer(self) -> float:
        """How long to keep a permit: several of the gaps between calls here, longer each time
        that was too short, so that a circuit with rare calls recovers too."""
        gap = min(max(3 * self._gap, SHORTEST_OFFER), LONGEST_OFFER)
        return min(gap * 2.0 ** min(self._lapses, 10), LONGEST_OFFER)


class _Permits:
    __slots__ = ("generation", "grant", "held", "until", "unused")

    def __init__(self, grant: Grant, generation: int, until: float) -> None:
        self.grant = grant
        self.generation = generation
        self.unused = grant.permits
        self.held = 0
        self.until = until
