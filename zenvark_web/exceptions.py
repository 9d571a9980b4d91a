"""Every error this package raises or surfaces.

    ZenvarkError
    ├── CircuitOpenError       a circuit does not let this call pass
    ├── BackendError           the shared store is out of reach, or answers wrongly
    ├── FencedError            a leader tried to write after its lease had passed on
    ├── MalformedEntryError    something unreadable stands in a shared stream
    └── ResultsLostError       results were dropped or expired before anyone could judge them

Only `CircuitOpenError` ever reaches a call. The others happen in the background and go to
`on_error`, the `zenvark_web` logger and a counter.
"""

from __future__ import annotations

from typing import Any


class ZenvarkError(Exception):
    """The root of this package's errors."""


class CircuitOpenError(ZenvarkError):
    """The circuit is open: the call was not made.

    Args:
        name: The circuit's name.
        retry_after: Seconds until the next attempt to recover, as far as it is known.
    """

    def __init__(self, name: str, retry_after: float) -> None:
        self.name = name
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"circuit {self.name!r} is open, next attempt in {self.retry_after:.1f} s"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.retry_after)


class BackendError(ZenvarkError):
    """The shared store cannot be reached, or refuses or misunderstands a command."""


class FencedError(ZenvarkError):
    """A write was refused because its leader's lease has passed to another instance."""

    @classmethod
    def of(cls, epoch: int) -> FencedError:
        """The error of a leader whose lease had this epoch."""
        return cls(f"the lease of epoch {epoch} is over")


class MalformedEntryError(ZenvarkError):
    """An entry in a shared stream could not be read; it was skipped."""


class ResultsLostError(ZenvarkError):
    """Call results were dropped (no room) or expired (too old) before they were judged.

    Args:
        dropped: How many found no room in the buffer.
        expired: How many had waited for too long to still count.
    """

    def __init__(self, dropped: int, expired: int) -> None:
        super().__init__(dropped, expired)
        self.dropped = dropped
        self.expired = expired

    def __str__(self) -> str:
        return (
            f"call results were lost on their way to the leader: "
            f"{self.dropped} dropped, {self.expired} expired"
        )


def text_of(error: BaseException) -> str:
    """An error's text, also where it can't be had: a user's error may be broken itself."""
    try:
        return str(error)
    except Exception:
        return "its text can't be had"


def described(error: BaseException) -> str:
    """An error's class and text."""
    text = text_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
