"""A request that an open circuit has rejected, and the responses to it."""

from __future__ import annotations

from typing import Any

from .._rejections import replaced
from ..breaker import Breaker
from ..exceptions import CircuitOpenError
from .client import ClientAdapter
from .misses import OPEN
from .problem import STATUS, BreakerStatus, content_length, problem
from .protocols import RequestLike
from .replaceable import ReplaceableRequest
from .settings import WhenOpen

NEVER_RETRY = b"x-should-retry", b"false"
"""SDKs of language models would sleep for as long as Retry-After says, again and again."""


class RejectedRequest(ReplaceableRequest):
    """A rejected request.

    Args:
        client: Makes responses and errors.
        breaker: Rejected the request.
        rejection: The error that it made.
        request: The request.
    """

    __slots__ = ("_rejection", "_state")

    def __init__(
        self,
        client: ClientAdapter,
        breaker: Breaker,
        rejection: CircuitOpenError,
        request: RequestLike,
    ) -> None:
        super().__init__(client, rejection.name, request)
        self._rejection = rejection
        self._state = breaker.state
        self.misses = OPEN

    @property
    def error(self) -> Any:
        """The rejection as an error of the library."""
        return self._client.open_error(
            self._rejection.name, self._rejection.retry_after, self._state, self._rejection.forced
        )

    @property
    def status(self) -> BreakerStatus:
        """What the extensions of the response tell."""
        rejection = self._rejection
        return BreakerStatus(rejection.name, self._state, rejection.retry_after, rejection.forced)

    def answer(self, when_open: WhenOpen) -> Any:
        """The response without a fallback.

        Raises:
            CircuitOpenError: `when_open` is `"raise"`.
        """
        if when_open == "raise":
            raise self.error
        status = self.status
        fields, body = problem(status.retry_after, status.name, forced=status.forced)
        fields += NEVER_RETRY, content_length(body)
        if self.request.method.upper() == "HEAD":
            body = b""
        module = self._client.module
        # With the stream of a body instead of the body, which a response would look into.
        return module.Response(
            STATUS,
            headers=fields,
            stream=module.ByteStream(body),
            extensions={"breaker": status},
        )

    def replaced(self) -> None:
        replaced()
