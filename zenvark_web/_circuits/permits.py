"""The permits for one call: of closed circuits, of trials, of steps and of inner calls."""

from __future__ import annotations

import sys
from functools import partial
from types import TracebackType
from typing import ClassVar

from .._core._checks import is_number
from .._core.states import ANSWERED, FAILURE, IGNORED, SUCCESS, Outcome
from .flows import (
    BEGAN,
    GENERATION,
    OWNER,
    WHOSE,
    Flow,
    begun,
    carrier,
    entered,
    ignored,
    last_word,
    left,
    owner,
    told,
)
from .local import LocalCircuit
from .stream_clocks import StreamClock


class Permit:
    """The permission for one call, whose outcome is recorded exactly once.

    As a context manager (`with` or `async with`), the permit records the outcome itself, unless the
    block has recorded it: the policy classifies an exception, and anything else is a success. Calls
    of the same circuit inside the block are part of this call: they are permitted, and all count
    once, as this call.

    Attributes:
        on_trial: Whether this is a trial permit of a half-open circuit.
        on_ramp: Whether a ramp permits this call of a half-open circuit.
        recorded: Whether the outcome has been recorded.
    """

    __slots__ = (
        "__weakref__",
        "_began",
        "_elapsed",
        "_flow",
        "_generation",
        "_local",
        "_paused",
        "recorded",
    )

    on_trial: ClassVar[bool] = False
    on_ramp: ClassVar[bool] = False

    def __init__(
        self, local: LocalCircuit, generation: int, began: float, flow: Flow | None = None
    ) -> None:
        self._local = local
        self._generation = generation
        self._began = began
        self._elapsed: float | None = None
        self._paused: float | None = None
        self._flow = flow
        self.recorded: bool = False

    def __repr__(self) -> str:
        return f"<Permit {self._local.name!r} {'recorded' if self.recorded else 'open'}>"

    def adopt(self, flow: Flow) -> None:
        """Carry the flow of a call that began without a permit, which keeps this one from now."""
        self._flow = flow
        flow[OWNER] = lambda: self

    def stop_clock(self) -> None:
        """End the call's duration before its outcome is known. The time in which the caller reads
        a response's body then does not count."""
        monotonic = self._local.monotonic
        self._elapsed = self._time(monotonic())

    def pause_clock(self) -> None:
        """Pause the call's duration until `resume_clock`, while the call waits for its caller, such
        as for the next part of a request body."""
        if self._paused is None:
            self._paused = self._local.monotonic()

    def resume_clock(self) -> None:
        """Resume the call's duration after `pause_clock`."""
        if self._paused is not None:
            self._began += self._local.monotonic() - self._paused
            self._paused = None

    def carry(self) -> None:
        """Make further calls of the same circuit part of this call, in this task or thread and in
        tasks that start in it. For code that uses a permit without a `with` block; call `set_down`
        in the same task or thread.

        This ends when the permit is set down, recorded or lost. An async generator runs in the
        context of its consumer: while it is suspended inside a guarded block, its consumer's calls
        of the same circuit are also part of that call, and do not count by themselves. Close a
        generator that is not read to its end (`contextlib.aclosing`), and avoid `yield` in guarded
        blocks if the consumer calls the same circuit.
        """
        if self._flow is None:
            self._flow = begun(self._local, self._generation, self)
        else:
            entered(self._flow)

    def set_down(self) -> None:
        """End `carry`: further calls are not part of this call."""
        if self._flow is not None:
            left(self._flow)

    def record(
        self, outcome: Outcome, label: str = "", *, retry_after: float | None = None
    ) -> None:
        """Record the outcome of the call.

        If the last inner call of the same circuit has failed, this call is a failure too, whatever
        outcome is passed. If the last inner call was answered (`Outcome.ANSWERED`), a success of
        this call counts as answered.

        Args:
            outcome: The outcome.
            label: The name of a failure (an exception's name, a status), for the explanation of an
                opening.
            retry_after: The Retry-After deadline of a failure, in seconds from now (for HTTP,
                `Retry-After`, RFC 9110, section 10.2.3). While the circuit is open, the fleet makes
                no recovery attempt before the deadline. If several deadlines are received, the
                latest applies, up to the policy's `max_retry_after`. Negative, infinite and
                not-a-number values are ignored.

        Raises:
            RuntimeError: The outcome has been recorded already.
            TypeError: An argument has a wrong type; nothing is recorded.
        """
        if self.recorded:
            raise RuntimeError(f"the outcome of {self!r} has been recorded already")
        if (
            outcome.__class__ is not Outcome
            or label.__class__ is not str
            or retry_after is not None
        ):
            _check_told(outcome, label, retry_after)
        self.recorded = True
        if self._flow is not None:
            outcome, label = last_word(self._flow, outcome, label)
        self._settle(outcome, label, retry_after)

    def hold_off(self, seconds: float) -> None:
        """Report that the upstream wants no calls for a while, whatever the outcome of this call:
        for answers that are no failures, such as a success that says that it was the last one of a
        minute (for HTTP, `RateLimit`). Call it before the outcome is recorded.

        It applies like the `retry_after` of a failure. With the policy's `throttle="open"`, it
        opens the circuit for just that wait.

        Args:
            seconds: The seconds from now, up to the policy's `max_retry_after`. Negative, infinite
                and not-a-number values are ignored.

        Raises:
            TypeError: `seconds` is not a number.
        """
        if not is_number(seconds):
            raise TypeError(f"seconds must be a number, not {seconds!r}")
        if self._applies:
            self._local.hold_off(seconds, self._local.monotonic())

    @property
    def obeys_waits(self) -> bool:
        """Whether the policy opens the circuit for a wait that an upstream names."""
        return self._local.obeys_waits

    @property
    def _applies(self) -> bool:
        """Whether what the upstream says to this call may change the circuit."""
        return True

    def returned(self, result: object) -> None:
        """Record the result of the call; the policy classifies it.

        Raises:
            RuntimeError: The outcome has been recorded already.
        """
        self.record(self._local.outcomes.of_result(result), type(result).__name__)

    def raised(self, error: BaseException) -> None:
        """Record the exception of the call; the policy classifies it.

        A cancellation is ignored, unless the call had exceeded the policy's `slow_call`, or nobody
        requested the cancellation of this task: then it is a failure. Rejections by another circuit
        and errors that were ignored for an inner call are ignored too. Each error of a group is
        classified, and one failure is enough.

        Raises:
            RuntimeError: The outcome has been recorded already.
            TypeError: `error` is not an exception; nothing is recorded.
        """
        if not isinstance(error, BaseException):
            raise TypeError(f"error must be an exception, not {error!r}")
        local = self._local
        if local.outcomes.cancelled_late(error, self._time(local.monotonic())):
            self.record(FAILURE, f"cancelled after more than {local.slow_after:g} s")
        else:
            self.record(*local.outcomes.of_error(error, ignored(self._flow)))

    def _time(self, now: float) -> float:
        """Return the call's duration in seconds, without pauses."""
        if self._elapsed is not None:
            return self._elapsed
        return (now if self._paused is None else self._paused) - self._began

    def _settle(self, outcome: Outcome, label: str, retry_after: float | None) -> None:
        if outcome is IGNORED:
            return
        local = self._local
        monotonic = local.monotonic
        now = monotonic()
        elapsed = self._time(now)
        if outcome is ANSWERED and elapsed <= local.slow_after:
            return
        if outcome is not FAILURE:  # a slow answered call counts as slow
            local.succeeded(self._generation, self._began, now, elapsed)
            return
        if retry_after is not None:
            local.extend_retry_after(retry_after, now)
        local.record(self._generation, label, self._began, now, elapsed)

    def __enter__(self) -> Permit:
        self.carry()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.set_down()
        if self.recorded:
            return
        if error is None:
            self.record(SUCCESS)
        else:
            self.raised(error)

    async def __aenter__(self) -> Permit:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)


