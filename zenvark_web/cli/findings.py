"""Findings of `doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """The severity of a finding."""

    PROBLEM = "problem"
    """The fleet is impaired, or will be."""
    NOTE = "note"
    """Information without an effect on the exit code."""
    OK = "ok"
    """The check has passed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check.

    Args:
        level: The severity.
        check: The name of the check.
        text: The finding.
        advice: The remedy, if there is one.
    """

    level: Level
    check: str
    text: str
    advice: str = ""

    @property
    def matters(self) -> bool:
        """Whether the finding is a problem."""
        return self.level is Level.PROBLEM
