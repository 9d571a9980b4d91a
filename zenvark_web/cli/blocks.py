"""Lines and tables, independent of their rendering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of text.

    Args:
        text: The text, without control characters.
        style: A style of rich.
    """

    text: str
    style: str = ""


Text: TypeAlias = "str | Part"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of parts.

    Args:
        parts: The parts.
        indent: The number of leading blanks.
        cut: Whether a long line is cut instead of wrapped.
    """

    parts: tuple[Text, ...] = ()
    indent: int = 0
    cut: bool = False

    @property
    def text(self) -> str:
        """The text without styles."""
        return "".join(text_of(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headers. The last column is cut at the width of the terminal.

    Args:
        headers: A header for each column.
        rows: The rows, with a cell for each column.
        indent: The number of leading blanks.
    """

    headers: tuple[str, ...]
    rows: tuple[tuple[Text, ...], ...]
    indent: int = 0


Block: TypeAlias = "Line | Table"
Page: TypeAlias = Sequence[Block]


def line(*parts: Text, indent: int = 0) -> Line:
    """Return a line of these parts."""
    return Line(parts, indent)


def text_of(part: Text) -> str:
    """Return the text of a part."""
    return part if isinstance(part, str) else part.text