class TimedPermit(Permit):
    """The permit of a circuit with `slow_call`, which is monitored in flight."""

    __slots__ = ()

    def __init__(self, local: LocalCircuit, generation: int, began: float) -> None:
        super().__init__(local, generation, began)
        local.begin(id(self), generation, began)

    def stop_clock(self) -> None:
        super().stop_clock()
        self._local.in_flight.end(id(self))

    def pause_clock(self) -> None:
        super().pause_clock()
        self._local.in_flight.end(id(self))

    def resume_clock(self) -> None:
        paused = self._paused is not None
        super().resume_clock()
        if paused and self._elapsed is None and not self.recorded:
            # From now: those under way stand in the order in which they become slow.
            self._local.begin(id(self), self._generation, self._local.monotonic())

    def _settle(self, outcome: Outcome, label: str, retry_after: float | None) -> None:
        self._local.in_flight.end(id(self))
        super()._settle(outcome, label, retry_after)

    def __del__(self) -> None:
        if not self.recorded:
            self._local.in_flight.end(id(self))


class TrialPermit(Permit):
    """A trial permit of a half-open circuit. It is returned or settled in every case."""

    __slots__ = ()

    on_trial = True

    def _settle(self, outcome: Outcome, label: str, retry_after: float | None) -> None:
        if outcome is ANSWERED:  # more than that is not asked of a trial
            outcome = SUCCESS
        super()._settle(outcome, label, retry_after)
        self._local.end_trial(self._generation, returned=outcome is IGNORED)

    def __del__(self) -> None:
        if not self.recorded:
            self.record(IGNORED)


