"""The rejection as aiohttp has errors."""

from __future__ import annotations

from typing import Any

import aiohttp

from .. import exceptions
from .._core.states import State


class CircuitOpenError(exceptions.CircuitOpenError, aiohttp.ClientError):
    """The circuit is open, and the request was not sent.

    This package's `CircuitOpenError` and an `aiohttp.ClientError`, but neither a
    `ClientConnectionError` nor a timeout: retry rules select those, and a rejection must not be
    retried.

    Args:
        name: The circuit's name.
        retry_after: Seconds until the next attempt to recover, as far as it is known.
        state: The circuit's state when the request was rejected.
    """

    def __init__(self, name: str, retry_after: float, state: State = State.OPEN) -> None:
        exceptions.CircuitOpenError.__init__(self, name, retry_after)
        Exception.__init__(self, name, retry_after)  # the arguments of `repr`
        self.state = state

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.retry_after, self.state)
