"""An event loop on virtual time, without waiting and with a reproducible order of steps."""

from __future__ import annotations

import asyncio
import heapq
from asyncio import (
    _get_running_loop,  # pyright: ignore[reportPrivateUsage] # what loops are to use
    _set_running_loop,  # pyright: ignore[reportPrivateUsage]
)
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from itertools import count
from typing import Any, Protocol, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


AT_ONCE = float("-inf")
"""When a step is due that waits for no time: the clock of no host is before it."""


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
    """Something to run at a moment, on a machine or (a message under way) on none.

    A handle that holds what virtual time needs and nothing else: a simulation makes a hundred of
    them for each second of a host.
    """

    __slots__ = ("arguments", "callback", "context", "dropped", "due", "machine")

    _source_traceback = None  # what `asyncio` looks for in debug mode

    def __init__(
        self,
        due: float,
        callback: Callable[..., object],
        arguments: tuple[Any, ...],
        machine: Machine | None,
        context: Context,
    ) -> None:
        self.due: float = due
        self.callback: Callable[..., object] = callback
        self.arguments: tuple[Any, ...] = arguments
        self.machine: Machine | None = machine
        self.context: Context = context
        self.dropped: bool = False

    def __repr__(self) -> str:
        return f"<Step at {self.due:.3f} on {self.machine}: {self.callback}>"

    def cancel(self) -> None:
        """Do not run it."""
        self.dropped = True

    def cancelled(self) -> bool:
        """Whether it will not run."""
        return self.dropped

    def when(self) -> float:
        """The seconds of its machine's clock before which it does not run."""
        return self.due


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs due steps, then moves the clock to the next due step. It supports no files or sockets.

    Steps run in the order of their due times. Of one moment, those that were asked for at once run
    before timers and messages, each kind in the order of the requests.

    Attributes:
        now: Virtual seconds.
        tasks: The tasks that have not ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now: float = 0.0
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self._soon: deque[Step] = deque()
        self._due: list[tuple[float, int, Step]] = []
        self._order = count()
        self._numbers = count()
        self._failures: list[BaseException] = []
        self._transit = Context()

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
        context = copy_context() if context is None else context
        step = Step(AT_ONCE, callback, args, context.get(MACHINE), context)
        self._soon.append(step)
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
        step = Step(when, callback, args, machine, copy_context() if context is None else context)
        self.put(when if machine is None else machine.moment(when), step)
        return step

    def put(self, when: float, step: Step) -> None:
        """Have a step run at a moment of virtual time."""
        when = max(when, self.now)
        heapq.heappush(self._due, (when, next(self._order), step))

    def deliver(self, delay: float, callback: Callable[[], object]) -> None:
        """Run a function after a number of seconds, on no host: a message in transit arrives,
        whatever happens to its sender."""
        due = self.now + delay
        step = Step(due, callback, (), None, self._transit)
        heapq.heappush(self._due, (due, next(self._order), step))

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
        self._soon.clear()
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
        if self._soon:
            step = self._soon.popleft()
        elif self._due and self._due[0][0] <= until:
            self.now, _, step = heapq.heappop(self._due)
        else:
            self.now = max(self.now, until)
            return False
        if not step.dropped and (step.machine is None or step.machine.admits(step)):
            step.context.run(step.callback, *step.arguments)
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
