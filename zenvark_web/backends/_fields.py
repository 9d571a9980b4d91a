"""Single fields of stored records: each check refuses what no instance of the fleet writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .._core._checks import check_name
from .._core.order import Position
from ..exceptions import MalformedEntryError

VERSION = "1"
MAX_COUNT = 2**53
MAX_ENTRY_LENGTH = 4 * 1024 * 1024
MAX_POSITION = 2**64 - 1

T = TypeVar("T")

dump = json.JSONEncoder(separators=(",", ":")).encode


def guarded(what: str, stored: object, decode: Callable[[], T]) -> T:
    """What a decoder makes of a stored record.

    Raises:
        MalformedEntryError: The decoder raised; the message shows the record.
    """
    try:
        return decode()
    except Exception as error:  # rubbish breaks in ways that nobody thinks of
        shown = repr(stored)
        shown = shown if len(shown) <= 200 else shown[:200] + "…"
        raise MalformedEntryError(
            f"skipped an unreadable {what} entry ({type(error).__name__}: {error}): {shown}"
        ) from error


def check_version(stored: Mapping[str, Any]) -> None:
    """Refuse a record of another format version."""
    if stored["v"] != VERSION:
        raise ValueError(f"format version {stored['v']!r}, this package reads {VERSION!r}")


def parse_json(text: str, kind: type[object]) -> Any:
    """The JSON value of this type in a text."""
    if len(text) > MAX_ENTRY_LENGTH:
        raise ValueError(f"{len(text)} characters are too many")
    parsed: object = json.loads(text)
    if not isinstance(parsed, kind):
        raise TypeError(f"not a {kind.__name__}")
    return parsed


def ms(seconds: float) -> int:
    """Seconds as whole milliseconds."""
    return round(seconds * 1000)


def whole(value: Any, least: int = 0, most: int = MAX_COUNT) -> int:
    """A whole number in a range."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"not a whole number from {least} to {most}: {str(value)[:40]!r}")
    return value


def string(value: Any) -> str:
    """A string."""
    if not isinstance(value, str):
        raise TypeError(f"not a string: {str(value)[:40]!r}")
    return well_formed(value)


def well_formed(text: str) -> str:
    """A text that every reader accepts: lone surrogates are replaced."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def well_formed_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts whose names every reader accepts."""
    return {well_formed(key): count for key, count in counts.items()}


def valid_name(value: Any) -> str:
    """The name of a circuit or instance."""
    check_name("a name", value)
    return string(value)


def valid_position(value: Any) -> Position:
    """A position in a stream."""
    position = Position.parse(string(value))
    for number in position:
        whole(number, most=MAX_POSITION)
    return position


def valid_counts(value: Any) -> dict[str, int]:
    """Counts by name."""
    return {string(key)[:255]: whole(count) for key, count in value.items()}
