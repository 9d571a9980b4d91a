"""Recognition of cancellations, and of cancellations that nobody requested."""

from __future__ import annotations

import asyncio
import sys


def is_cancellation(error: BaseException) -> bool:
    """Return whether an error is a cancellation by asyncio or trio."""
    if isinstance(error, asyncio.CancelledError):
        return True
    trio = sys.modules.get("trio")  # only who has imported it can be cancelled by it
    return trio is not None and isinstance(error, trio.Cancelled)


def nobody_asked_for(error: BaseException) -> bool:
    """Return whether an error is a cancellation of asyncio that occurs in the current task without
    a request to cancel it: an object that the task awaited was cancelled. (Timeouts, scopes and
    task groups, also of anyio, request a cancellation with `Task.cancel`.)"""
    if not isinstance(error, asyncio.CancelledError) or error.__traceback__ is None:
        return False
    try:
        task = asyncio.current_task()
    except RuntimeError:  # in a thread without a loop: the task is another thread's
        return False
    return task is not None and not task.cancelling()
