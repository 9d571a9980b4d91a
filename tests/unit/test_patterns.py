"""Patterns of names: what they match, and in what time."""

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
