"""An upstream and a coordinator in a thread of their own, so that clients of every kind can be
played before the same scenery."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, TypeVar

from tests.helpers.inside import circuit_of
from tests.helpers.waiting import PATIENCE
from tests.http.server import Answer, Upstream
from zenvark_web import Breaker, BreakerPolicy, Coordinator, StateChange

T = TypeVar("T")


class Backstage:
    """The upstream and the coordinator.

    Attributes:
        upstream: The server; its loop runs in another thread than the test's client.
        coordinator: Has circuits that never open, unless the policy says otherwise.
        errors: What surfaced.
        changes: The state changes.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.upstream = Upstream()
        self.errors: list[Exception] = []
        self.changes: list[StateChange] = []
        self._stack = AsyncExitStack()
        self._following: asyncio.Task[None] | None = None

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the loop's thread, after all that was handed to it before."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def set(self, answer: Answer) -> None:
        """Give the server another answer, and let it wait for the test again."""

        async def change() -> None:
            self._follow_no_more()
            self.upstream.answer = answer
            self.upstream.go.clear()
            self.upstream.requests.clear()

        self.do(change())

    def let_go(self) -> None:
        """Let the server go on that waits for the test."""
        self.loop.call_soon_threadsafe(self.upstream.go.set)

    def let_go_when_counted(self, breaker: Breaker) -> None:
        """Let the server go on as soon as a call has been counted."""

        async def follow() -> None:
            before = (sum(breaker.successes.counts), sum(breaker.failures.counts))
            self._following = self.loop.create_task(wait(before))

        async def wait(before: tuple[int, int]) -> None:
            while (sum(breaker.successes.counts), sum(breaker.failures.counts)) == before:
                await asyncio.sleep(0.005)
            self.upstream.go.set()

        self.do(follow())

    def _follow_no_more(self) -> None:
        if self._following is not None:
            self._following.cancel()

    def start(self, policy: BreakerPolicy) -> Coordinator:
        """Start a coordinator."""
        coordinator = Coordinator(
            policy=policy, on_error=self.errors.append, on_state_change=self.changes.append
        )
        self.do(self._stack.enter_async_context(coordinator))
        return coordinator

    def counts(self, breaker: Breaker) -> tuple[int, int]:
        """The successes and failures, once all that was told has been taken in."""

        async def look() -> tuple[int, int]:
            circuit_of(breaker).handover.drain()  # successes of other threads wait for company
            return sum(breaker.successes.counts), sum(breaker.failures.counts)

        return self.do(look())

    async def enter(self) -> None:
        """Start the server."""
        await self._stack.enter_async_context(self.upstream)

    async def leave(self) -> None:
        """Stop everything."""
        self._follow_no_more()
        await self._stack.aclose()


@contextmanager
def backstage() -> Iterator[Backstage]:
    """A running one."""
    stage = Backstage()
    thread = threading.Thread(target=stage.loop.run_forever, name="backstage")
    thread.start()
    try:
        stage.do(stage.enter())
        yield stage
    finally:
        stage.do(stage.leave())
        stage.loop.call_soon_threadsafe(stage.loop.stop)
        thread.join(PATIENCE)
        stage.loop.close()
