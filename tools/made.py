"""What is made, and how."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tools import charts, diagrams, failure_modes, incident, metrics, runbooks
from tools.svg import PICTURES, SCHEMES, Draw, Palette

DRAWN: dict[str, Draw] = {
    "incident": incident.draw,
    "streams": diagrams.streams,
    "states": diagrams.states,
    "ramp": diagrams.ramp,
    "grant": diagrams.grant,
    "takeover": diagrams.takeover,
    "cut-off": diagrams.cut_off,
    "quorum": diagrams.quorum,
    "layers": diagrams.layers,
    "calls": charts.calls,
    "rejections": charts.rejections,
    "requests": charts.requests,
    "openings": charts.openings,
    "takeovers": charts.takeovers,
}


def _drawing(draw: Draw, colours: Palette) -> str:
    return str(draw(colours))


MADE: dict[Path, Callable[[], str]] = {
    PICTURES / f"{name}-{scheme}.svg": partial(_drawing, draw, colours)
    for name, draw in DRAWN.items()
    for scheme, colours in SCHEMES.items()
} | {failure_modes.PAGE: failure_modes.page, metrics.PAGE: metrics.page, **runbooks.FILES}
"""Each file, and what makes its text."""
