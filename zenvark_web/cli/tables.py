"""Lays tables out in columns."""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import combining, east_asian_width

from .blocks import Line, Part, Table, Text, text_of

GAP = "  "
LEAST_LAST = 18
"""The room that other columns leave for the last one, as long as they can."""

LEAST_OTHER = 10
"""The least width of a column that is shrunk."""


def rows(table: Table, room: int | None) -> Sequence[Line]:
    """Return a line for each row of a table, with its headers.

    Args:
        table: The table.
        room: The width of the terminal; None for no limit.
    """
    headers: tuple[Text, ...] = tuple(Part(header, "dim") for header in table.headers)
    whole = (headers, *table.rows)
    widths = [max(_width(text_of(row[at])) for row in whole) for at in range(len(headers) - 1)]
    if room is not None:
        widths = _shrunk(widths, room - table.indent - LEAST_LAST - len(GAP) * len(widths))
    return [_row(row, widths, table.indent) for row in whole]


def cut(text: str, room: int) -> str:
    """Return a text without what exceeds a width."""
    if _width(text) <= room:
        return text
    while text and _width(text) >= room:
        text = text[:-1]
    return text + "…"


def _row(cells: Sequence[Text], widths: Sequence[int], indent: int) -> Line:
    parts: list[Text] = []
    for cell, width in zip(cells, widths, strict=False):
        text = cut(text_of(cell), width)
        blank = " " * (width - _width(text)) + GAP
        parts += [text if isinstance(cell, str) else Part(text, cell.style), blank]
    return Line((*parts, cells[-1]), indent, cut=True)


def _shrunk(widths: Sequence[int], room: int) -> list[int]:
    """Return the widths of columns with the widest ones reduced until all fit."""
    found = list(widths)
    while sum(found) > room and max(found) > LEAST_OTHER:
        found[found.index(max(found))] -= 1
    return found


def _width(text: str) -> int:
    """Return the cells of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    return sum(_cells(character) for character in text)


def _cells(character: str) -> int:
    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1
