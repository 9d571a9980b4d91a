"""A trial call in another thread than the coordinator's was settled at once, while its result was
still on its way to that thread. A report written in between told that the call was over and
nothing of its result: the leader took the permit for given back and granted it again."""

import threading
import time

from tests.helpers.inside import circuit_of, shard_of
from tests.helpers.waiting import eventually
from zenvark_web import (
    BreakerPolicy,
    CircuitOpenError,
    ConsecutiveFailures,
    ConstantBackoff,
    Coordinator,
    MemoryBackend,
    Outcome,
    Permit,
    State,
)
from zenvark_web._circuits.batch_builder import BatchBuilder

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.05))


async def test_report_tells_of_both_or_neither() -> None:
    async with Coordinator(MemoryBackend(), policy=POLICY) as coordinator:
        breaker = coordinator.breaker("payments")
        breaker.acquire().record(Outcome.FAILURE)

        def trial() -> Permit | None:
            try:
                return breaker.acquire()
            except CircuitOpenError:
                return None

        await eventually(lambda: breaker.state is State.OPEN)
        permit = await eventually(trial)
        assert permit is not None

        thread = threading.Thread(target=permit.record, args=[Outcome.SUCCESS])
        thread.start()
        thread.join()  # the loop stands still: nothing has reached it yet
        builder = BatchBuilder(0, coordinator.statistics)
        builder.add(circuit_of(breaker), time.monotonic())
        [report] = builder.reports(time.monotonic(), shard_of(coordinator).table)
        assert report.trial is not None
        assert (len(report.runs), report.trial.held) == (0, 1)

        generation = breaker.generation
        await eventually(lambda: breaker.generation > generation)
        assert breaker.state is State.CLOSED
