"""All errors that this package raises or reports.

    ZenvarkError
    ├── CircuitOpenError       a circuit rejected the call
    ├── BodySentError          a failed request cannot be sent to another upstream
    ├── BackendError           Redis cannot be reached, or sent an unusable reply
    ├── FencedError            a leader tried to write after its lease had expired
    ├── MalformedEntryError    a shared stream contains an unreadable entry
    ├── ResultsLostError       results were dropped or expired before their evaluation
    ├── PolicyMismatchError    instances of one namespace have different policies or shards
    ├── OverrideConflictError  another override is in force than the one that was expected
    ├── OverrideLimitError     there are as many overrides as there may be
    ├── OverloadedError        an instance calls more new circuits than the leader can process
    ├── CommonCauseError       too many circuits failed together: the fleet opens no further ones
    ├── ClassifierError        `classify` raised, or returned no outcome
    ├── RoutingError           a circuit or route mapping raised, or returned an unusable value
    ├── StrategyError          a strategy or a backoff raised, or returned an unusable value
    ├── HealthCheckError       a health check failed, or is faulty
    ├── CallbackError          a callback such as `on_error` or `on_state_change` raised or hung
    ├── MetricsError           a metrics recorder raised
    └── StopError              a task or thread did not end with the coordinator

Only `CircuitOpenError` is raised by calls, and `BodySentError` by those with a fallback for failed
ones. `Coordinator.override` and `probe` raise `BackendError`,
`OverrideConflictError` and `OverrideLimitError` to the operator. All others occur in the background
and go to `on_error`, the `zenvark_web` logger and a counter. `ClassifierError` to `StopError` are
about code that users pass in; its exception is their `__cause__`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self


class ZenvarkError(Exception):
    """The base class of this package's errors.

    Args:
        args: The message.
        circuit: The affected circuit, if there is one.
        source: Another affected object, such as a callback.

    Errors of the same class, circuit and source are all counted, but only some of them are logged
    and passed to `on_error`.
    """

    circuit: str | None = None
    source: str = ""

    def __init__(self, *args: object, circuit: str | None = None, source: str = "") -> None:
        super().__init__(*args)
        self.circuit = circuit
        self.source = source

    @classmethod
    def because(
        cls, cause: BaseException, what: str, *, circuit: str | None = None, source: str = ""
    ) -> Self:
        """Create the error for an exception of user code.

        Args:
            cause: The exception.
            what: The operation that failed.
            circuit: The affected circuit, if there is one.
            source: Another affected object.
        """
        error = cls(f"{what}: {described(cause)}", circuit=circuit, source=source)
        error.__cause__ = cause
        return error


class CircuitOpenError(ZenvarkError):
    """The circuit rejected the call, which was not made.

    Args:
        name: The circuit's name.
        retry_after: Seconds until the next recovery attempt, as far as known; at most 60 while an
            operator holds the circuit open without an end.
        forced: Whether an operator holds the circuit open (`Override.FORCE_OPEN`).
    """

    if TYPE_CHECKING:

        def __init__(self, name: str, retry_after: float, forced: bool = False, /) -> None: ...

    else:
        # The constructor in C: it keeps the arguments in `args`, and takes a third of the time of
        # one in Python, for an error that a busy program raises for each rejected call.
        __init__ = Exception.__init__

    @property
    def name(self) -> str:
        """The circuit's name."""
        name: str = self.args[0]
        return name

    @property
    def retry_after(self) -> float:
        """Seconds until the next recovery attempt, as far as known."""
        seconds: float = self.args[1]
        return seconds

    @property
    def forced(self) -> bool:
        """Whether an operator holds the circuit open."""
        return True in self.args[2:]

    def __str__(self) -> str:
        if self.forced:
            return f"circuit {self.name!r} is held open by an operator"
        return f"circuit {self.name!r} is open, next attempt in {self.retry_after:.1f} s"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args  # without the request, which a client adds to its own


