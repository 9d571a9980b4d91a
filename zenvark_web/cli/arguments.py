"""Arguments that several commands share, and the types of their values."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from typing import Any

from .._core.overrides import LONGEST_OVERRIDE

REDIS = "ZENVARK_REDIS"
NAMESPACE = "ZENVARK_NAMESPACE"

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
"""Seconds."""


def add_url(parser: argparse.ArgumentParser) -> Any:
    """Add the argument that selects the server, and return its group."""
    group = parser.add_argument_group("the fleet")
    group.add_argument(
        "--redis",
        metavar="URL",
        default=os.environ.get(REDIS),
        help="redis://, rediss://, unix:// or redis+sentinel://HOST:PORT,HOST:PORT/SERVICE; for a "
        f"cluster, any node (default: {REDIS})",
    )
    return group


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that select the fleet."""
    store = add_url(parser)
    store.add_argument(
        "--namespace",
        metavar="NAME",
        default=os.environ.get(NAMESPACE, "default"),
        help=f"the namespace of the coordinators (default: {NAMESPACE}, or 'default')",
    )
    store.add_argument(
        "--shards",
        type=whole(1, 256),
        metavar="N",
        help="fail if the fleet has another number of shards (default: any)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON, see docs/command-line.md")


def add_plain(parser: argparse.ArgumentParser) -> None:
    """Add `--plain`."""
    parser.add_argument("--plain", action="store_true", help="plain text, as without a terminal")


def number(least: float, most: float) -> Callable[[str], float]:
    """Return an argument type: a number in a range."""

    def number(text: str) -> float:
        value = float(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be from {least:g} to {most:g}, not {text}")
        return value

    return number


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return an argument type: a whole number in a range."""

    def whole_number(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be from {least} to {most}, not {text}")
        return value

    return whole_number


def length(text: str) -> float | None:
    """The type of a length of time: seconds, or None for no end."""
    if text == "never":
        return None
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"must be a time such as 90s, 30m, 1h or 2d, or 'never', not {text!r}"
        )
    seconds = float(found[1]) * UNITS[found[2]]
    if not 0 < seconds <= LONGEST_OVERRIDE:
        days = LONGEST_OVERRIDE / UNITS["d"]
        raise argparse.ArgumentTypeError(f"must be above 0 and at most {days:g}d, not {text}")
    return seconds
