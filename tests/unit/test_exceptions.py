"""Errors say what happened, form one tree, and survive a trip to another process."""

import copy
import pickle

import pytest

from zenvark_web import (
    BackendError,
    CircuitOpenError,
    FencedError,
    MalformedEntryError,
    ResultsLostError,
    ZenvarkError,
)

ERRORS = [
    CircuitOpenError("payments", 2.5),
    BackendError("gone"),
    FencedError("over"),
    MalformedEntryError("rubbish"),
    ResultsLostError(3, 4),
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


def test_open_error_knows_its_circuit() -> None:
    error = CircuitOpenError("payments", 2.5)
    assert (error.name, error.retry_after) == ("payments", 2.5)
