"""A circuit breaker that a fleet of Python web processes shares.

Names that need httpx, Starlette or prometheus-client import them on first access; redis-py is
imported by the first coordinator with a Redis URL or client.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._core.backoff import Backoff, ConstantBackoff, ExponentialBackoff
from ._core.policy import BreakerPolicy, Classify, HealthCheck
from ._core.states import Cause, HealthCheckType, Outcome, Reason, Role, State
from ._core.strategies import ConsecutiveFailures, CountWindow, Strategy, TimeWindow
from ._core.windows import Trip, Window
from ._version import __version__
from .backends import Backend, MemoryBackend
from .breaker import Breaker, Permit
from .coordinator import Coordinator, MetricsRecorder
from .events import StateChange
from .exceptions import (
    BackendError,
    CallbackError,
    CircuitOpenError,
    ClassifierError,
    FencedError,
    HealthCheckError,
    MalformedEntryError,
    MetricsError,
    OverloadedError,
    PolicyMismatchError,
    ResultsLostError,
    RoutingError,
    StopError,
    StrategyError,
    ZenvarkError,
)

if TYPE_CHECKING:
    from .asgi import BreakerMiddleware, ProtectedRoute
    from .httpx import (
        Answer,
        BreakerStatus,
        BreakerTransport,
        CircuitRoute,
        FixedResponse,
        HttpClassifier,
        HttpHealthCheck,
        LastGoodResponse,
        OtherUpstream,
        RequestSettings,
        by_header,
        by_host,
        default_classify,
    )
    from .metrics import PrometheusMetrics

__all__ = [
    "Answer",
    "Backend",
    "BackendError",
    "Backoff",
    "Breaker",
    "BreakerMiddleware",
    "BreakerPolicy",
    "BreakerStatus",
    "BreakerTransport",
    "CallbackError",
    "Cause",
    "CircuitOpenError",
    "CircuitRoute",
    "ClassifierError",
    "Classify",
    "ConsecutiveFailures",
    "ConstantBackoff",
    "Coordinator",
    "CountWindow",
    "ExponentialBackoff",
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
    "Permit",
    "PolicyMismatchError",
    "PrometheusMetrics",
    "ProtectedRoute",
    "Reason",
    "RequestSettings",
    "ResultsLostError",
    "Role",
    "RoutingError",
    "State",
    "StateChange",
    "StopError",
    "Strategy",
    "StrategyError",
    "TimeWindow",
    "Trip",
    "Window",
    "ZenvarkError",
    "__version__",
    "by_header",
    "by_host",
    "default_classify",
]

_NOT_OF_HTTPX = {
    "BreakerMiddleware": "asgi",
    "ProtectedRoute": "asgi",
    "PrometheusMetrics": "metrics",
}
"""Homes of the names that are imported on first access; the others of these come from `httpx`."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        module = import_module(f"{__name__}.{_NOT_OF_HTTPX.get(name, 'httpx')}")
        return getattr(module, name)
    if name == "Route":
        message = "zenvark_web.Route is called CircuitRoute now, beside Starlette's Route"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return __getattr__("CircuitRoute")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
