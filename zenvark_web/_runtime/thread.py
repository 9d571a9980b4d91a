"""An event loop in a thread of its own, for programs that have none (or another's, as trio's)."""

from __future__ import annotations

import asyncio
import atexit
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")

STOP_PATIENCE = 10.0
"""Seconds that a stop waits for the thread; the loops in it take seven at most by themselves."""

EXIT_PATIENCE = 2.0
"""Seconds that the end of the process waits for it, if nobody has stopped it."""


class LoopThread:
    """A daemon thread with an event loop in which one thing is started, runs, and is stopped.

    Args:
        start: Starts it, in the loop.
        stop: Stops it there; also if its start failed.
        context: The context variables of all that runs there.
    """

    def __init__(
        self,
        start: Callable[[], Awaitable[None]],
        stop: Callable[[], Awaitable[None]],
        context: Context,
    ) -> None:
        self._start = start
        self._stop = stop
        self.started: Future[None] = Future()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()
        self._done = threading.Event()
        self.ending: bool = False
        self._unregister: Callable[[], object] = _nothing
        self._thread = threading.Thread(
            target=context.run, args=(self._work,), name="zenvark_web", daemon=True
        )

    @property
    def over(self) -> bool:
        """Whether it has run, and has ended."""
        return self._done.is_set()

    @property
    def current(self) -> bool:
        """Whether this is that thread."""
        return self._thread is threading.current_thread()

    def start(self) -> None:
        """Start the thread, and the thing in it. What that raises, this raises."""
        try:
            self._thread.start()
        except RuntimeError as error:  # there can be no more threads
            self.started.set_exception(error)
            self._done.set()
            raise
        self._unregister = _at_the_end(self._at_exit)
        self.started.result()

    def stop(self) -> bool:
        """Stop both; tells whether they have ended in time. What stopping raises, this raises."""
        self.disown()
        self.ask_to_end()
        # Not `is_alive`: an interrupt may have come before the thread has told that it lives.
        if self._done.wait(STOP_PATIENCE) and self._thread.is_alive():
            self._thread.join(STOP_PATIENCE)
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return self.over

    def disown(self) -> None:
        """Have the process not wait for it any more when it ends."""
        unregister, self._unregister = self._unregister, _nothing
        unregister()

    def ask_to_end(self) -> None:
        """Have it stop, without waiting for that."""
        self.ending = True
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(self._end.set, context=Context())

    def _at_exit(self) -> None:
        self.ask_to_end()
        self._done.wait(EXIT_PATIENCE)

    def _work(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:
            if self.started.done():
                self._error = error
            else:
                self.started.set_exception(error)
        finally:
            self._done.set()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self.ending:
            self._end.set()
        try:
            await self._start()
            self.started.set_result(None)
            await self._end.wait()
        finally:
            await self._stop()


def _at_the_end(function: Callable[[], None]) -> Callable[[], object]:
    """Have something done when this process ends, also one of multiprocessing's, whose forked
    workers run no exit handlers (before Python 3.13); tells how to call that off."""
    atexit.register(function)
    if "multiprocessing.util" not in sys.modules:  # so this is none of its workers
        return lambda: atexit.unregister(function)
    from multiprocessing.util import Finalize

    finalizer = Finalize(None, function, exitpriority=0)  # after pools and queues

    def call_off() -> None:
        atexit.unregister(function)
        finalizer.cancel()

    return call_off


def _nothing() -> None:
    pass


def in_asyncio() -> bool:
    """Whether this is called where asyncio runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def aside(function: Callable[[], T]) -> T:
    """Run what blocks in a worker thread, under asyncio or trio; cancellation waits for it."""
    from anyio import CancelScope, to_thread  # comes with httpx and Starlette

    results: list[T] = []
    with CancelScope(shield=True):  # may end its block otherwise, as far as types tell
        results.append(await to_thread.run_sync(function))
    return results[0]


async def to_the_end(work: Coroutine[Any, Any, T], context: Context) -> T:
    """Run clean-up in asyncio to its end, whoever cancels this meanwhile, and however often; only
    then tell the cancellation. What is done here must end by itself."""
    from anyio import CancelScope

    cancelled: asyncio.CancelledError | None = None
    task = asyncio.get_running_loop().create_task(work, context=context)
    # anyio cancels again and again, in each turn of the loop, what is not shielded from it.
    with CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # is no surprise to anybody
        raise cancelled
    return task.result()
