"""What a fallback learns of a call that failed."""

from __future__ import annotations

from .._core.states import State
from ..exceptions import ZenvarkError, described


class CallFailedError(ZenvarkError):
    """A call failed. A fallback for failed calls receives this; callers never do.

    Args:
        name: The circuit's name.
        retry_after: Seconds until the next recovery attempt; 0 if the next call is permitted.
        state: The circuit's state.
        error: The exception of the call, if it raised one.
        status_code: The status of the response, if there was one.
    """

    def __init__(
        self,
        name: str,
        retry_after: float,
        state: State,
        error: Exception | None,
        status_code: int | None,
    ) -> None:
        super().__init__(name, retry_after, state, error, status_code, circuit=name)
        self.name = name
        self.retry_after = retry_after
        self.state = state
        self.error = error
        self.status_code = status_code

    def __str__(self) -> str:
        told = f"status {self.status_code}" if self.error is None else described(self.error)
        return f"a call of circuit {self.name!r} failed: {told}"
