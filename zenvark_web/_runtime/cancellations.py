"""What is a cancellation, and whether anybody asked for it."""

from __future__ import annotations

import asyncio
import sys


def is_cancellation(error: BaseException) -> bool:
    """Whether an error is how asyncio or trio cancels a task."""
    if isinstance(error, asyncio.CancelledError):
        return True
    trio = sys.modules.get("trio")  # only who has imported it can be cancelled by it
    return trio is not None and isinstance(error, trio.Cancelled)


def nobody_asked_for(error: BaseException) -> bool:
    """Whether an error is a cancellation of asyncio's that was raised in the current task and not
    requested of it: something that the task awaited was cancelled under it. (Timeouts, scopes and
    task groups, anyio's too, request it with `Task.cancel`.)"""
    if not isinstance(error, asyncio.CancelledError) or error.__traceback__ is None:
        return False
    try:
        task = asyncio.current_task()
    except RuntimeError:  # in a thread without a loop: the task is another thread's
        return False
    return task is not None and not task.cancelling()
