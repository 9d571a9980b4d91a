"""The events of one app, with their times.

Times are monotonic seconds, which all processes of a host share.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .._core.states import HealthCheckType, Role
from ..coordinator import Coordinator
from ..events import StateChange

KEPT = 1_000


class EventKind(StrEnum):
    """The kind of an event; its `value` is a state, a role, or whether a check passed."""

    STATE = "state"
    ROLE = "role"
    CHECK = "check"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event in an app.

    Args:
        at: When it happened.
        app: The app.
        kind: Its kind.
        value: The new state or role, or how a check ended.
        detail: Why, for people.
        generation: The number of the transition.
        cause: The cause of the transition.
        effect: Seconds from the call result that decided the transition to its taking effect.
    """

    at: float
    app: str
    kind: EventKind
    value: str = ""
    detail: str = ""
    generation: int = 0
    cause: str = ""
    effect: float = 0.0


class Journal:
    """Records the events of one app.

    Args:
        app: Its name.
    """

    def __init__(self, app: str) -> None:
        self._app = app
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._effects = 0.0
        self.written: int = 0

    def after(self, seen: int) -> Sequence[Event]:
        """The events after the first `seen`."""
        new = min(self.written - seen, len(self._events))
        return list(self._events)[len(self._events) - new :]

    def role_changed(self, role: Role) -> None:
        """For `on_role_change`."""
        self._note(EventKind.ROLE, role)

    def error(self, error: Exception) -> None:
        """For `on_error`."""
        self._note(EventKind.ERROR, type(error).__name__, str(error))

    def state_changed(self, coordinator: Coordinator, change: StateChange) -> None:
        """For `on_state_change`."""
        effects = coordinator.statistics.effect.total
        effect, self._effects = effects - self._effects, effects
        self._note(EventKind.STATE, change.state, str(change.reason), change, effect)

    def watching(
        self, check: Callable[[HealthCheckType], Awaitable[object]]
    ) -> Callable[[HealthCheckType], Awaitable[None]]:
        """A health check that also records its result."""

        async def watched(type_: HealthCheckType) -> None:
            try:
                await check(type_)
            except Exception as error:
                self._note(EventKind.CHECK, "failed", str(error))
                raise
            self._note(EventKind.CHECK, "passed")

        return watched

    def _note(
        self,
        kind: EventKind,
        value: str,
        detail: str = "",
        change: StateChange | None = None,
        effect: float = 0.0,
    ) -> None:
        self.written += 1
        self._events.append(
            Event(
                at=time.monotonic(),
                app=self._app,
                kind=kind,
                value=value,
                detail=detail,
                generation=change.generation if change else 0,
                cause=change.reason.cause if change else "",
                effect=effect,
            )
        )
