"""Plain functions of users that may block, each in a thread of its own.

No pool: its threads are joined when the event loop or the interpreter ends, and one that hangs
would hold both up for ever.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from ..exceptions import HealthCheckError, described

MOST_HANGING = 64
"""Threads of checks that may be alive at the same time in a process."""


class CheckThread(threading.Thread):
    """Runs one check.

    Args:
        home: What belongs to one coordinator alone.
        circuit: The circuit that is checked.
        work: What to do.
    """

    def __init__(self, home: object, circuit: str, work: Callable[[], None]) -> None:
        super().__init__(name=f"zenvark_web check of {circuit}", daemon=True)
        self.home = home
        self.circuit = circuit
        self._work = work

    def run(self) -> None:
        """Do it."""
        self._work()


async def in_thread(
    home: object, circuit: str, function: Callable[[Any], object], argument: object
) -> object:
    """What a function gives back. Whoever waits for it may be cancelled; the function goes on then.

    Args:
        home: What belongs to one coordinator alone.
        circuit: The circuit that is checked.
        function: The function.
        argument: Its argument.

    Raises:
        HealthCheckError: Others have not come to an end yet.
    """
    _refuse_more(home, circuit)
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[tuple[object, BaseException | None]] = loop.create_future()
    context = copy_context()

    def end(result: object, error: BaseException | None) -> None:
        if not ended.done():
            ended.set_result((result, error))

    def work() -> None:
        result, raised = None, None
        try:
            result = context.run(function, argument)
        except BaseException as error:
            raised = error
        with suppress(RuntimeError):  # nobody waits any more: the loop was closed
            loop.call_soon_threadsafe(end, result, raised)

    CheckThread(home, circuit, work).start()
    result, error = await ended
    if isinstance(error, Exception):
        raise error
    if error is not None:  # it ends the thread, but nothing else
        raise HealthCheckError(described(error))
    return result


def _refuse_more(home: object, circuit: str) -> None:
    alive = [thread for thread in threading.enumerate() if isinstance(thread, CheckThread)]
    if any(thread.home is home and thread.circuit == circuit for thread in alive):
        raise HealthCheckError("the check before has not come to an end yet, in its thread")
    if len(alive) >= MOST_HANGING:
        raise HealthCheckError(f"{len(alive)} checks have not come to an end yet, in their threads")
