"""The Retry-After deadline: until when an upstream wants no calls (RFC 9110, section 10.2.3)."""

from __future__ import annotations


class RetryAfterDeadline:
    """The latest of all deadlines that an upstream has asked for.

    Args:
        longest: The most seconds that it may ask for; 0 turns this off.

    Attributes:
        until: The deadline.
    """

    __slots__ = ("_longest", "until")

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self.until: float = 0.0

    def extend(self, seconds: float | None, at: float) -> None:
        """Extend the deadline, unless a later one is known.

        Args:
            seconds: The seconds that the upstream asked for; None if it did not ask.
            at: When it asked, in the leader's seconds.
        """
        if seconds is not None and seconds > 0 and self._longest:
            self.until = max(self.until, at + min(seconds, self._longest))

    def drop(self) -> None:
        """Forget the deadline: an operator wants an attempt before it."""
        self.until = 0.0
