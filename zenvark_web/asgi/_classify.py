"""Classification of a route's responses."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeAlias, cast

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Host, Mount, Router
from starlette.types import Message, Scope

from .._core.states import ANSWERED, FAILURE, IGNORED, SUCCESS, Outcome
from ..exceptions import ClassifierError
from ._messages import described

NOT_CRASHED = frozenset({501, 505})
"""Statuses of the 5xx class that concern the request alone: an unsupported method or version."""

NOT_FOUND = 404
NO_SUCH_METHOD = 405

STATUSES = range(100, 1000)

CRASHES = frozenset({1011, 4500})
"""Close codes of a websocket after an error in its handler: RFC 6455's, and Litestar's."""


@dataclass(frozen=True, slots=True)
class RouteAnswer:
    """A response of the app, as the `classify` of a route receives it.

    Args:
        status_code: The status. A websocket that is closed before it is accepted has 403, or 500
            if the close code means an error.
        headers: The headers.
    """

    status_code: int
    headers: Headers


ClassifyAnswer: TypeAlias = Callable[[HTTPConnection, RouteAnswer], Outcome | None]
"""Returns the outcome of a response, or None to decide by its status."""


class RouteClassifier:
    """Classifies the responses of a route.

    Args:
        failure_statuses: Failures. None: all from 500 except 501 and 505.
        ignored_statuses: Statuses that do not count, besides 404 and 405 without a handler.
        classify: The user's own, which is asked first.
    """

    __slots__ = ("_classify", "_failures", "_ignored")

    def __init__(
        self,
        failure_statuses: Collection[int] | None,
        ignored_statuses: Collection[int],
        classify: ClassifyAnswer | None,
    ) -> None:
        self._failures = failure_statuses
        self._ignored = ignored_statuses
        self._classify = classify

    def __call__(
        self, scope: Scope, answer: Message, report: Callable[[Exception], object]
    ) -> Outcome:
        """The outcome of a response.

        Args:
            scope: The request's, as the app has left it.
            answer: The first message of the response.
            report: Receives the errors of the user's classifier.
        """
        outcome = None
        if self._classify is not None:
            seen = RouteAnswer(status_of(answer), _headers(answer))
            outcome = self._own_outcome(self._classify, scope, seen, report)
        return self._by_status(scope, answer) if outcome is None else outcome

    def _own_outcome(
        self,
        classify: ClassifyAnswer,
        scope: Scope,
        answer: RouteAnswer,
        report: Callable[[Exception], object],
    ) -> Outcome | None:
        try:
            outcome: object = classify(HTTPConnection(scope), answer)
            if outcome is None or isinstance(outcome, Outcome):
                return outcome
            raise TypeError(f"a route's classify must return an Outcome or None, not {outcome!r}")
        except Exception as cause:
            what = f"classify of the route of {described(scope)} failed"
            what += "; the status of the response decided the outcome"
            report(ClassifierError.because(cause, what, source="a route's classify"))
            return None

    def _by_status(self, scope: Scope, answer: Message) -> Outcome:
        status = status_of(answer)
        if status in self._ignored:
            return IGNORED
        failures = self._failures
        if (
            status in failures
            if failures is not None
            else status >= 500 and status not in NOT_CRASHED
        ):
            return FAILURE
        if status < 500 and _reached_nothing(scope, status, answer):
            return IGNORED
        # Other 4xx are errors of the client, and prove that the handler works.
        return ANSWERED if status >= 400 else SUCCESS


def status_of(answer: Message) -> int:
    """The status of a response. (A websocket that is closed before it is accepted gets 403.)"""
    status: int | None = answer.get("status")
    if status is not None:
        return status
    return 500 if answer.get("code") in CRASHES else 403


def _headers(answer: Message) -> Headers:
    return Headers(raw=list(answer.get("headers") or ()))


def _reached_nothing(scope: Scope, status: int, answer: Message) -> bool:
    """Whether a response means that the request reached no handler."""
    if status == NOT_FOUND:
        return not _found_a_handler(scope)
    if status == NO_SUCH_METHOD:  # a router names the methods that the handler has (RFC 9110)
        return "allow" in _headers(answer) or not _found_a_handler(scope)
    # A router of Starlette redirects to the path with a slash, or closes a websocket.
    return "router" in scope and isinstance(scope.get("endpoint", scope["router"]), Router)


def _found_a_handler(scope: Scope) -> bool:
    """Whether a router has recorded a handler in the scope. Without a record there may have been
    none: strangers request paths that no app has, and must not close a circuit."""
    if "route_handler" in scope:  # Litestar's
        return True
    route = scope.get("route")
    if isinstance(route, BaseRoute):
        return "endpoint" in scope and not isinstance(route, Mount | Host)
    endpoint = scope.get("endpoint")  # of a Starlette that records no route; an app, if mounted
    return inspect.isroutine(endpoint) or inspect.isclass(endpoint)


def check_classify(classify: object) -> None:
    """Refuse an object that cannot classify responses.

    Raises:
        TypeError: The message says what to pass.
    """
    if classify is not None and (not callable(classify) or isinstance(classify, type)):
        raise TypeError(
            "classify must be a function of request and RouteAnswer, or an HttpClassifier(), "
            f"not {classify!r}"
        )


def statuses(what: str, given: object) -> frozenset[int]:
    """Check a user's statuses.

    Raises:
        TypeError, ValueError: The message says what to pass.
    """
    if isinstance(given, str | bytes) or not isinstance(given, Collection):
        raise TypeError(f"{what} must be statuses such as {{429, 503}}, not {given!r}")
    for status in cast(Collection[object], given):
        if isinstance(status, bool) or not isinstance(status, int):
            raise TypeError(f"{what} must hold whole numbers, not {status!r}")
        if status not in STATUSES:
            raise ValueError(f"{what} must hold statuses from 100 to 999, not {status!r}")
    return frozenset(cast(Collection[int], given))
