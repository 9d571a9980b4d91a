"""The two screens of `watch`: a live table, and a line for each change."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from .._core.order import START, Position
from .._operators.overview import Overview
from .._operators.texts import clock, escaped
from ..backends.views import Event
from .blocks import Line, Page, Part, line
from .pages import BAD, event_line, fleet_page, live_page
from .printing import is_rich, show, styled

if TYPE_CHECKING:
    from rich.live import Live


class Screen(Protocol):
    """Shows a fleet."""

    def show(self, overview: Overview, events: Sequence[Event]) -> None:
        """Show the current state, with the last events."""
        ...

    def trouble(self, told: str) -> None:
        """Show that a read has failed."""
        ...


@contextmanager
def screen(*, plain: bool) -> Generator[Screen]:
    """Yield the screen that fits the output."""
    if not is_rich(plain=plain):
        yield LineScreen()
        return
    from rich.live import Live

    with Live(screen=True, auto_refresh=False) as live:
        yield LiveScreen(live)


class LiveScreen:
    """A live table.

    Args:
        live: The display of rich.
    """

    def __init__(self, live: Live) -> None:
        self._live = live
        self._page: Page = ()

    def show(self, overview: Overview, events: Sequence[Event]) -> None:
        """Draw the table."""
        self._page = live_page(overview, events, self._live.console.height)
        self._draw(self._page)

    def trouble(self, told: str) -> None:
        """Draw the message above the last table."""
        now = line(Part(f"{told}. The table below is out of date. Retrying ...", BAD))
        self._draw([now, line(), *self._page])

    def _draw(self, page: Page) -> None:
        self._live.update(styled(page, self._live.console.width), refresh=True)


class LineScreen:
    """The page of `status` at the start, then a line for each change."""

    def __init__(self) -> None:
        self._told: dict[int, Position] | None = None
        self._present: set[str] = set()
        self._away = False

    def show(self, overview: Overview, events: Sequence[Event]) -> None:
        """Print the changes."""
        shards = overview.shards
        present = {each.seen.name for each in overview.members if each.seen.is_alive}
        if self._told is None:
            show([*fleet_page(overview), line()], plain=True)
            self._told = {}
        else:
            fresh = [each for each in events if each.entry.position > self._read(each.shard)]
            self._print(event_line(each, overview.now, shards=shards) for each in fresh)
            self._print(self._moved(overview, present))
        if self._away:
            print("The server replies again.")
        self._away = False
        self._present = present
        for each in events:
            self._told[each.shard] = max(self._read(each.shard), each.entry.position)
        sys.stdout.flush()

    def trouble(self, told: str) -> None:
        """Print the message of an outage once."""
        if not self._away:
            print(f"{told}. Retrying ...", flush=True)
        self._away = True

    def _read(self, shard: int) -> Position:
        return (self._told or {}).get(shard, START)

    def _moved(self, overview: Overview, present: set[str]) -> Generator[Line]:
        at = clock(overview.now, overview.now)
        for name in sorted(present - self._present):
            yield line(f"{at}  {escaped(name, 60)} has joined")
        for name in sorted(self._present - present):
            yield line(f"{at}  {escaped(name, 60)} has left, or sends no heartbeats")

    def _print(self, lines: Generator[Line]) -> None:
        for each in lines:
            print(each.text)
