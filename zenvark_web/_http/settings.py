"""How requests of one circuit, or one request, are treated otherwise than the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from .._core._checks import check_call
from .classify import Judge, judge
from .fallbacks import Fallbacks

WhenOpen: TypeAlias = Literal["respond", "raise"]
KEYS = frozenset({"name", "classify", "fallback", "when_open"})


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
