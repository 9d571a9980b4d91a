"""Large matrices of tests: every run plays a part that spans them, `nox -s faults` the rest."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

import pytest
from _pytest.mark import ParameterSet


def spanning(
    values: Iterable[Any], kept: Collection[Any] | Callable[[Any], bool]
) -> list[ParameterSet]:
    """The values for `parametrize`: those that are not `kept` are marked `slow`.

    A tuple holds the values of several parameters, as `parametrize` has it; `kept` gets all of it.
    """
    keeps = kept if callable(kept) else kept.__contains__
    return [_case(value, keeps) for value in values]


def _case(value: Any, keeps: Callable[[Any], bool]) -> ParameterSet:
    if isinstance(value, ParameterSet):
        several = value.values
        if keeps(several[0] if len(several) == 1 else several):
            return value
        return value._replace(marks=[*value.marks, pytest.mark.slow])
    several = value if isinstance(value, tuple) else (value,)
    return pytest.param(*several, marks=() if keeps(value) else pytest.mark.slow)
