"""A ramp: its schedule, the calls that pass, and what a policy may ask for."""

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zenvark_web import BreakerPolicy
from zenvark_web._core.backoff import next_attempt
from zenvark_web._core.ramp import Credit, Ramp, first_credit

shares = st.floats(0, 1, exclude_min=True, exclude_max=True)
first_credits = st.integers(0, 2**32 - 1).map(lambda part: Fraction(part, 2**32))
RAMP = Ramp((0.1, 0.25, 0.5), 5.0)


class TestSchedule:
    @pytest.mark.parametrize(
        ("elapsed", "share"),
        [
            (-3, 0.1),
            (0, 0.1),
            (4.99, 0.1),
            (5, 0.25),
            (9.99, 0.25),
            (10, 0.5),
            (15, 0.5),
            (1e9, 0.5),
        ],
    )
    def test_share(self, elapsed: float, share: float) -> None:
        assert RAMP.share_at(elapsed) == share

    @pytest.mark.parametrize(
        ("elapsed", "left"), [(-3, 5), (0, 5), (4, 1), (5, 5), (14, 1), (15, 0), (1e9, 0)]
    )
    def test_time_to_the_next_step(self, elapsed: float, left: float) -> None:
        assert RAMP.until_next_step(elapsed) == left

    def test_length(self) -> None:
        assert RAMP.length == 15


class TestCredit:
    @example(Fraction(0), 0.1, 10)
    @example(Fraction(2**32 - 1, 2**32), 0.5, 2)
    @given(first_credits, shares, st.integers(1, 2000))
    def test_of_n_calls_pass_n_times_the_share(
        self, first: Fraction, share: float, calls: int
    ) -> None:
        """R1, for each window of consecutive calls: the credit before it is any."""
        credit = Credit(first)
        passed = sum(credit.spend(share) for _ in range(calls))
        assert passed in (math.floor(calls * Fraction(share)), math.ceil(calls * Fraction(share)))

    @given(first_credits, st.lists(st.tuples(shares, st.integers(1, 50)), min_size=1, max_size=20))
    def test_nothing_is_gained_or_lost_when_the_share_changes(
        self, first: Fraction, steps: list[tuple[float, int]]
    ) -> None:
        credit = Credit(first)
        due, passed = first, 0
        for share, calls in steps:
            for _ in range(calls):
                due += Fraction(share)
                passed += credit.spend(share)
                assert passed == math.floor(due)

    def test_calls_of_many_instances_do_not_pass_at_one_moment(self) -> None:
        hundred = [Credit(first_credit(f"web-{number}", 7)) for number in range(100)]
        passed = [sum(credit.spend(0.1) for credit in hundred) for _ in range(10)]
        assert sum(passed) == 100
        assert max(passed) < 25

    def test_the_first_credit_depends_on_instance_and_generation(self) -> None:
        found = {first_credit(name, number) for name in ("a", "b") for number in (1, 2)}
        assert len(found) == 4
        assert all(0 <= credit < 1 for credit in found)
        assert first_credit("a", 1) == first_credit("a", 1)


class TestSettings:
    @pytest.mark.parametrize(
        "ramp", [(), [], (0.1,), [0.1, 0.25, 0.5], tuple(n / 21 for n in range(1, 21))]
    )
    def test_usable(self, ramp: Iterable[float]) -> None:
        assert BreakerPolicy(ramp=ramp).ramp == tuple(ramp)  # type: ignore[arg-type]

    def test_are_hashable_and_equal_however_they_were_passed(self) -> None:
        assert hash(BreakerPolicy(ramp=[0.5])) == hash(BreakerPolicy(ramp=(0.5,)))
        assert BreakerPolicy(ramp=[0.5]) == BreakerPolicy(ramp=(0.5,))

    def test_default_is_no_ramp(self) -> None:
        policy = BreakerPolicy()
        assert (policy.ramp, policy.ramp_step, policy.forgive) == ((), 5.0, 60.0)

    @pytest.mark.parametrize(
        ("settings", "error", "message"),
        [
            ({"ramp": 0.5}, TypeError, r"pass a sequence: \(0\.5,\)"),
            ({"ramp": True}, TypeError, "sequence of shares such as"),
            ({"ramp": "0.5"}, TypeError, "sequence of shares such as"),
            ({"ramp": {0.1, 0.5}}, TypeError, "sequence of shares such as"),
            ({"ramp": None}, TypeError, "sequence of shares such as"),
            ({"ramp": ("0.5",)}, TypeError, r"ramp\[0\] must be a number"),
            ({"ramp": (True,)}, TypeError, r"ramp\[0\] must be a number"),
            ({"ramp": (0.1, math.nan)}, ValueError, r"ramp\[1\] must be finite"),
            ({"ramp": (0.0,)}, ValueError, r"ramp\[0\] must be above 0"),
            ({"ramp": (-0.1,)}, ValueError, r"ramp\[0\] must be above 0"),
            ({"ramp": (0.5, 1.0)}, ValueError, r"ramp\[1\] must be below 1"),
            ({"ramp": (0.5, 0.5)}, ValueError, r"ramp\[1\] must be above 0\.5"),
            ({"ramp": (0.5, 0.25)}, ValueError, r"ramp\[1\] must be above 0\.5"),
            ({"ramp": tuple(n / 22 for n in range(1, 22))}, ValueError, "at most 20 shares"),
            ({"ramp_step": 0.49}, ValueError, "ramp_step must be at least 0.5"),
            ({"ramp_step": 3601}, ValueError, "ramp_step must be at most 3600"),
            ({"ramp_step": math.nan}, ValueError, "ramp_step must be finite"),
            ({"ramp_step": "5"}, TypeError, "ramp_step must be a number of seconds"),
            ({"forgive": 0}, ValueError, "forgive must be above 0"),
            ({"forgive": -1}, ValueError, "forgive must be above 0"),
            ({"forgive": math.nan}, ValueError, "forgive must be finite"),
            ({"forgive": -math.inf}, ValueError, "forgive must be finite"),
            ({"forgive": True}, TypeError, "forgive must be a number of seconds"),
            ({"forgive": None}, TypeError, "forgive must be a number of seconds"),
        ],
    )
    def test_unusable(self, settings: dict[str, Any], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            BreakerPolicy(**settings)


class TestNextAttempt:
    forgiving = st.floats(0, exclude_min=True) | st.just(math.inf)
    times = st.floats(0, 1e12)

    @example(3, 0.0, 1e12, 5e-324)
    @given(st.integers(0, 10_000), times, times, forgiving)
    def test_falls_with_healthy_time_and_rises_by_one_at_most(
        self, attempt: int, healthy: float, more: float, forgive: float
    ) -> None:
        """R4."""
        sooner = next_attempt(attempt, healthy, forgive)
        later = next_attempt(attempt, healthy + more, forgive)
        assert 1 <= later <= sooner <= attempt + 1
        assert next_attempt(attempt, 0.0, forgive) == attempt + 1
