"""A request that an open circuit has rejected, and the responses to it."""

from __future__ import annotations

import inspect
from typing import Any

from .._rejections import replaced
from ..breaker import Breaker
from ..exceptions import CircuitOpenError
from .answer import Answer
from .client import ClientAdapter
from .problem import STATUS, BreakerStatus, content_length, problem
from .protocols import RequestLike
from .settings import WhenOpen

NEVER_RETRY = b"x-should-retry", b"false"
"""SDKs of language models would sleep for as long as Retry-After says, again and again."""

ERRORS = 400
"""Clients raise for statuses from here on."""


class RejectedRequest:
    """A rejected request.

    Args:
        client: Makes responses and errors.
        breaker: Rejected the request.
        rejection: The error that it made.
        request: The request.

    Attributes:
        request: The request.
    """

    __slots__ = ("_client", "_rejection", "_state", "request")

    def __init__(
        self,
        client: ClientAdapter,
        breaker: Breaker,
        rejection: CircuitOpenError,
        request: RequestLike,
    ) -> None:
        self._client = client
        self._rejection = rejection
        self._state = breaker.state
        self.request = request

    @property
    def name(self) -> str:
        """The circuit's name."""
        return self._rejection.name

    @property
    def error(self) -> Any:
        """The rejection as an error of the library."""
        return self._client.open_error(
            self._rejection.name, self._rejection.retry_after, self._state, self._rejection.forced
        )

    @property
    def _status(self) -> BreakerStatus:
        rejection = self._rejection
        return BreakerStatus(rejection.name, self._state, rejection.retry_after, rejection.forced)

    def answer(self, when_open: WhenOpen) -> Any:
        """The response without a fallback.

        Raises:
            CircuitOpenError: `when_open` is `"raise"`.
        """
        if when_open == "raise":
            raise self.error
        status = self._status
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
            replaced()
        if "breaker" not in response.extensions:
            response.extensions = {**response.extensions, "breaker": self._status}
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