class RampPermit(Permit):
    """The permit of a call in a ramp. It is counted like that of a closed circuit, and in flight
    until it is recorded or lost."""

    __slots__ = ()

    on_ramp = True

    def _settle(self, outcome: Outcome, label: str, retry_after: float | None) -> None:
        super()._settle(outcome, label, retry_after)
        self._local.end_trial(self._generation, returned=False)

    def __del__(self) -> None:
        if not self.recorded:
            self.record(IGNORED)


class TimedRampPermit(RampPermit, TimedPermit):
    """The permit of a call in a ramp of a circuit with `slow_call`."""

    __slots__ = ()


class UncountedPermit(Permit):
    """The permit of a call that only an override lets pass. Its outcome is shown in metrics, and
    changes no circuit."""

    __slots__ = ()

    @property
    def _applies(self) -> bool:
        return False

    def _settle(self, outcome: Outcome, label: str, retry_after: float | None) -> None:
        if outcome in (Outcome.SUCCESS, Outcome.FAILURE):
            now = self._local.monotonic()
            self._local.show(failed=outcome is Outcome.FAILURE, elapsed=self._time(now))


class CarriedPermit(Permit):
    """The permit of an inner call of the same circuit.

    Args:
        local: The circuit.
        generation: The generation of the call further out.
        began: The monotonic second.
        carrier: The flow that it is part of.
    """

    __slots__ = ("_carrier", "_error", "_handed_over", "_handled", "_trial", "counted")

    def __init__(self, local: LocalCircuit, generation: int, began: float, carrier: Flow) -> None:
        super().__init__(local, generation, began)
        self._carrier = carrier
        self.counted = _counts(owner(carrier))
        self._trial = not local.admission.closed and not local.admission.climbing
        self._handed_over = False
        self._error: BaseException | None = None
        self._handled = id(sys.exception())  # what is being handled already is none of this call's

    @property
    def _applies(self) -> bool:
        return self.counted

    def stop_clock(self) -> None:
        super().stop_clock()
        self._resume_outer()

    def pause_clock(self) -> None:
        """Pause the outer call too, which waits for the same caller."""
        super().pause_clock()
        outer = _permit_to_pause(self._carrier)
        if outer is not None:
            outer.pause_clock()

    def resume_clock(self) -> None:
        self._resume_outer()
        super().resume_clock()

    def _resume_outer(self) -> None:
        outer: Permit | None = owner(self._carrier)
        if outer is not None and self._paused is not None:
            outer.resume_clock()

    def set_down(self) -> None:
        """End `carry`: the outer call reports the results so far."""
        super().set_down()
        self._handed_over = self._carrier[WHOSE] is not None

    def raised(self, error: BaseException) -> None:
        self._error = error
        try:
            super().raised(error)
        finally:
            self._error = None

    def _settle(self, outcome: Outcome, label: str, retry_after: float | None) -> None:
        self._resume_outer()
        if self._carrier[WHOSE] is not None:
            if outcome is FAILURE and retry_after is not None and self.counted:
                self._local.extend_retry_after(retry_after, self._local.monotonic())
            told(self._carrier, outcome, label, self._error or self._its_own(sys.exception()))
        elif self.counted and not self._trial and not (self._handed_over and outcome is SUCCESS):
            super()._settle(outcome, label, retry_after)  # it went on by itself

    def _its_own(self, error: BaseException | None) -> BaseException | None:
        """Return the exception of this call, if the outcome is recorded while it is handled."""
        return error if id(error) != self._handled else None


