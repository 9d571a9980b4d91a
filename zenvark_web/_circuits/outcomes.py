"""The outcome of a call, from its result or its exception."""

from __future__ import annotations

from collections.abc import Sequence

from .._core.policy import BreakerPolicy, Classify
from .._core.states import ANSWERED, FAILURE, IGNORED, SUCCESS, Outcome
from .._rejections import leaves_that_count, stems_from
from .._runtime.cancellations import is_cancellation, nobody_asked_for
from .._runtime.notifier import Notifier
from ..exceptions import ClassifierError


class Outcomes:
    """Classifies the calls of one circuit.

    Args:
        circuit: The circuit's name.
        policy: Its settings.
        notifier: Reports errors of the user's classifier.
    """

    __slots__ = ("_circuit", "_classify", "notifier", "slow_after")

    def __init__(self, circuit: str, policy: BreakerPolicy, notifier: Notifier) -> None:
        self._circuit: str = circuit
        self._classify: Classify | None = policy.classify
        self.slow_after: float = policy.slow_call or float("inf")
        self.notifier: Notifier = notifier

    def of_result(self, result: object) -> Outcome:
        """Return the outcome of a call that returned."""
        if self._classify is None:
            return SUCCESS
        return self._classified(self._classify, result, SUCCESS)

    def of_error(
        self, error: BaseException, ignored: Sequence[BaseException] = ()
    ) -> tuple[Outcome, str]:
        """The outcome of a call that raised, and its label if it is a failure.

        In a group, rejections do not count, and one failure among the others fails the call.

        Args:
            error: The exception.
            ignored: Errors that do not count, nor do errors that were raised from them.
        """
        outcomes = [
            (self._of_leaf(leaf), type(leaf).__name__)
            for leaf in leaves_that_count(error)
            if not (ignored and stems_from(leaf, ignored))
        ]
        return max(outcomes, key=_weight, default=(IGNORED, ""))

    def _of_leaf(self, error: BaseException) -> Outcome:
        """The outcome of one error. An error that is not an `Exception`, such as a cancellation,
        does not count, unless nobody requested the cancellation."""
        if nobody_asked_for(error):
            return FAILURE
        if not isinstance(error, Exception):
            return IGNORED
        if self._classify is None:
            return FAILURE
        return self._classified(self._classify, error, FAILURE)

    def cancelled_late(self, error: BaseException, elapsed: float) -> bool:
        """Whether a call was cancelled after it had become slow. Under `asyncio.timeout`, an
        upstream that hangs causes nothing but cancellations."""
        return elapsed > self.slow_after and _is_cancelled(error)

    def _classified(self, classify: Classify, ended: object, otherwise: Outcome) -> Outcome:
        """The outcome of the user's classifier, or the default one if the classifier fails."""
        try:
            outcome: object = classify(ended)
            if isinstance(outcome, Outcome):
                return outcome
            raise TypeError(f"classify must return an Outcome, not {outcome!r}")
        except Exception as error:
            what = f"circuit {self._circuit!r}: classify failed"
            self.notifier.report_error(ClassifierError.because(error, what, circuit=self._circuit))
            return otherwise


WEIGHTS = {FAILURE: 3, SUCCESS: 2, ANSWERED: 1, IGNORED: 0}


def _weight(ended: tuple[Outcome, str]) -> int:
    return WEIGHTS[ended[0]]


def _is_cancelled(error: BaseException) -> bool:
    """Whether only cancellations count in an error."""
    counted = list(leaves_that_count(error))
    return bool(counted) and all(map(is_cancellation, counted))
