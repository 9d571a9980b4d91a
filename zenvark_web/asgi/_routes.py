"""Protection of the app's routes, by path."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from starlette.types import Message, Scope

from .._core._checks import check_call, check_name
from .._core.states import Outcome
from ..breaker import Permit
from ..coordinator import Coordinator
from ..exceptions import CircuitOpenError, RoutingError
from ._answers import ResponseFallback, check_fallback
from ._classify import ClassifyAnswer, RouteClassifier, check_classify, statuses
from ._messages import described


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectedRoute:
    """Protection of a part of the app.

        routes = {"/checkout": ProtectedRoute(circuit="checkout", needs=["payments"])}

    Args:
        circuit: The circuit of the route itself. Exceptions open it, and responses according to
            the settings below.
        needs: Circuits of upstreams that the route depends on. While one of them is open, requests
            are rejected before the handler runs.
        fallback: Makes the response instead, sync or async. Default: the middleware's.
        failure_statuses: Statuses that are failures. Default: all from 500 except 501 and 505.
            Accepts ranges.
        ignored_statuses: Statuses that do not count, such as a 503 by which the route sheds load.
            They take precedence over `failure_statuses`. 404 and 405 of routers, for paths without
            a route, do not count either, unless they are failures.
        classify: Returns the outcome of a response, by request and `RouteAnswer`, or None to decide
            by its status. Accepts an `HttpClassifier`. (Exceptions are classified by the `classify`
            of the policy.)

    Raises:
        TypeError, ValueError: A setting is not usable.
    """

    circuit: str | None = None
    needs: Sequence[str] = ()
    fallback: ResponseFallback | None = None
    failure_statuses: Collection[int] | None = None
    ignored_statuses: Collection[int] = frozenset()
    classify: ClassifyAnswer | None = None
    _classifier: RouteClassifier = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.circuit is not None:
            check_name("circuit", self.circuit)
        if isinstance(self.needs, str) or not isinstance(self.needs, Sequence):
            raise TypeError(f"needs must be a list of circuits' names, not {self.needs!r}")
        for name in self.needs:
            check_name("a name in needs", name)
        check_fallback(self.fallback)
        if self.circuit is None and not self.needs:
            raise ValueError("a ProtectedRoute needs circuit or needs; for no protection pass None")
        object.__setattr__(self, "needs", tuple(self.needs))
        self._set_classifier()

    def _set_classifier(self) -> None:
        ignored = statuses("ignored_statuses", self.ignored_statuses)
        failures = self.failure_statuses
        if failures is not None:
            failures = statuses("failure_statuses", failures)
        check_classify(self.classify)
        if self.circuit is None and (failures is not None or ignored or self.classify is not None):
            raise ValueError(
                "failure_statuses, ignored_statuses and classify need a circuit: pass circuit"
            )
        object.__setattr__(self, "failure_statuses", failures)
        object.__setattr__(self, "ignored_statuses", ignored)
        object.__setattr__(self, "_classifier", RouteClassifier(failures, ignored, self.classify))

    def outcome(
        self, scope: Scope, answer: Message, report: Callable[[Exception], object]
    ) -> Outcome:
        """The outcome of a response, as `RouteClassifier` decides it."""
        return self._classifier(scope, answer, report)

    def admit(self, coordinator: Coordinator) -> Permit | None:
        """Acquire a permit for one call of the route. None if it has no circuit of its own.

        Raises:
            CircuitOpenError: Circuits are open; the error is that with the longest wait.
        """
        errors = refusals(coordinator, self.needs)
        if not errors:
            return None if self.circuit is None else coordinator.breaker(self.circuit).acquire()
        if self.circuit is not None:
            errors += refusals(coordinator, [self.circuit])
        raise longest(errors)


def refusals(coordinator: Coordinator, names: Iterable[str]) -> list[CircuitOpenError]:
    """The errors of the circuits that are open. Each circuit registers a blocked call, since it
    recovers by trial calls, and the handler that would make them does not run."""
    errors: list[CircuitOpenError] = []
    for name in names:
        try:
            coordinator.breaker(name).require()
        except CircuitOpenError as error:
            errors.append(error)
    return errors


def longest(errors: Iterable[CircuitOpenError]) -> CircuitOpenError:
    """The error with the longest wait."""
    return max(errors, key=lambda error: error.retry_after)


Protection: TypeAlias = str | ProtectedRoute | None
RouteTable: TypeAlias = Mapping[str, Protection] | Callable[[Scope], Protection]


def finder(
    routes: RouteTable | None, report: Callable[[Exception], object]
) -> Callable[[Scope], ProtectedRoute | None]:
    """A function that returns the protection of a request.

    Args:
        routes: The middleware's.
        report: Receives the errors of the user's own function.

    Raises:
        TypeError, ValueError: The routes are not usable; the message says what to pass.
    """
    if routes is None:
        return lambda _: None
    if callable(routes) and not isinstance(routes, type):
        check_call("routes", routes, "a scope", None)
        return _safe(routes, report)
    if isinstance(routes, Mapping):
        return RoutePatterns(routes)
    raise TypeError(f"routes must be a mapping or a function, not {routes!r}")


class RoutePatterns:
    """A mapping from route patterns to protections.

    A pattern is a path prefix of whole segments: `"/users"` matches `/users` and `/users/7`, not
    `/users-old`. `*` matches any characters within a segment: `"/users/*/cart"`. Longer patterns
    take precedence over shorter ones, and then literal segments over those with `*`, from the
    left. Paths are relative to the app, without the `root_path` under which it is mounted.
    """

    def __init__(self, routes: Mapping[str, Protection]) -> None:
        parsed = [
            (_segments(pattern), _protection(f"routes[{pattern!r}]", protection))
            for pattern, protection in routes.items()
        ]
        _refuse_twins([segments for segments, _ in parsed])
        parsed.sort(key=lambda route: _specificity(route[0]), reverse=True)
        self._protections = [protection for _, protection in parsed]
        # One expression for all: the first alternative that matches decides.
        self._expression = re.compile("|".join(_expression(segments) for segments, _ in parsed))

    def __call__(self, scope: Scope) -> ProtectedRoute | None:
        """The protection of a request, or None."""
        found = self._expression.match(own_path(scope))
        if found is None or not found.lastindex:
            return None
        return self._protections[found.lastindex - 1]


def _safe(
    find: Callable[[Scope], Protection], report: Callable[[Exception], object]
) -> Callable[[Scope], ProtectedRoute | None]:
    """A user's function. A request for which it fails is not protected."""

    def find_safely(scope: Scope) -> ProtectedRoute | None:
        try:
            return _protection("the result of routes", find(scope))
        except Exception as error:
            what = f"could not determine the route of {described(scope)}; passed without protection"
            report(RoutingError.because(error, what, source="routes"))
            return None

    return find_safely


