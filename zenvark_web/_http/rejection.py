"""The responses that callers get while a circuit is open."""

from __future__ import annotations

import inspect
from typing import Any

from .._rejections import replaced
from ..breaker import Breaker
from ..exceptions import CircuitOpenError
from .answer import Answer
from .fallbacks import Fallback
from .library import Library, RequestLike
from .problem import STATUS, BreakerStatus, problem
from .settings import WhenOpen

ERRORS = 400
"""The statuses from here on tell of an error, and clients raise for them."""


class Rejection:
    """A request that was not let through.

    Args:
        library: Makes responses and errors.
        breaker: Did not let it through.
        error: What it raised.
        request: What was not sent.

    Attributes:
        error: The same as the library's own error.
    """

    __slots__ = ("_head", "_library", "_status", "error")

    def __init__(
        self, library: Library, breaker: Breaker, error: CircuitOpenError, request: RequestLike
    ) -> None:
        self._library = library
        self._head = request.method.upper() == "HEAD"
        self._status = BreakerStatus(breaker.name, breaker.state, error.retry_after)
        self.error = library.open_error(error.name, error.retry_after, breaker.state)

    def answer(self, when_open: WhenOpen) -> Any:
        """The response when there is no other.

        Raises:
            CircuitOpenError: That is what was asked for.
        """
        if when_open == "raise":
            raise self.error from None
        headers, body = problem(self._status.retry_after, self._status.name)
        # SDKs of language models would sleep for as long as Retry-After says, again and again.
        headers["x-should-retry"] = "false"
        response = self._library.module.Response(
            STATUS, headers=headers, content=body, extensions={"breaker": self._status}
        )
        return self._headed(response)

    def response(self, made: Any) -> Any:
        """The response that a fallback's word stands for, or None if it has none.

        It tells in its extensions that the circuit was open, unless it tells of one already.

        Raises:
            TypeError: It stands for none.
        """
        if made is None:
            return None
        response = self._made(made)
        if response.status_code < ERRORS:
            replaced()
        if "breaker" not in response.extensions:
            response.extensions = {**response.extensions, "breaker": self._status}
        return response

    def _made(self, made: Any) -> Any:
        response = self._library.module.Response
        if isinstance(made, response):
            return made
        if not isinstance(made, Answer):
            made = Answer(made)
        content = made.content
        if isinstance(content, bytes):
            return self._headed(response(made.status, headers=made.headers, content=content))
        if isinstance(content, str):
            return self._headed(response(made.status, headers=made.headers, text=content))
        if isinstance(content, dict | list):
            return self._headed(response(made.status, headers=made.headers, json=content))
        raise TypeError(
            f"a fallback must return an {self._library.name}.Response, bytes, a string, a dict, "
            f"a list or None, not {content!r}"
        )

    def _headed(self, response: Any) -> Any:
        """The same without its body, if only the headers were asked for (RFC 9110, 9.3.2)."""
        if not self._head:
            return response
        return self._library.module.Response(
            response.status_code, headers=response.headers, extensions=response.extensions
        )


def made_now(fallback: Fallback, made: Any) -> Any:
    """What a fallback made, for a synchronous client.

    Raises:
        TypeError: It is still to be awaited.
    """
    if not inspect.isawaitable(made):
        return made
    if inspect.iscoroutine(made):
        made.close()
    raise TypeError(f"an async fallback serves asynchronous clients only: {fallback!r}")
