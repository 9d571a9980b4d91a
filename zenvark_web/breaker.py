"""The handles of users: a breaker for each circuit, and a guard for each block."""

from __future__ import annotations

import time
from asyncio import isfuture
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from functools import partial, wraps
from inspect import isawaitable
from math import inf
from random import random, uniform
from types import CoroutineType, TracebackType
from typing import Any, ParamSpec, TypeGuard, TypeVar, cast
from weakref import ref

from ._circuits.flows import OWNER, WHOSE, WORD, Flow, carrier, current, under_way
from ._circuits.local import LocalCircuit
from ._circuits.permits import (
    FurtherPermit,
    Permit,
    RampPermit,
    TimedPermit,
    TimedRampPermit,
    TrialPermit,
    UncountedPermit,
    permit_inside,
    permit_of,
)
from ._core._checks import check_number
from ._core.awaitables import (
    explain,
    is_async,
    is_callers_mistake,
    makes_generators,
    not_awaitable,
    still_to_come,
    use_guard,
)
from ._core.overrides import Override, OverrideRecord
from ._core.states import IGNORED, State
from .exceptions import CircuitOpenError
from .statistics import Distribution

__all__ = ["Breaker", "Guard", "Permit"]

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Guard:
    """Protects a block of code; created by `Breaker.guard`."""

    __slots__ = ("_breaker", "_permit")

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._permit: Permit | None = None

    def __enter__(self) -> Permit:
        if self._permit is not None:
            raise RuntimeError("a guard can be entered only once: call guard() again")
        self._permit = permit = self._breaker.acquire()
        permit.carry()
        return permit

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._permit is not None:
            self._permit.__exit__(kind, error, traceback)

    async def __aenter__(self) -> Permit:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)


