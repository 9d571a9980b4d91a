"""One incident, from what the apps and the upstream took down: what happened, and was it right?

Everything is compared by time stamps of one clock, the host's monotonic one, and on the safe
side: an app's note that its circuit is open is made just after it is, and a circuit can't be
closed before the upstream has answered well. Between the two a call that asked must not get
through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .._core.states import Role, State
from .journal import Event, EventKind
from .traffic import Calls


@dataclass(slots=True)
class Incident:
    """An incident as it goes on.

    Args:
        broke_at: When the upstream broke.
        before: How calls to each app had fared until then.
        mended_at: When the upstream was mended.
        killed: The leader that was killed as part of the show.
        killed_at: When that was.
        failed_at: When the upstream first failed a call, once that is known.
        events: What has happened in the apps since the upstream broke.
    """

    broke_at: float
    before: Mapping[str, Calls]
    mended_at: float | None = None
    killed: str = ""
    killed_at: float | None = None
    failed_at: float | None = None
    events: list[Event] = field(default_factory=list[Event])

    @property
    def apps(self) -> Sequence[str]:
        """The apps that take part."""
        return list(self.before)

    @property
    def survivors(self) -> Sequence[str]:
        """The apps that take part to the end."""
        return [app for app in self.before if app != self.killed]

    def opened(self, app: str) -> Event | None:
        """When the circuit first opened in an app."""
        return next(self._states(app, State.OPEN, self.broke_at), None)

    def closed(self, app: str) -> Event | None:
        """When the circuit closed in an app, with the upstream mended."""
        if self.mended_at is None:
            return None
        return next(self._states(app, State.CLOSED, self.mended_at), None)

    @property
    def open_everywhere(self) -> float | None:
        """When the circuit was open in the last app."""
        return _last([self.opened(app) for app in self.apps])

    @property
    def closed_everywhere(self) -> float | None:
        """When the circuit was closed in the last app."""
        return _last([self.closed(app) for app in self.survivors])

    @property
    def takeover(self) -> Event | None:
        """Who leads after the leader was killed."""
        if self.killed_at is None:
            return None
        return next(
            (
                event
                for event in self.events
                if event.kind is EventKind.ROLE
                and event.value == Role.LEADER
                and event.at > self.killed_at
            ),
            None,
        )

    @property
    def checks(self) -> Sequence[Event]:
        """The health checks."""
        return [event for event in self.events if event.kind is EventKind.CHECK]

    def reopened(self, app: str) -> int:
        """How often trial calls failed."""
        return max(0, len(list(self._states(app, State.OPEN, self.broke_at))) - 1)

    def _states(self, app: str, state: State, after: float) -> Iterator[Event]:
        for event in self.events:
            is_it = (event.app, event.kind, event.value) == (app, EventKind.STATE, state)
            if is_it and event.at >= after:
                yield event


def _last(events: Sequence[Event | None]) -> float | None:
    """The time of the last of them, once all are there."""
    times = [event.at for event in events if event is not None]
    return max(times) if times and len(times) == len(events) else None
