"""The rejection as requests has errors."""

from __future__ import annotations

from typing import Any

import requests

from .. import exceptions
from .._core.states import State


class CircuitOpenError(exceptions.CircuitOpenError, requests.RequestException):
    """The circuit is open, and the request was not sent.

    This package's `CircuitOpenError` and a `requests.RequestException`, but neither a
    `ConnectionError` nor a `Timeout`: retry rules select those, and a rejection must not be
    retried.

    Args:
        name: The circuit's name.
        retry_after: Seconds until the next attempt to recover, as far as it is known.
        state: The circuit's state when the request was rejected.
        request: The request.
    """

    def __init__(
        self,
        name: str,
        retry_after: float,
        state: State = State.OPEN,
        request: requests.PreparedRequest | None = None,
    ) -> None:
        requests.RequestException.__init__(self, request=request)
        exceptions.CircuitOpenError.__init__(self, name, retry_after)
        Exception.__init__(self, name, retry_after)  # the arguments of `repr`
        self.state = state

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.retry_after, self.state)


class BodySentError(exceptions.BodySentError, requests.RequestException):
    """A call failed after its request's body was sent, which cannot be sent to another upstream.

    Args:
        name: The circuit's name.
        request: The request.
    """

    def __init__(self, name: str, request: requests.PreparedRequest | None = None) -> None:
        requests.RequestException.__init__(self, request=request)
        exceptions.BodySentError.__init__(self, name)
