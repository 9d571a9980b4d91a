"""The settings of a circuit."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from ._checks import check_call, check_number, check_whole
from .awaitables import is_async
from .backoff import LONGEST_WAIT, SHORTEST_WAIT, Backoff, ExponentialBackoff, check_forgive
from .patterns import NamePatterns
from .quorum import check_quorum
from .ramp import check_step, checked_shares
from .states import HealthCheckType, Outcome
from .strategies import ConsecutiveFailures, Strategy, judges_slow_calls

HealthCheck: TypeAlias = Callable[[HealthCheckType], Awaitable[object] | object]
"""A function that returns if the upstream is healthy, and raises (or returns False) otherwise. A
plain function may block and runs in a thread of its own; an async one runs in the coordinator's
event loop."""

LONGEST_RETRY_AFTER = 86_400.0
"""The upper limit of `max_retry_after`, in seconds."""

OF_THIS_INSTANCE = {"judges": False}
"""The metadata of settings that do not change how a leader judges: instances may differ in them."""

Classify: TypeAlias = Callable[[Any], Outcome]
"""Maps a call's result or exception to its outcome."""


@runtime_checkable
class NamedHealthCheck(Protocol):
    """A health check for many circuits, which depends on the circuit's name."""

    def for_circuit(self, name: str) -> HealthCheck:
        """Return the health check of the circuit with that name."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When a circuit opens, and how it recovers. Immutable; all settings are validated at creation.

    Args:
        strategy: Decides when a closed circuit opens. Default: five consecutive failures.
        health_check: An async or plain function of the `HealthCheckType` that only the leader runs
            while the circuit is open; the circuit closes when it passes. Calls of the check itself
            are permitted and not counted. Without a health check, the circuit recovers by trial
            calls.
        idle_interval: Seconds without a call after which the leader checks a closed circuit, and
            again after each such interval. Requires a health check. Default: no idle checks.
        backoff: The waits before the recovery attempts.
        forgive: The seconds for which a closed circuit must stay closed to make its next wait
            shorter by one step of the backoff, above 0. A circuit that opens again soon continues
            with a longer wait. `math.inf` never forgets. Default: 60.
        healthy_after: The number of consecutive checks or trial calls that must pass before the
            circuit closes.
        trial_calls: The number of calls that a recovery attempt permits in the whole fleet. All of
            them must pass. Applies to circuits without a health check.
        ramp: The shares of calls, strictly rising between 0 and 1, that a recovered circuit permits
            before it closes, such as `(0.1, 0.25, 0.5)`; at most 20. The calls are counted like
            those of a closed circuit, and the circuit opens again if they trip its strategy.
            Default: none, the circuit closes at once.
        ramp_step: The seconds for which each share of the ramp applies, from 0.5 to 3600.
        slow_call: Seconds after which a call counts as slow, even in flight. A call that is
            cancelled after that is a failure. Default: no call is slow.
        first_chunk: Seconds that a call through a transport may wait for the first byte of the
            response's body, from its start. A call that has waited longer is a failure ("no first
            chunk"), counted while it is still in flight; it goes on until its own timeout. The time
            in which the caller produces the request, or does not read, does not count. Default: no
            limit.
        stall: Seconds that such a call may wait for each further chunk of the body ("stalled").
            Default: no limit.
        classify: Decides the outcome of a call through `Breaker.execute`, `guard` or a decorator.
            Default: an exception is a failure, and anything else a success; cancellations and
            rejections by another circuit are ignored.
        max_retry_after: The maximum length of a Retry-After deadline in seconds, at most a day (the
            `retry_after` of `Permit.record`; for HTTP, the `Retry-After` header). An open circuit
            makes no recovery attempt before the deadline. Longer values are reduced to this
            maximum; 0 turns deadlines off.
        throttle: The effect of an answer that names a wait, such as a 429 with `Retry-After`, or a
            success that says that no further call is left (`Permit.hold_off`). `"count"` counts a
            failure like any other. `"open"` opens the circuit for just that wait, after one answer
            on any instance; the next failed attempt waits no longer for it. After the wait, the
            `ramp` follows at once if there is one, and otherwise the health check or trial calls.
        cut_off: The behaviour of an instance that cannot reach Redis. `"hold"` keeps the fleet's
            last state. `"local"` decides by the instance's own results, opens and recovers for this
            instance only, and returns to the fleet's state afterwards.
        observe: Shadow mode: this instance reports results as ever, and permits all calls, also
            those that the circuit would reject (`Breaker.would_block`). An operator's override
            takes precedence. Instances may differ in this setting.

    Raises:
        TypeError, ValueError: A setting is not usable; the message says what to pass.
    """

    strategy: Strategy = ConsecutiveFailures(5)
    health_check: HealthCheck | NamedHealthCheck | None = None
    idle_interval: float | None = None
    backoff: Backoff = field(default_factory=ExponentialBackoff)
    healthy_after: int = 1
    trial_calls: int = 1
    ramp: Sequence[float] = ()
    ramp_step: float = 5.0
    forgive: float = 60.0
    slow_call: float | None = None
    first_chunk: float | None = field(default=None, metadata=OF_THIS_INSTANCE)
    stall: float | None = field(default=None, metadata=OF_THIS_INSTANCE)
    classify: Classify | None = None
    max_retry_after: float = 300.0
    throttle: Literal["count", "open"] = "count"
    cut_off: Literal["hold", "local"] = field(default="hold", metadata=OF_THIS_INSTANCE)
    observe: bool = field(default=False, metadata=OF_THIS_INSTANCE)
    quorum: int | float = field(default=1, metadata={"exact": True})  # 1 is one, 1.0 is all

    def __post_init__(self) -> None:
        self._check_parts()
        check_whole("healthy_after", self.healthy_after, most=1000)
        check_whole("trial_calls", self.trial_calls, most=1000)
        object.__setattr__(self, "ramp", checked_shares(self.ramp))
        check_step(self.ramp_step)
        check_forgive(self.forgive)
        for name in ("slow_call", "first_chunk", "stall"):
            limit = getattr(self, name)
            if limit is not None:
                check_number(name, limit, above=0, most=LONGEST_WAIT, unit="seconds")
        check_number(
            "max_retry_after",
            self.max_retry_after,
            least=0,
            most=LONGEST_RETRY_AFTER,
            unit="seconds",
        )
        self._check_throttle()
        if judges_slow_calls(self.strategy) and self.slow_call is None:
            raise ValueError(
                "slow_rate requires slow_call: pass the seconds after which a call is slow"
            )
        self._check_idle_interval()
        if self.cut_off not in ("hold", "local"):
            raise ValueError(f"cut_off must be 'hold' or 'local', not {self.cut_off!r}")
        if not isinstance(self.observe, bool):
            raise TypeError(f"observe must be True or False, not {self.observe!r}")
        check_quorum(self.quorum)

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

    def _check_throttle(self) -> None:
        if self.throttle not in ("count", "open"):
            raise ValueError(f"throttle must be 'count' or 'open', not {self.throttle!r}")
        if self.throttle == "open" and not self.max_retry_after:
            raise ValueError(
                "throttle='open' requires max_retry_after above 0: pass the longest wait to obey"
            )

    def _check_idle_interval(self) -> None:
        if self.idle_interval is None:
            return
        check_number("idle_interval", self.idle_interval, above=0, unit="seconds")
        check_number("idle_interval", self.idle_interval, least=SHORTEST_WAIT, most=LONGEST_WAIT)
        if self.health_check is None:
            raise ValueError("idle_interval requires a health_check")

    @property
    def times_calls(self) -> bool:
        """Whether a limit applies to calls in flight."""
        return any(limit is not None for limit in (self.slow_call, self.first_chunk, self.stall))

    def health_check_of(self, circuit: str) -> HealthCheck:
        """Return the health check of one circuit.

        Raises:
            ValueError: The policy has no health check.
        """
        if self.health_check is None:
            raise ValueError(f"circuit {circuit!r} has no health check")
        if isinstance(self.health_check, NamedHealthCheck):
            return self.health_check.for_circuit(circuit)
        return self.health_check


