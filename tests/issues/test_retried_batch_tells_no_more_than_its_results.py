"""A batch that could not be written was sent again with the results it had, but with a fresh note
on the trial: that the call had ended. The leader took the permit for given back, the result that
followed counted no more, and the fleet made a second trial call."""

from tests.helpers.waiting import eventually
from zenvark_web import (
    BackendError,
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
from zenvark_web.backends.base import Batch

POLICY = BreakerPolicy(strategy=ConsecutiveFailures(1), backoff=ConstantBackoff(0.05))


class Store(MemoryBackend):
    """A backend that can be out of reach for results."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses = False
        self.refused: list[Batch] = []

    async def append(self, batch: Batch) -> float:
        if self.refuses:
            self.refused.append(batch)
            raise BackendError("out of reach")
        return await super().append(batch)


async def test_one_trial_is_enough() -> None:
    store = Store()
    async with Coordinator(store, policy=POLICY) as coordinator:
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
        store.refuses = True
        await eventually(lambda: any(batch.reports[0].trial for batch in store.refused))
        permit.record(Outcome.SUCCESS)
        generation = breaker.generation
        store.refuses = False

        await eventually(lambda: breaker.generation > generation)
        assert breaker.state is State.CLOSED
        assert breaker.generation == generation + 1
