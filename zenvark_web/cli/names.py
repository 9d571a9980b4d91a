"""Names that no circuit of the fleet has, with the names that were probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from .._operators.texts import escaped

ALIKE = 3
"""Names to suggest."""

MOST_COMPARED = 5_000
"""Names to compare: one takes about 20 us."""

LIFETIME = (
    "A circuit appears a few seconds after its first call, and is removed after an hour without "
    "calls"
)


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return a question with the known names that are similar to this one; empty if none is."""
    compared = sorted(known)[:MOST_COMPARED]
    lower = {each.lower(): each for each in compared}
    alike = [lower[each] for each in get_close_matches(name.lower(), lower, ALIKE)]
    quoted = [f"'{escaped(each, 80)}'" for each in alike if each != name]
    return f"Did you mean {' or '.join(quoted)}? " if quoted else ""


def unknown(name: str, namespace: str, known: Iterable[str]) -> str:
    """Return the message for the name of a circuit that no instance knows."""
    return (
        f"namespace '{namespace}' has no circuit '{escaped(name)}'. {suggestion(name, known)}"
        f"`status --all` lists all circuits. {LIFETIME}"
    )
