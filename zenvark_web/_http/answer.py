"""Responses independent of any library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Payload: TypeAlias = bytes | str | dict[str, Any] | list[Any]
"""A body: bytes, text, or JSON."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response independent of any library.

    Args:
        content: The body: bytes, a string as text, a dict or list as JSON.
        status: The status.
        headers: By name, or pairs.
    """

    content: Payload = b""
    status: int = 200
    headers: Mapping[str, str] | list[tuple[str, str]] = field(default_factory=dict[str, str])
