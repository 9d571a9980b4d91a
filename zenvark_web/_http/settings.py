"""How requests of one circuit, or one request, are treated otherwise than the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from .._core._checks import check_call, check_name
from .._core.states import Outcome
from .classify import Judge, judge
from .fallbacks import Fallbacks

WhenOpen: TypeAlias = Literal["respond", "raise"]
KEYS = frozenset({"name", "classify", "fallback", "when_open"})


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class RouteSettings:
    """A circuit's name, with settings that go before the transport's.

    Args:
        name: The circuit.
        classify: Tells the outcome of an exchange. None: the transport's.
        fallback: Makes the answer while the circuit is open. None: the transport's.
        when_open: `"respond"` or `"raise"`. None: the transport's.

    Raises:
        TypeError, ValueError: A setting is not usable; the message says what to pass.
    """

    name: str
    classify: Callable[[Any, Any], Outcome] | None = None
    fallback: Any = None
    when_open: WhenOpen | None = None

    def __post_init__(self) -> None:
        check_name("a route's name", self.name)
        if self.classify is not None:
            check_classify(self.classify)
        if self.when_open is not None:
            check_when_open(self.when_open)
        Fallbacks(self.fallback)

    @property
    def overrides(self) -> Mapping[str, Any]:
        """The settings that are not None."""
        settings = {
            "classify": self.classify,
            "fallback": self.fallback,
            "when_open": self.when_open,
        }
        return {name: value for name, value in settings.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Plan:
    """How a request is treated.

    Args:
        judge: Tells outcomes.
        fallbacks: Makes answers while the circuit is open.
        when_open: What the caller gets if there is no such answer.
        told: Which of these the request or its route says itself.
    """

    judge: Judge
    fallbacks: Fallbacks
    when_open: WhenOpen
    told: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def refined(self, settings: Mapping[str, Any], surface: Callable[[Exception], None]) -> Plan:
        """The same, but for some settings.

        Raises:
            TypeError, ValueError: A setting is not usable.
        """
        judging, fallbacks, when_open = self.judge, self.fallbacks, self.when_open
        if "classify" in settings:
            check_classify(settings["classify"])
            judging = judge(settings["classify"], surface)
        if "fallback" in settings:
            fallbacks = Fallbacks(settings["fallback"])
        if "when_open" in settings:
            check_when_open(settings["when_open"])
            when_open = settings["when_open"]
        return Plan(judging, fallbacks, when_open, {**self.told, **settings})


def check_classify(classify: object) -> None:
    """Refuse what is no classifier."""
    if not callable(classify) or isinstance(classify, type):
        raise TypeError(
            "classify must be callable, such as HttpClassifier() or a function of request and "
            f"response or exception, not {classify!r}"
        )
    check_call("classify", classify, "a request and its response or exception", None, None)


def check_when_open(when_open: object) -> None:
    """Refuse what is neither."""
    if when_open not in ("respond", "raise"):
        raise ValueError(f"when_open must be 'respond' or 'raise', not {when_open!r}")
