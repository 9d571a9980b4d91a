"""SimulationSettings of a simulation that cannot be are refused at once."""

import math
from typing import Any

import pytest

from zenvark_web.testing import SimulationSettings


@pytest.mark.parametrize("what", ["instances", "circuits"])
@pytest.mark.parametrize("value", [0, -1])
def test_too_few(what: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{what} must be at least 1, not {value}"):
        SimulationSettings(**{what: value})


@pytest.mark.parametrize("what", ["seconds", "faults", "calls"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_no_possible_amount(what: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{what} must be"):
        SimulationSettings(**{what: value})


def test_no_calls() -> None:
    with pytest.raises(ValueError, match="calls must be above 0, not 0"):
        SimulationSettings(calls=0)


@pytest.mark.parametrize("what", ["instances", "circuits", "seconds", "faults", "calls"])
def test_no_number(what: str) -> None:
    wrong: dict[str, Any] = {what: "many"}
    with pytest.raises(TypeError, match=f"{what} must be a "):
        SimulationSettings(**wrong)
