"""Errors say what happened, form one tree, and survive a trip to another process."""

import copy
import pickle
import re

import pytest

from zenvark_web import (
    BackendError,
    BodySentError,
    CallbackError,
    CircuitOpenError,
    ClassifierError,
    CommonCauseError,
    FencedError,
    HealthCheckError,
    MalformedEntryError,
    MetricsError,
    OverloadedError,
    OverrideConflictError,
    OverrideLimitError,
    PolicyMismatchError,
    ResultsLostError,
    RoutingError,
    StopError,
    StrategyError,
    ZenvarkError,
    exceptions,
)

ERRORS = [
    CircuitOpenError("payments", 2.5),
    BackendError("gone"),
    FencedError("over"),
    MalformedEntryError("rubbish"),
    ResultsLostError(3, 4),
    CallbackError("trouble", circuit="payments", source="mine"),
    ClassifierError("trouble", circuit="payments", source="mine"),
    HealthCheckError("trouble", circuit="payments", source="mine"),
    RoutingError("trouble", circuit="payments", source="mine"),
    StopError("trouble", circuit="payments", source="mine"),
    StrategyError("trouble", circuit="payments", source="mine"),
    PolicyMismatchError("two versions"),
    OverrideConflictError("payments", 3, 4),
    OverrideLimitError("too many"),
    OverloadedError("too many"),
    CommonCauseError("8 of 10 circuits"),
    MetricsError("broken"),
    BodySentError("payments"),
]


class OwnOpenError(CircuitOpenError):
    """As the transports make one."""


@pytest.mark.parametrize("error", [*ERRORS, OwnOpenError("payments", 1)], ids=repr)
def test_errors_can_be_pickled_and_copied(error: ZenvarkError) -> None:
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert twin.args == error.args
        assert vars(twin) == vars(error)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_all_descend_from_the_root(error: ZenvarkError) -> None:
    assert isinstance(error, ZenvarkError)
    assert type(error).__mro__.count(ZenvarkError) == 1
    assert [type(error)] == [kind for kind in ZenvarkError.__subclasses__() if kind is type(error)]


def test_they_say_what_happened() -> None:
    assert str(ERRORS[0]) == "circuit 'payments' is open, next attempt in 2.5 s"
    assert str(ERRORS[1]) == "gone"
    assert "3 dropped, 4 expired" in str(ERRORS[4])


def test_open_error_tells_that_an_operator_holds_its_circuit_open() -> None:
    error = CircuitOpenError("payments", 60, True)
    twin = pickle.loads(pickle.dumps(error))
    assert twin.forced is error.forced is True
    assert str(twin) == "circuit 'payments' is held open by an operator"


def test_open_error_knows_its_circuit() -> None:
    error = CircuitOpenError("payments", 2.5)
    assert (error.name, error.retry_after) == ("payments", 2.5)


def test_the_tree_is_drawn_in_full() -> None:
    drawn = re.findall(r"[├└]── (\w+)", exceptions.__doc__ or "")
    kinds = ZenvarkError.__subclasses__()
    here = [kind.__name__ for kind in kinds if kind.__module__ == exceptions.__name__]
    assert sorted(drawn) == sorted(here)
    assert {type(error).__name__ for error in ERRORS} == set(drawn)


def test_an_error_because_of_another_tells_both() -> None:
    cause = LookupError("region")
    error = ClassifierError.because(cause, "classify failed", circuit="payments", source="mine")
    assert str(error) == "classify failed: LookupError: region"
    assert (error.__cause__, error.circuit, error.source) == (cause, "payments", "mine")
