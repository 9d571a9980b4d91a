"""A program that forks while calls of a ramp are in flight."""

import json
import os
import sys
import time
from contextlib import suppress

from tests.helpers.inside import circuit_of
from tests.helpers.waiting import PATIENCE
from zenvark_web import (
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    Outcome,
    Permit,
    State,
)

POLICY = BreakerPolicy(
    strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.1), ramp=(0.5,), ramp_step=600.0
)


def permitted(breaker: Breaker) -> Permit:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(CircuitOpenError):
            return breaker.acquire()
        time.sleep(0.01)
    raise TimeoutError


def in_flight(breaker: Breaker) -> int | None:
    note = circuit_of(breaker).note()
    return note and note.held


coordinator = Coordinator(policy=POLICY)
with coordinator:
    upstream = coordinator.breaker("upstream")
    upstream.acquire().record(Outcome.FAILURE, "boom")
    while upstream.state is not State.OPEN:
        time.sleep(0.01)
    while not 0 < upstream.share < 1:
        permitted(upstream).record(Outcome.SUCCESS)
    held = [permitted(upstream) for _ in range(3)]
    if os.fork() == 0:
        print(json.dumps({"child": in_flight(upstream)}), flush=True)
        os._exit(0)
    os.wait()
    print(json.dumps({"parent": in_flight(upstream)}), flush=True)
    for permit in held:
        permit.record(Outcome.SUCCESS)
sys.exit()
