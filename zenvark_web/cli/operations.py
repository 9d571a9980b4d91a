"""The requests of operators: `force-open`, `force-closed`, `observe`, `lift` and `probe`."""

from __future__ import annotations

import argparse
import getpass
import os
import socket
import sys
from collections.abc import Awaitable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from .._core.overrides import MAX_REASON, Override
from .arguments import add_json, add_store, length, whole
from .commands import INCOMPLETE, Command, CommandError
from .fleet import command, look, overview_of, told, unknown_in
from .names import suggestion

if TYPE_CHECKING:
    from .._operators.overview import Overview
    from ..backends.base import OverrideRecord, OverrideRequest, Probe
    from ..backends.inspection import Inspector
    from ..backends.views import CircuitView

HOUR = 3600.0

T = TypeVar("T")

EXIT_CODES = """\
exit code: 0; 2 if the request is refused, if it was not written in a shard, or
if Redis does not reply or holds no such fleet; 130 after Ctrl-C.
"""

ALIKE = """
The request applies to all instances of the fleet within milliseconds, with or
without a leader. NAME may be a pattern with the wildcards * and ?, in quotes.
"""


class _Action(NamedTuple):
    mode: Override | None
    help: str
    description: str


ACTIONS = {
    "force-open": _Action(
        Override.FORCE_OPEN,
        "reject all calls of a circuit, until an end",
        "Rejects all calls of a circuit, and has nothing check the upstream. At its end,\n"
        "the circuit recovers by a health check or trial calls.\n",
    ),
    "force-closed": _Action(
        Override.FORCE_CLOSED,
        "permit all calls of a circuit, until an end",
        "Permits all calls of a circuit, whatever the fleet's verdict is. Metrics and\n"
        "alerts show a closed circuit.\n",
    ),
    "observe": _Action(
        Override.OBSERVE,
        "permit all calls of a circuit, and show the verdict",
        "Permits all calls of a circuit. Metrics and alerts show the fleet's verdict, and\n"
        "the calls that it would have rejected.\n",
    ),
    "lift": _Action(
        None,
        "lift the override of a circuit",
        "Lifts the override of a circuit before its end. NAME is as in `status`.\n",
    ),
}
PROBE = "probe"
REASON = "no longer needed"
"""The reason in commands to paste."""

NAMED = 5


def _command(name: str) -> Command:
    """Return one of the commands."""
    action = ACTIONS[name]
    return Command(
        name=name,
        help=action.help,
        description=action.description + ALIKE,
        epilog=EXIT_CODES,
        add_arguments=partial(_add_arguments, action),
        run=lambda arguments: look(arguments, partial(_override, name, action.mode, arguments)),
    )


def _probe_command() -> Command:
    """Return the command `probe`."""
    return Command(
        name=PROBE,
        help="attempt the recovery of an open circuit now",
        description="Has the next attempt to recover made at once, whatever is left of the wait or "
        "of\nthe upstream's Retry-After deadline. Circuits that are not open stay as they are.\n",
        epilog=EXIT_CODES,
        add_arguments=_add_common,
        run=lambda arguments: look(arguments, partial(_probe, arguments)),
    )


