"""An event loop on virtual time, without waiting and with a reproducible order of steps."""

from __future__ import annotations

import asyncio
import heapq
from asyncio import (
    _get_running_loop,  # pyright: ignore[reportPrivateUsage] # what loops are to use
    _set_running_loop,  # pyright: ignore[reportPrivateUsage]
)
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from itertools import count
from typing import Any, Protocol, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Machine(Protocol):
    """The effects of a simulated host on the code that runs on it."""

    def local(self, now: float) -> float:
        """The host's monotonic seconds at a moment of virtual time."""
        ...

    def moment(self, local: float) -> float:
        """Return the virtual time at which the host's clock shows a number of seconds."""
        ...

    def admits(self, step: Step) -> bool:
        """Whether it runs a step now. If not, it keeps the step."""
        ...


MACHINE: ContextVar[Machine | None] = ContextVar("machine", default=None)
"""Where a step runs. Tasks and timers inherit it."""


class Step(asyncio.TimerHandle):
    """Something to run at a moment, on a machine or (a message under way) on none."""

    __slots__ = ("machine",)

    machine: Machine | None

    def run(self) -> None:
        """Run it. An error goes to the loop."""
        self._run()


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs due steps, then moves the clock to the next due step. It supports no files or sockets.

    Steps run in the order of their due times; steps of the same moment run in the order of their
    requests.

    Attributes:
        now: Virtual seconds.
        tasks: The tasks that have not ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now: float = 0.0
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self._due: list[tuple[float, int, Step]] = []
        self._order = count()
        self._numbers = count()
        self._failures: list[BaseException] = []

    # What asyncio asks for

    def time(self) -> float:
        """The seconds of the host that asks; virtual time itself outside of any."""
        machine = MACHINE.get()
        return self.now if machine is None else machine.local(self.now)

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> Step:
        """Run something as the next step of this moment."""
        machine = MACHINE.get() if context is None else context.get(MACHINE)
        step = Step(0.0, callback, args, self, context)  # at once, whatever a clock says
        step.machine = machine
        heapq.heappush(self._due, (self.now, next(self._order), step))
        return step

    def call_soon_threadsafe(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> Step:
        """Schedule a callback, as `call_soon` does: no other thread uses the loop while it runs."""
        return self.call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> Step:
        """Run something when the clock of the host that asks shows that time."""
        machine = MACHINE.get()
        step = Step(when, callback, args, self, context)
        step.machine = machine
        self.put(when if machine is None else machine.moment(when), step)
        return step

    def put(self, when: float, step: Step) -> None:
        """Have a step run at a moment of virtual time."""
        heapq.heappush(self._due, (max(when, self.now), next(self._order), step))

    def deliver(self, delay: float, callback: Callable[[], object]) -> None:
        """Run a function after a number of seconds, on no host: a message in transit arrives,
        whatever happens to its sender."""
        step = Step(self.now + delay, callback, (), self, Context())
        step.machine = None
        self.put(self.now + delay, step)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: object = None,
        context: Context | None = None,
        **settings: Any,
    ) -> asyncio.Task[T]:
        """A task that sets keep in the order of its making, so that runs can be repeated."""
        task: NumberedTask[T] = NumberedTask(
            next(self._numbers), coro, loop=self, name=name, context=context, **settings
        )
        self.tasks[task] = None  # those of a host that died are never collected
        task.add_done_callback(self._ended, context=Context())
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        del self.tasks[task]

    def is_running(self) -> bool:
        """Whether it runs now."""
        return _get_running_loop() is self

    def close(self) -> None:
        """Forget all that has not run."""
        self._due.clear()
        super().close()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Nothing may fail unseen: the run ends with it."""
        error = context.get("exception")
        self._failures.append(
            error if isinstance(error, BaseException) else RuntimeError(context["message"])
        )

    # How it runs

    def step(self, until: float) -> bool:
        """Run the next step, unless it is due after `until`; return whether there was one."""
        if not self._due or self._due[0][0] > until:
            self.now = max(self.now, until)
            return False
        self.now, _, step = heapq.heappop(self._due)
        if not step.cancelled():
            machine = step.machine
            if machine is None or machine.admits(step):
                step.run()
        if self._failures:
            raise self._failures.pop()
        return True


class NumberedTask(asyncio.Task[T]):
    """A task that knows its machine, and whose hash is the same in every run."""

    def __init__(self, number: int, coro: Any, **settings: Any) -> None:
        self._number = number
        context: Context | None = settings.get("context")
        self.machine: Machine | None = MACHINE.get() if context is None else context.get(MACHINE)
        super().__init__(coro, **settings)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class Running:
    """Makes a loop the running one for a while."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __enter__(self) -> None:
        self._before = _get_running_loop()
        _set_running_loop(self._loop)

    def __exit__(self, *_: object) -> None:
        _set_running_loop(self._before)
