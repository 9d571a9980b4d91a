"""Which circuits a request of the app needs, by its path."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectedRoute:
    """What a part of the app is protected by.

        routes = {"/checkout": ProtectedRoute(circuit="checkout", needs=["payments"])}

    Args:
        circuit: The circuit of the route itself, which its own failures open: exceptions, and
            responses as the settings below say.
        needs: Circuits of upstreams without which the route can't do its work. While one of
            them is open, the request is answered before the handler runs.
        fallback: Makes the response instead, sync or async. Default: the middleware's.
        failure_statuses: Responses that are failures. Default: the 5xx class, and what is above,
            but 501 and 505. Ranges will do.
        ignored_statuses: Responses that say nothing of the route, such as a 503 by which it sheds
            load deliberately. They go before `failure_statuses`. 404 and 405, which routers give
            for paths without a route, say nothing in any case, unless they are failures.
        classify: Tells the outcome of a response, by request and `RouteAnswer`; None leaves it to
            the statuses. An `HttpClassifier` will do. (Of exceptions, the policy's `classify`
            tells.)

    Raises:
        TypeError, ValueError: A setting is not usable.
    """

    circuit: str | None = None
    needs: Sequence[str] = ()
    fallback: ResponseFallback | None = None
    failure_statuses: Collection[int] | None = None
    ignored_statuses: Collection[int] = frozenset()
    classify: ClassifyAnswer | None = None
    _classify: RouteClassifier = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.circuit is not None:
            check_name("circuit", self.circuit)
        if isinstance(self.needs, str) or not isinstance(self.needs, Sequence):
            raise TypeError(f"needs must be a list of circuits' names, not {self.needs!r}")
        for name in self.needs:
            check_name("a name in needs", name)
        check_fallback(self.fallback)
        if self.circuit is None and not self.needs:
            raise ValueError("a route needs a circuit, or names of others in needs; or pass None")
        object.__setattr__(self, "needs", tuple(self.needs))
        self._set_judge()

    def _set_judge(self) -> None:
        ignored = statuses("ignored_statuses", self.ignored_statuses)
        failures = self.failure_statuses
        if failures is not None:
            failures = statuses("failure_statuses", failures)
        check_classify(self.classify)
        if self.circuit is None and (failures is not None or ignored or self.classify is not None):
            raise ValueError("a route without a circuit of its own counts nothing: pass circuit")
        object.__setattr__(self, "failure_statuses", failures)
        object.__setattr__(self, "ignored_statuses", ignored)
        object.__setattr__(self, "_classify", RouteClassifier(failures, ignored, self.classify))

    def outcome(
        self, scope: Scope, answer: Message, surface: Callable[[Exception], object]
    ) -> Outcome:
        """What an answer says of the route.

        Args:
            scope: The request's, as the app has left it.
            answer: The message that the answer starts with.
            surface: Told the errors of the user's classifier.
        """
        return self._classify(scope, answer, surface)

    def admit(self, coordinator: Coordinator) -> Permit | None:
        """Leave to make one call of the route; None if it has no circuit of its own.

        Raises:
            CircuitOpenError: Circuits are open; it is that of the one with the longest wait.
        """
        errors = refusals(coordinator, self.needs)
        if not errors:
            return None if self.circuit is None else coordinator.breaker(self.circuit).acquire()
        if self.circuit is not None:
            errors += refusals(coordinator, [self.circuit])
        raise longest(errors)


def refusals(coordinator: Coordinator, names: Iterable[str]) -> list[CircuitOpenError]:
    """The errors of those circuits that are open. Each is told that there are calls to make: a
    circuit recovers by calls, and the handler that would make them does not run."""
    errors: list[CircuitOpenError] = []
    for name in names:
        try:
            coordinator.breaker(name).require()
        except CircuitOpenError as error:
            errors.append(error)
    return errors


def longest(errors: Iterable[CircuitOpenError]) -> CircuitOpenError:
    """The error of the circuit that stays open for longest."""
    return max(errors, key=lambda error: error.retry_after)


Protection: TypeAlias = str | ProtectedRoute | None
RouteTable: TypeAlias = Mapping[str, Protection] | Callable[[Scope], Protection]


def finder(
    routes: RouteTable | None, surface: Callable[[Exception], object]
) -> Callable[[Scope], ProtectedRoute | None]:
    """What tells the protection of a request.

    Args:
        routes: As the middleware takes them.
        surface: Told the errors of the user's own function.

    Raises:
        TypeError, ValueError: The routes are not usable; the message says what to pass.
    """
    if routes is None:
        return lambda _: None
    if callable(routes) and not isinstance(routes, type):
        check_call("routes", routes, "a scope", None)
        return _Asked(routes, surface)
    if isinstance(routes, Mapping):
        return RoutePatterns(routes)
    raise TypeError(f"routes must be a mapping or a function, not {routes!r}")


class RoutePatterns:
    """A mapping from patterns to protections.

    A pattern is the beginning of a path, in whole segments: `"/users"` fits `/users` and
    `/users/7`, not `/users-old`. `*` stands for anything within a segment: `"/users/*/cart"`.
    Longer patterns go before shorter ones, and then literal segments before those with `*`, from
    the left. The path is the app's own: without `root_path`, where the app is mounted.
    """

    def __init__(self, routes: Mapping[str, Protection]) -> None:
        parsed = [
            (_segments(pattern), _protection(f"routes[{pattern!r}]", protection))
            for pattern, protection in routes.items()
        ]
        _refuse_twins([segments for segments, _ in parsed])
        parsed.sort(key=lambda route: _specificity(route[0]), reverse=True)
        self._protections = [protection for _, protection in parsed]
        # One expression for all, in this order: its first alternative that fits decides.
        self._expression = re.compile("|".join(_expression(segments) for segments, _ in parsed))

    def __call__(self, scope: Scope) -> ProtectedRoute | None:
        """The protection of a request, or None."""
        found = self._expression.match(own_path(scope))
        if found is None or not found.lastindex:
            return None
        return self._protections[found.lastindex - 1]


class _Asked:
    """A function of the user's, whose mistakes must not cost the request."""

    def __init__(self, ask: Callable[[Scope], Protection], surface: Callable[..., object]) -> None:
        self._ask = ask
        self._surface = surface

    def __call__(self, scope: Scope) -> ProtectedRoute | None:
        try:
            return _protection("what routes gave", self._ask(scope))
        except Exception as error:
            what = "a request's route could not be told, it is not protected"
            self._surface(RoutingError.because(error, what, source="routes"))
            return None


def own_path(scope: Scope) -> str:
    """A request's path as the app's routes know it: `root_path`, where the app is mounted, is
    part of the path (ASGI 3, "HTTP connection scope")."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    rest = path.removeprefix(root)
    return rest if rest[:1] in ("", "/") else path


def _segments(pattern: object) -> tuple[str, ...]:
    check_name("a pattern in routes", pattern)
    if not isinstance(pattern, str) or not pattern.startswith("/"):
        raise ValueError(f"routes: {pattern!r} must begin with '/', as paths do")
    for sign, instead in (
        ("{", "write '*' for a parameter"),
        ("**", "what is below a path is protected with it; '*' stays within a segment"),
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
