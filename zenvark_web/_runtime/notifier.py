"""Where background errors and events come out: callbacks, the log and counters.

Callbacks run one after another in a task of their own, after the fact. One that raises or hangs
holds up the next callback at most, never a call or a decision.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from .._core.states import Role
from ..events import StateChange
from ..exceptions import CallbackError
from ..statistics import Statistics
from .floods import INTERVAL, ChangeFloods, Floods, Verdict, source_of
from .host import Host
from .log import Log

Callback: TypeAlias = Callable[[Any], Awaitable[object] | object]

CALLBACK_TIMEOUT = 10.0
MAX_WAITING = 1_000


def ends_this_task(error: BaseException) -> bool:
    """Whether something caught around a user's code is no failure of that code, but the end of
    this task or of the process. (Awaiting a future that was cancelled raises `CancelledError`
    as well, in a task that nobody has cancelled.)"""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What the user wants to be called with.

    Args:
        on_error: Called with each error of the background.
        on_state_change: Called with each change of a circuit's state.
        on_role_change: Called with each new role.
    """

    on_error: Callback | None = None
    on_state_change: Callback | None = None
    on_role_change: Callback | None = None


class Notifier:
    """Reports errors and events to the log, the counters and the user's callbacks.

    Args:
        namespace: The namespace, as the log names it.
        callbacks: The user's callbacks.
        statistics: Counts errors.
        host: Has the monotonic seconds.
    """

    def __init__(
        self, namespace: str, callbacks: Callbacks, statistics: Statistics, host: Host
    ) -> None:
        self._statistics = statistics
        self._namespace = namespace
        self._host = host
        self._log = Log(namespace)
        self._callbacks = callbacks
        self._waiting: deque[tuple[Callback, object]] = deque()
        self._queued: Counter[int] = Counter()  # by identity: not all that is callable has a hash
        self._arrived = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._floods = Floods(host)
        self._changes = ChangeFloods(host)
        self._warned: set[str] = set()

    def renewed(self, statistics: Statistics) -> Notifier:
        """One with the same callbacks, to which nothing was reported so far."""
        return Notifier(self._namespace, self._callbacks, statistics, self._host)

    def name(self, instance: str) -> None:
        """Have the log name this instance."""
        self._log.instance = instance

    def open(self) -> None:
        """Get ready for use in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._warned.clear()

    def report_error(self, error: Exception) -> None:
        """Report an error of the background, from any thread."""
        if self._log_and_count(error) and self._callbacks.on_error is not None:
            self._call(self._callbacks.on_error, error)

    def state_changed(self, change: StateChange) -> None:
        """Tell that a circuit changed its state here."""
        verdict = self._changes.verdict(change)
        if verdict is Verdict.TOLD:
            self._log.state_changed(change)
        elif verdict is Verdict.HELD_BACK_FIRST:
            self._log.changes_held_back(INTERVAL)
        if self._callbacks.on_state_change is not None:
            self._call(self._callbacks.on_state_change, change)

    def role_changed(self, role: Role) -> None:
        """Tell that this instance leads now, or no longer."""
        self._log.role_changed(role)
        if self._callbacks.on_role_change is not None:
            self._call(self._callbacks.on_role_change, role)

    def connected_again(self) -> None:
        """Tell that the store answers after an outage."""
        self._log.connected_again()

    def never_started(self, circuit: str) -> None:
        """Warn once that results come in which nobody will judge; from any thread."""
        self._once("never_started", circuit, self._log.never_started)

    def not_running(self, circuit: str) -> None:
        """Warn once that calls of an open circuit pass, as nobody finds out how its upstream is;
        from any thread."""
        self._once("not_running", circuit, self._log.not_running)

    def no_longer_running(self, circuit: str) -> None:
        """Warn once that results come in after the coordinator has ended; from any thread."""
        self._once("no_longer_running", circuit, self._log.no_longer_running)

    def too_many_new(self, circuit: str) -> None:
        """Warn that circuits are not protected, since too many new ones come."""
        self._log.too_many_new(circuit)

    def check_fails(self, circuit: str, told: str) -> None:
        """Tell that a health check fails, after it passed or in another way than before. Of very
        many, some are only counted."""
        if self._floods.verdict("check fails", circuit) is Verdict.TOLD:
            self._log.check_fails(circuit, told)

    def checks_wait(self, circuit: str, told: str) -> None:
        """Warn once that health checks are not run, for others hang in all threads there are."""
        self._once("checks_wait", circuit, lambda circuit: self._log.checks_wait(circuit, told))

    async def run(self) -> None:
        """Run callbacks as they come, for ever."""
        while True:
            await self.drain()
            await self._arrived.wait()
            self._arrived.clear()

    async def drain(self) -> None:
        """Run the pending callbacks."""
        while self._waiting:
            callback, argument = self._waiting.popleft()
            self._queued[id(callback)] -= 1
            await self._run_one(callback, argument)

    def _call(self, callback: Callback, argument: object) -> None:
        if self._queued[id(callback)] >= MAX_WAITING:  # each has room of its own
            name = _name_of(callback)
            what = f"callback queue is full ({MAX_WAITING} calls), dropped a call of {name!r}"
            self._failed(callback, CallbackError(what, source=name))
            return
        self._queued[id(callback)] += 1
        self._waiting.append((callback, argument))
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop was closed, perhaps just now
                self._loop.call_soon_threadsafe(self._arrived.set)

    async def _run_one(self, callback: Callback, argument: object) -> None:
        limit = asyncio.timeout(CALLBACK_TIMEOUT)
        try:
            answer = callback(argument)
            if inspect.isawaitable(answer):
                async with limit:
                    await answer
        except BaseException as raised:
            if ends_this_task(raised):
                raise
            name, hung = _name_of(callback), raised.__class__ is TimeoutError and limit.expired()
            what = f"was cancelled after {CALLBACK_TIMEOUT:g} s" if hung else "failed"
            error = CallbackError.because(raised, f"callback {name!r} {what}", source=name)
            self._failed(callback, error)

    def _failed(self, callback: Callback, error: CallbackError) -> None:
        on_error = self._callbacks.on_error
        if self._log_and_count(error) and on_error is not None and callback is not on_error:
            self._call(on_error, error)

    def _once(self, what: str, circuit: str, write: Callable[[str], None]) -> None:
        """Write a line, the first time since the coordinator was made or started."""
        if what not in self._warned:
            self._warned.add(what)
            write(circuit)

    def _log_and_count(self, error: Exception) -> bool:
        """Count an error, and log it unless there is a flood of its kind; tells which."""
        name = self._statistics.error_surfaced(error)
        verdict = self._floods.verdict(name, source_of(error))
        if verdict is Verdict.TOLD:
            self._log.error(error)
        elif verdict is Verdict.HELD_BACK_FIRST:
            self._log.held_back(name, INTERVAL)
        return verdict is Verdict.TOLD


def _name_of(callback: Callback) -> str:
    return getattr(callback, "__qualname__", None) or type(callback).__qualname__
