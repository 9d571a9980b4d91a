"""One run of a coordinator, from start to stop: owns its tasks."""

from __future__ import annotations

import asyncio
from asyncio import FIRST_COMPLETED
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar

from .._circuits.shard import Shard, shard_of
from .._core.overrides import OverrideRecord, OverrideRequest
from .._core.patterns import is_pattern
from .._core.states import Role
from .._runtime.instance import Instance
from ..backends.base import Probe
from ..exceptions import BackendError, StopError
from .election import LeaseBalancer
from .shard_runner import Loop, ShardRunner, end
from .thaw import Thaw

RESTART_PAUSE = 1.0
LONGEST_LOAD = 30.0
THAW_PATIENCE = 5.0
LEAVE_PATIENCE = 1.0
STOP_PATIENCE = 5.0
LONGEST_STOP = STOP_PATIENCE + 2 * LEAVE_PATIENCE + 1.0
"""Seconds after which a stop has ended for certain, in a loop that is not blocked."""


OPERATOR_PATIENCE = 2.0
"""Seconds for which an operator waits for the store."""

T = TypeVar("T")


class Kept(Protocol):
    """The circuits of an instance, also while it does not run."""

    def watched(self) -> Iterable[str]:
        """Return the circuits with idle checks before their first call."""
        ...