def _add_arguments(action: _Action, parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    if action.mode is not None:
        parser.add_argument(
            "--for",
            dest="expires_in",
            type=length,
            default=HOUR,
            metavar="TIME",
            help="the time until its end, such as 90s, 30m, 1h or 2d, or 'never' (default: 1h)",
        )
    parser.add_argument(
        "--expect",
        type=whole(0, 2**53),
        metavar="NUMBER",
        help="change nothing unless the override in force has this number, as in `why`; 0 for none",
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("circuit", metavar="NAME", help="the name of the circuit, as in `status`")
    parser.add_argument(
        "--reason",
        required=True,
        help=f"the reason, for the audit and whoever finds it: up to {MAX_REASON} characters",
    )
    add_store(parser)
    add_json(parser)


async def _override(
    name: str,
    mode: Override | None,
    arguments: argparse.Namespace,
    inspector: Inspector,
    shards: int,
) -> int:
    from ..backends.operating import Operator

    request = _request(mode, arguments)
    if mode is None and arguments.expect is None:
        _check_set(request.circuit, await overview_of(inspector, shards))
    numbers = _shards_of(request, shards)
    asked = Operator(inspector, shards).override(request, numbers)
    parts = await _written(asked, inspector, arguments)
    record = max(parts.found, key=lambda each: each.number)
    _show(name, arguments, await overview_of(inspector, shards), record, sorted(parts.unread))
    for shard, error in parts.unread.items():
        print(
            f"zenvark-web {name}: not written in shard {shard}: {told(error, inspector)}. Repeat "
            "the command: that is harmless",
            file=sys.stderr,
        )
    return INCOMPLETE if parts.unread else 0


async def _probe(arguments: argparse.Namespace, inspector: Inspector, shards: int) -> int:
    from .._circuits.shard import shard_of
    from .._core._checks import check_name
    from .._core.overrides import check_operator
    from ..backends.base import Probe
    from ..backends.operating import Operator

    actor = _actor()
    with _refusing():
        check_name("the circuit", arguments.circuit)
        check_operator(arguments.reason, actor)
    probe = Probe(arguments.circuit, actor, arguments.reason)
    shard = shard_of(probe.circuit, shards)
    view = await inspector.circuit(probe.circuit, shard, shards, history=1)
    if not view.is_known:
        raise CommandError(await unknown_in(inspector, shards, probe.circuit))
    _check_open(view, arguments)
    await _written(Operator(inspector, shards).probe(probe, shard), inspector, arguments)
    _show(PROBE, arguments, await overview_of(inspector, shards), probe, [])
    return 0


def _check_open(view: CircuitView, arguments: argparse.Namespace) -> None:
    """Refuse to ask for an attempt that nobody would make."""
    from .._core.states import State
    from .._operators.texts import STATES, escaped

    name = escaped(arguments.circuit)
    if view.override is not None and view.override.mode is Override.FORCE_OPEN:
        lift = command(arguments, "lift", view.override.circuit, "--reason", REASON)
        raise CommandError(
            f"refused: an operator holds '{name}' open, so there is no attempt to make. To end "
            f"that: {lift}"
        )
    state = view.current.state if view.current else State.CLOSED
    if state is not State.OPEN:
        raise CommandError(
            f"refused: '{name}' is {STATES[state]}, not open, so there is no attempt to make. "
            "Nothing was written"
        )


def _request(mode: Override | None, arguments: argparse.Namespace) -> OverrideRequest:
    from ..backends.base import OverrideRequest

    with _refusing():
        return OverrideRequest(
            circuit=arguments.circuit,
            mode=mode,
            reason=arguments.reason,
            actor=_actor(),
            expires_in=None if mode is None else arguments.expires_in,
            expect=arguments.expect,
        )


def _actor() -> str:
    """Return the operator, as `user@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no name for the id of this user
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return f"{user}@{socket.gethostname()}"


def _shards_of(request: OverrideRequest, shards: int) -> Sequence[int]:
    """Return the shards of a request: one for a name, all for a pattern."""
    from .._circuits.shard import shard_of
    from .._core.patterns import is_pattern

    if not is_pattern(request.circuit):
        return [shard_of(request.circuit, shards)]
    if request.expect is not None and shards > 1:
        raise CommandError(
            f"omit --expect: a pattern has another number in each of the {shards} shards"
        )
    return range(shards)


def _check_set(circuit: str, overview: Overview) -> None:
    """Refuse to lift an override that is not set: the name may be wrong."""
    from .._operators.texts import escaped

    if overview.unread or any(each.circuit == circuit for each in overview.overrides):
        return
    names = [each.circuit for each in overview.overrides]
    others = ", ".join(f"'{escaped(each, 80)}'" for each in names[:NAMED])
    raise CommandError(
        f"no override is set for '{escaped(circuit)}'. {suggestion(circuit, names)}"
        + (f"Those in force are for {others}" if others else "None is set for other circuits")
    )


async def _written(asked: Awaitable[T], inspector: Inspector, arguments: argparse.Namespace) -> T:
    """Return the result of a request.

    Raises:
        CommandError: The request was refused, or perhaps not written.
    """
    from ..backends.asking import OF_CONNECTIONS, InspectionError
    from ..exceptions import OverrideConflictError, OverrideLimitError

    try:
        return await asked
    except OverrideConflictError as error:
        shown = command(arguments, "status")
        raise CommandError(f"{error}. To see it: {shown}") from None
    except OverrideLimitError as error:
        raise CommandError(f"{error}") from None
    except InspectionError as error:
        audit = command(arguments, "events", "--audit")
        doubt = f". Repeat the command, which is harmless, or look at the audit: {audit}"
        raise CommandError(
            told(error, inspector) + (doubt if error.trouble in OF_CONNECTIONS else "")
        ) from None


def _show(
    name: str,
    arguments: argparse.Namespace,
    overview: Overview,
    item: OverrideRecord | Probe,
    failed: Sequence[int],
) -> None:
    """Print what was done, and what will happen."""
    from .._operators import records
    from .outcome import outcome_page
    from .printing import show

    if arguments.json:
        print(records.dumped(records.of_operation(name, item, overview, failed)))
    else:
        lift = command(arguments, "lift", item.circuit, "--reason", REASON)
        probe = command(arguments, PROBE, item.circuit, "--reason", "try now")
        show(outcome_page(item, overview, lift, probe), plain=True)


@contextmanager
def _refusing() -> Generator[None]:
    """Turn a refusal of an argument into the message of the command."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise CommandError(f"{error}") from None


OPERATIONS = (*map(_command, ACTIONS), _probe_command())
