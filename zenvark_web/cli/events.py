"""`zenvark-web events`: the history of a fleet."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from .arguments import add_json, add_store, whole
from .commands import INCOMPLETE, Command, CommandError
from .fleet import look, told, unknown_in

if TYPE_CHECKING:
    from .._core.order import Position
    from ..backends.inspection import Inspector
    from ..backends.views import Event, Parts

DESCRIPTION = """\
Shows the last events of a fleet: state changes of circuits with their reasons,
requests of operators, and changes of the leader. The command only reads Redis.
"""

EXIT_CODES = """\
exit code: 0; 2 if Redis does not reply, holds no such fleet or no such circuit,
or a shard is not readable; 130 after Ctrl-C.
"""

POLL = 0.5
MOST = 2_000


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_store(parser)
    add_json(parser)
    parser.add_argument(
        "-n",
        dest="count",
        type=whole(0, MOST),
        default=20,
        metavar="N",
        help="the number of events (default: 20)",
    )
    parser.add_argument("--circuit", metavar="NAME", help="show events of this circuit only")
    parser.add_argument(
        "--audit",
        action="store_true",
        help="show the audit, which is kept longer and omits trials and housekeeping",
    )
    parser.add_argument("--follow", "-f", action="store_true", help="show new events until Ctrl-C")


def _run(arguments: argparse.Namespace) -> int:
    return look(arguments, partial(_events, arguments))


async def _events(arguments: argparse.Namespace, inspector: Inspector, shards: int) -> int:
    screen = _Screen(arguments, shards)
    after: dict[int, Position] = {}
    stream = "audit" if arguments.audit else "states"
    # The positions from which `--follow` continues:
    await inspector.news(shards, after, stream=stream)
    least = MOST if arguments.circuit else _least(arguments)
    parts = await inspector.events(shards, least, stream=stream)
    found = screen.wanted(parts.found)
    for event in found:
        after[event.shard] = max(after[event.shard], event.entry.position)
    if not found and arguments.circuit:
        await _say_none(arguments, inspector, shards)
    screen.show(found[len(found) - arguments.count :] if arguments.count < len(found) else found)
    for number, error in parts.unread.items():
        lacking = f"zenvark-web events: shard {number} is not readable"
        print(f"{lacking}: {told(error, inspector)}", file=sys.stderr)
    if arguments.follow:
        await _follow(partial(inspector.news, shards, after, stream=stream), inspector, screen)
    return INCOMPLETE if parts.unread else 0


async def _say_none(arguments: argparse.Namespace, inspector: Inspector, shards: int) -> None:
    """Say that no event of the selected circuit is stored.

    Raises:
        CommandError: There is no such circuit, and the command does not wait for its events.
    """
    from .._circuits.shard import shard_of

    name: str = arguments.circuit
    view = await inspector.circuit(name, shard_of(name, shards), shards, history=1)
    if not view.is_known and not arguments.follow:
        raise CommandError(await unknown_in(inspector, shards, name))
    told = "no event of this circuit is stored" if view.is_known else "no such circuit yet"
    print(f"zenvark-web events: {told}", file=sys.stderr)


def _least(arguments: argparse.Namespace) -> int:
    count: int = arguments.count
    return max(1, count)


async def _follow(
    read: Callable[[], Awaitable[Parts[Event]]], inspector: Inspector, screen: _Screen
) -> None:
    from ..backends.asking import InspectionError

    away = False
    while True:
        await asyncio.sleep(POLL)
        try:
            screen.show(screen.wanted((await read()).found))
        except InspectionError as error:
            if not away:
                print(
                    f"zenvark-web events: {told(error, inspector)}. Retrying ...",
                    file=sys.stderr,
                )
            away = True
            continue
        if away:
            print("zenvark-web events: the server replies again", file=sys.stderr)
        away = False


class _Screen:
    """Prints events as the arguments say."""

    def __init__(self, arguments: argparse.Namespace, shards: int) -> None:
        self._json: bool = arguments.json
        self._circuit: str | None = arguments.circuit
        self._shards = shards

    def wanted(self, events: Sequence[Event]) -> Sequence[Event]:
        """Return the events of the selected circuit."""
        if self._circuit is None:
            return events
        return [
            event for event in events if getattr(event.entry.item, "circuit", None) == self._circuit
        ]

    def show(self, events: Sequence[Event]) -> None:
        """Print a line for each event."""
        from .._operators import records
        from .pages import event_line

        now = max((event.entry.position.seconds for event in events), default=0.0)
        for event in events:
            if self._json:
                print(records.dumped(records.of_event(event), indent=None))
            else:
                print(event_line(event, now, shards=self._shards).text)
        sys.stdout.flush()


EVENTS = Command(
    name="events",
    help="show the history of a fleet",
    description=DESCRIPTION,
    epilog=EXIT_CODES,
    add_arguments=_add_arguments,
    run=_run,
)
