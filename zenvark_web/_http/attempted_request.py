"""A request that was sent, and what came of it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ..breaker import Breaker
from .call import HttpCall
from .call_failed import CallFailedError
from .client import ClientAdapter
from .problem import BreakerStatus
from .protocols import RequestLike
from .replaceable import ReplaceableRequest


class AttemptedRequest(ReplaceableRequest):
    """A request that was sent.

    Args:
        client: Makes responses and errors.
        breaker: Has admitted the request.
        call: The call.
        request: The request.
    """

    __slots__ = ("_breaker", "_call")

    def __init__(
        self, client: ClientAdapter, breaker: Breaker, call: HttpCall, request: RequestLike
    ) -> None:
        super().__init__(client, breaker.name, request)
        self._breaker = breaker
        self._call = call
        self.sent = True

    def end(self, ended: Any) -> None:
        """Note the response, or the exception."""
        self.ended = ended
        self.misses = self._call.misses

    @property
    def error(self) -> CallFailedError:
        """The failure, for a fallback."""
        told = self.status
        return CallFailedError(
            told.name, told.retry_after, told.state, told.error, told.status_code
        )

    @property
    def status(self) -> BreakerStatus:
        """What the extensions of a replacement tell."""
        breaker, failed = self._breaker, isinstance(self.ended, Exception)
        return BreakerStatus(
            breaker.name,
            breaker.state,
            breaker.retry_after,
            error=self.ended if failed else None,
            status_code=None if failed else self.ended.status_code,
        )

    def answer(self, when_open: Any) -> Any:
        """The response.

        Raises:
            Exception: There is none.
        """
        if isinstance(self.ended, Exception):
            raise self.ended
        return self.ended

    def check_body(self) -> None:
        if self._call.body_is_gone:
            cause = self.ended if isinstance(self.ended, Exception) else None
            raise self._client.body_error(self.name) from cause

    async def aclose(self) -> None:
        if not isinstance(self.ended, Exception):
            with suppress(Exception):  # it has failed already, and is no longer needed
                await self.ended.aclose()

    def close(self) -> None:
        if not isinstance(self.ended, Exception):
            with suppress(Exception):
                self.ended.close()
