"""What users hold: a breaker for each circuit, and a permit for each call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

from ._coordination.local import LocalCircuit
from ._core.states import Outcome, State
from ._rejections import rejected
from .statistics import Distribution

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Permit:
    """Leave to make one call. Tell how it ended, exactly once.

    As a context manager (with `with` or `async with`) it tells that itself: an exception is
    judged as the policy says, anything else is a success.

    Attributes:
        recorded: Whether it has been told.
    """

    __slots__ = ("_began", "_elapsed", "_generation", "_local", "recorded")

    def __init__(self, local: LocalCircuit, generation: int, began: float) -> None:
        self._local = local
        self._generation = generation
        self._began = began
        self._elapsed: float | None = None
        self.recorded: bool = False

    def __repr__(self) -> str:
        return f"<Permit {self._local.name!r} {'recorded' if self.recorded else 'open'}>"

    def stop_clock(self) -> None:
        """End the time that counts as the call's duration, though its outcome is to come: what
        the caller does with a response's body does not make the upstream slow."""
        self._elapsed = self._local.monotonic() - self._began

    def record(
        self, outcome: Outcome, label: str = "", *, retry_after: float | None = None
    ) -> None:
        """Tell how the call ended.

        Args:
            outcome: The outcome.
            label: What a failure was (an exception's name, a status), for the explanation of
                what opened a circuit.
            retry_after: Seconds from now before which the upstream wants no further call, as a
                failure said it (an HTTP `Retry-After`, RFC 9110, section 10.2.3). While the
                circuit is open, the fleet makes no attempt to recover before then. The longest
                one that is still to come holds, up to the policy's `max_retry_after`. What is
                negative or no finite number is ignored.

        Raises:
            RuntimeError: It has been told already.
        """
        if self.recorded:
            raise RuntimeError(f"{self!r}: a permit's outcome is recorded once")
        self.recorded = True
        self._settle(outcome, label, retry_after)

    def returned(self, result: object) -> None:
        """Tell that the call returned; the policy's classifier judges what.

        Raises:
            RuntimeError: The outcome has been told already.
        """
        self.record(self._local.outcome_of_result(result), type(result).__name__)

    def raised(self, error: BaseException) -> None:
        """Tell that the call raised; the policy's classifier judges what.

        A cancellation is ignored, unless the call had taken longer than the policy's `slow_call`:
        then it is a failure.

        Raises:
            RuntimeError: The outcome has been told already.
        """
        local = self._local
        if local.cancelled_late(error, self._time(local.monotonic())):
            self.record(Outcome.FAILURE, f"cancelled after more than {local.slow_after:g} s")
        else:
            self.record(*local.judged(error))

    def _time(self, now: float) -> float:
        """The seconds that count as the call's duration."""
        return now - self._began if self._elapsed is None else self._elapsed

    def _settle(self, outcome: Outcome, label: str, retry_after: float | None) -> None:
        if outcome is Outcome.IGNORED or outcome is Outcome.ANSWERED:
            return
        local = self._local
        now = local.monotonic()
        if outcome is Outcome.SUCCESS:
            local.succeeded(self._generation, now, self._time(now))
            return
        if retry_after is not None:
            local.hold(retry_after, now)
        local.record(self._generation, True, label, now, self._time(now))

    def __enter__(self) -> Permit:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.record(Outcome.SUCCESS)
        else:
            self.raised(error)

    async def __aenter__(self) -> Permit:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)


class _TimedPermit(Permit):
    """One of a circuit that knows slow calls: it is looked after while it is under way."""

    __slots__ = ()

    def __init__(self, local: LocalCircuit, generation: int, began: float) -> None:
        super().__init__(local, generation, began)
        local.begin(id(self), generation, began)

    def stop_clock(self) -> None:
        super().stop_clock()
        self._local.flights.end(id(self))

    def _settle(self, outcome: Outcome, label: str, retry_after: float | None) -> None:
        self._local.flights.end(id(self))
        super()._settle(outcome, label, retry_after)

    def __del__(self) -> None:
        if not self.recorded:
            self._local.flights.end(id(self))


class _TrialPermit(Permit):
    """One of the few permits of a half-open circuit. It must come back, come what may."""

    __slots__ = ()

    def _settle(self, outcome: Outcome, label: str, retry_after: float | None) -> None:
        if outcome is Outcome.ANSWERED:  # more than that is not asked of a trial
            outcome = Outcome.SUCCESS
        super()._settle(outcome, label, retry_after)
        self._local.settle(self._generation, returned=outcome is Outcome.IGNORED)

    def __del__(self) -> None:
        if not self.recorded:
            self.record(Outcome.IGNORED)


