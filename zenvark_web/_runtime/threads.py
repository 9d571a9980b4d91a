"""Plain functions of users that may block, each in a thread of its own.

No pool: its threads are joined when the event loop or the interpreter ends, and one that hangs
would hold both up for ever.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from ..exceptions import HealthCheckError, described

MOST_HANGING = 64
"""Threads of checks that may be alive at the same time in a process ..."""

MOST_TRUSTED = 256
"""... and further ones, for circuits that have worked before: dead hosts take no room from them."""


class NoRoomError(Exception):
    """A check was not made, since there is no thread for it. That says nothing of its upstream."""


class CheckThread(threading.Thread):
    """Runs one check.

    Args:
        home: What belongs to one coordinator alone.
        circuit: The circuit that is checked.
        trusted: Whether the circuit has worked before.
        work: What to do.
    """

    def __init__(self, home: object, circuit: str, trusted: bool, work: Callable[[], None]) -> None:
        super().__init__(name=f"zenvark_web check of {circuit}", daemon=True)
        self.home = home
        self.circuit = circuit
        self.trusted = trusted
        self._work = work

    def run(self) -> None:
        """Do it."""
        self._work()


async def in_thread(
    home: object,
    circuit: str,
    function: Callable[[Any], object],
    argument: object,
    *,
    trusted: bool = False,
) -> object:
    """What a function gives back. Whoever waits for it may be cancelled; the function goes on then.

    Args:
        home: What belongs to one coordinator alone.
        circuit: The circuit that is checked.
        function: The function.
        argument: Its argument.
        trusted: Whether the circuit has worked before.

    Raises:
        HealthCheckError: The circuit's check before has not come to an end yet.
        NoRoomError: Those of too many others have not.
    """
    if hangs(home, circuit):
        raise HealthCheckError("the previous check still runs in its thread")
    _make_sure_of_room(trusted)
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

    thread = CheckThread(home, circuit, trusted, work)
    try:
        thread.start()
    except RuntimeError as none:  # the system has no more of them
        raise NoRoomError(str(none)) from none
    result, error = await ended
    if isinstance(error, Exception):
        raise error
    if error is not None:  # it ends the thread, but nothing else
        raise HealthCheckError(described(error))
    return result


def hangs(home: object, circuit: str) -> bool:
    """Whether a circuit's check has not come to an end yet, in its thread."""
    return any(thread.home is home and thread.circuit == circuit for thread in _alive())


def _make_sure_of_room(trusted: bool) -> None:
    alike = sum(thread.trusted is trusted for thread in _alive())
    if alike >= (MOST_TRUSTED if trusted else MOST_HANGING):
        raise NoRoomError(f"{alike} checks still run in their threads")


def _alive() -> Iterator[CheckThread]:
    return (thread for thread in threading.enumerate() if isinstance(thread, CheckThread))
