"""Mappings by circuit name, with `*` and `?`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Generic, TypeVar

from ._checks import check_name

T = TypeVar("T")

WILDCARDS = frozenset("*?")

MOST_COMPILED = 4_096
"""Patterns to keep compiled: with each change of one, all others are indexed again."""


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

    __slots__ = ("_by_prefix", "_lengths", "exact", "names", "patterns")

    def __init__(self, what: str, values: Mapping[str, T]) -> None:
        for name in values:
            check_name(f"a name in {what}", name)
        wild = {name: None for name in values if is_pattern(name)}  # in order
        self.exact: dict[str, T] = {
            name: value for name, value in values.items() if name not in wild
        }
        self.names: list[str] = sorted(wild, key=_literal_length, reverse=True)
        self.patterns: list[tuple[re.Pattern[str], T]] = [
            (_compiled(name), values[name]) for name in self.names
        ]
        self._by_prefix: dict[str, list[int]] = {}
        for place, name in enumerate(self.names):
            self._by_prefix.setdefault(_literal_prefix(name), []).append(place)
        self._lengths = sorted({len(prefix) for prefix in self._by_prefix})

    def find(self, name: str) -> T | None:
        """The value of a circuit, or None."""
        if name in self.exact:
            return self.exact[name]
        first = len(self.patterns)
        for length in self._lengths:
            for place in self._by_prefix.get(name[:length], ()):
                if place >= first:
                    break
                if self.patterns[place][0].fullmatch(name):
                    first = place
        return self.patterns[first][1] if first < len(self.patterns) else None

    def among(self, names: Collection[str]) -> Sequence[str]:
        """Return those of some names that have a value. Without patterns, no others are visited."""
        if not self.patterns:
            return [name for name in self.exact if name in names]
        return [name for name in names if self.find(name) is not None]

    def values(self) -> Sequence[T]:
        """Every value."""
        return [*self.exact.values(), *(value for _, value in self.patterns)]


def is_pattern(name: str) -> bool:
    """Whether a name has wildcards."""
    return not WILDCARDS.isdisjoint(name)


def _literal_prefix(pattern: str) -> str:
    return re.split(r"[*?]", pattern, maxsplit=1)[0]


def _literal_length(pattern: str) -> int:
    return sum(character not in WILDCARDS for character in pattern)


@lru_cache(maxsize=MOST_COMPILED)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(_regex(pattern))


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
