"""`zenvark-web watch`: a live view of a fleet."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from .arguments import add_plain, add_store, number
from .commands import Command
from .fleet import look, told

if TYPE_CHECKING:
    from ..backends.inspection import Inspector
    from .watching import Screen

DESCRIPTION = """\
Shows a live view of a fleet: circuits, open ones first, instances, and the last
events. On a terminal with rich installed (`pip install rich`), the view is a
table; otherwise each change is a line. The command only reads Redis.
"""

EXIT_CODES = """\
exit code: 130 after Ctrl-C, 143 after SIGTERM; 2 if Redis does not reply at the
start or holds no such fleet. During later outages, the command retries.
"""

SHARE = 20
"""The least ratio of pauses to reads: a large fleet is not read all the time."""

EVENTS = 40
TERMINATED = 128 + signal.SIGTERM


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_store(parser)
    add_plain(parser)
    parser.add_argument(
        "--interval",
        type=number(0.1, 3600),
        default=1.0,
        metavar="SECONDS",
        help="the time between two reads (default: 1)",
    )


def _run(arguments: argparse.Namespace) -> int:
    return look(arguments, partial(_watch, arguments))


async def _watch(arguments: argparse.Namespace, inspector: Inspector, shards: int) -> int:
    from .watching import screen

    with _terminated() as terminated, screen(plain=arguments.plain) as shown:
        while not terminated.is_set():
            shards, took = await _look(inspector, shards, shown)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(arguments.interval, SHARE * took)):
                    await terminated.wait()
    return TERMINATED


async def _look(inspector: Inspector, shards: int, shown: Screen) -> tuple[int, float]:
    """Show the fleet once. Return its number of shards, and the seconds of the read."""
    from .._operators.overview import Overview
    from ..backends.asking import InspectionError

    clock = asyncio.get_running_loop().time
    began = clock()
    try:
        shards = (await inspector.layout()).shards or shards
        events = await inspector.events(shards, EVENTS)
        views = await inspector.views(shards)
    except InspectionError as error:
        shown.trouble(told(error, inspector))
    else:
        server = repr(inspector.server)
        overview = Overview(
            namespace=inspector.namespace, server=server, views=views.found, unread=views.unread
        )
        shown.show(overview, events.found)
    return shards, clock() - began


@contextmanager
def _terminated() -> Generator[asyncio.Event]:
    """Yield an event that SIGTERM sets, so that the terminal is restored."""
    terminated = asyncio.Event()
    with suppress(NotImplementedError):  # not on Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminated.set)
    yield terminated


WATCH = Command(
    name="watch",
    help="show a live view of a fleet",
    description=DESCRIPTION,
    epilog=EXIT_CODES,
    add_arguments=_add_arguments,
    run=_run,
)
