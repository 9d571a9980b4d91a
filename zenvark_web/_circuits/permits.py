"""Leave to make one call, of each kind that there is."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import ClassVar

from .._core._checks import is_number
from .._core.states import Outcome
from .flows import (
    GENERATION,
    WHOSE,
    Flow,
    begun,
    carrier,
    current,
    entered,
    ignored,
    last_word,
    left,
    owner,
    told,
)
from .local import LocalCircuit


class Permit:
    """Leave to make one call. Tell how it ended, exactly once.

    As a context manager (with `with` or `async with`) it tells that itself, unless the block has:
    an exception is judged as the policy says, anything else is a success. Calls of the same
    circuit inside the block are part of this one: they pass, and count once, as this one.

    Attributes:
        on_trial: Whether it is one of the few of a half-open circuit.
        recorded: Whether it has been told.
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

    def stop_clock(self) -> None:
        """End the time that counts as the call's duration, though its outcome is to come: what
        the caller does with a response's body does not make the upstream slow."""
        self._elapsed = self._time(self._local.monotonic())

    def pause_clock(self) -> None:
        """From now on, until `resume_clock`, no time counts as the call's duration: the call waits
        for its own caller, such as for the next part of a body."""
        if self._paused is None:
            self._paused = self._local.monotonic()

    def resume_clock(self) -> None:
        """The time counts again."""
        if self._paused is not None:
            self._began += self._local.monotonic() - self._paused
            self._paused = None

    def carry(self) -> None:
        """From here on, in this task or thread and those begun in it, calls of the same circuit
        are part of this one. For what acquires a permit and is no context manager; `set_down` it
        in the same task or thread.

        That holds until the permit is set down, told or lost. An async generator runs in the
        context of whoever asks it for the next item: while it stands still inside a guarded block,
        its consumer's calls of the same circuit are part of that call, too, and count no more than
        it does. So close a generator that is not read to its end (`contextlib.aclosing`), and keep
        `yield` out of guarded blocks where the consumer makes calls of the same circuit.
        """
        if self._flow is None:
            self._flow = begun(self._local, self._generation, self)
        else:
            entered(self._flow)

    def set_down(self) -> None:
        """From here on, calls are no part of this one any more."""
        if self._flow is not None:
            left(self._flow)

    def record(
        self, outcome: Outcome, label: str = "", *, retry_after: float | None = None
    ) -> None:
        """Tell how the call ended.

        If the last call of the same circuit that was part of this one has failed, this one has,
        whatever is told. If it was merely answered (`Outcome.ANSWERED`), a success is no more.

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
            TypeError: An argument is of a wrong type; nothing has been told then.
        """
        if self.recorded:
            raise RuntimeError(f"{self!r}: a permit's outcome is recorded once")
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

    def returned(self, result: object) -> None:
        """Tell that the call returned; the policy's classifier judges what.

        Raises:
            RuntimeError: The outcome has been told already.
        """
        self.record(self._local.outcomes.of_result(result), type(result).__name__)

    def raised(self, error: BaseException) -> None:
        """Tell that the call raised; the policy's classifier judges what.

        A cancellation is ignored, unless the call had taken longer than the policy's `slow_call`,
        or nobody has asked this task for it: then it is a failure. A rejection by another circuit
        is ignored, too, and an error with which a call that was part of this one has been
        ignored. Of a group, each error is judged, and one failure is enough.

        Raises:
            RuntimeError: The outcome has been told already.
            TypeError: It is no exception; nothing has been told then.
        """
        if not isinstance(error, BaseException):
            raise TypeError(f"error must be an exception, not {error!r}")
        local = self._local
        if local.outcomes.cancelled_late(error, self._time(local.monotonic())):
            self.record(Outcome.FAILURE, f"cancelled after more than {local.slow_after:g} s")
        else:
            self.record(*local.outcomes.of_error(error, ignored(self._flow)))

    def _time(self, now: float) -> float:
        """The seconds that count as the call's duration."""
        if self._elapsed is not None:
            return self._elapsed
        return (now if self._paused is None else self._paused) - self._began

    def _settle(self, outcome: Outcome, label: str, retry_after: float | None) -> None:
        if outcome is Outcome.IGNORED:
            return
        local = self._local
        now = local.monotonic()
        if outcome is Outcome.ANSWERED and self._time(now) <= local.slow_after:
            return
        if outcome is not Outcome.FAILURE:  # an answer that was slow tells at least that
            local.succeeded(self._generation, now, self._time(now))
            return
        if retry_after is not None:
            local.extend_retry_after(retry_after, now)
        local.record(self._generation, True, label, now, self._time(now))

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
            self.record(Outcome.SUCCESS)
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
    """One of a circuit that knows slow calls: it is looked after while it is under way."""

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
    """One of the few permits of a half-open circuit. It must come back, come what may."""

    __slots__ = ()

    on_trial = True

    def _settle(self, outcome: Outcome, label: str, retry_after: float | None) -> None:
        if outcome is Outcome.ANSWERED:  # more than that is not asked of a trial
            outcome = Outcome.SUCCESS
        super()._settle(outcome, label, retry_after)
        self._local.end_trial(self._generation, returned=outcome is Outcome.IGNORED)

    def __del__(self) -> None:
        if not self.recorded:
            self.record(Outcome.IGNORED)