class Session:
    """The loops of a started coordinator, in one task group.

    Args:
        instance: The instance.
        shards: The shards in which it participates.
        kept: The circuits of the instance, also while it does not run.
        others: Further loops to run.
    """

    def __init__(
        self,
        instance: Instance,
        shards: Sequence[Shard],
        kept: Kept,
        others: Iterable[Loop] = (),
    ) -> None:
        self._instance = instance
        self._kept = kept
        self._others = tuple(others)
        self._thaw = Thaw(instance.host, self._thawed)
        self._stop = asyncio.Event()
        self._ending = False
        self._left = False
        self._tasks: asyncio.TaskGroup | None = None
        self._running: dict[asyncio.Task[None], None] = {}  # a set in order, to repeat runs
        self._balancer = LeaseBalancer(len(shards), instance.notifier)
        self._runners = [ShardRunner(instance, shard, self._balancer, self) for shard in shards]
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        instance.notifier.open()
        for runner in self._runners:
            runner.open()
        self._context = instance.host.context
        self._task = self.loop.create_task(self._run(), name="zenvark_web", context=self._context())

    @property
    def role(self) -> Role:
        """The role of this instance."""
        return self._balancer.role

    @property
    def connected(self) -> bool:
        """Whether the store answered the last request."""
        return all(runner.connected for runner in self._runners)

    @property
    def loaded(self) -> bool:
        """Whether the fleet's state is loaded."""
        return all(runner.loaded.is_set() for runner in self._runners)

    @property
    def stopping(self) -> bool:
        """Whether the session is stopping or has ended."""
        return self._ending or self._task.done()

    @property
    def over(self) -> bool:
        """Whether the session has ended, or its loop was closed."""
        return self._task.done() or not self.loop.is_running()

    def runs_this(self) -> bool:
        """Return whether one of the session's own tasks is calling."""
        return asyncio.current_task() in self._running

    def call_when_over(self, function: Callable[[], None]) -> None:
        """Register a function to call when the session has ended."""
        self._task.add_done_callback(lambda _: function(), context=self._context())

    def disown(self) -> None:
        """Detach the session from state that belongs to the next run."""
        self._left = True

    def leads(self, shard: int) -> bool:
        """Return whether this instance leads a shard, as far as it knows."""
        return self._runners[shard].leading

    def led(self, shard: int) -> bool:
        """Return whether a shard has a leader, as far as this instance knows."""
        return self._runners[shard].led

    async def ready(self, patience: float) -> None:
        """Wait until the fleet's state is loaded, for a number of seconds at most; longer if the
        store answers but contains very much."""
        loaded = asyncio.ensure_future(self._all_loaded())
        until = self.loop.time() + LONGEST_LOAD
        loading = True
        try:
            while loading and self.loop.time() < until:
                done, _ = await asyncio.wait(
                    {loaded, self._task}, timeout=patience, return_when=asyncio.FIRST_COMPLETED
                )
                loading = not done and any(each.loading for each in self._runners)
        finally:
            loaded.cancel()
            await asyncio.wait({loaded})

    async def _all_loaded(self) -> None:
        for runner in self._runners:
            await runner.loaded.wait()

    async def flush(self, patience: float) -> bool:
        """Send pending results and read new states, within a number of seconds; return whether both
        were completed."""
        work = self.loop.create_task(self._catch_up(), context=self._context())
        try:
            await asyncio.wait({work, self._task}, timeout=patience, return_when=FIRST_COMPLETED)
        finally:
            work.cancel()
            await asyncio.wait({work})
        return not work.cancelled() and work.exception() is None

    async def override(self, request: OverrideRequest) -> OverrideRecord:
        """Set or lift an override: in the circuit's shard, or for a pattern in all.

        Raises:
            BackendError: A store does not answer in time.
            OverrideConflictError, OverrideLimitError: A store refuses it.
            ValueError: `expect` for a pattern in several shards.
        """
        if not is_pattern(request.circuit):
            runner = self._runners[shard_of(request.circuit, len(self._runners))]
            return await _in_time(runner.override(request))
        if request.expect is not None and len(self._runners) > 1:
            raise ValueError(
                "expect requires the name of one circuit: a pattern has another number in each of "
                f"the {len(self._runners)} shards"
            )
        return await self._override_all(request)

    async def _override_all(self, request: OverrideRequest) -> OverrideRecord:
        """Write a pattern to all shards, and name those that failed."""
        writes = [_in_time(runner.override(request)) for runner in self._runners]
        answers = await asyncio.gather(*writes, return_exceptions=True)
        failed = {
            shard: answer
            for shard, answer in enumerate(answers)
            if isinstance(answer, BaseException)
        }
        for error in failed.values():
            if len(answers) == 1 or not isinstance(error, BackendError):
                raise error
            shards = ", ".join(map(str, failed))
            raise BackendError(
                f"the override of {request.circuit!r} was not written in the shards {shards} of "
                f"{len(answers)}; repeat it, which is harmless elsewhere: {error}"
            ) from error
        records = [answer for answer in answers if isinstance(answer, OverrideRecord)]
        return max(records, key=lambda record: record.number)

    async def probe(self, probe: Probe) -> bool:
        """Ask for an attempt to recover a circuit now; return whether there is one to make.

        Raises:
            BackendError: The store does not answer in time.
        """
        return await _in_time(
            self._runners[shard_of(probe.circuit, len(self._runners))].probe(probe)
        )

    async def _catch_up(self) -> None:
        await asyncio.gather(*(runner.catch_up() for runner in self._runners))

    async def _thawed(self) -> None:
        await self.flush(THAW_PATIENCE)

    def ask_to_end(self) -> None:
        """Request the end of the session, from any thread, without waiting."""
        self._ending = True
        with suppress(RuntimeError):  # the loop was closed
            self.loop.call_soon_threadsafe(self._stop.set, context=self._context())

    async def stop(self) -> None:
        """End the run: leave the fleet, and leave no task running."""
        self._ending = True
        self._stop.set()
        _, late = await asyncio.wait({self._task}, timeout=STOP_PATIENCE)
        if late:
            self._task.cancel()
            self._instance.notifier.report_error(
                StopError(
                    f"stop() gave up after {STOP_PATIENCE:g} s: "
                    "a health check or callback did not end when it was cancelled"
                )
            )
            await self._leave()

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                loops = [self._instance.notifier.run, self._thaw.run, *self._others]
                loops += [loop for runner in self._runners for loop in runner.loops]
                for loop in loops:
                    self._create(tasks, loop)
                # Not the tasks that these start meanwhile: a leader's end with its term.
                running = list(self._running)
                await self._stop.wait()
                for runner in self._runners:
                    runner.retire()
                for task in running:
                    end(task)
        finally:
            await self._leave()

    def start(self, loop: Loop) -> asyncio.Task[None] | None:
        """Start a loop as a task of the run, unless the run is stopping."""
        if self._tasks is None or self._stop.is_set():
            return None
        return self._create(self._tasks, loop)

    def watched(self) -> Iterable[str]:
        """Return the circuits with idle checks before their first call."""
        return self._kept.watched()

    def _create(self, tasks: asyncio.TaskGroup, loop: Loop) -> asyncio.Task[None]:
        task = tasks.create_task(self._supervised(loop))
        self._running[task] = None
        task.add_done_callback(lambda task: self._running.pop(task, None))
        return task

    async def _supervised(self, loop: Loop) -> None:
        """Run a loop forever: report unexpected exceptions, and restart it."""
        while True:
            try:
                await loop()
            except Exception as error:
                self._instance.notifier.report_error(error)
                await asyncio.sleep(RESTART_PAUSE)

    async def _leave(self) -> None:
        if self._left:
            return  # what came to its end after all must not disturb the run after this one
        self._left = True
        try:
            await asyncio.gather(*(runner.leave(LEAVE_PATIENCE) for runner in self._runners))
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_PATIENCE):
                    await self._instance.notifier.drain()


async def _in_time(work: Awaitable[T]) -> T:
    """Wait for the store as long as an operator does."""
    try:
        async with asyncio.timeout(OPERATOR_PATIENCE):
            return await work
    except TimeoutError:
        raise BackendError(
            f"no answer from the store within {OPERATOR_PATIENCE:g} s: the request may have been "
            "executed or not; repeat it"
        ) from None
