"""Plain functions of users that may block, each in a thread of its own.

They use no pool: its threads are joined when the event loop or the interpreter ends, and a hanging
thread would block both forever.
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
"""The maximum number of live check threads in a process ..."""

MOST_TRUSTED = 256
"""... and further ones for circuits that have worked before, apart from those of dead hosts."""


class NoRoomError(Exception):
    """A check was not run, because there is no thread for it: nothing is known of the upstream."""


class CheckThread(threading.Thread):
    """Runs one check.

    Args:
        home: An object that identifies one coordinator.
        circuit: The checked circuit.
        trusted: Whether the circuit has worked before.
        work: The function to run.
    """

    def __init__(self, home: object, circuit: str, trusted: bool, work: Callable[[], None]) -> None:
        super().__init__(name=f"zenvark_web check of {circuit}", daemon=True)
        self.home = home
        self.circuit = circuit
        self.trusted = trusted
        self._work = work

    def run(self) -> None:
        """Run the function."""
        self._work()


async def in_thread(
    home: object,
    circuit: str,
    function: Callable[[Any], object],
    argument: object,
    *,
    trusted: bool = False,
) -> object:
    """Run a function in a thread, and return its result. If the caller is cancelled, the function
    continues.

    Args:
        home: An object that identifies one coordinator.
        circuit: The checked circuit.
        function: The function.
        argument: Its argument.
        trusted: Whether the circuit has worked before.

    Raises:
        HealthCheckError: The circuit's previous check still runs.
        NoRoomError: Too many other checks still run.
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
    """Return whether a circuit's check still runs in its thread."""
    return any(thread.home is home and thread.circuit == circuit for thread in _alive())


def _make_sure_of_room(trusted: bool) -> None:
    alike = sum(thread.trusted is trusted for thread in _alive())
    if alike >= (MOST_TRUSTED if trusted else MOST_HANGING):
        raise NoRoomError(f"{alike} checks still run in their threads")


def _alive() -> Iterator[CheckThread]:
    return (thread for thread in threading.enumerate() if isinstance(thread, CheckThread))
