"""The settings that apply to a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from .._core._checks import check_call
from .classify import Classifier, safe
from .fallbacks import Fallbacks
from .judge_chunk import Judge, checked_judge

WhenOpen: TypeAlias = Literal["respond", "raise"]
KEYS = frozenset({"name", "classify", "fallback", "when_open", "judge_chunk"})


@dataclass(frozen=True, slots=True)
class ResolvedSettings:
    """The transport's settings, overridden by those of the route and of the request.

    Args:
        classify: Returns the outcome of an exchange.
        fallbacks: Make responses while the circuit is open.
        when_open: What the caller receives without such a response.
        judge_chunk: Returns the outcome that a line of an event stream means, or None.
        overrides: The settings of the route and of the request.
    """

    classify: Classifier
    fallbacks: Fallbacks
    when_open: WhenOpen
    judge_chunk: Judge | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def overridden(
        self, settings: Mapping[str, Any], report_error: Callable[[Exception], None]
    ) -> ResolvedSettings:
        """A copy in which some settings are overridden.

        Raises:
            TypeError, ValueError: A setting is not usable.
        """
        classify, fallbacks, when_open = self.classify, self.fallbacks, self.when_open
        judge_chunk = self.judge_chunk
        if "classify" in settings:
            check_classify(settings["classify"])
            classify = safe(settings["classify"], report_error)
        if "fallback" in settings:
            fallbacks = Fallbacks(settings["fallback"], report_error)
        if "when_open" in settings:
            check_when_open(settings["when_open"])
            when_open = settings["when_open"]
        if "judge_chunk" in settings:
            own = settings["judge_chunk"]
            judge_chunk = None if own is None else checked_judge(own, report_error)
        overrides = {**self.overrides, **settings}
        return ResolvedSettings(classify, fallbacks, when_open, judge_chunk, overrides)


def check_classify(classify: object) -> None:
    """Refuse an object that cannot classify exchanges."""
    if not callable(classify) or isinstance(classify, type):
        raise TypeError(
            "classify must be callable, such as HttpClassifier() or a function of request and "
            f"response or exception, not {classify!r}"
        )
    check_call("classify", classify, "a request and its response or exception", None, None)


def check_when_open(when_open: object) -> None:
    """Refuse any other value."""
    if when_open not in ("respond", "raise"):
        raise ValueError(f"when_open must be 'respond' or 'raise', not {when_open!r}")
