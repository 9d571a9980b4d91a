"""One process of a server that has several.

Arguments: the store's URL ("" for memory), the namespace, how many breakers to keep, the seconds
after which an open circuit is tried again, which strategy opens it, how many circuits have series
of their own, whether there are histograms, and the seconds for each look at the breakers.
"""

import asyncio
import sys
from contextlib import suppress
from typing import Any

from prometheus_client import REGISTRY, generate_latest

from tests.helpers.child import serve
from zenvark_web import (
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    CountWindow,
    HealthCheckType,
)
from zenvark_web.backends import redis
from zenvark_web.metrics import PrometheusMetrics, _files

redis.COMMAND_TIMEOUT = 30.0  # a busy host is no error

STRATEGIES = {
    "streak": ConsecutiveFailures(5),
    "window": CountWindow(19, failure_rate=0.3, minimum_calls=19),
}

url, namespace, max_breakers, backoff, strategy, *more = sys.argv[1:]
max_circuits, histograms, budget = more
_files.BUDGET = float(budget)

coordinator = Coordinator(
    url or None,
    namespace=namespace,
    policy=BreakerPolicy(strategy=STRATEGIES[strategy], backoff=ConstantBackoff(float(backoff))),
    max_breakers=int(max_breakers),
    metrics=PrometheusMetrics(
        labels={"service": "shop"},
        max_circuits=int(max_circuits),
        histograms=histograms == "True",
    ),
)


async def call(circuit: str, seconds: float = 0.0, failing: bool = False, times: int = 1) -> str:
    """Make calls; tells the circuit's state."""

    async def upstream() -> None:
        await asyncio.sleep(seconds)
        if failing:
            raise ConnectionError

    for _ in range(times):
        with suppress(ConnectionError, CircuitOpenError):
            await coordinator.breaker(circuit).execute(upstream)
    return coordinator.breaker(circuit).state.value


def check(circuit: str, passed: bool) -> None:
    """Count a health check."""
    coordinator.statistics.health_check_ended(circuit, HealthCheckType.RECOVERY, passed, 0.1)


def numbers(circuit: str) -> dict[str, Any]:
    """What this process has counted."""
    breaker = coordinator.breaker(circuit)
    return {
        "success": [breaker.successes.counts, breaker.successes.total],
        "failure": [breaker.failures.counts, breaker.failures.total],
        "blocked": breaker.blocked,
        "batches": coordinator.statistics.batches,
        "delays": sum(coordinator.statistics.effect.counts),
    }


asyncio.run(
    serve(
        {
            "start": coordinator.start,
            "stop": coordinator.stop,
            "check": check,
            "role": lambda: coordinator.role.value,
            "call": call,
            "state": lambda circuit: coordinator.breaker(circuit).state.value,
            "numbers": numbers,
            "own": lambda: generate_latest(REGISTRY).decode(),
        }
    )
)