class Guard:
    """Guards a block of code; made by `Breaker.guard`."""

    __slots__ = ("_breaker", "_permit")

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._permit: Permit | None = None

    def __enter__(self) -> Permit:
        if self._permit is not None:
            raise RuntimeError("a guard is entered once: call guard() again")
        self._permit = self._breaker.acquire()
        return self._permit

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        permit = self._permit
        if (
            permit is not None and not permit.recorded
        ):  # unless the block has told the outcome itself
            permit.__exit__(kind, error, traceback)

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
    """An instance's local handle on a circuit. `Coordinator.breaker` makes it.

    Every way to make a call (`execute`, `execute_sync`, `guard`, decorating a function,
    `acquire`) looks at local memory only. A circuit that does not let the call pass raises
    `CircuitOpenError`. Calls may come from any thread.
    """

    __slots__ = ("_local", "_permit")

    def __init__(self, local: LocalCircuit) -> None:
        self._local = local
        self._permit = _TimedPermit if local.timed else Permit

    def __repr__(self) -> str:
        return f"<Breaker {self.name!r} {self.state} generation={self.generation}>"

    @property
    def name(self) -> str:
        """The circuit's name."""
        return self._local.name

    @property
    def state(self) -> State:
        """What the circuit lets pass, as this instance knows it."""
        return self._local.admission.state

    @property
    def generation(self) -> int:
        """The number of the circuit's newest transition that this instance knows."""
        return self._local.admission.generation

    @property
    def retry_after(self) -> float:
        """Seconds until the next attempt to recover; 0 if the circuit is closed."""
        return self._local.admission.retry_after(self._local.monotonic())

    @property
    def successes(self) -> Distribution:
        """The durations of successful calls on this instance."""
        return self._local.successes

    @property
    def failures(self) -> Distribution:
        """The durations of failed calls on this instance."""
        return self._local.failures

    @property
    def blocked(self) -> int:
        """How many calls were not let through on this instance."""
        return self._local.blocked

    def acquire(self) -> Permit:
        """Leave to make one call now.

        Raises:
            CircuitOpenError: The circuit does not let it pass.
        """
        local = self._local
        admission = local.admission
        now = local.monotonic()
        generation = admission.generation  # first: it may change at any time, and so must be old
        if admission.closed:
            return self._permit(local, generation, now)
        if admission.trying:
            with local.lock:
                generation, taken = admission.generation, admission.take(now)
            if taken:
                return _TrialPermit(local, generation, now)
        local.block(now)
        raise rejected(local.name, admission.retry_after(now))

    def require(self) -> None:
        """Refuse to begin what will need this circuit later on, while it is open.

        It counts as a call that was not let through, and so as a wish for an attempt to recover.
        It takes no permit: a half-open circuit passes, and decides on the call itself.

        Raises:
            CircuitOpenError: The circuit is open.
        """
        local = self._local
        admission = local.admission
        if admission.state is State.OPEN:
            now = local.monotonic()
            local.block(now)
            raise rejected(local.name, admission.retry_after(now))

    def guard(self) -> Guard:
        """Guard a block: `async with breaker.guard():`, or `with breaker.guard():`.

        Raises:
            CircuitOpenError: On entering, if the circuit does not let the block run.
        """
        return Guard(self)

    async def execute(
        self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call an async function, unless the circuit is open, and take note of how it ends.

        Raises:
            CircuitOpenError: The circuit did not let the call pass.
        """
        local = self._local
        admission = local.admission
        generation = admission.generation
        if not admission.closed or not local.plain:
            return await _execute(self.acquire(), function, *args, **kwargs)
        # A permit in two local variables: this is the path of nearly all calls.
        began = local.monotonic()
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            Permit(local, generation, began).raised(error)
            raise
        ended = local.monotonic()
        local.succeeded(generation, ended, ended - began)
        return result

    def execute_sync(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for a plain function, from any thread.

        Raises:
            CircuitOpenError: The circuit did not let the call pass.
        """
        permit = self.acquire()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            permit.raised(error)
            raise
        permit.returned(result)
        return result

    def __call__(self, function: F) -> F:
        """Decorate a function, async or not: each call of it goes through `execute`.

        Raises:
            TypeError: It is a generator; guard the loop over it with `guard()` instead.
        """
        if isgeneratorfunction(function) or isasyncgenfunction(function):
            raise TypeError("a breaker cannot decorate a generator: use guard() around its loop")
        if iscoroutinefunction(function):

            @wraps(function)
            async def call(*args: Any, **kwargs: Any) -> Any:
                return await self.execute(function, *args, **kwargs)

            return cast(F, call)

        @wraps(function)
        def call_sync(*args: Any, **kwargs: Any) -> Any:
            return self.execute_sync(function, *args, **kwargs)

        return cast(F, call_sync)


async def _execute(
    permit: Permit, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    try:
        result = await function(*args, **kwargs)
    except BaseException as error:
        permit.raised(error)
        raise
    permit.returned(result)
    return result