class BodySentError(ZenvarkError):
    """A call failed after its request's body was sent, which cannot be sent to another upstream.

    The body was produced while it was sent (a generator, a file). Pass it as bytes, or leave
    `"failed"` and `"throttled"` out of the fallback's `on`. The failure is the `__cause__`, if it
    was an exception.

    Args:
        name: The circuit's name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"a call of circuit {name!r} failed after the body of its request was sent, which was "
            "produced on the way and cannot be sent to another upstream: pass the body as bytes",
            circuit=name,
        )
        self.name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name,)


class BackendError(ZenvarkError):
    """Redis cannot be reached, refuses a command, or sent an unusable reply."""


class FencedError(ZenvarkError):
    """A write was refused because the leader's lease has expired or moved to another instance."""

    @classmethod
    def of(cls, epoch: int) -> FencedError:
        """Create the error of a leader whose lease had this epoch."""
        return cls(f"write refused: the lease of epoch {epoch} is over")


class MalformedEntryError(ZenvarkError):
    """A shared stream contains an unreadable entry, which was skipped."""


class ResultsLostError(ZenvarkError):
    """Call results were dropped (buffer full) or expired (too old) before their evaluation.

    Args:
        dropped: The number of results that exceeded the buffer.
        expired: The number of results that were too old to count.
    """

    def __init__(self, dropped: int, expired: int) -> None:
        super().__init__(dropped, expired)
        self.dropped = dropped
        self.expired = expired

    def __str__(self) -> str:
        return (
            f"call results were lost before the leader evaluated them: "
            f"{self.dropped} dropped, {self.expired} expired"
        )


class PolicyMismatchError(ZenvarkError):
    """Instances of one namespace have different policies or shards; the leader's apply."""


class OverrideConflictError(ZenvarkError):
    """Another override is in force than the one that was expected; nothing was written.

    Args:
        circuit: The circuit or pattern.
        expected: The number of the override that was expected; 0 for none.
        found: The number of the one that is in force; 0 for none.
    """

    def __init__(self, circuit: str, expected: int, found: int) -> None:
        super().__init__(circuit, expected, found, circuit=circuit)
        self.expected = expected
        self.found = found

    def __str__(self) -> str:
        return (
            f"the override of {self.circuit!r} was not changed: its number is {self.found}, not "
            f"{self.expected}; look at it and decide again"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.circuit, self.expected, self.found)


class OverrideLimitError(ZenvarkError):
    """There are as many overrides as there may be; nothing was written."""

    @classmethod
    def of(cls, most: int) -> OverrideLimitError:
        """Create the error for the maximum number of overrides."""
        return cls(f"there are {most} overrides, which is the most: lift some, or use a pattern")


class OverloadedError(ZenvarkError):
    """An instance calls more new circuits than the leader can process: some are skipped."""


class CommonCauseError(ZenvarkError):
    """More circuits failed together than `common_cause` permits: the fleet opens no further ones
    for 30 s, and each instance protects itself."""


class ClassifierError(ZenvarkError):
    """`classify` raised, or returned no `Outcome`: the default rules applied."""


class RoutingError(ZenvarkError):
    """A circuit or route mapping raised, or returned an unusable value."""


class StrategyError(ZenvarkError):
    """A strategy or backoff raised, or returned an unusable value: its circuit keeps its state."""


class HealthCheckError(ZenvarkError):
    """A health check failed, or is faulty and can never pass."""


class CallbackError(ZenvarkError):
    """A callback raised, hung, or was dropped because the callback queue was full."""


class MetricsError(ZenvarkError):
    """A metrics recorder raised."""


class StopError(ZenvarkError):
    """A task or thread of the coordinator did not end with it."""


def text_of(error: BaseException) -> str:
    """An error's text, or a substitute if the error's own `__str__` raises."""
    try:
        return str(error)
    except Exception:
        return "no text: its __str__ raised"


def described(error: BaseException) -> str:
    """An error's class and text."""
    text = text_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
