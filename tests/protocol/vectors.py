"""Reading the frozen vectors, and records in the form that they have there.

The vectors of a format version are in a folder of that name, one file for each kind of entry:

- `of`: the key in Redis, which determines how an entry is read.
- `cases`: each with its name, an `entry` as it is stored, and either what it `means` or `refused`.
  `tolerated` marks what only newer versions write.

In `means`, times are seconds and names are those of the records. A record may have further parts,
which later versions add: only what a case names must be so.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from zenvark_web import MalformedEntryError
from zenvark_web._core.order import Position
from zenvark_web.backends._decoding import (
    decode_account,
    decode_batch,
    decode_override,
    decode_presence,
    decode_snapshot,
    decode_state_entry,
    decode_transition,
)

FOLDER = Path(__file__).parent / "v1"

READERS: Mapping[str, Callable[[Any], object]] = {
    "results": decode_batch,
    "states": decode_state_entry,
    "circuits": decode_transition,
    "tallies": decode_snapshot,
    "accounts": decode_account,
    "overrides": decode_override,
    "instances": lambda text: decode_presence("web-1", text),
}


class Vector(NamedTuple):
    """One case.

    Args:
        name: Its file and its name there.
        of: The key in Redis.
        entry: What is stored: a text, or an entry's fields.
        means: The record, in plain values; None if the entry is refused.
    """

    name: str
    of: str
    entry: Any
    means: Any


def load(folder: Path = FOLDER) -> list[Vector]:
    """All cases of a format version."""
    return [
        Vector(f"{file.stem}: {case['case']}", stored["of"], case["entry"], case.get("means"))
        for file in sorted(folder.glob("*.json"))
        for stored in [json.loads(file.read_text("utf-8"))]
        for case in stored["cases"]
    ]


def plain(value: Any) -> Any:
    """A record in the values that JSON has."""
    if isinstance(value, Position):
        return str(value)
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, frozenset):
        value = sorted(value)
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(part) for part in value]
    if isinstance(value, MalformedEntryError):
        return True
    return value.value if isinstance(value, Enum) else value


def agrees(read: Any, means: Any) -> bool:
    """Whether a plain record is as a case says: it may have further parts."""
    if isinstance(means, dict) and means:
        return isinstance(read, dict) and all(
            name in read and agrees(read[name], part) for name, part in means.items()
        )
    if isinstance(means, list):
        return isinstance(read, list) and len(read) == len(means) and all(map(agrees, read, means))
    return bool(read == means)
