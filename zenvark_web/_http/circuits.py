"""Which circuit a request belongs to, and how it is treated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast
from weakref import WeakKeyDictionary

from .._core._checks import check_call, check_name
from ..breaker import Breaker
from ..coordinator import Coordinator
from ..exceptions import RoutingError
from .api import AnyRoute, is_route
from .library import Library, redacted
from .settings import KEYS, Plan
from .url_patterns import UrlPatterns


class Circuits:
    """Finds a request's breaker and plan. Mistakes in what users say surface, and never cost the
    request.

    Args:
        coordinator: Has the breakers.
        library: The client library.
        circuits: A mapping from URL patterns, or a function of the request, to a name or to
            `CircuitRoute`.
        plan: How requests are treated of which nothing else is said.

    Raises:
        TypeError, ValueError: The mapping is not usable.
    """

    def __init__(
        self, coordinator: Coordinator, library: Library, circuits: Any, plan: Plan
    ) -> None:
        self._coordinator = coordinator
        self._plan = plan
        self._plans: WeakKeyDictionary[AnyRoute, Plan] = WeakKeyDictionary()
        self._find = self._finder(circuits, library)

    def _finder(self, circuits: Any, library: Library) -> Callable[[Any], Any]:
        if callable(circuits) and not isinstance(circuits, type):
            check_call("circuits", circuits, "a request", None)
            return circuits  # type: ignore[no-any-return]
        if not isinstance(circuits, Mapping):
            raise TypeError(f"circuits must be a mapping or a function, not {circuits!r}")
        patterns = cast(Mapping[str, str | AnyRoute], circuits)
        for pattern, target in patterns.items():
            if not is_route(target):
                check_name(f"circuits[{redacted(str(pattern))!r}]", target)
        circuit_of = UrlPatterns(patterns, library.module.URL)
        return lambda request: circuit_of(request.url)

    def guard(self, request: Any) -> tuple[Breaker, Plan] | None:
        """The breaker to ask about a request, and how it is treated. None: not protected."""
        try:
            extensions = request.extensions
            if "breaker" in extensions:
                return self._told(request, extensions["breaker"])
            target = self._find(request)
            if target.__class__ is str:
                return self._coordinator.breaker(target), self._plan
            return self._guarded(target)
        except Exception as error:
            self._surface("a request's circuit could not be told, it is not protected", error)
            return None

    def _told(self, request: Any, told: object) -> tuple[Breaker, Plan] | None:
        """The same for a request that says it itself."""
        if told is None or told is False:
            return None
        if not isinstance(told, Mapping):
            return self._guarded(told)
        settings = cast(Mapping[str, Any], told)
        target = settings["name"] if "name" in settings else self._find(request)
        guard = None if target is False else self._guarded(target)
        return guard and (guard[0], self._with(guard[1], settings))

    def _guarded(self, target: Any) -> tuple[Breaker, Plan] | None:
        if target is None:
            return None
        if is_route(target):
            return self._coordinator.breaker(target.name), self._plan_of(target)
        return self._coordinator.breaker(target), self._plan

    def _plan_of(self, route: AnyRoute) -> Plan:
        plan = self._plans.get(route)
        if plan is None:
            plan = self._plan.refined(_settings_of(route), self._coordinator.surface)
            self._plans[route] = plan
        return plan

    def _with(self, plan: Plan, told: Mapping[str, Any]) -> Plan:
        """A plan with what one request says, as far as that is usable."""
        for key, value in told.items():
            try:
                if key not in KEYS:
                    raise ValueError(f"there is no {key!r}, only {', '.join(sorted(KEYS))}")
                if key != "name":
                    plan = plan.refined({key: value}, self._coordinator.surface)
            except Exception as error:
                self._surface("a request's own setting is not usable", error)
        return plan

    def _surface(self, what: str, cause: Exception) -> None:
        self._coordinator.surface(RoutingError.because(cause, what, source=what))


def _settings_of(route: AnyRoute) -> Mapping[str, Any]:
    """The settings of a route that are not None."""
    settings = {name: getattr(route, name) for name in KEYS - {"name"}}
    return {name: value for name, value in settings.items() if value is not None}
