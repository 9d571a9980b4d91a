"""Start of the coordinator with the first request, where there is no lifespan.

Servers can be configured without one (`uvicorn --lifespan off`), frameworks run none for mounted
apps and for middleware of their own, and adapters for cloud functions may not support it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial

from .._runtime.forks import watch
from .._runtime.log import WHERE
from .._runtime.thread import aside, in_asyncio
from ..coordinator import Coordinator
from ..exceptions import ZenvarkError

STARTED_LATE = (
    "No lifespan has come to BreakerMiddleware: the coordinator was started with the first "
    "request. To have it stopped in good order, put the middleware around the outermost app, and "
    "run the server with its lifespan on." + WHERE
)

GLANCE = 0.01
"""Seconds between two checks of a request that waits for the start."""

NEXT_TRY = 2.0
"""Seconds from a failed start to the next."""

_logger = logging.getLogger("zenvark_web")


class _Start:
    """A start that is under way.

    Args:
        loop: The event loop in which it runs. None: a thread of its own.

    Attributes:
        over: Whether it has succeeded or failed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self.loop = loop
        self.over = False

    async def wait(self) -> None:
        """Wait for its end, in any event loop of asyncio or trio."""
        from anyio import sleep  # comes with Starlette

        while not self.over and not (self.loop is not None and self.loop.is_closed()):  # noqa: ASYNC110
            await sleep(GLANCE)  # an event belongs to one loop


class Awakening:
    """Starts the coordinator of a middleware with the first request.

    The coordinator starts once in a process, in the event loop of the first request, and stops
    with that. Where each request has a loop of its own, it runs in a thread of its own until the
    interpreter ends. A coordinator that runs already is left alone. A failed start is tried again
    later.

    Args:
        coordinator: The coordinator.
    """

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._begin_anew()
        watch(self, Awakening._begin_anew)

    def _begin_anew(self) -> object:
        inherited = vars(self).copy()
        self._settled = False
        self._not_before = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._start: _Start | None = None
        self._turn = threading.RLock()  # a signal handler may interrupt
        return inherited

    @property
    def due(self) -> bool:
        """Whether the next request has to start the coordinator, or to wait for its start."""
        if not self._settled:
            return time.monotonic() >= self._not_before
        return self._loop is not None and self._loop.is_closed()

    def leave(self) -> None:
        """Leave the start to a lifespan."""
        with self._turn:
            self._settled, self._loop, self._start = True, None, None

    async def __call__(self) -> None:
        """Start the coordinator, unless it runs. Returns with the fleet's state loaded, or after
        about a second without. A cancelled request does not cancel the start for others."""
        work = self._next()
        if work is not None:
            await work()

    def _next(self) -> Callable[[], Awaitable[object]] | None:
        """The work of the next request, or None."""
        with self._turn:
            lost = self._loop is not None and self._loop.is_closed()
            if self._start is not None and not lost:
                return self._start.wait
            if not (lost or self.due):
                return None
            self._loop, self._start = None, None
            self._settled = self._coordinator.running
            if self._settled:
                return None
            return self._begin_in_a_thread() if lost or not in_asyncio() else self._begin_here()

    def _begin_here(self) -> Callable[[], Awaitable[object]]:
        self._loop = loop = asyncio.get_running_loop()
        self._start = start = _Start(loop)
        name = "zenvark_web without lifespan"
        self._keeper = loop.create_task(self._keep(start), name=name, context=Context())
        return start.wait

    def _begin_in_a_thread(self) -> Callable[[], Awaitable[object]]:
        self._start = start = _Start(None)
        return partial(self._start_in_a_thread, start)

    async def _keep(self, start: _Start) -> None:
        """Run the coordinator until the event loop ends, which cancels this task."""
        started = False
        try:
            started = await self._tried(self._coordinator.__aenter__)
        finally:
            self._ended(start, started)
        if started:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:  # a loop that is closed while it runs cancels nothing
                await self._coordinator.__aexit__(None, None, None)
                raise

    async def _start_in_a_thread(self, start: _Start) -> None:
        started = False
        try:
            started = await self._tried(lambda: aside(self._coordinator.__enter__))
        finally:
            self._ended(start, started)

    def _ended(self, start: _Start, started: bool) -> None:
        with self._turn:
            start.over = True
            if self._start is not start:  # superseded
                return
            self._start, self._settled = None, started
            if not started:
                self._loop, self._not_before = None, time.monotonic() + NEXT_TRY

    async def _tried(self, start: Callable[[], Awaitable[object]]) -> bool:
        try:
            await start()
        except Exception as error:
            name = self._coordinator.namespace
            what = f"could not start the coordinator of namespace {name!r} with the first request"
            what += "; no calls are counted until it starts"
            self._coordinator.report_error(ZenvarkError.because(error, what))
            return False
        namespace, instance = self._coordinator.namespace, self._coordinator.instance_id
        extra = {
            "zenvark_event": "started_late",
            "zenvark_namespace": namespace,
            "zenvark_instance": instance,
            "zenvark_circuit": None,
        }
        _logger.info(STARTED_LATE, namespace, "-", instance, extra=extra)
        return True
