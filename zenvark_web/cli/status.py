"""`zenvark-web status`: the states of the circuits."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from .arguments import add_json, add_plain, add_store
from .commands import INCOMPLETE, Command
from .fleet import look, overview_of

if TYPE_CHECKING:
    from ..backends.inspection import Inspector

DESCRIPTION = """\
Shows the circuits of a fleet, open ones first, and its instances. The command
only reads Redis: it does not join the fleet.
"""

EXIT_CODES = """\
exit code: 0; with --exit-code 3 if a circuit is open or half-open; 2 if Redis
does not reply, holds no such fleet, or a shard is not readable; 130 after
Ctrl-C.
"""

NOT_ALL_CLOSED = 3


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_store(parser)
    add_json(parser)
    add_plain(parser)
    parser.add_argument("--all", action="store_true", help="show all closed circuits")
    parser.add_argument(
        "--exit-code", action="store_true", help="exit with 3 unless all circuits are closed"
    )


def _run(arguments: argparse.Namespace) -> int:
    return look(arguments, partial(_status, arguments))


async def _status(arguments: argparse.Namespace, inspector: Inspector, shards: int) -> int:
    from .._operators import records
    from .pages import fleet_page
    from .printing import show

    overview = await overview_of(inspector, shards)
    if arguments.json:
        print(records.dumped(records.of_overview(overview)))
    else:
        show(fleet_page(overview, every=arguments.all), plain=arguments.plain)
    if overview.unread:
        return INCOMPLETE
    return NOT_ALL_CLOSED if arguments.exit_code and not overview.all_closed else 0


STATUS = Command(
    name="status",
    help="show the circuits and instances of a fleet",
    description=DESCRIPTION,
    epilog=EXIT_CODES,
    add_arguments=_add_arguments,
    run=_run,
)
