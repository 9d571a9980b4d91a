"""An event loop on virtual time: nobody waits, and the same steps come in the same order."""

from __future__ import annotations

import asyncio
import heapq
from asyncio import events
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from itertools import count
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Machine(Protocol):
    """What a simulated host does to the code that runs on it."""

    def local(self, now: float) -> float:
        """The host's monotonic seconds at a moment of virtual time."""
        ...

    def moment(self, local: float) -> float:
        """The virtual time at which the host's clock shows so many seconds."""
        ...

    def admits(self, handle: asyncio.Handle) -> bool:
        """Whether it runs a step now. If not, it keeps the step or loses it."""
        ...


MACHINE: ContextVar[Machine | None] = ContextVar("machine", default=None)
"""Where a step runs. Tasks and timers inherit it."""


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs what is due, then moves the clock to what is due next. It knows no files or sockets.

    Steps run in the order in which they become due; those of the same moment in the order in
    which they were asked for.
    """

    def __init__(self) -> None:
        self.now: float = 0.0
        self._due: list[tuple[float, int, asyncio.Handle]] = []
        self._order = count()
        self._tasks = count()
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self._failures: list[BaseException] = []
        self._closed = False

    # What asyncio asks for

    def time(self) -> float:
        """The seconds of the host that asks; virtual time itself outside of any."""
        machine = MACHINE.get()
        return self.now if machine is None else machine.local(self.now)

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run something as the next step of this moment."""
        handle = asyncio.Handle(callback, args, self, context)
        self.put(self.now, handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run something after so many seconds of the host that asks."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run something when the clock of the host that asks shows that time."""
        machine = MACHINE.get()
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self.put(when if machine is None else machine.moment(when), handle)
        return handle

    def put(self, when: float, handle: asyncio.Handle) -> None:
        """Have a step run at a moment of virtual time."""
        heapq.heappush(self._due, (max(when, self.now), next(self._order), handle))

    def create_future(self) -> asyncio.Future[Any]:
        """A plain future."""
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """A task that sets keep in the order of its making, so that runs can be repeated."""
        task = _Task(next(self._tasks), coro, loop=self, name=name, context=context)
        self.tasks[task] = None  # those of a host that died are never collected
        task.add_done_callback(self.tasks.pop, context=Context())
        return task

    def get_debug(self) -> bool:
        """Never: what debugging would show, the history shows."""
        return False

    def is_running(self) -> bool:
        """Whether it runs now."""
        return events._get_running_loop() is self

    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def close(self) -> None:
        """Forget all that has not run."""
        self._closed = True
        self._due.clear()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Nothing may fail unseen: the run ends with it."""
        error = context.get("exception")
        self._failures.append(
            error if isinstance(error, BaseException) else RuntimeError(context["message"])
        )

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """The same."""
        self.call_exception_handler(context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer is left out when it is due."""

    # How it runs

    def step(self, until: float) -> bool:
        """Run the next step, unless it is due only after `until`; tells whether there was one."""
        if not self._due or self._due[0][0] > until:
            self.now = max(self.now, until)
            return False
        self.now, _, handle = heapq.heappop(self._due)
        if not handle.cancelled():
            machine = handle._context.get(MACHINE)  # type: ignore[attr-defined] # pyright: ignore
            if machine is None or machine.admits(handle):
                handle._run()
        if self._failures:
            raise self._failures.pop()
        return True


class running:  # noqa: N801 - reads as a word
    """Makes a loop the running one for a while."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __enter__(self) -> None:
        self._before = events._get_running_loop()
        events._set_running_loop(self._loop)

    def __exit__(self, *_: object) -> None:
        events._set_running_loop(self._before)


class _Task(asyncio.Task[T]):
    def __init__(self, number: int, coro: Any, **settings: Any) -> None:
        self._number = number
        context: Context | None = settings.get("context")
        self.machine = MACHINE.get() if context is None else context.get(MACHINE)
        super().__init__(coro, **settings)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other
