"""Questions for permits that are not used: many in one go, and of each circuit the newest only."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.helpers.waiting import eventually
from zenvark_web import BackendError, MemoryBackend, State
from zenvark_web._core.order import Lease
from zenvark_web._core.states import Transition
from zenvark_web._judging.publisher import LARGEST_BATCH
from zenvark_web._judging.recalls import Recalls


def grant(circuit: str, generation: int = 2) -> Transition:
    return Transition(circuit=circuit, generation=generation, state=State.HALF_OPEN)


class Distant(MemoryBackend):
    """Answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[Transition]] = []
        self.answers = asyncio.Event()
        self.fails = False

    async def recall(self, lease: Lease, *transitions: Transition) -> None:
        self.asked.append(list(transitions))
        await self.answers.wait()
        if self.fails:
            raise BackendError("no answer in time")


@asynccontextmanager
async def asking(backend: Distant) -> AsyncIterator[Recalls]:
    recalls = Recalls(backend, Lease(1, "web-1"))
    running = asyncio.create_task(recalls.run())
    yield recalls
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_all_that_wait_go_in_one_call() -> None:
    """Each took a round trip of its own: 12 s for 300 circuits, 40 ms away."""
    backend = Distant()
    async with asking(backend) as recalls:
        recalls.put(grant("first"))
        await eventually(lambda: backend.asked)
        many = [grant(f"circuit-{number}") for number in range(LARGEST_BATCH + 50)]
        for each in many:
            recalls.put(each)
        backend.answers.set()
        await eventually(lambda: len(backend.asked) == 3)
        assert backend.asked == [[grant("first")], many[:LARGEST_BATCH], many[LARGEST_BATCH:]]


async def test_a_circuit_that_asks_again_waits_once() -> None:
    """While the store was slow, questions piled up without end."""
    backend = Distant()
    async with asking(backend) as recalls:
        recalls.put(grant("first"))
        await eventually(lambda: backend.asked)
        for generation in range(2, 100):
            recalls.put(grant("again", generation))
            recalls.put(grant("other"))
        backend.answers.set()
        await eventually(lambda: len(backend.asked) == 2)
        assert backend.asked[1] == [grant("again", 99), grant("other")]


async def test_goes_on_after_a_question_that_was_lost() -> None:
    backend = Distant()
    backend.fails = True
    backend.answers.set()
    async with asking(backend) as recalls:
        recalls.put(grant("lost"))
        await eventually(lambda: backend.asked)
        recalls.put(grant("next"))
        await eventually(lambda: len(backend.asked) == 2)
