"""Two ways to show the board: a table that lives, and plain lines."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from .._core.states import Role, State
from .board import Board, Line, Row
from .settings import DemoSettings
from .texts import seconds

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

REFRESH = 0.1
COLUMNS = {
    "app": 7,
    "process": 8,
    "role": 9,
    "circuit": 10,
    "answered": 8,
    "failed": 7,
    "503": 6,
    "opened": 8,
    "closed": 8,
}
"""Headers, with the widths of plain columns."""

STEADY = {"role": len("follower"), "circuit": len("● half_open")}
"""Live columns that keep their width, whatever they hold."""

NUMBERS = {"answered", "failed", "503", "opened", "closed"}
FIXED_ROWS = 7
"""Rows of the live view besides those of apps and timeline."""

LEAST_LINES = 3
LEAST_WIDTH = 80

MARKS = {State.CLOSED: "green", State.OPEN: "red", State.HALF_OPEN: "yellow"}


class Screen(Protocol):
    """Shows the demo."""

    def line(self, line: Line) -> None:
        """Show a line of the timeline."""
        ...

    async def show(self, board: Board) -> None:
        """Show the board until cancelled, and as it is then."""
        ...

    def text(self, text: str, style: str = "") -> None:
        """Show a text outside the board."""
        ...


def make_screen(settings: DemoSettings) -> Screen:
    """The screen that is asked for, and fits where the output goes."""
    return LiveScreen() if shows_live(settings) else PlainScreen()


def shows_live(settings: DemoSettings) -> bool:
    """Whether the output goes to a terminal that can show a live table, and has room for it."""
    if (
        settings.plain_output
        or not sys.stdout.isatty()
        or os.environ.get("TERM", "") in {"dumb", "unknown"}
    ):
        return False
    columns, rows = shutil.get_terminal_size()
    return columns >= LEAST_WIDTH and rows >= settings.instances + FIXED_ROWS + LEAST_LINES


class PlainScreen:
    """A line per event, and a table at the end."""

    def line(self, line: Line) -> None:
        """Print it."""
        self.text(f"{line.at:7.2f} s  {line.text}")

    async def show(self, board: Board) -> None:
        """Print nothing before the end."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.text("")
            for cells in (tuple(COLUMNS), *map(_cells, board.rows)):
                columns = zip(COLUMNS, cells, strict=True)
                self.text("  ".join(_padded(header, cell) for header, cell in columns))

    def text(self, text: str, style: str = "") -> None:
        """Print it."""
        print(text.rstrip(), flush=True)


class LiveScreen:
    """A table that lives in the terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)

    def line(self, line: Line) -> None:
        """The next refresh shows it."""

    async def show(self, board: Board) -> None:
        """Redraw the table, again and again."""
        from rich.live import Live

        with Live(console=self._console, auto_refresh=False) as live:
            try:
                while True:
                    lines = max(LEAST_LINES, self._console.height - FIXED_ROWS - len(board.rows))
                    live.update(_view(board, lines), refresh=True)
                    await asyncio.sleep(REFRESH)
            finally:
                live.update(_view(board, len(board.lines)), refresh=True)

    def text(self, text: str, style: str = "") -> None:
        """Print it with a style of rich's."""
        self._console.print(text, style=style, markup=False)


def _view(board: Board, lines: int) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for header in COLUMNS:
        table.add_column(
            header,
            justify="right" if header in NUMBERS else "left",
            min_width=STEADY.get(header),
            no_wrap=True,
        )
    for row in board.rows:
        table.add_row(*_styled(row))
    timeline = [
        Text.assemble((f"{line.at:7.2f} s  ", "dim"), line.text, no_wrap=True, overflow="ellipsis")
        for line in board.lines[-lines:]
    ]
    return Group("", table, "", _upstream(board), "", *timeline)


def _upstream(board: Board) -> Text:
    from rich.text import Text

    total = board.total
    state = ("broken", "bold red") if board.broken else ("healthy", "green")
    return Text.assemble(
        "upstream: ",
        state,
        f" · spared {total.rejected} calls · {total.answered} answered, {total.failed} failed",
    )


def _cells(row: Row) -> Sequence[str]:
    return (
        row.app,
        "(this)" if row.pid is None else str(row.pid),
        row.role,
        f"ramp {100 * row.share:.3g} %" if _is_climbing(row) else row.state,
        str(row.calls.answered),
        str(row.calls.failed),
        str(row.calls.rejected),
        "" if row.opened is None else seconds(row.opened),
        "" if row.closed is None else seconds(row.closed),
    )


def _is_climbing(row: Row) -> bool:
    return row.state == State.HALF_OPEN and row.share > 0


def _styled(row: Row) -> Sequence[str | Text]:
    from rich.text import Text

    app, pid, role, state, *numbers = _cells(row)
    mark = next((style for known, style in MARKS.items() if known == row.state), "dim")
    return (
        app,
        Text(pid, "dim"),
        Text(role, "bold" if role == Role.LEADER else "dim"),
        Text(f"● {state}" if state else "", mark),
        *numbers,
    )


def _padded(header: str, cell: str) -> str:
    width = COLUMNS[header]
    return cell.rjust(width) if header in NUMBERS else cell.ljust(width)