class FurtherPermit(Permit):
    """The permit of a further step of a trial call, whose trial permit is settled."""

    __slots__ = ()

    def _settle(self, outcome: Outcome, label: str, retry_after: float | None) -> None:
        if outcome is FAILURE:  # a success would count twice
            super()._settle(outcome, label, retry_after)


class CheckPermit(Permit):
    """The permit of a call inside its circuit's health check; the check reports the outcome."""

    __slots__ = ()

    @property
    def _applies(self) -> bool:
        return False

    def _settle(self, outcome: Outcome, label: str, retry_after: float | None) -> None:
        pass


def permit_inside(local: LocalCircuit, outer: Flow) -> Permit | None:
    """Return the permit of an inner call, if an outer call of the circuit is in flight here.

    Args:
        local: The circuit that the call is for.
        outer: The innermost flow here.
    """
    flow = carrier(outer, local)
    if flow is None:
        return None
    now = local.monotonic()
    if flow[WHOSE] is local:
        return CarriedPermit(local, flow[GENERATION], now, flow)
    return CheckPermit(local, local.admission.generation, now)


def stream_clock(permit: Permit) -> StreamClock | None:
    """The clock of a call that streams a response, or None if its policy has no limit. The clock
    records the call as a failure when it passes its limit."""
    local: LocalCircuit = permit._local  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if local.stream_clocks is None:
        return None
    return StreamClock(local.stream_clocks, local.look_by, partial(permit.record, FAILURE))


def permit_of(flow: Flow) -> Permit:
    """The permit to settle a call that `Breaker.execute` holds in local variables.

    Args:
        flow: The call's.
    """
    permit: Permit | None = owner(flow)
    flow[OWNER] = None  # they would keep each other
    if permit is None:
        permit = Permit(flow[WHOSE], flow[GENERATION], flow[BEGAN], flow)
    return permit


def _permit_to_pause(flow: Flow) -> Permit | None:
    """The permit of a call further out. One that is held in local variables gets it now."""
    local: LocalCircuit | None = flow[WHOSE]
    permit: Permit | None = owner(flow)
    if flow[BEGAN] is None or flow[OWNER] is not None or local is None:
        return permit
    local.in_flight.end(id(flow))
    make = TimedPermit if local.times_calls else Permit
    permit = make(local, flow[GENERATION], flow[BEGAN])
    permit.adopt(flow)
    return permit


def _check_told(outcome: object, label: object, retry_after: object) -> None:
    if outcome.__class__ is not Outcome:
        raise TypeError(f"outcome must be an Outcome such as Outcome.FAILURE, not {outcome!r}")
    if not isinstance(label, str):
        raise TypeError(f"label must be a string such as 'HTTP 503', not {label!r}")
    if retry_after is not None and not is_number(retry_after):
        raise TypeError(f"retry_after must be a number of seconds or None, not {retry_after!r}")


def _counts(outer: Permit | None) -> bool:
    """Whether the outcome of a call inside another may change the circuit: not inside a call that
    is uncounted itself."""
    if isinstance(outer, CarriedPermit):
        return outer.counted
    return not isinstance(outer, UncountedPermit)
