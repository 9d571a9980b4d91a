"""The command `zenvark-web`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from ._version import __version__

DEMO = """\
Runs a small fleet on this machine and lets an incident happen: several app
processes call one upstream through their breakers; it breaks and is mended.
A live table shows what every app knows and does, a timeline shows when. It
ends by itself after about 15 seconds and leaves nothing behind.
"""

EXIT_CODES = """\
exit code: 0 if the fleet behaved; 1 if it did not (the reason is printed);
2 if the demo could not start; 130 after Ctrl-C.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Its arguments; default: the process'.

    Returns:
        The exit code.
    """
    if reconfigure := getattr(sys.stdout, "reconfigure", None):
        reconfigure(errors="replace")  # better a "?" than no demo
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    try:
        return _demo(arguments)
    except KeyboardInterrupt:  # before the demo itself listens for it
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zenvark-web",
        description="Circuit breakers that a fleet of Python web processes shares.",
    )
    parser.add_argument("--version", action="version", version=f"zenvark-web {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    _add_demo(
        commands.add_parser(
            "demo",
            help="watch a fleet meet an incident",
            description=DEMO,
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    return parser


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--instances", type=_whole(1, 32), default=4, metavar="N", help="app processes (default: 4)"
    )
    parser.add_argument(
        "--rate",
        type=_number(1, 200),
        default=25.0,
        metavar="N",
        help="calls per second to each app (default: 25)",
    )
    parser.add_argument(
        "--incident",
        type=_number(1, 600),
        default=5.0,
        metavar="SECONDS",
        help="how long the upstream stays broken (default: 5)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--redis",
        metavar="URL",
        help="use this Redis or Valkey, in a namespace of its own that is erased afterwards "
        "(default: a private server)",
    )
    where.add_argument(
        "--no-server",
        action="store_true",
        help="run everything in this one process, without server and sockets",
    )
    parser.add_argument(
        "--trial",
        action="store_true",
        help="recover by trial calls instead of a health check",
    )
    parser.add_argument(
        "--kill-leader",
        action="store_true",
        help="kill the leader's process during the incident",
    )
    parser.add_argument(
        "--forever", action="store_true", help="one incident after another, until Ctrl-C"
    )
    parser.add_argument(
        "--plain", action="store_true", help="a line per event, as when the output is no terminal"
    )


def _demo(arguments: argparse.Namespace) -> int:
    from .demo.errors import SetupError
    from .demo.run import run
    from .demo.settings import DemoSettings

    code = 0
    try:
        settings = DemoSettings(
            instances=arguments.instances,
            rate=arguments.rate,
            incident=arguments.incident,
            redis=arguments.redis,
            processes=not arguments.no_server,
            trial=arguments.trial,
            kill_leader=arguments.kill_leader,
            forever=arguments.forever,
            plain_output=arguments.plain,
        )
        code = run(settings)
    except* SetupError as errors:
        print(f"zenvark-web demo: {errors.exceptions[0]}", file=sys.stderr)
        code = 2
    except* BrokenPipeError:  # as with `| head`: nobody reads any further
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    return code


def _number(least: float, most: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = float(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"from {least:g} to {most:g}, not {text}")
        return value

    return number


def _whole(least: int, most: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"from {least} to {most}, not {text}")
        return value

    return whole_number
