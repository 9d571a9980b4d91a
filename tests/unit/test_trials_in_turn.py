"""Instances that have their calls in turn, and who is next."""

import pytest

from zenvark_web._core.rotation import IN_TURN, MOST_CALLERS, Rotation


def after(calls: str, rotation: Rotation | None = None) -> Rotation:
    """One call of each letter."""
    noted = rotation or Rotation()
    for instance in calls:
        noted.note(instance, 1)
    return noted


@pytest.mark.parametrize(
    ("calls", "following"),
    [
        ("", None),
        ("aaaaaaaa", None),
        ("abcdefgh", None),
        ("abcab", None),
        ("abcabc", "a"),
        ("abcabca", "b"),
        ("abcabcac", None),
        ("abcabcacacac", "a"),
        ("aaabaaabaaab", None),
    ],
)
def test_who_is_next(calls: str, following: str | None) -> None:
    assert after(calls).next == following


def test_several_calls_at_once_tell_nothing() -> None:
    rotation = after("abcabc")
    rotation.note("a", 2)
    assert rotation.next is None
    assert after("abca", rotation).next is None


def test_one_that_is_gone_is_not_expected() -> None:
    rotation = after("abcabc")
    rotation.discard("a")
    rotation.discard("never")
    assert rotation.next == "b"
    for instance in "bc":
        rotation.discard(instance)
    assert rotation.next is None


def test_is_bounded() -> None:
    rotation = Rotation()
    for number in range(3 * MOST_CALLERS):
        rotation.note(f"web-{number}", 1)
    assert len(rotation._callers) == MOST_CALLERS
    for number in range(2 * MOST_CALLERS, 2 * MOST_CALLERS + IN_TURN):
        rotation.note(f"web-{number}", 1)
    assert rotation.next == f"web-{2 * MOST_CALLERS + IN_TURN}"
