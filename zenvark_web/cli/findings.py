"""Findings of `doctor`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .._operators.records import VERSION


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
        details: Further lines.
        command: A command that helps, without the arguments that select the fleet; its advice ends
            with a colon.
    """

    level: Level
    check: str
    text: str
    advice: str = ""
    details: Sequence[str] = ()
    command: tuple[str, ...] = ()

    @property
    def matters(self) -> bool:
        """Whether the finding is a problem."""
        return self.level is Level.PROBLEM


def record_of(namespace: str, server: str, findings: Iterable[Finding]) -> dict[str, Any]:
    """Return the record of `doctor`."""
    found = tuple(findings)
    return {
        "version": VERSION,
        "namespace": namespace,
        "server": server,
        "healthy": not any(each.matters for each in found),
        "findings": [
            {
                "check": each.check,
                "level": each.level.value,
                "text": each.text,
                "advice": each.advice,
                "details": list(each.details),
            }
            for each in found
        ],
    }
