"""`zenvark-web why`: the reason of a circuit's state, and its next attempt."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from .arguments import add_json, add_plain, add_store
from .commands import Command, CommandError
from .fleet import look, unknown_in

if TYPE_CHECKING:
    from ..backends.inspection import Inspector

DESCRIPTION = """\
Explains the state of a circuit: the strategy with its numbers, a sample of the
failures and the instances that reported them, the next recovery attempt, the
calls of the last minute, and the last transitions. The command only reads Redis.
"""

EXIT_CODES = """\
exit code: 0; 2 if the circuit is unknown, or Redis does not reply or holds no
such fleet; 130 after Ctrl-C.
"""

HISTORY = 10


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("circuit", metavar="NAME", help="the name of the circuit, as in `status`")
    add_store(parser)
    add_json(parser)
    add_plain(parser)


def _run(arguments: argparse.Namespace) -> int:
    return look(arguments, partial(_why, arguments))


async def _why(arguments: argparse.Namespace, inspector: Inspector, shards: int) -> int:
    from .._circuits.shard import shard_of
    from .._operators import records
    from .._operators.advice import what_next
    from .explanation import circuit_page
    from .printing import show

    name: str = arguments.circuit
    shard = shard_of(name, shards)
    view = await inspector.circuit(name, shard, shards, history=HISTORY)
    if not view.is_known:
        raise CommandError(await unknown_in(inspector, shards, name))
    if arguments.json:
        print(records.dumped(records.of_circuit(name, view, what_next(view))))
    else:
        show(circuit_page(name, view), plain=arguments.plain)
    return 0


WHY = Command(
    name="why",
    help="explain the state of a circuit",
    description=DESCRIPTION,
    epilog=EXIT_CODES,
    add_arguments=_add_arguments,
    run=_run,
)
