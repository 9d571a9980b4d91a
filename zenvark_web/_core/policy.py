"""The settings of a circuit."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from ._checks import check_call, check_number, check_whole
from .awaitables import is_async
from .backoff import LONGEST_WAIT, SHORTEST_WAIT, Backoff, ExponentialBackoff
from .patterns import NamePatterns
from .states import HealthCheckType, Outcome
from .strategies import ConsecutiveFailures, Strategy, judges_slow_calls

HealthCheck: TypeAlias = Callable[[HealthCheckType], Awaitable[object] | object]
"""A function that returns when the upstream is well, and raises (or returns False) when it is not.
A plain one, which may block, runs in a thread of its own; an async one in the coordinator's event
loop."""

LONGEST_RETRY_AFTER = 86_400.0
"""No policy lets an upstream ask for more seconds than this."""

Classify: TypeAlias = Callable[[Any], Outcome]
"""Takes a call's result or the exception it raised, tells its outcome."""


@runtime_checkable
class NamedHealthCheck(Protocol):
    """A health check that wants to know the circuit's name: one check for many circuits."""

    def for_circuit(self, name: str) -> HealthCheck:
        """The check of the circuit of that name."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When a circuit opens, and how it recovers. Immutable; every setting is checked on arrival.

    Args:
        strategy: When a closed circuit opens. Default: five failures in a row.
        health_check: Run by the leader alone while the circuit is open; the circuit closes when
            it passes. Async or plain; it takes the `HealthCheckType`. Its own calls pass the
            circuit, and do not count. Without one, the circuit recovers by trial calls.
        idle_interval: Seconds without a call after which the leader checks a closed circuit, and
            again after each such interval. Needs a health check. Default: never.
        backoff: The waits before each attempt to recover.
        healthy_after: Checks or trials in a row that must pass before the circuit closes.
        trial_calls: Calls that an attempt to recover lets through in the whole fleet, all of
            which must pass. For circuits without a health check.
        slow_call: Seconds; a call that takes longer is slow, also while it is under way, and if it
            is cancelled after that it is a failure. Default: none is.
        classify: Tells the outcome of a call made through `Breaker.execute`, `guard` or a
            decorator. Default: an exception is a failure, anything else a success; cancellation
            and a rejection by another circuit are ignored.
        max_retry_after: Seconds for which an upstream may ask to be left alone (the
            `retry_after` of `Permit.record`; for HTTP its `Retry-After`). An open circuit makes no
            attempt to recover before then. What is longer is cut to this, at most a day; 0 never
            heeds it.
        cut_off: What an instance does as long as it does not reach Redis. `"hold"`: it keeps the
            last state that the fleet gave. `"local"`: it judges by its own results as well,
            opens and recovers for itself alone, and takes the fleet's word again afterwards.

    Raises:
        TypeError, ValueError: A setting is not usable; the message says what to pass.
    """

    strategy: Strategy = ConsecutiveFailures(5)
    health_check: HealthCheck | NamedHealthCheck | None = None
    idle_interval: float | None = None
    backoff: Backoff = field(default_factory=ExponentialBackoff)
    healthy_after: int = 1
    trial_calls: int = 1
    slow_call: float | None = None
    classify: Classify | None = None
    max_retry_after: float = 300.0
    cut_off: Literal["hold", "local"] = "hold"

    def __post_init__(self) -> None:
        self._check_parts()
        check_whole("healthy_after", self.healthy_after, most=1000)
        check_whole("trial_calls", self.trial_calls, most=1000)
        if self.slow_call is not None:
            check_number("slow_call", self.slow_call, above=0, most=LONGEST_WAIT, unit="seconds")
        check_number(
            "max_retry_after",
            self.max_retry_after,
            least=0,
            most=LONGEST_RETRY_AFTER,
            unit="seconds",
        )
        if judges_slow_calls(self.strategy) and self.slow_call is None:
            raise ValueError(
                "slow_rate needs slow_call: pass the seconds after which a call is slow"
            )
        self._check_idle_interval()
        if self.cut_off not in ("hold", "local"):
            raise ValueError(f"cut_off must be 'hold' or 'local', not {self.cut_off!r}")

    def _check_parts(self) -> None:
        if isinstance(self.strategy, type) or not isinstance(self.strategy, Strategy):
            raise TypeError(
                "strategy must be a Strategy such as ConsecutiveFailures(5) or "
                f"CountWindow(100, 0.5), not {self.strategy!r}"
            )
        if isinstance(self.backoff, type) or not isinstance(self.backoff, Backoff):
            raise TypeError(
                "backoff must be a Backoff such as ConstantBackoff(5) or ExponentialBackoff(), "
                f"not {self.backoff!r}"
            )
        check_call("window of strategy", self.strategy.window, "no argument")
        check_call("delay of backoff", self.backoff.delay, "attempt and chance", 1, 0.5)
        self._check_health_check()
        if self.classify is not None:
            check_call("classify", self.classify, "a call's result or exception", None)
            if is_async(self.classify) or isinstance(self.classify, type):
                raise TypeError(
                    f"classify must be a plain function, which returns an Outcome at once, not "
                    f"{self.classify!r}"
                )

    def _check_health_check(self) -> None:
        check = self.health_check
        if isinstance(check, type):
            raise TypeError(
                f"health_check must be a function or an object, not the class {check!r}"
            )
        if isinstance(check, NamedHealthCheck):
            what = f"for_circuit of health_check {type(check).__qualname__}"
            check_call(what, check.for_circuit, "the circuit's name", "payments")
        elif check is not None:
            what = "the HealthCheckType for which it runs"
            check_call("health_check", check, what, HealthCheckType.RECOVERY)

    def _check_idle_interval(self) -> None:
        if self.idle_interval is None:
            return
        check_number("idle_interval", self.idle_interval, above=0, unit="seconds")
        check_number("idle_interval", self.idle_interval, least=SHORTEST_WAIT, most=LONGEST_WAIT)
        if self.health_check is None:
            raise ValueError("idle_interval needs a health_check to run")

    def health_check_of(self, circuit: str) -> HealthCheck:
        """The health check of one circuit.

        Raises:
            ValueError: It has none.
        """
        if self.health_check is None:
            raise ValueError(f"circuit {circuit!r} has no health check")
        if isinstance(self.health_check, NamedHealthCheck):
            return self.health_check.for_circuit(circuit)
        return self.health_check


