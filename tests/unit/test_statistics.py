"""Observations are counted many at a time; a reader sees each of them at once."""

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from zenvark_web.statistics import DURATION_BOUNDS, MOST_RECENT, Distribution

DURATIONS = st.floats(0, 20) | st.sampled_from(DURATION_BOUNDS)


@given(st.lists(DURATIONS | st.sampled_from(["count", "read"]), max_size=50))
def test_counts_and_total_are_those_of_each_value(steps: list[float | str]) -> None:
    distribution = Distribution()
    seen: list[float] = []
    for step in steps:
        if step == "count":
            distribution.count()
        elif isinstance(step, float):
            distribution.observe(step)
            seen.append(step)
        buckets = [bisect_left(DURATION_BOUNDS, value) for value in seen]
        expected = [buckets.count(bucket) for bucket in range(len(DURATION_BOUNDS) + 1)]
        assert distribution.counts == expected
        assert abs(distribution.total - sum(seen)) < 1e-9


def test_they_do_not_pile_up() -> None:
    distribution = Distribution()
    for _ in range(3 * MOST_RECENT):
        distribution.observe(0.1)
        assert len(distribution.recent) < MOST_RECENT
    assert sum(distribution.counts) == 3 * MOST_RECENT


def test_what_a_reader_has_got_does_not_change() -> None:
    distribution = Distribution()
    distribution.observe(0.1)
    counts = distribution.counts
    distribution.observe(0.1)
    distribution.count()
    assert sum(counts) == 1
