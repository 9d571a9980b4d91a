"""The entry point: selects the command and determines its exit code."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from .._version import __version__
from .commands import Command, CommandError
from .demo import DEMO
from .doctor import DOCTOR
from .events import EVENTS
from .observability import GRAFANA, RULES
from .operations import OPERATIONS
from .purge import PURGE
from .status import STATUS
from .watch import WATCH
from .why import WHY

COMMANDS = (STATUS, WATCH, EVENTS, WHY, *OPERATIONS, DOCTOR, PURGE, RULES, GRAFANA, DEMO)

FAILED = 2
INTERRUPTED = 128 + signal.SIGINT
PIPE_CLOSED = 141
"""The exit code that shells report after SIGPIPE."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Its arguments; default: the process'.

    Returns:
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="replace")  # better a "?" than no answer
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    try:
        code = _run(next(each for each in COMMANDS if each.name == arguments.command), arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # as with `| head`: nobody reads any further
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    return code


def _run(command: Command, arguments: argparse.Namespace) -> int:
    try:
        return command.run(arguments)
    except CommandError as error:
        sys.stdout.flush()
        print(f"zenvark-web {command.name}: {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zenvark-web",
        description="Circuit breakers that a fleet of Python web processes shares.",
    )
    parser.add_argument("--version", action="version", version=f"zenvark-web {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    for command in COMMANDS:
        command.add_arguments(
            commands.add_parser(
                command.name,
                help=command.help,
                description=command.description,
                epilog=command.epilog,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
        )
    return parser
