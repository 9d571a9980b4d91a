"""Calls with two circuits: one of the provider, and one of the key by which it is called."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from .._circuits.flows import Flow
from .._core._checks import check_name
from .._core.states import ANSWERED, FAILURE, IGNORED, Outcome
from ..breaker import Breaker, Permit
from ..exceptions import CircuitOpenError
from .circuit_names import fitting_name

KEY_STATUSES = frozenset({401, 402, 403, 429})
"""Statuses that are about the caller: its credentials, its account, its rate."""

DIGITS = 16
"""The length of a digest. Of a million keys, two share one with a probability below 10^-7."""

SHORTEST_SECRET = 24
"""The shortest run of capitals, small letters and digits that passes for a secret."""

_PREFIXES = re.compile(
    r"(?<![a-z0-9])(bearer |basic |[spr]k[-_]|gsk_|hf_|gh[a-z]_|xox[a-z]-|akia|aiza|ya29\.)",
    re.IGNORECASE,
)


def key_name(provider: str, key: str | bytes) -> str:
    """The name of the circuit of a key: the provider's name and a digest of the key, such as
    `openai#5f2c81d09be4a37e`.

    The digest is the beginning of the key's SHA-256, so that the same key has the same circuit in
    all processes, and its name, which appears in logs, metrics and Redis, does not reveal it. That
    holds for keys that cannot be guessed: do not use it for passwords.

    Args:
        provider: The name of the provider's circuit.
        key: The key, or the value of the header that contains it.

    Raises:
        TypeError, ValueError: An argument is not usable.
    """
    check_name("provider", provider)
    if not isinstance(key, str | bytes):
        raise TypeError(f"key must be a string or bytes, not {type(key).__name__}")
    if not key:
        raise ValueError("key must not be empty: return the provider's name for calls without one")
    data = key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key
    return fitting_name(f"{provider}#{hashlib.sha256(data).hexdigest()[:DIGITS]}")


@dataclass(frozen=True, slots=True)
class Scoped:
    """The two circuits of a call: the provider's, which all keys share, and the key's.

        def circuits(request):
            key = request.headers["Authorization"]
            return Scoped(provider="openai", key=key_name("openai", key))

    Both must permit the call. The statuses of the key count as failures of the key's circuit alone:
    for the provider's, they prove that it is reachable (`Outcome.ANSWERED`), and their Retry-After
    applies to the key. All other failures count for the provider's circuit alone, and successes
    for both.

    If the key's circuit rejects the call, the provider's permit is returned. The request's fallback
    is that of the circuit that rejects the call, by its name.

    Args:
        provider: The name of the provider's circuit.
        key: The name of the key's circuit, by `key_name`: a digest, never the key itself.
        key_statuses: The statuses that are about the key. Default: 401, 402, 403 and 429.

    Raises:
        TypeError, ValueError: A setting is not usable; the message says what to pass.
    """

    provider: str
    key: str
    key_statuses: Collection[int] = field(default=KEY_STATUSES)

    def __post_init__(self) -> None:
        check_name("provider", self.provider)
        if not isinstance(self.key, str):
            raise TypeError(f"key must be a string, not {type(self.key).__name__}")
        if _may_be_secret(self.key):  # which no message may show
            raise ValueError(
                "key looks like a key itself, which would appear in logs, metrics and Redis: pass "
                f"key_name({self.provider!r}, key), which is a digest of it"
            )
        check_name("key", self.key)
        if self.key == self.provider:
            raise ValueError("key must not be the provider's name: pass key_name(provider, key)")
        object.__setattr__(self, "key_statuses", _checked_statuses(self.key_statuses))


def _may_be_secret(name: str) -> bool:
    # A name of one alphabet, as digests have, is none.
    words = re.findall(rf"[A-Za-z0-9]{{{SHORTEST_SECRET},}}", name)
    mixed = any(
        re.search("[A-Z]", word) and re.search("[a-z]", word) and re.search("[0-9]", word)
        for word in words
    )
    return mixed or _PREFIXES.search(name) is not None


def _checked_statuses(statuses: object) -> frozenset[int]:
    if isinstance(statuses, str | bytes) or not isinstance(statuses, Collection):
        raise TypeError(f"key_statuses must be a set of statuses such as {{429}}, not {statuses!r}")
    checked = frozenset[Any](statuses)  # pyright: ignore[reportUnknownArgumentType]
    for status in checked:
        if isinstance(status, bool) or not isinstance(status, int):
            raise TypeError(f"key_statuses must contain whole numbers, not {status!r}")
        if not 400 <= status <= 599:
            raise ValueError(f"key_statuses must be from 400 to 599, not {status!r}")
    if not checked:
        raise ValueError("key_statuses must not be empty: without any, the key needs no circuit")
    return checked


Classify = Callable[[Any, Any], Outcome]


class ScopedBreaker(Breaker):
    """The breaker of one request with two circuits.

    To everything that needs one circuit, it is the provider's breaker.

    Args:
        provider: The provider's breaker.
        key: The key's breaker.
        statuses: The statuses of the key.

    Attributes:
        parts: Both breakers, in the order in which they are asked.
        concerns_key: Whether the response was about the key.
    """

    __slots__ = ("_statuses", "concerns_key", "parts", "rejected_by")

    def __init__(self, provider: Breaker, key: Breaker, statuses: Collection[int]) -> None:
        super().__init__(provider._local)  # noqa: SLF001
        self.parts = provider, key
        self.concerns_key = False
        self.rejected_by: Breaker | None = None
        self._statuses = statuses

    @property
    def state(self) -> Any:
        """The state of the circuit that has rejected the call, or else of the provider's."""
        return (self.rejected_by or self.parts[0]).state

    def noting(self, classify: Classify) -> Classify:
        """A classifier for which the key's statuses are failures, and are noted."""

        def classify_and_note(request: Any, ended: Any) -> Outcome:
            if getattr(ended, "status_code", None) in self._statuses:
                self.concerns_key = True
                return FAILURE
            return classify(request, ended)

        return classify_and_note

    def admit_each(
        self, admit: Callable[[Breaker], Permit | CircuitOpenError]
    ) -> Permit | CircuitOpenError:
        """The permits of both circuits as one, or the error of the one that rejects the call.

        Args:
            admit: Asks one breaker.
        """
        provider, key = self.parts
        first = admit(provider)
        if isinstance(first, CircuitOpenError):
            self.rejected_by = provider
            return first
        try:
            second = admit(key)
        except BaseException:
            first.record(IGNORED)
            raise
        if isinstance(second, CircuitOpenError):
            first.record(IGNORED)
            self.rejected_by = key
            return second
        return _permit_of(self, first, second)

    def acquire(self) -> Permit:
        admitted = self.admit_each(lambda part: part.acquire())
        if isinstance(admitted, CircuitOpenError):
            raise admitted
        return admitted

    def _admit(self, outer: Flow | None) -> Permit | CircuitOpenError:
        return self.admit_each(lambda part: part._admit(outer))  # noqa: SLF001