def own_path(scope: Scope) -> str:
    """The path of a request relative to the app: `path` includes the `root_path` under which the
    app is mounted (ASGI 3, "HTTP connection scope")."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if not root:
        return path
    rest = path.removeprefix(root.rstrip("/"))
    return rest if rest[:1] in ("", "/") else path


def _segments(pattern: object) -> tuple[str, ...]:
    check_name("a pattern in routes", pattern)
    if not isinstance(pattern, str) or not pattern.startswith("/"):
        raise ValueError(f"routes: {pattern!r} must begin with '/', as paths do")
    for sign, instead in (
        ("{", "write '*' for a parameter"),
        ("**", "a pattern matches all paths below it; '*' matches within a segment"),
        ("?", "a path has no query"),
        ("#", "a path has no fragment"),
    ):
        if sign in pattern:
            raise ValueError(f"routes: {pattern!r} holds {sign!r}: {instead}")
    segments = tuple(pattern.removesuffix("/").split("/")[1:])
    if "" in segments:
        raise ValueError(f"routes: {pattern!r} has an empty segment")
    return segments


def _protection(what: str, given: object) -> ProtectedRoute | None:
    if given is None or isinstance(given, ProtectedRoute):
        return given
    if isinstance(given, str):
        check_name(what, given)
        return ProtectedRoute(circuit=given)
    raise TypeError(
        f"{what} must be a circuit's name, a ProtectedRoute or None (not protected), not {given!r}"
    )


def _refuse_twins(patterns: Sequence[tuple[str, ...]]) -> None:
    for pattern in patterns:
        if patterns.count(pattern) > 1:
            raise ValueError(f"routes: {'/' + '/'.join(pattern)!r} is there twice")


def _specificity(segments: tuple[str, ...]) -> tuple[int, list[tuple[bool, int]]]:
    return len(segments), [("*" not in part, len(part.replace("*", ""))) for part in segments]


def _expression(segments: tuple[str, ...]) -> str:
    parts = ("[^/]*".join(map(re.escape, part.split("*"))) for part in segments)
    return f"({''.join(f'/{part}' for part in parts)})(?:/|\\Z)" if segments else "()"
