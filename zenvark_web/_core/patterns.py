"""Mappings by circuit name, with `*` and `?`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from ._checks import check_name

T = TypeVar("T")

WILDCARDS = frozenset("*?")


class NamePatterns(Generic[T]):
    """A mapping from circuit names, or patterns of names, to values.

    In a pattern, `*` matches any characters and `?` matches one. An exact name takes precedence
    over a pattern, and a pattern with more literal characters over one with fewer.

    Args:
        what: The setting that the mapping is, for messages.
        values: The mapping.

    Attributes:
        exact: The values of exact names.
        patterns: The values of patterns, as regular expressions, in order of precedence.
        names: The patterns as they are given, in the same order.

    Raises:
        TypeError, ValueError: A name is not usable.
    """

    __slots__ = ("exact", "names", "patterns")

    def __init__(self, what: str, values: Mapping[str, T]) -> None:
        for name in values:
            check_name(f"a name in {what}", name)
        wild = {name for name in values if is_pattern(name)}
        self.exact: dict[str, T] = {
            name: value for name, value in values.items() if name not in wild
        }
        self.names: list[str] = sorted(
            filter(wild.__contains__, values), key=_literal_length, reverse=True
        )
        self.patterns: list[tuple[re.Pattern[str], T]] = [
            (re.compile(_regex(name)), values[name]) for name in self.names
        ]

    def find(self, name: str) -> T | None:
        """The value of a circuit, or None."""
        if name in self.exact:
            return self.exact[name]
        return next((value for pattern, value in self.patterns if pattern.fullmatch(name)), None)

    def values(self) -> Sequence[T]:
        """Every value."""
        return [*self.exact.values(), *(value for _, value in self.patterns)]


def is_pattern(name: str) -> bool:
    """Whether a name has wildcards."""
    return not WILDCARDS.isdisjoint(name)


def _literal_length(pattern: str) -> int:
    return sum(character not in WILDCARDS for character in pattern)


def _regex(pattern: str) -> str:
    first, *more = (
        "".join("." if each == "?" else re.escape(each) for each in part)
        for part in pattern.split("*")
    )
    if not more:
        return first
    # Atomic groups: each part matches at its first place, for good. Backtracking into all of them
    # would take exponential time for a hostile name.
    return first + "".join(f"(?>.*?{part})" for part in more[:-1]) + ".*" + more[-1]
