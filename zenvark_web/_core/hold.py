"""How long an upstream wants to be left alone (HTTP's `Retry-After`, RFC 9110, section 10.2.3)."""

from __future__ import annotations


class Hold:
    """Of all that an upstream has asked for, the time that is furthest ahead.

    Args:
        longest: Seconds that it may ask for at most; 0 never heeds it.

    Attributes:
        until: When it ends.
    """

    __slots__ = ("_longest", "until")

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self.until: float = 0.0

    def heed(self, seconds: float | None, at: float) -> None:
        """Take in what it asked for.

        Args:
            seconds: How long it wants to be left alone; None if it has not asked.
            at: When that was so, in the leader's seconds.
        """
        if seconds is not None and seconds > 0 and self._longest:
            self.until = max(self.until, at + min(seconds, self._longest))
