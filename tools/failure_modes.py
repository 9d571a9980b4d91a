"""The blocks of docs/failure-modes.md, written from failure_modes.toml."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tools.svg import ROOT

SOURCE = Path(__file__).with_suffix(".toml")
PAGE = ROOT / "docs/failure-modes.md"
BLOCKS = re.compile(r"(<!-- faults: (.+?) -->\n).*?(<!-- end -->\n)", re.DOTALL)
FIELDS = {
    "callers": "Callers notice",
    "fleet": "The fleet",
    "recovery": "Recovery",
    "signals": "Signals",
    "tests": "Tests",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that breaks.

    Args:
        group: The section in which it stands.
        name: What breaks.
        callers, fleet, recovery, signals: What happens then.
        tests: The codes of the tests that show it.
    """

    group: str
    name: str
    callers: str
    fleet: str
    recovery: str
    signals: str
    tests: str

    @property
    def block(self) -> str:
        """How the page shows it."""
        entries = "\n\n".join(
            f"{title}\n:   {getattr(self, field)}" for field, title in FIELDS.items()
        )
        return f"### {self.name}\n\n{entries}\n"


def load() -> list[Fault]:
    """All faults there are."""
    return [Fault(**fields) for fields in tomllib.loads(SOURCE.read_text())["fault"]]


def page() -> str:
    """The page, with its blocks as the source has them."""
    faults = load()

    def blocks(match: re.Match[str]) -> str:
        found = [fault.block for fault in faults if fault.group == match[2]]
        return match[1] + "\n" + "\n".join(found) + "\n" + match[3]

    return BLOCKS.sub(blocks, PAGE.read_text())
