"""A circuit breaker that a fleet of Python web processes shares.

Each name imports its module on first access, and with it httpx, Starlette or prometheus-client if
it needs one. redis-py is imported by the first coordinator with a Redis URL or client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from ._core.backoff import Backoff, ConstantBackoff, ExponentialBackoff
    from ._core.overrides import Override, OverrideRecord
    from ._core.policy import BreakerPolicy, Classify, HealthCheck
    from ._core.states import Cause, HealthCheckType, Outcome, Reason, Role, State, Suspect
    from ._core.strategies import ConsecutiveFailures, CountWindow, Strategy, TimeWindow
    from ._core.windows import Trip, Window
    from .asgi import BreakerMiddleware, ProtectedRoute
    from .backends import Backend, MemoryBackend
    from .breaker import Breaker, Permit
    from .coordinator import Coordinator, MetricsRecorder
    from .events import OverrideChange, PublishedChange, StateChange
    from .exceptions import (
        BackendError,
        BodySentError,
        CallbackError,
        CircuitOpenError,
        ClassifierError,
        CommonCauseError,
        FencedError,
        HealthCheckError,
        MalformedEntryError,
        MetricsError,
        OverloadedError,
        OverrideConflictError,
        OverrideLimitError,
        PolicyMismatchError,
        ResultsLostError,
        RoutingError,
        StopError,
        StrategyError,
        ZenvarkError,
    )
    from .httpx import (
        Answer,
        BreakerStatus,
        BreakerTransport,
        CallFailedError,
        Chain,
        CircuitRoute,
        Fallback,
        FixedResponse,
        HttpClassifier,
        HttpHealthCheck,
        LastGoodResponse,
        OtherUpstream,
        RequestSettings,
        Scoped,
        Upstream,
        by_header,
        by_host,
        default_classify,
        key_name,
    )
    from .metrics import PrometheusMetrics

__all__ = [
    "Answer",
    "Backend",
    "BackendError",
    "Backoff",
    "BodySentError",
    "Breaker",
    "BreakerMiddleware",
    "BreakerPolicy",
    "BreakerStatus",
    "BreakerTransport",
    "CallFailedError",
    "CallbackError",
    "Cause",
    "Chain",
    "CircuitOpenError",
    "CircuitRoute",
    "ClassifierError",
    "Classify",
    "CommonCauseError",
    "ConsecutiveFailures",
    "ConstantBackoff",
    "Coordinator",
    "CountWindow",
    "ExponentialBackoff",
    "Fallback",
    "FencedError",
    "FixedResponse",
    "HealthCheck",
    "HealthCheckError",
    "HealthCheckType",
    "HttpClassifier",
    "HttpHealthCheck",
    "LastGoodResponse",
    "MalformedEntryError",
    "MemoryBackend",
    "MetricsError",
    "MetricsRecorder",
    "OtherUpstream",
    "Outcome",
    "OverloadedError",
    "Override",
    "OverrideChange",
    "OverrideConflictError",
    "OverrideLimitError",
    "OverrideRecord",
    "Permit",
    "PolicyMismatchError",
    "PrometheusMetrics",
    "ProtectedRoute",
    "PublishedChange",
    "Reason",
    "RequestSettings",
    "ResultsLostError",
    "Role",
    "RoutingError",
    "Scoped",
    "State",
    "StateChange",
    "StopError",
    "Strategy",
    "StrategyError",
    "Suspect",
    "TimeWindow",
    "Trip",
    "Upstream",
    "Window",
    "ZenvarkError",
    "__version__",
    "by_header",
    "by_host",
    "default_classify",
    "key_name",
]

_CORE = (
    "exceptions",
    "_core.states",
    "_core.backoff",
    "_core.windows",
    "_core.strategies",
    "_core.overrides",
    "_core.policy",
    "events",
    "statistics",
    "backends",
    "breaker",
    "coordinator",
)
"""The modules of names that need no other library, those that import least first."""

_NOT_OF_HTTPX = {
    "BreakerMiddleware": "asgi",
    "ProtectedRoute": "asgi",
    "PrometheusMetrics": "metrics",
}
"""The modules of names that need another library. The rest of these names is in `httpx`."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        # Kept, so that each name is looked up once.
        value = globals()[name] = _found(name)
        return value
    if name in _CORE:
        return import_module(f"{__name__}.{name}")
    if name == "Route":
        import warnings

        message = "zenvark_web.Route is called CircuitRoute now, beside Starlette's Route"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return __getattr__("CircuitRoute")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _found(name: str) -> Any:
    for home in _CORE if name not in _NOT_OF_HTTPX else ():
        module = import_module(f"{__name__}.{home}")
        if hasattr(module, name):
            return getattr(module, name)
    return getattr(import_module(f"{__name__}.{_NOT_OF_HTTPX.get(name, 'httpx')}"), name)


def __dir__() -> list[str]:
    return __all__
