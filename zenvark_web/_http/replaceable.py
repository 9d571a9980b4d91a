"""A request whose response a fallback may replace."""

from __future__ import annotations

import inspect
from typing import Any

from .answer import Answer
from .client import ClientAdapter
from .misses import NONE, Miss
from .problem import BreakerStatus
from .protocols import RequestLike

ERRORS = 400
"""Clients raise for statuses from here on."""


class ReplaceableRequest:
    """A request that a circuit has rejected, or that was sent.

    Args:
        client: Makes responses and errors.
        name: The circuit's name.
        request: The request.

    Attributes:
        name: The same.
        request: The same.
        misses: In which ways it did not succeed; empty if it did.
        sent: Whether it was sent.
        ended: The response or the exception, if it was sent.
    """

    __slots__ = ("_client", "ended", "misses", "name", "request", "sent")

    def __init__(self, client: ClientAdapter, name: str, request: RequestLike) -> None:
        self._client = client
        self.name = name
        self.request = request
        self.misses: frozenset[Miss] = NONE
        self.sent = False
        self.ended: Any = None

    @property
    def error(self) -> Any:
        """The error that a fallback receives."""
        raise NotImplementedError

    @property
    def status(self) -> BreakerStatus:
        """What the extensions of a replacement tell."""
        raise NotImplementedError

    def answer(self, when_open: Any) -> Any:
        """The response without a fallback.

        Raises:
            Exception: There is none.
        """
        raise NotImplementedError

    def check_body(self) -> None:
        """See that the request can be sent to another upstream.

        Raises:
            BodySentError: Its body is gone.
        """

    async def aclose(self) -> None:
        """Close the response that is to be replaced."""

    def close(self) -> None:
        """The same for synchronous clients."""

    def replaced(self) -> None:
        """A good response replaces that of the request."""

    def response(self, made: Any) -> Any:
        """The response for the result of a fallback, or None if that is None.

        Its extensions carry the status of the breaker, unless they carry one already.

        Raises:
            TypeError: A fallback must not return that.
        """
        if made is None:
            return None
        response = self._response(made)
        if response.status_code < ERRORS:
            self.replaced()
        if "breaker" not in response.extensions:
            response.extensions = {**response.extensions, "breaker": self.status}
        return response

    def made_now(self, made: Any) -> Any:
        """The result of a fallback, for a synchronous client.

        Raises:
            TypeError: It has to be awaited.
        """
        if not inspect.isawaitable(made):
            return made
        if inspect.iscoroutine(made):
            made.close()
        raise TypeError(
            f"the fallback of circuit {self.name!r} is async: a {self._client.name}.Client "
            "needs a plain function"
        )

    def _response(self, made: Any) -> Any:
        response = self._client.module.Response
        if isinstance(made, response):
            return made
        answer = made if isinstance(made, Answer) else Answer(made)
        kinds = {bytes: "content", str: "text", dict: "json", list: "json"}
        for kind, argument in kinds.items():
            if isinstance(answer.content, kind):
                body = {argument: answer.content}
                made = response(answer.status, headers=answer.headers, **body)
                return self._without_body_for_head(made)
        raise TypeError(
            f"the fallback of circuit {self.name!r} must return an {self._client.name}."
            f"Response, bytes, a string, a dict, a list or None, not {answer.content!r}"
        )

    def _without_body_for_head(self, response: Any) -> Any:
        """The response to a HEAD request has no body (RFC 9110, 9.3.2)."""
        if self.request.method.upper() != "HEAD":
            return response
        return self._client.module.Response(
            response.status_code, headers=response.headers, extensions=response.extensions
        )
