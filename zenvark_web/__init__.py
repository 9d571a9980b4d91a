"""A circuit breaker that a fleet of Python web processes shares."""

from __future__ import annotations

from ._core.backoff import Backoff, ConstantBackoff, ExponentialBackoff
from ._core.policy import BreakerPolicy, Classify, HealthCheck
from ._core.states import Cause, HealthCheckType, Outcome, Reason, Role, State
from ._core.strategies import ConsecutiveFailures, CountWindow, Strategy, TimeWindow, Trip, Window
from .backends import Backend, MemoryBackend
from .breaker import Breaker, Permit
from .coordinator import Coordinator, MetricsRecorder
from .events import StateChange
from .exceptions import (
    BackendError,
    CircuitOpenError,
    FencedError,
    MalformedEntryError,
    ResultsLostError,
    ZenvarkError,
)
