"""The table of metrics in docs/metrics.md: names, types and labels as they are exported, and what
metrics.toml says of each."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tools.svg import ROOT
from zenvark_web.metrics._families import FULL, NAMESPACE, Family

MEANINGS = Path(__file__).with_suffix(".toml")
PAGE = ROOT / "docs/metrics.md"
TABLE = re.compile(r"(<!-- metrics -->\n).*?(<!-- end -->\n)", re.DOTALL)
HEAD = "| metric | type | labels | meaning |\n|---|---|---|---|\n"
BOUND = "le"
"""The label of buckets, which every histogram has."""


def page() -> str:
    """The page, with its table as the metrics are."""
    meanings = tomllib.loads(MEANINGS.read_text())
    if odd := meanings.keys() ^ {family.name for family in FULL.all}:
        raise ValueError(f"{MEANINGS.name} must explain each metric, and only these: {odd}")
    table = HEAD + "".join(_row(family, meanings[family.name]) for family in FULL.all)
    return TABLE.sub(lambda match: match[1] + table + match[2], PAGE.read_text())


def _row(family: Family, meaning: str) -> str:
    cell = family.cells[0]
    suffix = cell.suffix if family.kind == "counter" else ""
    names = [name for name in (*family.labels, *cell.label) if name not in (NAMESPACE, BOUND)]
    labels = ", ".join(f"`{name}`" for name in names)
    cells = f"`zenvark_{family.name}{suffix}`", family.kind, labels, meaning
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|\n"
