"""Renders pages: with rich on a terminal if rich is installed, otherwise as plain text."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from .blocks import Block, Line, Page, text_of
from .tables import cut, rows

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text as RichText

LEAST_WIDTH = 20
"""The least width of a wrapped line."""


def show(page: Page, *, plain: bool = False) -> None:
    """Print a page."""
    if is_rich(plain=plain):
        from rich.console import Console

        console = Console(highlight=False)
        console.print(styled(page, console.width))
        return
    for text in lines(page, width()):
        print(text)
    sys.stdout.flush()


def is_rich(*, plain: bool) -> bool:
    """Return whether to render with rich."""
    return not plain and _is_capable_terminal() and _has_rich()


def width() -> int | None:
    """Return the width of the terminal; None without a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def lines(page: Page, room: int | None) -> Sequence[str]:
    """Return the lines of a page as plain text.

    Args:
        page: The page.
        room: The width at which lines are wrapped and tables are cut; None for no limit.
    """
    return [text for block in page for text in _plain(block, room)]


def styled(page: Page, room: int) -> RenderableType:
    """Return a page as a renderable of rich."""
    from rich.console import Group
    from rich.padding import Padding

    found: list[RenderableType] = []
    for block in page:
        for line in _flat(block, room):
            text = _rich(line)
            found.append(Padding(text, (0, 0, 0, line.indent)) if line.indent else text)
    return Group(*found)


def _is_capable_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "") not in {"dumb", "unknown"}


def _has_rich() -> bool:
    try:
        return find_spec("rich") is not None
    except ValueError:  # blocked in `sys.modules`
        return False


def _flat(block: Block, room: int | None) -> Iterable[Line]:
    return [block] if isinstance(block, Line) else rows(block, room)


def _plain(block: Block, room: int | None) -> Iterable[str]:
    for line in _flat(block, room):
        yield from _wrapped(line, room)


def _wrapped(line: Line, room: int | None) -> Sequence[str]:
    blank = " " * line.indent
    whole = (blank + line.text).rstrip()
    if room is None or len(whole) <= room:
        return [whole]
    if line.cut:
        return [cut(whole, room)]
    return textwrap.wrap(
        line.text,
        max(room, line.indent + LEAST_WIDTH),
        initial_indent=blank,
        subsequent_indent=blank,
    )


def _rich(line: Line) -> RichText:
    from rich.text import Text as RichText

    parts = ((text_of(part), "" if isinstance(part, str) else part.style) for part in line.parts)
    text = RichText.assemble(*parts)
    if line.cut:
        text.no_wrap, text.overflow = True, "ellipsis"
    return text
