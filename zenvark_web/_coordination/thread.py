"""An event loop in a thread of its own, for programs that have none (or another's, such as trio).

Who enters and who leaves may be any thread; the loop's own thread may not wait for itself.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress

STOP_PATIENCE = 10.0
"""Seconds that a stop waits for the thread; the loops in it take seven at most by themselves."""

EXIT_PATIENCE = 2.0
"""Seconds that the interpreter's exit waits for it, if nobody has stopped it."""


class LoopThread:
    """A daemon thread with an event loop in which one thing is started, runs, and is stopped.

    Args:
        start: Starts it, in the loop.
        stop: Stops it there; also if its start failed.
    """

    def __init__(
        self, start: Callable[[], Awaitable[None]], stop: Callable[[], Awaitable[None]]
    ) -> None:
        self._start = start
        self._stop = stop
        self._started: Future[None] = Future()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._work, name="zenvark_web", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._thread.is_alive()

    @property
    def current(self) -> bool:
        """Whether this is that thread."""
        return self._thread is threading.current_thread()

    def start(self) -> None:
        """Start the thread, and the thing in it. What that raises, this raises."""
        self._thread.start()
        atexit.register(self._at_exit)
        self._started.result()

    def stop(self) -> bool:
        """Stop both; tells whether they have ended in time. What stopping raises, this raises."""
        self.disown()
        self._ask_to_end()
        if self.alive:
            self._thread.join(STOP_PATIENCE)
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return not self.alive

    def disown(self) -> None:
        """Have the interpreter's exit not wait for it any more."""
        atexit.unregister(self._at_exit)

    def _at_exit(self) -> None:
        self._ask_to_end()
        self._thread.join(EXIT_PATIENCE)

    def _ask_to_end(self) -> None:
        self._ending = True
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(self._end.set)

    def _work(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:
            if self._started.done():
                self._error = error
            else:
                self._started.set_exception(error)

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._ending:
            self._end.set()
        try:
            await self._start()
            self._started.set_result(None)
            await self._end.wait()
        finally:
            await self._stop()


class OwnThread:
    """The thread of its own that a coordinator has while synchronous code, or trio, runs it.

    Args:
        owner: The coordinator, to name it in errors.
        start: Starts it in the running event loop.
        stop: Stops it there.
        running: Tells whether it runs, in whatever loop.
    """

    def __init__(
        self,
        owner: object,
        *,
        start: Callable[[], Awaitable[None]],
        stop: Callable[[], Awaitable[None]],
        running: Callable[[], bool],
    ) -> None:
        self._owner = owner
        self._start = start
        self._stop = stop
        self._running = running
        self._thread: LoopThread | None = None
        self._turn = threading.Lock()

    def enter(self, *, again: bool) -> None:
        """Start the owner in a thread of its own; does nothing if it runs there and that is fine
        with the caller (`again`).

        Raises:
            RuntimeError: It is running already.
        """
        self._check_outside()
        with self._turn:
            if self._alive and again:
                return
            if self._alive or self._running():
                raise RuntimeError(f"{self._owner!r} is running already")
            self._thread = LoopThread(self._start, self._stop)
            try:
                self._thread.start()
            except BaseException:
                self._thread.stop()
                raise

    def leave(self) -> bool:
        """Stop the owner, if it runs in a thread of its own; tells whether that has ended.

        Raises:
            RuntimeError: It is running in an event loop.
        """
        self._check_outside()
        with self._turn:
            if self._thread is not None and self._alive:
                return self._thread.stop()
            if self._running():
                raise RuntimeError(f"{self._owner!r} is running in an event loop")
            return True

    def check_free(self) -> None:
        """See that the owner does not run in a thread of its own, unless this is that thread.

        Raises:
            RuntimeError: It does.
        """
        if self._alive and not self._inside:
            raise RuntimeError(f"{self._owner!r} is running in a thread of its own")

    def abandon(self) -> object:
        """Let go of the thread of the process from which this one was forked."""
        inherited, self._thread = self._thread, None
        self._turn = threading.Lock()
        if inherited is not None:
            inherited.disown()
        return inherited

    @property
    def _alive(self) -> bool:
        return self._thread is not None and self._thread.alive

    @property
    def _inside(self) -> bool:
        return self._thread is not None and self._thread.current

    def _check_outside(self) -> None:
        if self._inside:
            raise RuntimeError(f"{self._owner!r} can't be started or stopped by its own callbacks")


def in_asyncio() -> bool:
    """Whether this is called where asyncio runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def aside(function: Callable[[], object]) -> None:
    """Run what blocks in a worker thread, without asyncio; cancellation waits for it."""
    from anyio import CancelScope, to_thread  # comes with httpx and Starlette

    with CancelScope(shield=True):
        await to_thread.run_sync(function)
