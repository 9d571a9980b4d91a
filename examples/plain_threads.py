"""A synchronous program whose threads share a breaker: no asyncio, no web framework.

    python examples/plain_threads.py

Processes with the same REDIS_URL share their circuits. Without REDIS_URL, the breaker works for
this process alone.
"""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from zenvark_web import (
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    Coordinator,
    ExponentialBackoff,
    StateChange,
)

broken = threading.Event()


def ask(order: int) -> str:  # replaces a network call
    time.sleep(0.01)
    if broken.is_set():
        raise ConnectionError("no answer")
    return f"order {order}: paid"


def pay(coordinator: Coordinator, order: int) -> str:
    try:
        return coordinator.breaker("payments").execute_sync(ask, order)
    except ConnectionError:
        return f"order {order}: failed"
    except CircuitOpenError:
        return f"order {order}: not tried"


def show(change: StateChange) -> None:
    print(f"    {change.name}: {change.previous} -> {change.state} ({change.reason})")


coordinator = Coordinator(
    os.environ.get("REDIS_URL"),
    namespace="plain-threads",
    policy=BreakerPolicy(strategy=ConsecutiveFailures(3), backoff=ExponentialBackoff(initial=0.5)),
    on_state_change=show,
)
with coordinator, ThreadPoolExecutor(4) as threads:
    for number in range(25):
        if number == 3:
            broken.set()
        elif number == 10:
            broken.clear()
        orders = range(number * 4, number * 4 + 4)
        for line in threads.map(lambda order: pay(coordinator, order), orders):
            print(line)
        time.sleep(0.1)