class Breaker:
    """An instance's local handle of a circuit, created by `Coordinator.breaker`.

    Every way to make a call (`execute`, `execute_sync`, `guard`, decorating a function,
    `acquire`) reads local memory only. If the circuit rejects the call, it raises
    `CircuitOpenError`. Calls may come from any thread.
    """

    __slots__ = ("_local", "_permit")

    def __init__(self, local: LocalCircuit) -> None:
        self._local = local
        self._permit = TimedPermit if local.times_calls else Permit

    def __repr__(self) -> str:
        return f"<Breaker {self.name!r} {self.state} generation={self.generation}>"

    @property
    def name(self) -> str:
        """The circuit's name."""
        return self._local.name

    @property
    def state(self) -> State:
        """The state that calls meet on this instance: open while an operator holds the circuit
        open, closed while an operator or the policy's `observe` lets all calls pass, and otherwise
        the fleet's verdict."""
        return self._local.admission.met(self._local.monotonic())

    @property
    def verdict(self) -> State:
        """The verdict, whatever calls meet under an override: the fleet's, as known to this
        instance, or its own while it protects itself or decides alone."""
        return self._local.admission.state

    @property
    def override(self) -> OverrideRecord | None:
        """The operator's override that applies to this circuit, if there is one."""
        return self._local.admission.override(self._local.monotonic())

    @property
    def protects_itself(self) -> bool:
        """Whether this instance's own results can open the circuit for this instance alone: with a
        `quorum` above 1 or a `common_cause`, while the coordinator runs."""
        return self._local.protects_itself

    @property
    def own_state(self) -> State:
        """This instance's own verdict, by which it protects itself with a `quorum` above 1. It is
        closed while the fleet's state applies."""
        return self._local.own_state

    @property
    def generation(self) -> int:
        """The number of the circuit's newest transition that this instance has applied."""
        return self._local.admission.generation

    @property
    def retry_after(self) -> float:
        """Seconds until the next recovery attempt or the next step of a ramp, as far as known; 0 if
        the next call is permitted."""
        return self._local.retry_after(self._local.monotonic())

    @property
    def share(self) -> float:
        """The share of calls that is permitted: 1 while the circuit is closed, 0 while it is open
        or in a trial, and in between in a ramp."""
        return self._local.admission.share(self._local.monotonic())

    @property
    def successes(self) -> Distribution:
        """The durations of successful calls on this instance."""
        return self._local.successes

    @property
    def failures(self) -> Distribution:
        """The durations of failed calls on this instance."""
        return self._local.failures

    @property
    def failure_kinds(self) -> Mapping[str, int]:
        """The number of failed calls on this instance by kind: "connect", "timeout", "status",
        "body", "pool", "other"."""
        return {kind.value: count for kind, count in self._local.failure_kinds.items()}

    @property
    def blocked(self) -> int:
        """The number of calls that were rejected on this instance."""
        return self._local.blocked

    @property
    def forced(self) -> int:
        """The number of these that were rejected because an operator holds the circuit open."""
        return self._local.forced

    @property
    def would_block(self) -> int:
        """The number of calls that only an override, or the policy's `observe`, let pass on this
        instance. They are not counted, and change no circuit."""
        return self._local.would_block

    def acquire(self) -> Permit:
        """Acquire the permit for one call that starts now.

        Raises:
            CircuitOpenError: The circuit rejects the call.
        """
        local = self._local
        generation = local.admission.plain
        outer = current.get()
        if generation is None or outer is not None:
            return self._acquire(outer)
        return self._permit(local, generation, local.monotonic())

    def _acquire(self, outer: Flow | None) -> Permit:
        """Acquire a permit.

        Args:
            outer: The innermost flow here.
        """
        local = self._local
        admission = local.admission
        if admission.plain is None and outer is None:
            # Nearly all calls of an open circuit are rejected here, in as few steps as possible.
            monotonic = local.monotonic
            now = monotonic()
            left = admission.shut_until - now
            if left > 0:
                raise local.reject(now, left)
        admitted = self._admit(outer)
        if isinstance(admitted, CircuitOpenError):
            raise admitted
        return admitted

    def _admit(self, outer: Flow | None) -> Permit | CircuitOpenError:
        """The permit for one call, or the error of its rejection.

        Args:
            outer: The innermost flow here.
        """
        local = self._local
        if outer is not None:
            inside = permit_inside(local, outer)
            if inside is not None:
                return self._unless_forced(inside)
        admission = local.admission
        generation = admission.plain
        monotonic = local.monotonic
        now = monotonic()
        if generation is not None:
            return self._permit(local, generation, now)
        left = admission.shut_until - now
        return local.reject(now, left) if left > 0 else self._admit_some(now)

    def _unless_forced(self, permit: Permit) -> Permit | CircuitOpenError:
        """The permit for a call inside another one, unless an operator holds the circuit open."""
        local = self._local
        if local.admission.plain is None:
            now = local.monotonic()
            if local.admission.mode(now) is Override.FORCE_OPEN:
                return local.reject_forced(now)
        return permit

    def _admit_some(self, now: float) -> Permit | CircuitOpenError:
        """The permit for one call that may be rejected, or may pass uncounted."""
        local = self._local
        admission = local.admission
        mode = admission.mode(now)
        if mode is Override.FORCE_OPEN:
            return local.reject_forced(now)
        recovering = self._recovering(now)
        if recovering is not None:
            return recovering
        generation = admission.generation  # first: it may change at any time, and so must be old
        if admission.closed:
            return self._permit(local, generation, now)
        if mode is not None:
            local.pass_uncounted(now)
            return UncountedPermit(local, generation, now)
        if local.abandoned(now):
            return self._permit(local, generation, now)
        return local.reject(now, admission.retry_after(now))

    def _recovering(self, now: float) -> Permit | None:
        """The permit for a call of a trial or a ramp, if there is one."""
        local = self._local
        admission = local.admission
        if admission.trying:
            with local.lock:
                generation, taken = admission.generation, admission.take(now)
            if taken:
                return TrialPermit(local, generation, now)
        if admission.climbing:
            with local.lock:
                generation, taken = admission.generation, admission.climb(now)
            if taken:
                ramp_permit = TimedRampPermit if local.times_calls else RampPermit
                return ramp_permit(local, generation, now)
        return None

    def require(self) -> None:
        """Reject work that will need this circuit later, while the circuit is open.

        A rejection counts as a rejected call and reports demand for a recovery attempt. `require`
        takes no permit: a half-open circuit passes here, and decides about the call itself. Under
        `observe`, the call itself counts as one that would be rejected, and this does not.

        Raises:
            CircuitOpenError: The circuit is open.
        """
        local = self._local
        admission = local.admission
        now = local.monotonic()
        mode = admission.mode(now)
        if mode is Override.FORCE_OPEN:
            raise local.reject_forced(now)
        if admission.state is State.OPEN and mode is None and not local.abandoned(now):
            raise local.reject(now, admission.retry_after(now))

    async def ready(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - it returns by then
        """Wait until the circuit lets calls pass, for workers that would rather wait than fail.

            while await payments.ready(60):
                try:
                    return await payments.execute(pay, order)
                except CircuitOpenError:
                    pass  # others were faster: in a trial, or in a ramp

        It takes no permit: the call may be rejected all the same. Those who wait look at the
        circuit about once a second, each at moments of its own, so that they do not all return in
        the moment in which it closes. A ramp lets a share of them pass at each step, as it does
        with calls. In a trial, those return for whom this instance has a permit. To wait counts as
        demand for an attempt to recover, and not as a rejected call.

        Works in asyncio and trio. `ready_sync` is the same for synchronous code.

        Args:
            timeout: The maximum duration in seconds, above 0. None: no limit.

        Returns:
            Whether the circuit lets calls pass. False after the timeout.

        Raises:
            TypeError, ValueError: `timeout` is not usable.
        """
        _check_timeout(timeout)
        from anyio import move_on_after, sleep  # comes with httpx and Starlette

        draw = random()
        with move_on_after(timeout):
            while not self._lets_pass(draw):  # noqa: ASYNC110 - an event would belong to one loop
                await sleep(_look())
            return True
        return False

    def ready_sync(self, timeout: float | None = None) -> bool:
        """`ready` for synchronous code: blocks the thread.

        Raises:
            TypeError, ValueError: `timeout` is not usable.
        """
        _check_timeout(timeout)
        draw = random()
        until = inf if timeout is None else time.monotonic() + timeout
        while not self._lets_pass(draw):
            left = until - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, _look()))
        return True

    def _lets_pass(self, draw: float) -> bool:
        """Whether a caller that waits may try a call; if not, its demand is shown."""
        local = self._local
        now = local.monotonic()
        admission = local.admission
        if admission.lets_pass(now, draw):
            return True
        if admission.mode(now) is not Override.FORCE_OPEN and local.abandoned(now):
            return True
        local.show_demand(now)
        return False

    def guard(self) -> Guard:
        """Protect a block: `async with breaker.guard():`, or `with breaker.guard():`.

        Raises:
            CircuitOpenError: On entering, if the circuit rejects the call.
        """
        return Guard(self)

    async def execute(
        self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call an async function, unless the circuit is open, and record the outcome.

        Calls of the same circuit inside the function are part of this call.

        Raises:
            CircuitOpenError: The circuit rejected the call.
            TypeError: The function is not async, or does not accept the arguments. This does not
                count as a call.
        """
        local = self._local
        generation = local.admission.plain
        outer = current.get()
        if outer is not None and outer[WHOSE] is None:
            outer = under_way(outer)
        if generation is None or not local.plain_outcomes or (outer and carrier(outer, local)):
            return await _execute(self._acquire(outer), function, *args, **kwargs)
        # A permit and a flow in local variables: this is the path of nearly all calls. It is in the
        # form that CPython specialises: `type(x)`, and no attribute called as if it were a method.
        call: Any = function
        awaitable: Any = None
        monotonic = local.monotonic
        began = monotonic()
        flow: Flow = [local, generation, outer, None, None, began]
        current.set(flow)
        timed = local.times_calls
        if timed:
            local.begin(id(flow), generation, began)
        try:
            awaitable = call(*args, **kwargs) if kwargs else call(*args)
            kind: object = type(awaitable)  # pyright: ignore[reportUnknownVariableType]
            if kind is not CoroutineType and not isawaitable(awaitable):
                raise TypeError(not_awaitable(function, awaitable))
            result: T = await awaitable
        except BaseException as error:
            if timed:
                local.in_flight.end(id(flow))
            _broken(permit_of(flow), function, awaitable, error)
            raise
        if timed:
            local.in_flight.end(id(flow))
        if flow[WORD] is None and flow[OWNER] is None:
            flow[WHOSE] = None  # it stays behind, settled: to set the variable back takes longer
            ended = monotonic()
            local.succeeded(generation, began, ended, ended - began)
        else:
            permit_of(flow).returned(result)
        return result

    def execute_sync(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a plain function, from any thread, and record the outcome.

        If the function returns a coroutine, a future or another awaitable, the call ends with it.
        The breaker retrieves the exception of a returned task, so asyncio no longer logs that it
        was never retrieved: await the task, or check its result.

        Raises:
            CircuitOpenError: The circuit rejected the call.
            TypeError: The argument is not a function, or does not accept the arguments, or returns
                a generator or a context manager made of one: protect the loop or block with
                `guard()` instead. This does not count as a call.
        """
        local = self._local
        generation = local.admission.plain
        outer = current.get()
        if outer is not None and outer[WHOSE] is None:
            outer = under_way(outer)
        if (
            generation is None
            or local.times_calls
            or not local.plain_outcomes
            or (outer and carrier(outer, local))
        ):
            return _execute_sync(self._acquire(outer), function, *args, **kwargs)
        # As in `execute`.
        call: Any = function
        monotonic = local.monotonic
        began = monotonic()
        flow: Flow = [local, generation, outer, None, None, began]
        current.set(flow)
        try:
            result: T = call(*args, **kwargs) if kwargs else call(*args)
        except BaseException as error:
            _broken(permit_of(flow), function, None, error)
            raise
        if flow[WORD] is None and flow[OWNER] is None and type(result) in PLAIN:
            flow[WHOSE] = None
            ended = monotonic()
            local.succeeded(generation, began, ended, ended - began)
            return result
        permit = permit_of(flow)
        flow[OWNER] = ref(permit)  # the result may be a future that is lost
        permit.set_down()
        return cast(T, _guarded(permit, function, result))

    def __call__(self, function: F) -> F:
        """Decorate an async or plain function: each of its calls goes through `execute` or
        `execute_sync`.

        Raises:
            TypeError: The function is a generator; protect the loop over it with `guard()` instead.
        """
        explain(function)
        if makes_generators(function):
            raise TypeError("a breaker cannot decorate a generator: use guard() around its loop")
        if is_async(function):

            @wraps(function)
            async def call(*args: Any, **kwargs: Any) -> Any:
                return await self.execute(function, *args, **kwargs)

            return cast(F, call)

        @wraps(function)
        def call_sync(*args: Any, **kwargs: Any) -> Any:
            return self.execute_sync(function, *args, **kwargs)

        return cast(F, call_sync)


class UnprotectedBreaker(Breaker):
    """The breaker of a name beyond the limit for new names: its calls are permitted and not
    counted. Each call asks again, until the breaker is protected like any other.

    Args:
        local: A circuit without reports.
        ask: Returns the protected circuit, once the limit permits it.
    """

    __slots__ = ("_ask",)

    def __init__(self, local: LocalCircuit, ask: Callable[[str], LocalCircuit | None]) -> None:
        super().__init__(local)
        self._ask: Callable[[str], LocalCircuit | None] | None = ask

    def _ask_again(self) -> None:
        local = self._ask(self.name) if self._ask is not None else None
        if local is not None:
            super().__init__(local)
            self._ask = None

    def acquire(self) -> Permit:
        self._ask_again()
        return super().acquire()

    def _admit(self, outer: Flow | None) -> Permit | CircuitOpenError:
        self._ask_again()
        return super()._admit(outer)

    def _lets_pass(self, draw: float) -> bool:
        self._ask_again()
        return super()._lets_pass(draw)

    def require(self) -> None:
        self._ask_again()
        super().require()

    async def execute(
        self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        self._ask_again()
        return await super().execute(function, *args, **kwargs)

    def execute_sync(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        self._ask_again()
        return super().execute_sync(function, *args, **kwargs)


def admit(breaker: Breaker) -> Permit | CircuitOpenError:
    """The permit for one call, or the error of its rejection: not raised, for those who make a
    response of it."""
    return breaker._admit(current.get())  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def connect(breaker: Breaker, local: LocalCircuit) -> None:
    """Make a breaker the handle of another circuit of the same name, for further calls."""
    Breaker.__init__(breaker, local)


def further(breaker: Breaker) -> Permit:
    """The permit for a further step of a trial call. Its failure counts; its success is covered by
    the success of the trial, which is already recorded."""
    local = breaker._local  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return FurtherPermit(local, local.admission.generation, local.monotonic())


LOOK = 0.5, 1.5
"""Seconds between two looks of a caller that waits, at the least and at the most. They spread the
calls of those who wait over a second, and report their demand as often as rejected calls would."""


def _look() -> float:
    return uniform(*LOOK)


def _check_timeout(timeout: float | None) -> None:
    if timeout is not None:
        check_number("timeout", timeout, above=0, unit="seconds")


PLAIN = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict, set})
"""Types of results that are complete: they contain no awaitable."""


def _execute_sync(
    permit: Permit, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    permit.carry()
    try:
        result = function(*args, **kwargs)
    except BaseException as error:
        permit.set_down()
        _broken(permit, function, None, error)
        raise
    permit.set_down()
    return cast(T, _guarded(permit, function, result))


async def _execute(
    permit: Permit, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    awaitable: Any = None
    permit.carry()
    try:
        awaitable = function(*args, **kwargs)
        if not isawaitable(awaitable):
            raise TypeError(not_awaitable(function, awaitable))
        result: T = await awaitable
    except BaseException as error:
        permit.set_down()
        _broken(permit, function, awaitable, error)
        raise
    permit.set_down()
    permit.returned(result)
    return result


def _broken(permit: Permit, function: object, awaitable: object, error: BaseException) -> None:
    """Record an exception, unless the caller has misused the function."""
    if is_callers_mistake(error) and not isawaitable(awaitable):
        permit.record(IGNORED)
        explain(function)
    else:
        permit.raised(error)


def _is_future(result: object) -> TypeGuard[Future[Any]]:
    """Whether a result is a future or task of asyncio, or a future of an executor. Both have the
    methods used here."""
    return isfuture(result) or isinstance(result, Future)


def _guarded(permit: Permit, function: object, result: Any) -> object:
    """The result of a plain function; the permit is recorded when it is complete."""
    if type(result) in PLAIN:
        permit.returned(result)
    elif _is_future(result):
        result.add_done_callback(partial(_settled, permit))
    elif isawaitable(result):
        return _awaited(permit, result)
    elif what := still_to_come(result):
        permit.record(IGNORED)
        raise TypeError(use_guard(function, what))
    else:
        permit.returned(result)
    return result


async def _awaited(permit: Permit, awaitable: Awaitable[T]) -> T:
    permit.carry()
    try:
        result = await awaitable
    except BaseException as error:
        permit.set_down()
        permit.raised(error)
        raise
    permit.set_down()
    permit.returned(result)
    return result


def _settled(permit: Permit, future: Any) -> None:
    if future.cancelled():
        permit.record(IGNORED)
    elif (error := future.exception()) is not None:
        permit.raised(error)
    else:
        permit.returned(future.result())
