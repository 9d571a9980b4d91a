"""The output of background errors and events: callbacks, the log and counters.

Callbacks run one after another in a task of their own, after the fact. A callback that raises or
hangs delays only the next callback, never a call or a decision.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from .._core.overrides import Override
from .._core.states import Role, Suspect
from ..events import OverrideChange, PublishedChange, StateChange
from ..exceptions import CallbackError
from ..statistics import Statistics
from .floods import INTERVAL, ChangeFloods, Floods, Verdict, source_of
from .host import Host
from .log import Log

Callback: TypeAlias = Callable[[Any], Awaitable[object] | object]

# Callbacks run one after another, so one that hangs would hold back all news from then on.
CALLBACK_TIMEOUT = 10.0
MAX_WAITING = 1_000

MAX_KINDS = 100
"""The number of warnings that are written once, after which no new one is: a stranger may make up
kinds of entries."""


def ends_this_task(error: BaseException) -> bool:
    """Return whether an exception around user code is the end of this task or of the process,
    instead of a failure of that code. (Awaiting a cancelled future also raises `CancelledError`, in
    a task that nobody has cancelled.)"""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)


@dataclass(frozen=True, slots=True)
class Callbacks:
    """The callbacks of the user.

    Args:
        on_error: Called with each background error.
        on_state_change: Called with each state change of a circuit.
        on_role_change: Called with each new role.
        on_override: Called with each change of an override.
        on_suspect: Called with each suspect that this leader finds.
        on_published: Called with each transition of the fleet, while this instance leads.
    """

    on_error: Callback | None = None
    on_state_change: Callback | None = None
    on_role_change: Callback | None = None
    on_override: Callback | None = None
    on_suspect: Callback | None = None
    on_published: Callback | None = None


class Notifier:
    """Reports errors and events to the log, the counters and the user's callbacks.

    Args:
        namespace: The namespace, as named in the log.
        callbacks: The user's callbacks.
        statistics: Counts errors.
        host: The monotonic clock.

    Attributes:
        observe_call: Called with each call that a circuit rejects ("rejected", "forced"), that only
            an override permits ("uncounted"), or that a fallback replaces ("fallback"), and with
            the circuit's name. In the caller's thread; it never raises.
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
        self.observe_call: Callable[[str, str], None] | None = None

    def renewed(self, statistics: Statistics, host: Host | None = None) -> Notifier:
        """Create a notifier with the same callbacks and no previous reports."""
        return Notifier(self._namespace, self._callbacks, statistics, host or self._host)

    def name(self, instance: str) -> None:
        """Set the name of this instance in the log."""
        self._log.instance = instance

    def open(self) -> None:
        """Prepare for use in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._warned.clear()

    def report_error(self, error: Exception) -> None:
        """Report a background error. Thread-safe."""
        if self._log_and_count(error) and self._callbacks.on_error is not None:
            self._call(self._callbacks.on_error, error)

    def state_changed(self, change: StateChange, mode: Override | None = None) -> None:
        """Report a state change of a circuit on this instance.

        Args:
            change: The change.
            mode: What calls meet instead of the verdict, if anything.
        """
        verdict = self._changes.verdict(change)
        if verdict is Verdict.TOLD:
            self._log.state_changed(change, mode)
        elif verdict is Verdict.HELD_BACK_FIRST:
            self._log.changes_held_back(INTERVAL)
        if self._callbacks.on_state_change is not None:
            self._call(self._callbacks.on_state_change, change)

    def role_changed(self, role: Role) -> None:
        """Report that this instance has become the leader or a follower."""
        self._log.role_changed(role)
        if self._callbacks.on_role_change is not None:
            self._call(self._callbacks.on_role_change, role)

    def override_changed(self, change: OverrideChange) -> None:
        """Report that an override takes effect or ends on this instance."""
        self._log.override_changed(change)
        if self._callbacks.on_override is not None:
            self._call(self._callbacks.on_override, change)

    def suspected(self, suspect: Suspect) -> None:
        """Report that an instance is a suspect."""
        if self._floods.verdict("suspect", suspect.circuit) is Verdict.TOLD:
            self._log.suspected(suspect)
        if self._callbacks.on_suspect is not None:
            self._call(self._callbacks.on_suspect, suspect)

    @property
    def wants_published(self) -> bool:
        """Whether there is a callback for the transitions of the fleet."""
        return self._callbacks.on_published is not None

    async def published(self, change: PublishedChange) -> None:
        """Call `on_published`, and return when it has ended. Its calls have no place in the queue
        of the others: a leader records which of them have ended, and a slow one delays none of
        another callback."""
        if self._callbacks.on_published is not None:
            await self._run_one(self._callbacks.on_published, change)

    def checks_contradicted(self, circuit: str, told: str) -> None:
        """Report that this leader's health checks fail, though a call of another passed."""
        self._log.checks_contradicted(circuit, told)

    def connected_again(self) -> None:
        """Report that the store answers after an outage."""
        self._log.connected_again()

    def never_started(self, circuit: str) -> None:
        """Warn once that results are recorded before the coordinator was started. Thread-safe."""
        self._once("never_started", circuit, self._log.never_started)

    def not_running(self, circuit: str) -> None:
        """Warn once that calls of an open circuit are permitted because the coordinator does not
        run. Thread-safe."""
        self._once("not_running", circuit, self._log.not_running)

    def no_longer_running(self, circuit: str) -> None:
        """Warn once that results are recorded after the coordinator has ended. Thread-safe."""
        self._once("no_longer_running", circuit, self._log.no_longer_running)

    def too_many_new(self, circuit: str) -> None:
        """Warn that circuits are unprotected because too many new ones are requested."""
        self._log.too_many_new(circuit)

    def unknown_entry(self, kind: str) -> None:
        """Count an entry of a kind that this version does not know. The first one of each kind is
        logged."""
        self._statistics.unknown_entries += 1
        if len(self._warned) < MAX_KINDS:
            self._once(f"unknown_entry {kind}", kind, self._log.unknown_entry)

    def held_up(self, capability: str, instances: str) -> None:
        """Warn that the leader does without a capability that these instances lack."""
        self._log.held_up(capability, instances)

    def overrides_ignored(self, instances: str) -> None:
        """Warn that these instances ignore the overrides in force."""
        self._log.overrides_ignored(instances)

    def check_fails(self, circuit: str, told: str) -> None:
        """Report that a health check fails after a passed one, or in a different way than before.
        In a flood, some reports are only counted."""
        if self._floods.verdict("check fails", circuit) is Verdict.TOLD:
            self._log.check_fails(circuit, told)

    def checks_wait(self, circuit: str, told: str) -> None:
        """Warn once that health checks are not run because hanging ones take all threads."""
        self._once("checks_wait", circuit, lambda circuit: self._log.checks_wait(circuit, told))

    async def run(self) -> None:
        """Run pending callbacks, forever."""
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
        """Write a line once, since the coordinator was created or started."""
        if what not in self._warned:
            self._warned.add(what)
            write(circuit)

    def _log_and_count(self, error: Exception) -> bool:
        """Count an error, and log it unless there is a flood of its kind; return whether it was
        logged."""
        name = self._statistics.error_surfaced(error)
        verdict = self._floods.verdict(name, source_of(error))
        if verdict is Verdict.TOLD:
            self._log.error(error)
        elif verdict is Verdict.HELD_BACK_FIRST:
            self._log.held_back(name, INTERVAL)
        return verdict is Verdict.TOLD


def _name_of(callback: Callback) -> str:
    return getattr(callback, "__qualname__", None) or type(callback).__qualname__
