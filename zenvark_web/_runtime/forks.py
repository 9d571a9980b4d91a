"""What is left to do in a child process after a fork.

The child has a copy of all memory, and one thread: the one that forked. Event loops and tasks of
the parent are there, but run no more, and their sockets and selectors are the parent's, too. So a
child begins anew. What it has inherited it keeps for good, also while its interpreter ends:
collected, a connection would take its socket out of the selector that the parent waits on, and
with TLS say goodbye in the parent's name.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

_watching: WeakKeyDictionary[Any, Callable[[Any], object]] = WeakKeyDictionary()
_inherited: list[object] = []


def watch(owner: T, begin_anew: Callable[[T], object]) -> None:
    """Have something begin anew in every child process, as long as it lives.

    Args:
        owner: What is to begin anew.
        begin_anew: Does it. Returns what belongs to the parent, and must never be collected.
    """
    _watching[owner] = begin_anew


def _forked() -> None:
    _inherited.extend(begin_anew(owner) for owner, begin_anew in tuple(_watching.items()))
    with suppress(AttributeError):  # elsewhere than in CPython, nothing is collected at the end
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(_inherited))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
