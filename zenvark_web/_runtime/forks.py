"""Reset of state in a child process after a fork.

The child has a copy of all memory and one thread, the forking one. Event loops and tasks of the
parent exist but do not run, and their sockets and selectors are the parent's too. The child
therefore starts anew. It keeps the inherited objects for good, even while its interpreter ends: a
collected connection would remove its socket from the selector on which the parent waits, and would
end TLS in the parent's name.
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
    """Register an object to reset in every child process, as long as the object lives.

    Args:
        owner: The object.
        begin_anew: Resets it. Returns the objects of the parent, which must never be collected.
    """
    _watching[owner] = begin_anew


def _forked() -> None:
    _inherited.extend(begin_anew(owner) for owner, begin_anew in tuple(_watching.items()))
    with suppress(AttributeError):  # elsewhere than in CPython, nothing is collected at the end
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(_inherited))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
