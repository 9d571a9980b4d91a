"""`zenvark-web demo`: its arguments and exit codes."""

from __future__ import annotations

import argparse
import os
import sys

from .arguments import number, whole
from .commands import Command

DESCRIPTION = """\
Run a small fleet on this machine through an incident: several app processes
call one upstream through their breakers, and the upstream breaks and recovers.
A live table shows the state of each app, a timeline shows each change. The
demo ends after about 15 seconds and leaves nothing behind.
"""

EXIT_CODES = """\
exit code: 0 if the fleet behaved; 1 if it did not (the reason is printed);
2 if the demo could not start (the remedy is printed); 130 after Ctrl-C.
"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--instances",
        type=whole(1, 32),
        default=4,
        metavar="N",
        help="number of app processes (default: 4)",
    )
    parser.add_argument(
        "--rate",
        type=number(1, 200),
        default=25.0,
        metavar="N",
        help="calls per second to each app (default: 25)",
    )
    parser.add_argument(
        "--incident",
        type=number(1, 600),
        default=5.0,
        metavar="SECONDS",
        help="duration of the incident (default: 5)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--redis",
        metavar="URL",
        help="use this Redis or Valkey, in a separate namespace that is erased afterwards "
        "(default: start a private server)",
    )
    where.add_argument(
        "--no-server",
        action="store_true",
        help="run everything in one process, without a server or sockets",
    )
    parser.add_argument(
        "--trial",
        action="store_true",
        help="recover by trial calls instead of a health check",
    )
    parser.add_argument(
        "--ramp",
        action="store_true",
        help="recover through a ramp: permit 10 %%, 25 %% and 50 %% of calls for 1 s each",
    )
    parser.add_argument(
        "--override",
        action="store_true",
        help="after the incident, an operator holds the circuit open for 3 s",
    )
    parser.add_argument(
        "--kill-leader",
        action="store_true",
        help="kill the leader's process during the incident",
    )
    parser.add_argument("--forever", action="store_true", help="repeat the incident until Ctrl-C")
    parser.add_argument(
        "--page",
        action="store_true",
        help="print the address of the live status page (see also --forever)",
    )
    parser.add_argument(
        "--plain", action="store_true", help="print one line per event, as without a terminal"
    )


def _run(arguments: argparse.Namespace) -> int:
    from ..demo import run as demo
    from ..demo.errors import SetupError
    from ..demo.settings import DemoSettings

    code = 0
    try:
        settings = DemoSettings(
            instances=arguments.instances,
            rate=arguments.rate,
            incident=arguments.incident,
            redis=arguments.redis,
            processes=not arguments.no_server,
            trial=arguments.trial,
            ramp=arguments.ramp,
            override=arguments.override,
            kill_leader=arguments.kill_leader,
            forever=arguments.forever,
            page=arguments.page,
            plain_output=arguments.plain,
        )
        code = demo.run(settings)
    except* SetupError as errors:
        print(f"zenvark-web demo: {errors.exceptions[0]}", file=sys.stderr)
        code = 2
    except* BrokenPipeError:  # the reader has closed the pipe, such as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    return code


DEMO = Command(
    name="demo",
    help="run a fleet through an incident",
    description=DESCRIPTION,
    epilog=EXIT_CODES,
    add_arguments=_add_arguments,
    run=_run,
)
