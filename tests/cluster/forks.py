"""A program that forks while its coordinator runs in a thread of its own."""

import gc
import json
import os
import sys
import time

from tests.helpers.waiting import PATIENCE
from zenvark_web import BreakerPolicy, ConstantBackoff, Coordinator, Outcome, State
from zenvark_web.backends import redis

redis.COMMAND_TIMEOUT = PATIENCE  # a busy host is no error

coordinator = Coordinator(
    sys.argv[1], namespace=sys.argv[2], policy=BreakerPolicy(backoff=ConstantBackoff(60))
)
upstream = coordinator.breaker("upstream")


def record(outcome: Outcome, count: int) -> None:
    for _ in range(count):
        upstream.acquire().record(outcome)


def tell(parent: str = "") -> None:
    """What has come of it, once the circuit is open."""
    deadline = time.monotonic() + PATIENCE
    while upstream.state is not State.OPEN and time.monotonic() < deadline:
        time.sleep(0.01)
    gc.collect()
    time.sleep(1.5)  # what was done to the other's connections would show by now
    told = {
        "errors": coordinator.statistics.errors,
        "recorded": coordinator.statistics.recorded,
        "state": upstream.state,
        "joined": coordinator.connected and coordinator.instance_id != parent,
    }
    print(json.dumps(told), flush=True)


with coordinator:
    record(Outcome.SUCCESS, 3)
    name = coordinator.instance_id
    if os.fork() == 0:
        record(Outcome.SUCCESS, 3)  # of no account: it has not been started here
        with coordinator:
            record(Outcome.FAILURE, 5)
            tell(name)
        sys.exit()
    assert os.wait()[1] == 0
    tell()
