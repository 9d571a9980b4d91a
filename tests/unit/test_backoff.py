"""Waits grow, stay within their cap and jitter, and never overflow."""

import math
import re
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zenvark_web import Backoff, ConstantBackoff, ExponentialBackoff

chances = st.floats(0, 1, exclude_max=True)


@st.composite
def exponentials(draw: st.DrawFn) -> ExponentialBackoff:
    initial = draw(st.floats(0.001, 100))
    return ExponentialBackoff(
        initial=initial,
        multiplier=draw(st.floats(1, 10)),
        maximum=draw(st.floats(initial, 1e6)),
        jitter=draw(st.floats(0, 1)),
    )


def test_constant_is_the_same_every_time() -> None:
    backoff = ConstantBackoff(5)
    assert [backoff.delay(attempt, 0.9) for attempt in (1, 2, 10**400)] == [5.0, 5.0, 5.0]


def test_exponential_doubles_up_to_its_maximum() -> None:
    backoff = ExponentialBackoff(initial=1, multiplier=2, maximum=60, jitter=0)
    assert [backoff.delay(attempt, 0.5) for attempt in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_jitter_goes_both_ways_as_far_as_its_share() -> None:
    backoff = ExponentialBackoff(initial=10, maximum=60, jitter=0.1)
    assert backoff.delay(1, 0.0) == pytest.approx(9)
    assert backoff.delay(1, 0.5) == pytest.approx(10)
    assert backoff.delay(1, 1.0) == pytest.approx(11)
    assert backoff.delay(9, 1.0) == 60, "the maximum includes jitter"
    assert backoff.delay(9, 0.0) == pytest.approx(54)


@given(exponentials(), st.integers(1, 100), chances)
def test_wait_stays_within_jitter_and_maximum(
    backoff: ExponentialBackoff, attempt: int, chance: float
) -> None:
    plain = min(backoff.initial * backoff.multiplier ** (attempt - 1), backoff.maximum)
    shortest = max(0.001, plain * (1 - backoff.jitter))
    longest = min(plain * (1 + backoff.jitter), backoff.maximum)
    assert shortest * (1 - 1e-9) <= backoff.delay(attempt, chance) <= longest * (1 + 1e-9)


@given(exponentials(), st.integers(1, 2000), chances)
def test_wait_never_shrinks_from_attempt_to_attempt(
    backoff: ExponentialBackoff, attempt: int, chance: float
) -> None:
    assert backoff.delay(attempt, chance) <= backoff.delay(attempt + 1, chance)


@example(ExponentialBackoff(initial=1e8, maximum=1e9), 10**400)
@example(ExponentialBackoff(multiplier=sys.float_info.max), 10**6)
@given(exponentials(), st.integers(10**3, 10**400))
def test_huge_attempts_do_not_overflow(backoff: ExponentialBackoff, attempt: int) -> None:
    wait = backoff.delay(attempt, 0.5)
    assert math.isfinite(wait)
    assert 0 < wait <= backoff.maximum


def test_wait_is_never_zero() -> None:
    backoff = ExponentialBackoff(initial=1e-9, maximum=1, jitter=1)
    assert backoff.delay(1, 0.0) == 0.001


def test_backoffs_are_values() -> None:
    assert ConstantBackoff(5) == ConstantBackoff(5.0)
    assert len({ExponentialBackoff(), ExponentialBackoff(1.0), ConstantBackoff(1)}) == 2
    assert repr(ConstantBackoff(5)) == "ConstantBackoff(seconds=5.0)"
    assert isinstance(ConstantBackoff(1), Backoff)
    assert isinstance(ExponentialBackoff(), Backoff)


@pytest.mark.parametrize(
    ("make", "settings", "error", "says"),
    [
        *[(ConstantBackoff, {"delay": bad}, TypeError, "seconds") for bad in ("5", None, True)],
        (ConstantBackoff, {"delay": 0}, ValueError, "delay must be above 0, not 0"),
        (ConstantBackoff, {"delay": -1}, ValueError, "delay must be above 0, not -1"),
        (ConstantBackoff, {"delay": math.inf}, ValueError, "delay must be finite"),
        (ConstantBackoff, {"delay": 1e13}, ValueError, "delay must be at most 1e+09"),
        *[(ExponentialBackoff, {"initial": bad}, TypeError, "initial") for bad in ("1", None)],
        (ExponentialBackoff, {"initial": 0}, ValueError, "initial must be above 0"),
        (ExponentialBackoff, {"initial": math.nan}, ValueError, "initial must be finite"),
        (ExponentialBackoff, {"initial": 2e9}, ValueError, "initial must be at most 1e+09"),
        (ExponentialBackoff, {"maximum": 1e300}, ValueError, "maximum must be at most 1e+09"),
        (ExponentialBackoff, {"multiplier": "2"}, TypeError, "multiplier must be a number"),
        (ExponentialBackoff, {"multiplier": 0.9}, ValueError, "multiplier must be at least 1"),
        (ExponentialBackoff, {"maximum": None}, TypeError, "maximum must be a number of seconds"),
        (ExponentialBackoff, {"maximum": 0.5}, ValueError, "maximum must be at least 1, not 0.5"),
        (ExponentialBackoff, {"maximum": math.inf}, ValueError, "maximum must be finite"),
        (ExponentialBackoff, {"jitter": True}, TypeError, "jitter must be a number, not True"),
        (ExponentialBackoff, {"jitter": -0.1}, ValueError, "jitter must be at least 0"),
        (ExponentialBackoff, {"jitter": 1.1}, ValueError, "jitter must be at most 1, not 1.1"),
    ],
)
def test_illegal_settings_are_refused(
    make: Any, settings: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=re.escape(says)):
        make(**settings)
