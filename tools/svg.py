"""Drawings as SVG: shapes on a canvas, in colours for a light or a dark page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs/pictures"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
WIDTH = 520
"""Narrow enough for a phone to show 14 units of text legibly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """The colours of one scheme."""

    ink: str
    faint: str
    panel: str
    good: str
    bad: str
    half: str
    accent: str
    second: str


LIGHT = Palette(
    ink="#1f2430",
    faint="#6b7280",
    panel="#eef0f4",
    good="#2f9e60",
    bad="#d43f3f",
    half="#c98a12",
    accent="#4051b5",
    second="#9aa5d8",
)
DARK = Palette(
    ink="#e6e8ee",
    faint="#9aa1b0",
    panel="#2b2f3a",
    good="#4cc583",
    bad="#f07070",
    half="#e0b04b",
    accent="#8f9dff",
    second="#56609c",
)
SCHEMES = {"light": LIGHT, "dark": DARK}


class Canvas:
    """What is drawn so far.

    Args:
        height: Its height; the width is that of all pictures.
        title: What it shows, for those who cannot see it.
        colours: Those to draw with.
    """

    def __init__(self, height: float, title: str, colours: Palette) -> None:
        self.colours: Palette = colours
        self._height = height
        self._title = title
        self._shapes: list[str] = []

    def rect(
        self, x: float, y: float, width: float, height: float, fill: str, *, radius: float = 3
    ) -> None:
        """A filled box."""
        self._shapes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" '
            f'rx="{radius:g}" fill="{fill}"/>'
        )

    def line(
        self, x1: float, y1: float, x2: float, y2: float, colour: str, *, dashed: bool = False
    ) -> None:
        """A straight line."""
        dashes = ' stroke-dasharray="4 4"' if dashed else ""
        self._shapes.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}" '
            f'stroke-width="1.5"{dashes}/>'
        )

    def arrow(self, *points: tuple[float, float], colour: str) -> None:
        """A line through some points, with a head at its end."""
        path = " L".join(f"{x:g} {y:g}" for x, y in points)
        self._shapes.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        self._head(points[-2], points[-1], colour)

    def dot(self, x: float, y: float, radius: float, fill: str) -> None:
        """A filled circle."""
        self._shapes.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{fill}"/>')

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        colour: str = "",
        size: float = 14,
        anchor: str = "start",
        bold: bool = False,
    ) -> None:
        """A line of text; y is its base line."""
        weight = ' font-weight="600"' if bold else ""
        self._shapes.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}"'
            f'{weight} fill="{colour or self.colours.ink}">{escape(words)}</text>'
        )

    def box(self, x: float, y: float, width: float, height: float, *lines: str) -> None:
        """A box with centred lines of text, the first of them bold."""
        self.rect(x, y, width, height, self.colours.panel, radius=6)
        top = y + height / 2 - (len(lines) - 1) * 8.5 + 5
        for number, words in enumerate(lines):
            size = 14 if number == 0 else 12
            self.text(
                x + width / 2,
                top + number * 17,
                words,
                anchor="middle",
                bold=number == 0,
                size=size,
            )

    def __str__(self) -> str:
        shapes = "\n".join(self._shapes)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self._height:g}" '
            f'width="{WIDTH}" height="{self._height:g}" font-family="{FONT}" role="img">\n'
            f"<title>{escape(self._title)}</title>\n{shapes}\n</svg>\n"
        )

    def _head(self, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
        (x1, y1), (x2, y2) = start, end
        length = max(((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5, 1e-9)
        along = ((x2 - x1) / length * 8, (y2 - y1) / length * 8)
        left = (x2 - along[0] - along[1] / 2, y2 - along[1] + along[0] / 2)
        right = (x2 - along[0] + along[1] / 2, y2 - along[1] - along[0] / 2)
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in ((x2, y2), left, right))
        self._shapes.append(f'<polygon points="{points}" fill="{colour}"/>')


Draw = Callable[[Palette], Canvas]