class PolicyBook:
    """Which circuit has which policy.

    Args:
        default: For circuits that nothing else fits.
        policies: By circuit name, as `NamePatterns` takes them.
    """

    def __init__(self, default: BreakerPolicy, policies: Mapping[str, BreakerPolicy]) -> None:
        _check_policy("policy", default)
        if not isinstance(policies, Mapping):
            raise TypeError(
                "policies must be a mapping from circuits' names to policies, such as "
                f"{{'payments': BreakerPolicy()}}; the policy of all is policy=; not {policies!r}"
            )
        self._default = default
        self._patterns = NamePatterns("policies", policies)
        self.exact = self._patterns.exact
        for name, policy in policies.items():
            _check_policy(f"policies[{name!r}]", policy)

    def __getitem__(self, circuit: str) -> BreakerPolicy:
        return self._patterns.find(circuit) or self._default

    def all(self) -> Sequence[BreakerPolicy]:
        """Every policy in the book."""
        return [self._default, *self._patterns.values()]

    @property
    def fingerprint(self) -> str:
        """A short digest of everything that can be compared between processes: functions are
        named, not compared."""
        lines = [described(self._default)]
        lines += [f"{name}={described(policy)}" for name, policy in sorted(self.exact.items())]
        lines += [f"{each.pattern}={described(policy)}" for each, policy in self._patterns.patterns]
        return hashlib.sha256("\n".join(lines).encode("utf-8", "replace")).hexdigest()[:16]


def _check_policy(what: str, policy: object) -> None:
    if not isinstance(policy, BreakerPolicy):
        raise TypeError(f"{what} must be a BreakerPolicy, not {policy!r}")


def described(part: object) -> str:
    """A setting as text that is the same in every process, as far as it can be compared."""
    if isinstance(part, int | float):
        return repr(float(part))  # 5 and 5.0 are the same setting
    kind = type(part)
    if kind in (str, tuple, range):
        return repr(part)
    if is_dataclass(kind):
        inner = ", ".join(described(getattr(part, f.name)) for f in fields(kind))
        return f"{kind.__qualname__}({inner})"
    return getattr(part, "__qualname__", kind.__qualname__)
