"""A circuit breaker that a fleet of Python web processes shares.

What needs httpx, Starlette or prometheus-client is imported when it is first asked for.
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
from ._version import version as _version
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

    __version__: str

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

_LAZY = {
    "Answer": "httpx",
    "BreakerMiddleware": "asgi",
    "BreakerStatus": "httpx",
    "BreakerTransport": "httpx",
    "CircuitRoute": "httpx",
    "FixedResponse": "httpx",
    "HttpClassifier": "httpx",
    "HttpHealthCheck": "httpx",
    "LastGoodResponse": "httpx",
    "OtherUpstream": "httpx",
    "PrometheusMetrics": "metrics",
    "ProtectedRoute": "asgi",
    "RequestSettings": "httpx",
    "by_header": "httpx",
    "by_host": "httpx",
    "default_classify": "httpx",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    if name == "Route":
        message = "zenvark_web.Route is called CircuitRoute now, beside Starlette's Route"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return __getattr__("CircuitRoute")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
