"""The way of one request along a chain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .._rejections import replaced
from .chain import Chain, Upstream, of_one_origin
from .fallbacks import Fallback
from .replaceable import ERRORS, ReplaceableRequest


class ChainRun:
    """One request on its way from upstream to upstream.

    Args:
        chain: The chain.
        fallback: Says which calls are replaced.
        first: The request to the first upstream, which has to be replaced.

    Attributes:
        last: What was sent last, or the rejected first request.
    """

    __slots__ = ("_chain", "_fallback", "_first", "_passed_over", "_sent", "last")

    def __init__(self, chain: Chain, fallback: Fallback, first: ReplaceableRequest) -> None:
        self._chain = chain
        self._fallback = fallback
        self._first = first
        self._sent = int(first.sent)
        self._passed_over = 0
        self.last = first

    def upstreams(self) -> Iterator[Upstream]:
        """The upstreams in order, as long as another one is needed and permitted."""
        for upstream in self._chain.upstreams:
            if self._sent >= self._chain.most or not self._fallback.covers(self.last.misses):
                return
            yield upstream

    def request_to(self, upstream: Upstream) -> Any:
        """The request to the next upstream.

        Raises:
            BodySentError: Its body is gone.
        """
        self.last.check_body()
        return upstream.readdressed(self._first.request)

    def passed_over(self) -> None:
        """The circuit of an upstream has rejected the request."""
        self._passed_over += 1

    def went(self, attempt: ReplaceableRequest) -> None:
        """The request was sent to an upstream."""
        self._sent += 1
        self.last = attempt

    def response(self) -> Any:
        """The response of the last upstream, or None if the request went to none.

        Raises:
            Exception: The last upstream has led to this.
        """
        if self.last is self._first:
            return None
        response = self.last.answer("raise")
        if not of_one_origin(self._first.request.url, self.last.request.url):
            response.headers.pop("set-cookie", None)  # the client would send it to the first one
        if response.status_code < ERRORS:
            for _ in range(self._passed_over):
                replaced()
        return self._first.response(response)
