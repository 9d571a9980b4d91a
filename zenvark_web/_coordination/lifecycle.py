"""The lifecycle of a coordinator: it runs as long as it has users, in one event loop at a time.

Users come from several blocks in one loop, loops in several threads, synchronous code, and trio.
The first user determines where the coordinator runs: in the user's event loop if that is asyncio's,
else in a thread of its own. Further users join. When all users in the coordinator's event loop have
left and others remain, it moves to a thread of its own, because that loop may be about to end.

A lock protects the users and the current session; it is never held during a wait. The last user to
leave requests the end under the lock, so that the next user sees the request and starts a new
session.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from contextvars import Context
from functools import partial
from typing import Any, TypeVar

from .._runtime.activity import ACTIVITY
from .._runtime.thread import LoopThread, aside, to_the_end
from ..exceptions import BackendError
from .session import LONGEST_STOP, Session
from .users import Place, Users, place_here

T = TypeVar("T")

START_PATIENCE = 1.0
GRACE = 0.5
"""Seconds that another thread's event loop may take to respond."""
GLANCE = 0.005
"""Seconds between two checks of another thread's event loop."""


class Lifecycle:
    """Starts and stops a coordinator's sessions.

    Args:
        owner: The coordinator, named in errors.
        begin: Creates a session in the running loop.
        ended: Called when a session has ended, with whether it was stopped properly.
        blocked: Called when the coordinator's own thread did not end in time.
        context: Creates the context variables of background work.
    """

    def __init__(
        self,
        owner: object,
        *,
        begin: Callable[[], Session],
        ended: Callable[[bool], None],
        blocked: Callable[[], None],
        context: Callable[[], Context],
    ) -> None:
        self._owner = owner
        self._make = begin
        self._ended = ended
        self._blocked = blocked
        self._context = context
        self._lock: AbstractContextManager[bool] = threading.RLock()
        self._users = Users()
        self._thread: LoopThread | None = None
        self._in_order = False
        self.latest: Session | None = None
        self._previous: Session | None = None

    @property
    def session(self) -> Session | None:
        """The current session, unless its loop was closed."""
        session = self.latest  # changes nothing: metrics ask from other threads, too
        return None if session is None or session.loop.is_closed() else session

    def abandon(self) -> object:
        """Detach from the session of the process from which this one was forked."""
        inherited = self.latest, self._previous, self._thread
        if self._thread is not None:
            self._thread.disown()
        self._lock = threading.RLock()
        self._users = Users()
        self.latest = self._previous = self._thread = None
        self._in_order = False
        return inherited

    # Users

    async def start(self) -> None:
        """Run until `stop` is called."""
        self._check_outside()
        with self._lock:
            token = self._users.begin(place_here())
        await self._run_or(lambda: self._users.give_up(token))
        with self._lock:
            self._users.began(token)

    async def stop(self) -> None:
        """Undo `start`."""
        self._check_outside()
        with self._lock:
            self._users.stop()
        await self._settle()

    def start_blocking(self) -> None:
        """`start` for synchronous code."""
        self._check_outside()
        with self._lock:
            token = self._users.begin(None)
        try:
            self._run_blocking()
        except BaseException:
            with self._lock:
                self._users.give_up(token)
            self._settle_blocking()
            raise
        with self._lock:
            self._users.began(token)

    def stop_blocking(self) -> None:
        """`stop` for synchronous code."""
        self._check_outside()
        with self._lock:
            self._users.stop()
        self._settle_blocking()

    async def enter(self) -> None:
        """Run until `leave` is called once for each `enter`."""
        self._check_outside()
        place = place_here()
        with self._lock:
            self._users.enter(place)
        await self._run_or(lambda: self._users.leave(place))

    async def leave(self) -> None:
        """Undo one `enter`."""
        self._check_outside()
        with self._lock:
            self._users.leave(place_here())
        await self._settle()

    def enter_blocking(self) -> None:
        """`enter` for synchronous code."""
        self._check_outside()
        with self._lock:
            self._users.enter(None)
        try:
            self._run_blocking()
        except BaseException:
            self.leave_blocking()
            raise

    def leave_blocking(self) -> None:
        """`leave` for synchronous code."""
        self._check_outside()
        with self._lock:
            self._users.leave(None)
        self._settle_blocking()

    async def flush(self, patience: float) -> bool:
        """Send pending results and read new states; return whether both were completed."""
        session, place = self.session, place_here()
        if session is None or session.stopping:
            return False
        if session.loop is place:
            return await session.flush(patience)
        return await aside(lambda: self.flush_blocking(patience))

    def flush_blocking(self, patience: float) -> bool:
        """`flush` for synchronous code, and for other loops."""
        session = self.session
        if session is None or session.stopping:
            return False
        if session.loop is place_here():
            raise RuntimeError(
                f"{self._owner!r} is running in this event loop: use `await flush()`"
            )
        if not session.loop.is_running():
            return False
        work = session.flush(patience)
        try:
            flushing = asyncio.run_coroutine_threadsafe(work, session.loop)
        except RuntimeError:  # the loop was closed just now
            work.close()
            return False
        try:
            return flushing.result(patience + GRACE)
        except TimeoutError:
            flushing.cancel()
            return False

    async def ask(self, work: Callable[[], Coroutine[Any, Any, T]], patience: float) -> T:
        """Run a request to the store in the coordinator's event loop, for a caller in any loop.

        Raises:
            BackendError: The coordinator does not run, or its event loop is blocked.
        """
        session, place = self.session, place_here()
        if session is None or session.stopping:
            raise BackendError(f"{self._owner!r} does not run: start it first")
        if session.loop is place:
            return await work()
        return await aside(lambda: self._ask_blocking(session.loop, work, patience))

    def ask_sync(self, work: Callable[[], Coroutine[Any, Any, T]], patience: float) -> T:
        """`ask` for synchronous code.

        Raises:
            RuntimeError: The coordinator runs in the event loop that this call would block.
            BackendError: As for `ask`.
        """
        session = self.session
        if session is None or session.stopping or not session.loop.is_running():
            raise BackendError(f"{self._owner!r} does not run: start it first")
        if session.loop is place_here():
            raise RuntimeError(
                f"{self._owner!r} is running in this event loop: await the method without `_sync`"
            )
        return self._ask_blocking(session.loop, work, patience)

    def _ask_blocking(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Callable[[], Coroutine[Any, Any, T]],
        patience: float,
    ) -> T:
        coroutine = work()
        try:
            asking = asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError as error:  # the loop was closed just now
            coroutine.close()
            raise BackendError(f"{self._owner!r} has just stopped") from error
        try:
            return asking.result(patience + GRACE)
        except TimeoutError as error:
            asking.cancel()
            raise BackendError(f"the event loop of {self._owner!r} is blocked") from error

    def _check_outside(self) -> None:
        if self._thread is not None and self._thread.current:
            raise RuntimeError(f"{self._owner!r} cannot be started or stopped by its own callbacks")

    # Running

    async def _run_or(self, undo: Callable[[], None]) -> None:
        """Ensure that the coordinator runs; if that fails or is cancelled, undo the request."""
        try:
            if self._may_run():
                await self._run()
        except BaseException as error:
            with self._lock:
                undo()
                if isinstance(error, GeneratorExit):  # at which nothing can be waited for
                    self._let_go(place_here())
                    raise
            await self._settle()
            raise

    def _may_run(self) -> bool:
        """Whether tests have left coordinators switched on."""
        return ACTIVITY.on

    async def _run(self) -> None:
        place = place_here()
        if place is None:
            await aside(self._run_blocking)
            return
        while True:
            with self._lock:
                if not self._users.any():  # it was stopped while it started
                    return
                thread, session = self._own_thread(), self.session
                if thread is None and session is None:
                    session = self._begin()
            if thread is not None:
                if not thread.ending:
                    await asyncio.shield(asyncio.wrap_future(thread.started))
                    return
                await aside(partial(self._expect_end, thread))
            elif session is not None:
                if session.stopping:
                    await self._end(session)
                    continue
                await self._loaded(session, place)
                if not session.stopping:
                    return

    async def _loaded(self, session: Session, place: Place) -> None:
        if session.loop is place:
            await session.ready(START_PATIENCE)
            return
        self._check_alive(session)
        await _glance(lambda: session.loaded or session.stopping, START_PATIENCE)

    def _run_blocking(self) -> None:
        while self._may_run():
            with self._lock:
                if not self._users.any():
                    return
                thread, session = self._own_thread(), self.session
                if thread is None and session is None:
                    thread = self._thread = self._make_thread()
                    new = True
                else:
                    new = False
            if thread is not None:
                if new:
                    thread.start()
                if not thread.ending:
                    thread.started.result()
                    return
                self._expect_end(thread)
            elif session is not None and self._joined(session):
                return

    def _joined(self, session: Session) -> bool:
        """Join a session in an event loop; return whether it still runs."""
        if session.loop is place_here():
            if session.stopping:
                raise RuntimeError(
                    f"{self._owner!r} is stopping in this event loop: use `async with`"
                )
            return True
        self._check_alive(session)
        if session.stopping:
            _wait(lambda: session.over, LONGEST_STOP)
            self._over(session)
            return False
        _wait(lambda: session.loaded or session.stopping, START_PATIENCE)
        return not session.stopping

    def _begin(self) -> Session:
        if self.latest is not None:
            self._over(self.latest)  # it had ended with its loop
        if self._previous is not None:
            self._previous.disown()  # its loop may have stood still, and go on now
            self._previous = None
        session = self.latest = self._make()
        self._in_order = False
        session.call_when_over(lambda: self._ended_by_itself(session))
        return session

    def _make_thread(self) -> LoopThread:
        return LoopThread(self._start_in_thread, self._stop_in_thread, self._context())

    async def _start_in_thread(self) -> None:
        with self._lock:
            session = self._begin()
        await session.ready(START_PATIENCE)

    async def _stop_in_thread(self) -> None:
        session = self.session
        if session is not None and session.loop is asyncio.get_running_loop():
            await self._end(session)

    def _own_thread(self) -> LoopThread | None:
        return None if self._thread is None or self._thread.over else self._thread

    def _expect_end(self, thread: LoopThread) -> None:
        """Wait for the end of the own thread, which is about to be replaced."""
        if not self._join(thread):
            raise RuntimeError(
                f"{self._owner!r} is running already, and a callback or health check blocks it"
            )

    def _check_alive(self, session: Session) -> None:
        if not session.loop.is_running():
            raise RuntimeError(f"{self._owner!r} belongs to another event loop, which does not run")

    # Ending

    async def _settle(self) -> None:
        """Stop a session without users, and move a session whose loop has no users left."""
        place = place_here()
        if place is None:
            await aside(self._settle_blocking)
            return
        with self._lock:
            what = self._let_go(place)
        if isinstance(what, Session) and what.runs_this():
            return  # it is one of its own callbacks that asks, which ends with it
        if what is not None:
            await to_the_end(self._end_and_move(what), self._context())

    async def _end_and_move(self, what: Session | LoopThread) -> None:
        if isinstance(what, LoopThread):
            await aside(lambda: self._join(what))
            return
        await self._end(what)
        if self._users.any():
            await aside(self._run_blocking)

    def _settle_blocking(self) -> None:
        with self._lock:
            what = self._let_go(None)
        if isinstance(what, LoopThread):
            self._join(what)
        elif what is not None and what.loop is not place_here():  # which can't be held up
            _wait(lambda: what.over, LONGEST_STOP)
            self._over(what)

    def _let_go(self, place: Place) -> Session | LoopThread | None:
        """Request the end of the current session, unless users need it in its place.

        Args:
            place: The place that a user has just left.
        """
        thread, session, needed = self._own_thread(), self.session, self._users.any()
        if thread is not None:
            if needed:
                return None
            self._in_order = True
            thread.ask_to_end()
            return thread
        if session is None or (needed and (session.loop is not place or self._users.any_in(place))):
            return None
        self._in_order = not needed
        session.ask_to_end()
        return session

    async def _end(self, session: Session) -> None:
        """Wait for the end of a session."""
        if session.loop is asyncio.get_running_loop():
            await session.stop()
        else:
            await _glance(lambda: session.over, LONGEST_STOP)
        self._over(session)

    def _over(self, session: Session) -> None:
        with self._lock:
            if self.latest is not session:
                return
            self.latest, self._previous = None, session
        self._ended(self._in_order)

    def _ended_by_itself(self, session: Session) -> None:
        if self._in_order:  # else its loop is about to end, and nobody has given it up
            self._over(session)

    def _join(self, thread: LoopThread) -> bool:
        ended = thread.stop()
        if not ended:
            self._blocked()
        return ended


async def _glance(condition: Callable[[], bool], patience: float) -> None:
    for _ in range(round(patience / GLANCE)):
        if condition():
            break
        await asyncio.sleep(GLANCE)


def _wait(condition: Callable[[], bool], patience: float) -> None:
    for _ in range(round(patience / GLANCE)):
        if condition():
            break
        time.sleep(GLANCE)
