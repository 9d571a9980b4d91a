"""`zenvark-web purge`: deletes what namespaces without instances have left in Redis."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from .._operators.texts import clock, counted, escaped
from .arguments import NAMESPACE, add_plain, add_url
from .commands import Command, CommandError
from .fleet import look_at_server

if TYPE_CHECKING:
    from ..backends.asking import Server
    from ..backends.inspection import Inspector
    from ..backends.purging import Remains
    from .blocks import Table

DESCRIPTION = """\
Deletes the keys of namespaces without instances: states, overrides, audit and
everything else. Without names, it looks for all such namespaces. It shows what
it would delete, and asks. A namespace with a living instance is refused.
"""

EXIT_CODES = """\
exit code: 0 if the keys were deleted, or if there are none; 1 after the answer
"no"; 2 if a namespace has living instances, if it may not ask, or if Redis does
not reply; 130 after Ctrl-C.
"""

DECLINED = 1
NAMED = 5
HEADERS = ("NAMESPACE", "KEYS", "CIRCUITS", "LAST SEEN")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "namespaces",
        nargs="*",
        metavar="NAMESPACE",
        help=f"the namespaces (default: all without instances; {NAMESPACE} is ignored)",
    )
    add_url(parser)
    add_plain(parser)
    parser.add_argument("--yes", action="store_true", help="delete without asking")


def _run(arguments: argparse.Namespace) -> int:
    return look_at_server(arguments, partial(_purge, arguments))


async def _purge(arguments: argparse.Namespace, inspector: Inspector) -> int:
    from ..backends.purging import delete
    from .printing import show

    server, names = inspector.server, sorted(set(arguments.namespaces))
    for name in names:
        _check(name)
    dead = await (_named(server, names) if names else _found(server))
    if not dead:
        print("Nothing to delete.")
        return 0
    show([_table(dead)], plain=arguments.plain)
    what = counted(sum(len(each.keys) for each in dead), "key")
    if not arguments.yes and not _agreed(f"\nDelete {what}? [y/N] "):
        print("Nothing was deleted.")
        return DECLINED
    for each in dead:
        _refuse_living(await delete(server, each.namespace))
    print(f"Deleted {what}.")
    return 0


def _check(namespace: str) -> None:
    from ..backends.inspection import check_namespace

    try:
        check_namespace(namespace)
    except ValueError as error:
        raise CommandError(f"{error}") from None


async def _named(server: Server, names: Sequence[str]) -> Sequence[Remains]:
    from ..backends.purging import look_at

    found = [await look_at(server, name) for name in names]
    for each in found:
        _refuse_living(each)
    return [each for each in found if each.keys]


async def _found(server: Server) -> Sequence[Remains]:
    from ..backends.asking import InspectionError, Trouble
    from ..backends.purging import find_namespaces, look_at

    try:
        names = await find_namespaces(server)
    except InspectionError as error:
        if error.trouble is not Trouble.FORBIDDEN:
            raise
        told = escaped(str(error)).rstrip(".")
        raise CommandError(
            f"{server!r}: {told}. Pass the namespaces to delete, or grant this user +scan and "
            "+cluster|slots"
        ) from None
    found = [await look_at(server, name) for name in names]
    return [each for each in found if each.keys and not each.living]


def _refuse_living(remains: Remains) -> None:
    if remains.living:
        who = ", ".join(escaped(name, 60) for name in remains.living[:NAMED])
        living = counted(len(remains.living), "instance")
        raise CommandError(
            f"namespace '{escaped(remains.namespace)}' keeps its keys: "
            f"{living} with recent heartbeats or the lease ({who}). Stop them first. "
            "One that was killed counts for 15 s, and a leader for its lease"
        )


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise CommandError("nothing was deleted: without a terminal, pass --yes")
    # The event loop's own handler would only note the first Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return input(question).strip().lower() in {"y", "yes"}
    except EOFError:  # Ctrl-D
        print()
        return False
    finally:
        signal.signal(signal.SIGINT, before)


def _table(dead: Sequence[Remains]) -> Table:
    from .blocks import Table

    now = max(each.now for each in dead)
    rows = tuple(
        (
            escaped(each.namespace, 80),
            f"{len(each.keys):,}",
            f"{each.circuits:,}",
            "-" if each.last_seen is None else clock(each.last_seen, now),
        )
        for each in dead
    )
    return Table(HEADERS, rows)


PURGE = Command(
    name="purge",
    help="delete the keys of namespaces without instances",
    description=DESCRIPTION,
    epilog=EXIT_CODES,
    add_arguments=_add_arguments,
    run=_run,
)
