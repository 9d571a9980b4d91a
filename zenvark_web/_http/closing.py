"""Closing of transports that several transports share."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

First: TypeAlias = Callable[[object], bool]
"""Whether a transport has to be closed now: this closing has not reached it before."""

_begun: ContextVar[set[int] | None] = ContextVar("transports that this closing has reached")


@contextmanager
def each_once() -> Generator[First]:
    """Close each transport once, even if nested transports share it. A later closing closes it
    again."""
    begun = _begun.get(None)
    token = None
    if begun is None:
        begun = set[int]()
        token = _begun.set(begun)
    try:
        yield lambda transport: _is_new(id(transport), begun)
    finally:
        if token is not None:
            _begun.reset(token)


def _is_new(identity: int, begun: set[int]) -> bool:
    new = identity not in begun
    begun.add(identity)
    return new
