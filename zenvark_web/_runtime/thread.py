"""An event loop in a thread of its own, for programs without asyncio."""

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
"""Seconds that a stop waits for the thread; its loops take at most seven seconds by themselves."""

EXIT_PATIENCE = 2.0
"""Seconds that the end of the process waits for a thread that was not stopped."""


class LoopThread:
    """A daemon thread with an event loop, in which one service is started, runs, and is stopped.

    Args:
        start: Starts the service, in the loop.
        stop: Stops the service in the loop, even if its start failed.
        context: The context variables of the thread.
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
        """Whether the thread has run and ended."""
        return self._done.is_set()

    @property
    def current(self) -> bool:
        """Whether the caller is in this thread."""
        return self._thread is threading.current_thread()

    def start(self) -> None:
        """Start the thread and the service. Exceptions of the start propagate."""
        try:
            self._thread.start()
        except RuntimeError as error:  # there can be no more threads
            self.started.set_exception(error)
            self._done.set()
            raise
        self._unregister = _at_the_end(self._at_exit)
        self.started.result()

    def stop(self) -> bool:
        """Stop both; return whether they have ended in time. Exceptions of the stop propagate."""
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
        """Do not wait for the thread at the end of the process."""
        unregister, self._unregister = self._unregister, _nothing
        unregister()

    def ask_to_end(self) -> None:
        """Request the end, without waiting."""
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
    """Register a function for the end of this process, including multiprocessing's, whose forked
    workers run no exit handlers before Python 3.13; return a function that unregisters it."""
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
    """Return whether the caller runs in asyncio."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def aside(function: Callable[[], T]) -> T:
    """Run a blocking function in a worker thread, under asyncio or trio; cancellation waits for its
    end."""
    from anyio import CancelScope, to_thread  # comes with httpx and Starlette

    results: list[T] = []
    with CancelScope(shield=True):  # may end its block otherwise, as far as types tell
        results.append(await to_thread.run_sync(function))
    return results[0]


async def to_the_end(work: Coroutine[Any, Any, T], context: Context) -> T:
    """Run a clean-up in asyncio to its end, despite any cancellations, and raise the cancellation
    afterwards. The clean-up must end by itself."""
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