class ScopedPermit(Permit):
    """The permits of both circuits for one call.

    Args:
        breaker: The breaker of the request.
        provider: The provider's permit.
        key: The key's permit.
    """

    __slots__ = ("_breaker", "_key", "_provider")

    def __init__(self, breaker: ScopedBreaker, provider: Permit, key: Permit) -> None:
        super().__init__(provider._local, provider._generation, provider._began)  # noqa: SLF001
        self._breaker = breaker
        self._provider = provider
        self._key = key

    @property
    def obeys_waits(self) -> bool:
        return self._key.obeys_waits

    def hold_off(self, seconds: float) -> None:
        self._key.hold_off(seconds)

    def stop_clock(self) -> None:
        self._provider.stop_clock()
        self._key.stop_clock()

    def pause_clock(self) -> None:
        self._provider.pause_clock()
        self._key.pause_clock()

    def resume_clock(self) -> None:
        self._provider.resume_clock()
        self._key.resume_clock()

    def carry(self) -> None:
        self._provider.carry()
        self._key.carry()

    def set_down(self) -> None:
        self._key.set_down()
        self._provider.set_down()

    def record(
        self, outcome: Outcome, label: str = "", *, retry_after: float | None = None
    ) -> None:
        self.recorded = True
        about_key = self._breaker.concerns_key and outcome is FAILURE
        try:
            if about_key:
                self._provider.record(ANSWERED)
            else:
                self._provider.record(outcome, label, retry_after=retry_after)
        finally:
            if about_key:
                self._key.record(outcome, label, retry_after=retry_after)
            else:
                self._key.record(IGNORED if outcome is FAILURE else outcome)

    def raised(self, error: BaseException) -> None:
        self.recorded = True
        try:
            self._provider.raised(error)
        finally:
            self._key.record(IGNORED)


class _OnTrial(ScopedPermit):
    __slots__ = ()

    on_trial = True


class _OnRamp(ScopedPermit):
    __slots__ = ()

    on_ramp = True


def _permit_of(breaker: ScopedBreaker, provider: Permit, key: Permit) -> ScopedPermit:
    if provider.on_trial or key.on_trial:
        return _OnTrial(breaker, provider, key)
    if provider.on_ramp or key.on_ramp:
        return _OnRamp(breaker, provider, key)
    return ScopedPermit(breaker, provider, key)