class PolicyBook:
    """The policies by circuit name.

    Args:
        default: The policy of circuits without a match.
        policies: Policies by circuit name, with the patterns of `NamePatterns`.

    Attributes:
        default: The same.
        named: The policies by name.
        exact: Those whose name is no pattern.
    """

    def __init__(self, default: BreakerPolicy, policies: Mapping[str, BreakerPolicy]) -> None:
        _check_policy("policy", default)
        if not isinstance(policies, Mapping):
            raise TypeError(
                "policies must be a mapping from circuits' names to policies, such as "
                f"{{'payments': BreakerPolicy()}}; the policy of all is policy=; not {policies!r}"
            )
        self.default: BreakerPolicy = default
        self.named: dict[str, BreakerPolicy] = dict(policies)
        self._patterns = NamePatterns("policies", policies)
        self.exact: Mapping[str, BreakerPolicy] = self._patterns.exact
        for name, policy in policies.items():
            _check_policy(f"policies[{name!r}]", policy)

    def __getitem__(self, circuit: str) -> BreakerPolicy:
        return self._patterns.find(circuit) or self.default

    def all(self) -> Sequence[BreakerPolicy]:
        """All policies, including the default."""
        return [self.default, *self._patterns.values()]

    def changed(self, change: Callable[[BreakerPolicy], BreakerPolicy]) -> PolicyBook:
        """Create a book with changed policies."""
        policies = {name: change(policy) for name, policy in self.named.items()}
        return PolicyBook(change(self.default), policies)

    @property
    def fingerprint(self) -> str:
        """A short digest of `text`."""
        return digest_of(self.text)

    @property
    def text(self) -> str:
        """The settings by which a leader judges, one on each line, as far as they can be compared
        between processes. Functions enter by name."""
        return self._text(judging=True)

    @property
    def local_text(self) -> str:
        """The other settings, in the same form: they concern only this instance."""
        return self._text(judging=False)

    def _text(self, *, judging: bool) -> str:
        named = [("(default)", self.default), *sorted(self.exact.items())]
        named += [(name, self.named[name]) for name in self._patterns.names]
        return "\n".join(
            f"{name}: {setting.name}={_described_field(policy, setting)}"
            for name, policy in named
            for setting in fields(policy)
            if _judges(setting) is judging
        )


def digest_of(text: str) -> str:
    """Return a short digest of a text of policies."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def _check_policy(what: str, policy: object) -> None:
    if not isinstance(policy, BreakerPolicy):
        raise TypeError(f"{what} must be a BreakerPolicy, not {policy!r}")


def described(part: object) -> str:
    """Return a text of a setting that is the same in every process, as far as possible."""
    if part is None or isinstance(part, bool):
        return repr(part)
    if isinstance(part, int | float):
        return repr(float(part))  # 5 and 5.0 are the same setting
    kind = type(part)
    if kind in (str, tuple, range):
        return repr(part)
    if is_dataclass(kind):
        inner = ", ".join(_described_field(part, each) for each in fields(kind) if _judges(each))
        return f"{kind.__qualname__}({inner})"
    return getattr(part, "__qualname__", kind.__qualname__)


def _judges(setting: Field[Any]) -> bool:
    return bool(setting.metadata.get("judges", True))


def _described_field(part: object, setting: Field[Any]) -> str:
    value = getattr(part, setting.name)
    return repr(value) if setting.metadata.get("exact") else described(value)
