"""A coordinator that no lifespan starts begins with the first request.

Servers can be told to run none (`uvicorn --lifespan off`), frameworks run none for apps that are
mounted or for middleware of their own, and adapters for functions in a cloud may know none.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable
from contextvars import Context

from .. import _forks
from .._coordination.log import WHERE
from .._coordination.thread import aside, in_asyncio
from ..coordinator import Coordinator
from ..exceptions import ZenvarkError

STARTED_LATE = (
    "No lifespan has come to BreakerMiddleware: the coordinator was started with the first "
    "request. To have it stopped in good order, put the middleware around the outermost app, and "
    "run the server with its lifespan on." + WHERE
)

_logger = logging.getLogger("zenvark_web")


class Awakening:
    """Sees to it, for one middleware, that its coordinator runs when requests come.

    It begins once in a process, in the event loop of the first request, and ends with that. Where
    each request has a loop of its own, it goes on in a thread of its own, until the interpreter
    ends. One that has been seen running is somebody else's, and is left alone.

    Args:
        coordinator: The coordinator.
    """

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._process = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._ready: asyncio.Event | None = None
        self._begin_anew()
        _forks.watch(self, Awakening._begin_anew)

    def _begin_anew(self) -> None:
        self._turn = threading.RLock()  # after a fork as well, when another thread may have held it

    @property
    def due(self) -> bool:
        """Whether the next request is to begin it, or to wait for its beginning."""
        if self._process != os.getpid():
            return True
        return self._ready is not None or (self._loop is not None and self._loop.is_closed())

    def leave(self) -> None:
        """A lifespan has come, which sees to it."""
        self._process, self._loop, self._ready = os.getpid(), None, None

    async def __call__(self) -> None:
        """Begin it, unless it runs. Returns with the fleet's state loaded, or after about a second
        without; a request that is cancelled meanwhile cancels nobody else's beginning."""
        work, ready = self._begin(), self._ready
        if work is not None:
            await work()
        elif ready is not None and in_asyncio() and self._loop is asyncio.get_running_loop():
            await ready.wait()

    def _begin(self) -> Callable[[], Awaitable[object]] | None:
        """What the request that comes first has to do."""
        with self._turn:
            mine = self._process == os.getpid()
            again = mine and self._loop is not None and self._loop.is_closed()
            if mine and not again:
                return None
            self._process, self._loop, self._ready = os.getpid(), None, None
            if self._coordinator.running:
                return None
            if again or not in_asyncio():
                return self._start_in_a_thread
            self._loop, self._ready = asyncio.get_running_loop(), asyncio.Event()
            self._keeper = self._loop.create_task(
                self._keep(self._ready), name="zenvark_web without lifespan", context=Context()
            )
            return self._ready.wait

    async def _keep(self, ready: asyncio.Event) -> None:
        """Run it until the event loop ends, which cancels this."""
        try:
            started = await self._tried(self._coordinator.__aenter__)
        finally:
            self._ready = None
            ready.set()
        if started:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:  # a loop that is closed under it cancels nothing
                await self._coordinator.__aexit__(None, None, None)
                raise

    async def _start_in_a_thread(self) -> None:
        await self._tried(lambda: aside(self._coordinator.__enter__))

    async def _tried(self, start: Callable[[], Awaitable[object]]) -> bool:
        try:
            await start()
        except Exception as error:
            what = "the coordinator could not be started with the first request, nothing is counted"
            self._coordinator.surface(ZenvarkError.because(error, what))
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
