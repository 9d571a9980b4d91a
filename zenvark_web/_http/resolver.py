"""The circuit of a request, and the settings that apply to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast
from weakref import WeakKeyDictionary

from .._core._checks import check_call, check_name
from ..breaker import Breaker
from ..coordinator import Coordinator
from ..exceptions import RoutingError
from .api import AnyRoute, is_route
from .client import ClientAdapter
from .messages import described, redacted
from .scoped import Scoped, ScopedBreaker
from .settings import KEYS, ResolvedSettings
from .url_patterns import UrlPatterns


class CircuitResolver:
    """Resolves a request to its breaker and settings.

    Errors in what users pass are reported and never fail the request.

    Args:
        coordinator: Holds the breakers.
        client: The client library.
        circuits: A mapping from URL patterns, or a function of the request, to a name or a
            `CircuitRoute`.
        settings: Those of the transport.

    Raises:
        TypeError, ValueError: The mapping is not usable.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        client: ClientAdapter,
        circuits: Any,
        settings: ResolvedSettings,
    ) -> None:
        self._coordinator = coordinator
        self._settings = settings
        # Weak: a function may create a route for each request.
        self._by_route: WeakKeyDictionary[AnyRoute, ResolvedSettings] = WeakKeyDictionary()
        self._find = self._finder(circuits, client)

    def _finder(self, circuits: Any, client: ClientAdapter) -> Callable[[Any], Any]:
        if callable(circuits) and not isinstance(circuits, type):
            check_call("circuits", circuits, "a request", None)
            return circuits  # type: ignore[no-any-return]
        if not isinstance(circuits, Mapping):
            raise TypeError(f"circuits must be a mapping or a function, not {circuits!r}")
        by_pattern = cast(Mapping[str, str | AnyRoute], circuits)
        for pattern, target in by_pattern.items():
            if not (is_route(target) or isinstance(target, Scoped)):
                check_name(f"circuits[{redacted(str(pattern))!r}]", target)
        patterns = UrlPatterns(by_pattern, client.module.URL)
        return lambda request: patterns(request.url)

    def resolve(self, request: Any) -> tuple[Breaker, ResolvedSettings] | None:
        """The breaker of a request and the settings that apply. None: not protected."""
        try:
            extensions = request.extensions
            if "breaker" in extensions:
                return self._resolve_own(request, extensions["breaker"])
            target = self._find(request)
            # The common case, without further checks.
            if target.__class__ is str:
                return self._coordinator.breaker(target), self._settings
            return self._resolve_target(target)
        except Exception as error:
            what = (
                f"could not determine the circuit of {described(request)}; sent without a breaker"
            )
            self._report("circuits", what, error)
            return None

    def _resolve_own(self, request: Any, own: object) -> tuple[Breaker, ResolvedSettings] | None:
        """Resolve a request that has settings of its own."""
        if own is None or own is False:
            return None
        if not isinstance(own, Mapping):
            return self._resolve_target(own)
        settings = cast(Mapping[str, Any], own)
        target = settings["name"] if "name" in settings else self._find(request)
        resolved = None if target is False else self._resolve_target(target)
        if resolved is None:
            return None
        breaker, applied = resolved[0], self._overridden(resolved[1], request, settings)
        if isinstance(breaker, ScopedBreaker) and "classify" in settings:
            applied = replace(applied, classify=breaker.noting(applied.classify))
        return breaker, applied

    def _resolve_target(self, target: Any) -> tuple[Breaker, ResolvedSettings] | None:
        if target is None:
            return None
        if isinstance(target, Scoped):
            return self._resolve_scoped(target)
        if is_route(target):
            return self._coordinator.breaker(target.name), self._settings_of(target)
        return self._coordinator.breaker(target), self._settings

    def _resolve_scoped(self, target: Scoped) -> tuple[Breaker, ResolvedSettings]:
        breaker_of = self._coordinator.breaker
        statuses = target.key_statuses
        breaker = ScopedBreaker(breaker_of(target.provider), breaker_of(target.key), statuses)
        return breaker, replace(self._settings, classify=breaker.noting(self._settings.classify))

    def _settings_of(self, route: AnyRoute) -> ResolvedSettings:
        resolved = self._by_route.get(route)
        if resolved is None:
            own = {name: getattr(route, name) for name in KEYS - {"name"}}
            given = {name: value for name, value in own.items() if value is not None}
            resolved = self._settings.overridden(given, self._coordinator.report_error)
            self._by_route[route] = resolved
        return resolved

    def _overridden(
        self, resolved: ResolvedSettings, request: Any, own: Mapping[str, Any]
    ) -> ResolvedSettings:
        """The settings of one request. Its own that are not usable are ignored."""
        for key, value in own.items():
            try:
                if key not in KEYS:
                    raise ValueError(f"there is no {key!r}, only {', '.join(sorted(KEYS))}")
                if key != "name":
                    resolved = resolved.overridden({key: value}, self._coordinator.report_error)
            except Exception as error:
                what = f"ignored extensions['breaker'][{key!r}] of {described(request)}"
                self._report("extensions", what, error)
        return resolved

    def _report(self, source: str, what: str, cause: Exception) -> None:
        self._coordinator.report_error(RoutingError.because(cause, what, source=source))
