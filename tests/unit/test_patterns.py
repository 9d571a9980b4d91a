"""Patterns of names: what they match, and in what time."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from zenvark_web._core.patterns import NamePatterns


@given(st.text("ab*?-", min_size=1, max_size=12), st.text("ab-", min_size=1, max_size=16))
def test_they_match_as_those_of_a_shell(pattern: str, name: str) -> None:
    found = NamePatterns("patterns", {pattern: "it"}).find(name)
    assert (found == "it") == fnmatchcase(name, pattern)


def test_no_name_takes_long_to_look_up() -> None:
    """With backtracking, this one would take longer than the sun shines."""
    patterns = NamePatterns("patterns", {"*a" * 20 + "*b": "it"})
    assert patterns.find("a" * 255) is None


@given(
    st.dictionaries(st.text("ab*?", min_size=1, max_size=4), st.integers()),
    st.lists(st.text("ab", min_size=1, max_size=4), unique=True),
)
def test_the_most_literal_one_applies(values: dict[str, int], names: list[str]) -> None:
    patterns = NamePatterns("patterns", values)
    for name in names:
        assert patterns.find(name) == applicable(values, name)
    with_values = {name for name in names if applicable(values, name) is not None}
    assert set(patterns.among(names)) == with_values


def applicable(values: Mapping[str, int], name: str) -> int | None:
    """An exact name, or the pattern with the most literal characters, or the first of several."""
    if name in values:
        return values[name]
    matching = [pattern for pattern in values if fnmatchcase(name, pattern)]
    literal = {
        pattern: len(pattern) - pattern.count("*") - pattern.count("?") for pattern in matching
    }
    return values[max(matching, key=literal.__getitem__)] if matching else None
