"""Bar charts of what docs/benchmarks.md has in its tables."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tools.svg import ROOT, WIDTH, Canvas, Palette

PAGE = ROOT / "docs/benchmarks.md"
BAR, STEP = 16, 40
LONGEST = WIDTH - 96


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar.

    Args:
        name: What it stands for.
        least, most: The value, or the range of values.
        kind: Its colour.
    """

    name: str
    least: float
    most: float
    kind: str = "accent"


def table(heading: str) -> list[list[str]]:
    """The rows of the first table of a section, without its head."""
    section = PAGE.read_text().partition(f"\n## {heading}\n")[2]
    lines = re.findall(r"^\|.*$", section.partition("\n## ")[0], re.MULTILINE)
    end = next((n for n, line in enumerate(lines) if n > 1 and "---" in line), len(lines) + 1) - 1
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:end]]


def numbers(cell: str) -> tuple[float, float]:
    """The value of a cell, or the two ends of its range."""
    found = [float(number) for number in re.findall(r"[\d.]+", cell.replace(",", ""))]
    return found[0], found[-1]


def _chart(
    title: str,
    bars: Sequence[Bar],
    unit: str,
    colours: Palette,
    *,
    scale: Callable[[float], float] = float,
) -> Canvas:
    paint = Canvas(len(bars) * STEP + 30, title, colours)
    paint.text(0, 15, title, bold=True)
    longest = max(scale(bar.most) for bar in bars)
    for number, bar in enumerate(bars):
        top = 48 + number * STEP
        least, most = (scale(value) / longest * LONGEST for value in (bar.least, bar.most))
        paint.text(0, top - 5, bar.name, size=12.5)
        paint.rect(0, top, max(most, 2), BAR, getattr(colours, bar.kind), radius=2)
        if least < most:
            paint.rect(least, top, most - least, BAR, colours.second, radius=2)
        paint.text(max(most, 2) + 6, top + 13, f"{_range(bar)} {unit}", size=12.5)
    return paint


def _range(bar: Bar) -> str:
    same = bar.least == bar.most
    return f"{bar.most:g}" if same else f"{bar.least:g} to {bar.most:g}"


def _multiples(heading: str, title: str, colours: Palette) -> Canvas:
    bars = [
        Bar(name.replace("`", ""), *numbers(cell), "accent" if ours else "half")
        for name, cell, *rest in table(heading)
        for ours in [("`" in name and "no breaker" not in name) or any(rest)]
    ]
    return _chart(title, bars, "x", colours)


def calls(colours: Palette) -> Canvas:
    """What a call of a closed circuit takes."""
    return _multiples("A call", "CPU time of a call, times a bare await", colours)


def rejections(colours: Palette) -> Canvas:
    """What a rejection takes."""
    return _multiples("A rejection", "CPU time of a rejection, times a bare await", colours)


def requests(colours: Palette) -> Canvas:
    """What a transport adds to a request."""
    bars: list[Bar] = []
    for name, ours, _, theirs in table("A request"):
        bars.append(Bar(f"{name}, BreakerTransport", *numbers(ours)))
        if theirs[0].isdigit():
            bars.append(Bar(f"{name}, interlock-cb", *numbers(theirs), "half"))
    return _chart("CPU time of a request, see the table for the units", bars, "x", colours)


def openings(colours: Palette) -> Canvas:
    """How long until a circuit is open everywhere."""
    bars = [Bar(f"{row[0]} processes", *numbers(row[1])) for row in table("A fleet")]
    return _chart("From the fifth failure to open in every process", bars, "ms", colours)


def takeovers(colours: Palette) -> Canvas:
    """How long until a new leader has caught up."""
    bars: list[Bar] = []
    for entries, checkpoint, anew in table("A takeover"):
        bars.append(Bar(f"{entries} entries, checkpoint", *numbers(checkpoint), "good"))
        bars.append(Bar(f"{entries} entries, all again", *numbers(anew), "half"))

    def decades(value: float) -> float:
        return math.log10(value / 0.001)

    return _chart("From election to verdict (logarithmic)", bars, "s", colours, scale=decades)
