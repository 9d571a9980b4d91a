"""Every error this package raises or surfaces.

    ZenvarkError
    ├── CircuitOpenError       a circuit does not let this call pass
    ├── BackendError           the shared store is out of reach, or answers wrongly
    ├── FencedError            a leader tried to write after its lease had passed on
    ├── MalformedEntryError    something unreadable stands in a shared stream
    ├── ResultsLostError       results were dropped or expired before anyone could judge them
    ├── PolicyMismatchError    instances of one namespace have different policies or shards
    ├── OverloadedError        an instance calls more new circuits than the leader has time for
    ├── ClassifierError        `classify` raised, or gave no outcome
    ├── RoutingError           what tells a request's circuit or route raised, or gave no usable one
    ├── StrategyError          a strategy or a backoff raised, or gave something unusable
    ├── HealthCheckError       a health check failed, or can't work at all
    ├── CallbackError          `on_error`, `on_state_change` or `on_role_change` raised or hung
    ├── MetricsError           a metrics recorder raised
    └── StopError              something did not end with the coordinator

Only `CircuitOpenError` ever reaches a call. The others happen in the background and go to
`on_error`, the `zenvark_web` logger and a counter. Those from `ClassifierError` on are about what
users pass in; what that raised is their `__cause__`.
"""

from __future__ import annotations

from typing import Any, Self


class ZenvarkError(Exception):
    """The root of this package's errors.

    Args:
        args: The message.
        circuit: The circuit it is about, if it is about one.
        source: What else it is about, such as a callback.

    Of errors of one class about one circuit and source, only some are logged and told; all are
    counted.
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
        """The error for what a user's code has raised.

        Args:
            cause: What it has raised.
            what: What could not be done therefore.
            circuit: The circuit it is about, if it is about one.
            source: What else it is about.
        """
        error = cls(f"{what}: {described(cause)}", circuit=circuit, source=source)
        error.__cause__ = cause
        return error


class CircuitOpenError(ZenvarkError):
    """The circuit is open: the call was not made.

    Args:
        name: The circuit's name.
        retry_after: Seconds until the next attempt to recover, as far as it is known.
    """

    def __init__(self, name: str, retry_after: float) -> None:
        self.name = name
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"circuit {self.name!r} is open, next attempt in {self.retry_after:.1f} s"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.retry_after)


class BackendError(ZenvarkError):
    """The shared store cannot be reached, or refuses or misunderstands a command."""


class FencedError(ZenvarkError):
    """A write was refused because its leader's lease has passed to another instance."""

    @classmethod
    def of(cls, epoch: int) -> FencedError:
        """The error of a leader whose lease had this epoch."""
        return cls(f"the lease of epoch {epoch} is over")


class MalformedEntryError(ZenvarkError):
    """An entry in a shared stream could not be read; it was skipped."""


class ResultsLostError(ZenvarkError):
    """Call results were dropped (no room) or expired (too old) before they were judged.

    Args:
        dropped: How many found no room in the buffer.
        expired: How many had waited for too long to still count.
    """

    def __init__(self, dropped: int, expired: int) -> None:
        super().__init__(dropped, expired)
        self.dropped = dropped
        self.expired = expired

    def __str__(self) -> str:
        return (
            f"call results were lost on their way to the leader: "
            f"{self.dropped} dropped, {self.expired} expired"
        )


class PolicyMismatchError(ZenvarkError):
    """Instances of one namespace have different policies or shards; the leader's decide."""


class OverloadedError(ZenvarkError):
    """An instance calls more new circuits than the leader has time for: some are left out."""


class ClassifierError(ZenvarkError):
    """`classify` raised, or gave no `Outcome`: the default rules decided."""


class RoutingError(ZenvarkError):
    """What tells a request's circuit or route raised, or what it gave is not usable."""


class StrategyError(ZenvarkError):
    """A strategy or a backoff raised, or gave something unusable: its circuit stays as it is."""


class HealthCheckError(ZenvarkError):
    """A health check failed, or is made in a way that it can't ever pass."""


class CallbackError(ZenvarkError):
    """A callback raised, hung, or was left out because too many were waiting."""


class MetricsError(ZenvarkError):
    """A metrics recorder raised."""


class StopError(ZenvarkError):
    """Something that the coordinator ran did not let itself be ended with it."""


def text_of(error: BaseException) -> str:
    """An error's text, also where it can't be had: a user's error may be broken itself."""
    try:
        return str(error)
    except Exception:
        return "its text can't be had"


def described(error: BaseException) -> str:
    """An error's class and text."""
    text = text_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
