"""Whether coordinators of this process run when they are started. Tests switch it off."""

from __future__ import annotations


class Activity:
    """The switch.

    Attributes:
        on: Whether a start has an effect, and calls without one are worth a warning.
    """

    def __init__(self) -> None:
        self.on = True


ACTIVITY = Activity()