class CarriedPermit(Permit):
    """One of a call that is part of another one of the same circuit.

    Args:
        local: The circuit.
        generation: The generation of the call further out.
        began: The monotonic second.
        carrier: The flow that it is part of.
    """

    __slots__ = ("_carrier", "_error", "_handed_over", "_handled", "_trial")

    def __init__(self, local: LocalCircuit, generation: int, began: float, carrier: Flow) -> None:
        super().__init__(local, generation, began)
        self._carrier = carrier
        self._trial = not local.admission.closed
        self._handed_over = False
        self._error: BaseException | None = None
        self._handled = id(sys.exception())  # what is being handled already is none of this call's

    def stop_clock(self) -> None:
        super().stop_clock()
        self._resume_outer()

    def pause_clock(self) -> None:
        """The call further out waits just as well."""
        super().pause_clock()
        outer: Permit | None = owner(self._carrier)
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
        """What it has brought so far is in the hands of the call further out, which tells of it."""
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
            if outcome is Outcome.FAILURE and retry_after is not None:
                self._local.extend_retry_after(retry_after, self._local.monotonic())
            told(self._carrier, outcome, label, self._error or self._its_own(sys.exception()))
        elif not self._trial and not (self._handed_over and outcome is Outcome.SUCCESS):
            super()._settle(outcome, label, retry_after)  # it went on by itself

    def _its_own(self, error: BaseException | None) -> BaseException | None:
        """What this call has raised, if it is told while that is being handled."""
        return error if id(error) != self._handled else None


class FurtherPermit(Permit):
    """One of a further step of what a trial permit has let through, which is settled."""

    __slots__ = ()

    def _settle(self, outcome: Outcome, label: str, retry_after: float | None) -> None:
        if outcome is Outcome.FAILURE:  # a success would count twice
            super()._settle(outcome, label, retry_after)


class CheckPermit(Permit):
    """One of a call that its circuit's health check makes: the check tells how it ended."""

    __slots__ = ()

    def _settle(self, outcome: Outcome, label: str, retry_after: float | None) -> None:
        pass


def permit_inside(local: LocalCircuit, now: float) -> Permit | None:
    """The permit of a call that is part of what is under way here, if it is part of anything.

    Args:
        local: The circuit that the call is for.
        now: The monotonic second.
    """
    flow = carrier(current.get(), local)
    if flow is None:
        return None
    if flow[WHOSE] is local:
        return CarriedPermit(local, flow[GENERATION], now, flow)
    return CheckPermit(local, local.admission.generation, now)


def _check_told(outcome: object, label: object, retry_after: object) -> None:
    if outcome.__class__ is not Outcome:
        raise TypeError(f"outcome must be an Outcome such as Outcome.FAILURE, not {outcome!r}")
    if not isinstance(label, str):
        raise TypeError(f"label must be a string such as 'HTTP 503', not {label!r}")
    if retry_after is not None and not is_number(retry_after):
        raise TypeError(f"retry_after must be a number of seconds or None, not {retry_after!r}")
