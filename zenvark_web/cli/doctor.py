"""`zenvark-web doctor`: a diagnosis of a fleet and its Redis."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from .arguments import add_json, add_plain, add_store
from .commands import Command
from .fleet import command, look_at_server

if TYPE_CHECKING:
    from ..backends.inspection import Inspector

DESCRIPTION = """\
Checks a fleet and its Redis: the server's version, memory and clock, the round
trip, the permissions of the given user, the keys of the namespace, and the
instances with their settings. Each problem comes with a remedy. The command
changes nothing: it tests permissions with commands that have no effect.
"""

EXIT_CODES = """\
exit code: 0 without problems, 1 with problems, 2 if Redis does not reply, 130
after Ctrl-C.
"""

UNWELL = 1


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_store(parser)
    add_json(parser)
    add_plain(parser)


def _run(arguments: argparse.Namespace) -> int:
    return look_at_server(arguments, partial(_doctor, arguments))


async def _doctor(arguments: argparse.Namespace, inspector: Inspector) -> int:
    from .._operators.records import dumped
    from ..backends.examination import examine
    from .checks import findings
    from .diagnosis import findings_page
    from .findings import record_of
    from .printing import show

    facts = await examine(inspector)
    found = [
        replace(each, advice=f"{each.advice} {command(arguments, *each.command)}")
        if each.command
        else each
        for each in findings(facts, shards=arguments.shards)
    ]
    server = repr(inspector.server)
    if arguments.json:
        print(dumped(record_of(inspector.namespace, server, found)))
    else:
        show(findings_page(inspector.namespace, server, found), plain=arguments.plain)
    return UNWELL if any(each.matters for each in found) else 0


DOCTOR = Command(
    name="doctor",
    help="check a fleet and its Redis",
    description=DESCRIPTION,
    epilog=EXIT_CODES,
    add_arguments=_add_arguments,
    run=_run,
)
