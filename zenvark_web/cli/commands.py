"""The parts of a command."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

INCOMPLETE = 2
"""The exit code of a command that could read a part of the shards only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command.

    Args:
        name: The name of the command.
        help: A description in one line.
        description: The description above the arguments.
        epilog: The exit codes, below the arguments.
        add_arguments: Adds the arguments to a parser.
        run: Runs the command and returns its exit code.
    """

    name: str
    help: str
    description: str
    epilog: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


class CommandError(Exception):
    """A command failed. The message contains the reason and a remedy."""
