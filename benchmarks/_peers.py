"""Other circuit breakers for Python, to be measured beside ours: in memory, one process each."""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiobreaker
import circuitbreaker
import hyx.circuitbreaker
import interlock
import purgatory
import pybreaker

FAILURES = 5
RECOVERY = 600
"""Seconds for which a circuit stays open: longer than a run."""


@dataclass(frozen=True)
class Peer:
    """A breaker of another library.

    Args:
        decorate: Protects a function.
        refuses: The error by which it rejects.
        failures: How many open it.
    """

    decorate: Callable[[Callable[..., Any]], Callable[..., Any]]
    refuses: type[Exception]
    failures: int = FAILURES


def interlocked() -> interlock.CircuitBreaker:
    """A breaker of interlock, which opens at half of ten calls."""
    config = interlock.Config(wait_duration_in_open=RECOVERY)
    return interlock.CircuitBreaker(name="peer", config=config)


def asynchronous() -> Mapping[str, Peer]:
    """Breakers of async functions, each a new one."""
    return {
        "circuitbreaker": Peer(
            circuitbreaker.CircuitBreaker(FAILURES, RECOVERY), circuitbreaker.CircuitBreakerError
        ),
        "hyx": Peer(
            hyx.circuitbreaker.consecutive_breaker(
                failure_threshold=FAILURES, recovery_time_secs=RECOVERY
            ),
            hyx.circuitbreaker.exceptions.BreakerFailing,
        ),
        "aiobreaker": Peer(
            aiobreaker.CircuitBreaker(FAILURES, datetime.timedelta(seconds=RECOVERY)),
            aiobreaker.CircuitBreakerError,
        ),
        "purgatory": Peer(
            purgatory.AsyncCircuitBreakerFactory(FAILURES, RECOVERY)("peer"),
            purgatory.domain.model.OpenedState,
        ),
        "interlock": Peer(interlocked(), interlock.CircuitOpenError, failures=10),
    }


def synchronous() -> Mapping[str, Peer]:
    """Breakers of plain functions, each a new one."""
    return {
        "circuitbreaker": Peer(
            circuitbreaker.CircuitBreaker(FAILURES, RECOVERY), circuitbreaker.CircuitBreakerError
        ),
        "pybreaker": Peer(
            pybreaker.CircuitBreaker(FAILURES, RECOVERY), pybreaker.CircuitBreakerError
        ),
        "purgatory": Peer(
            purgatory.SyncCircuitBreakerFactory(FAILURES, RECOVERY)("peer"),
            purgatory.domain.model.OpenedState,
        ),
        "interlock": Peer(interlocked(), interlock.CircuitOpenError, failures=10),
    }


async def opened(peer: Peer) -> Callable[[], Awaitable[Any]]:
    """A protected function of an open circuit."""

    async def broken() -> None:
        raise ConnectionError

    protected: Callable[[], Awaitable[Any]] = peer.decorate(broken)
    for _ in range(peer.failures):
        with suppress(ConnectionError, peer.refuses):
            await protected()
    return protected


def opened_sync(peer: Peer) -> Callable[[], Any]:
    """A protected plain function of an open circuit."""

    def broken() -> None:
        raise ConnectionError

    protected = peer.decorate(broken)
    for _ in range(peer.failures):
        with suppress(ConnectionError, peer.refuses):
            protected()
    return protected
