"""What an answer of the app says of the route that gave it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeAlias, cast

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Host, Mount, Router
from starlette.types import Message, Scope

from .._core.states import Outcome
from ..exceptions import ClassifierError

NOT_CRASHED = frozenset({501, 505})
"""Of the 5xx class, but told of the request alone: a method or version that is not supported."""

NOT_FOUND = 404
NO_SUCH_METHOD = 405

STATUSES = range(100, 1000)

CRASHES = frozenset({1011, 4500})
"""Close codes of a websocket whose handler broke: RFC 6455's, and Litestar's."""


@dataclass(frozen=True, slots=True)
class RouteAnswer:
    """An answer of the app, as a route's `classify` gets it.

    Args:
        status_code: The status. A websocket that is closed before it is accepted has 403, or 500
            with a code that tells of an error.
        headers: Its headers.
    """

    status_code: int
    headers: Headers


ClassifyAnswer: TypeAlias = Callable[[HTTPConnection, RouteAnswer], Outcome | None]
"""Tells the outcome of an answer; None leaves it to the statuses."""


class RouteClassifier:
    """Tells what the answers of a route say of it.

    Args:
        failure_statuses: Failures. None: the 5xx class, and what is above, but 501 and 505.
        ignored_statuses: Those that say nothing, besides 404 and 405 where no handler was reached.
        classify: The user's own, which goes first.
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
        self, scope: Scope, answer: Message, surface: Callable[[Exception], object]
    ) -> Outcome:
        """The outcome.

        Args:
            scope: The request's, as the app has left it.
            answer: The message that the app's answer starts with.
            surface: Told the errors of the user's classifier.
        """
        status = status_of(answer)
        headers = Headers(raw=list(answer.get("headers") or ()))
        outcome = None
        if self._classify is not None:
            outcome = self._asked(self._classify, scope, RouteAnswer(status, headers), surface)
        return self._by_status(scope, status, headers) if outcome is None else outcome

    def _asked(
        self,
        classify: ClassifyAnswer,
        scope: Scope,
        answer: RouteAnswer,
        surface: Callable[[Exception], object],
    ) -> Outcome | None:
        try:
            outcome: object = classify(HTTPConnection(scope), answer)
            if outcome is None or isinstance(outcome, Outcome):
                return outcome
            raise TypeError(f"a route's classify must return an Outcome or None, not {outcome!r}")
        except Exception as cause:
            surface(
                ClassifierError.because(
                    cause,
                    "a route's classify failed, the answer's status decides",
                    source="a route's classify",
                )
            )
            return None

    def _by_status(self, scope: Scope, status: int, headers: Headers) -> Outcome:
        if status in self._ignored:
            return Outcome.IGNORED
        if self._fails(status):
            return Outcome.FAILURE
        if status < 500 and _reached_nothing(scope, status, headers):
            return Outcome.IGNORED
        # The rest of 4xx is the request's fault, which hides nothing that befalls other requests.
        return Outcome.ANSWERED if status >= 400 else Outcome.SUCCESS

    def _fails(self, status: int) -> bool:
        if self._failures is None:
            return status >= 500 and status not in NOT_CRASHED
        return status in self._failures


def status_of(answer: Message) -> int:
    """The status of an answer. (A websocket that is closed before it is accepted gets 403.)"""
    status: int | None = answer.get("status")
    if status is not None:
        return status
    return 500 if answer.get("code") in CRASHES else 403


def _reached_nothing(scope: Scope, status: int, headers: Headers) -> bool:
    """Whether an answer tells that the app has nothing for the request: no handler was reached."""
    if status == NOT_FOUND:
        return not _found_a_handler(scope)
    if status == NO_SUCH_METHOD:  # what answers for the handler names its methods (RFC 9110)
        return "allow" in headers or not _found_a_handler(scope)
    # A router of Starlette's redirects to the path with a slash, or closes a websocket.
    return "router" in scope and isinstance(scope.get("endpoint", scope["router"]), Router)


def _found_a_handler(scope: Scope) -> bool:
    """Whether a router has told of a handler that it found. Without a word of it there may have
    been none: strangers ask for paths that no app has, and must not close a circuit."""
    if "route_handler" in scope:  # Litestar's
        return True
    route = scope.get("route")
    if isinstance(route, BaseRoute):
        return "endpoint" in scope and not isinstance(route, Mount | Host)
    endpoint = scope.get("endpoint")  # of a Starlette that tells no route; an app, where it mounts
    return inspect.isroutine(endpoint) or inspect.isclass(endpoint)


def check_classify(classify: object) -> None:
    """Refuse what is no classifier of answers.

    Raises:
        TypeError: It is none.
    """
    if classify is not None and (not callable(classify) or isinstance(classify, type)):
        raise TypeError(
            "classify must be a function of request and RouteAnswer, or an HttpClassifier(), "
            f"not {classify!r}"
        )


def statuses(what: str, given: object) -> frozenset[int]:
    """Statuses that the user has passed.

    Raises:
        TypeError, ValueError: They are none.
    """
    if isinstance(given, str | bytes) or not isinstance(given, Collection):
        raise TypeError(f"{what} must be statuses such as {{429, 503}}, not {given!r}")
    for status in cast(Collection[object], given):
        if isinstance(status, bool) or not isinstance(status, int):
            raise TypeError(f"{what} must hold whole numbers, not {status!r}")
        if status not in STATUSES:
            raise ValueError(f"{what} must hold statuses from 100 to 999, not {status!r}")
    return frozenset(cast(Collection[int], given))
